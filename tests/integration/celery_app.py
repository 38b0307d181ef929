"""The Celery application of the tests, as its workers import it; everything it needs is in the environment."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

import understudy
from understudy.integrations.celery import TransactionTask

app = Celery("farm", broker=os.environ["CELERY_BROKER"])
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True
pool = understudy.pool()


@app.task(base=TransactionTask, pool=pool, shared=False)
def add(conn: Any, name: str) -> str:
    """One row that says which process wrote it on which node."""
    conn.execute("INSERT INTO item (name) VALUES (%s)", (f"{name} {conn.node} {os.getpid()}",))
    return name


with pool.connection() as first:  # the parent has a connection open when it forks
    first.execute("SELECT 1")
