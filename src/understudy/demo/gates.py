"""A real PgBouncer or HAProxy in front of a laboratory's pair, driven by its agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from understudy.demo.lab import CLUSTER, DATABASE, NODES, Lab
from understudy.embedded.haproxy import BACKEND, Configuration, EmbeddedHaproxy, driven
from understudy.embedded.pgbouncer import EmbeddedPgBouncer

READY = 60.0  # seconds


@contextmanager
def pgbouncer(lab: Lab, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[EmbeddedPgBouncer]:
    """A PgBouncer that leads to the lab's primary; ``settings`` as in `EmbeddedPgBouncer`."""
    known = conninfo_to_dict(lab.dsn("a", "app"))
    entry = " ".join(f"{key}={known[key]}" for key in ("host", "port", "dbname"))
    users = {str(known["user"]): str(known["password"])}
    with EmbeddedPgBouncer({DATABASE: entry}, users, settings) as gate:
        _tell(
            lab,
            f'[[clusters.{CLUSTER}.pgbouncer]]\ndsn = "{gate.console}"\n'
            f'databases = ["{DATABASE}"]\nfile = "{gate.entries}"\n',
        )
        lab.await_true(lambda: answers(at_port(lab, gate.port)), READY, "an answer through PgBouncer")
        yield gate


@contextmanager
def haproxy(
    lab: Lab, configuration: Configuration | None = None, backend: str = BACKEND
) -> Iterator[EmbeddedHaproxy]:
    """A HAProxy that leads to the lab's primary as soon as the agent has told it to."""
    usual = driven({name: lab.servers[name].port for name in NODES})
    with EmbeddedHaproxy(configuration or usual) as gate:
        _tell(
            lab,
            f'[[clusters.{CLUSTER}.haproxy]]\nsocket = "{gate.socket}"\nbackend = "{backend}"\n',
        )
        lab.await_true(lambda: answers(at_port(lab, gate.port)), READY, "an answer through HAProxy")
        yield gate


def at_port(lab: Lab, port: int, user: str = "app") -> str:
    """A libpq URI of the lab's database through whatever listens on that port of 127.0.0.1."""
    parts = urlsplit(lab.dsn("a", user))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition(":")[0] + f":{port}"))


def _tell(lab: Lab, table: str) -> None:
    """Add a table to the lab's configuration, and have its agent read it again."""
    with lab.config_file.open("a") as file:
        file.write(table)
    event = lab.last_event
    if lab.agent.pid is None:
        lab.start_agent()
        return
    os.kill(lab.agent.pid, signal.SIGHUP)
    lab.await_event("agent_started", READY, after=event)


def answers(dsn: str) -> bool:
    """Whether a session through the gate can write."""
    try:
        with psycopg.connect(dsn, connect_timeout=2, prepare_threshold=None) as connection:
            row = connection.execute("SHOW transaction_read_only").fetchone()
    except psycopg.Error:
        return False
    return row == ("off",)
