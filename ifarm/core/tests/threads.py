"""Work in threads, each with a connection of its own; for tests with the fixture `committed`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

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
