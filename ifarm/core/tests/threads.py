"""Work in threads, each with a connection of its own; for tests with the fixture `committed`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
from django.db import connection

PATIENCE_S: Final = 100.0
"""As long as a machine that is busy with other things may need; less than a whole test may take."""


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start the work in a thread of its own; the function returned waits for what it gave, or raises what it raised."""

    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    pool = ThreadPoolExecutor(1)
    given = pool.submit(run)
    pool.shutdown(wait=False)
    return lambda: given.result(PATIENCE_S)


def await_waiting(owner: psycopg.Connection[Any], event: str = "") -> None:
    """Until one transaction waits for a lock; ``event``: of this kind (`wait_event` of `pg_stat_activity`)."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND %s IN ('', wait_event)"
        " AND datname = current_database()"
    )
    end = time.monotonic() + PATIENCE_S
    while owner.execute(query, (event,)).fetchall() != [(1,)]:
        assert time.monotonic() < end, f"nobody waits for {event or 'a lock'}"
        threading.Event().wait(0.01)  # nothing announces it
