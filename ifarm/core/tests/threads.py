"""Work in threads, each with a connection of its own; for tests with the fixture `committed`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start the work in a thread of its own; the function returned waits for what it gave."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()

    def wait() -> Any:
        thread.join(30)
        assert not thread.is_alive()
        return found[0]

    return wait
