"""Two small applications, as people write them: the pool is a global, made and used before the workers are forked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import parse_qs

from celery import Celery

import understudy

pool = understudy.pool(max_size=4)
INSERT = "INSERT INTO item (name) VALUES (%s)"


def warm_up() -> None:
    """Open a connection and start the threads in the parent: the worst case for a fork."""
    with pool.connection() as conn:
        conn.execute("SELECT 1")


def insert(name: str) -> str:
    """One transaction; who made it, and where."""
    with pool.connection() as conn:
        conn.execute(INSERT, (name,))
    return f"{os.getpid()} {conn.node}"


def wsgi(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    """GET /?name=... inserts that name."""
    name = parse_qs(environ["QUERY_STRING"])["name"][0]
    print("asked for", name, flush=True)
    answer = insert(name)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer.encode()]


_mail = Path(os.environ.get("MAIL_FOLDER", "/nonexistent"))
celery = Celery("apps", broker="filesystem://", backend=f"file://{_mail}/results")
celery.conf.update(
    broker_transport_options={
        "data_folder_in": str(_mail / "queue"),
        "data_folder_out": str(_mail / "queue"),
        "control_folder": str(_mail / "control"),
        "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=False,
    worker_hijack_root_logger=False,
)


@celery.task
def insert_later(name: str) -> str:
    return insert(name)


if "WARM_UP" in os.environ:
    warm_up()
