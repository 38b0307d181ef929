"""Processes that are forked from one that has used the database (gunicorn ``--preload``, Celery, multiprocessing)."""

from __future__ import annotations

import os

from django.db import connections

from understudy.integrations.django.postgresql.base import DatabaseWrapper


def connections_end_here() -> None:
    """From now on, a child of this process begins without connections. Its parent's are not closed, only forgotten."""
    os.register_at_fork(after_in_child=_forget)


def _forget() -> None:
    for connection in connections.all(initialized_only=True):
        if isinstance(connection, DatabaseWrapper):
            connection.connection = None
