"""Two real servers, oak (the old primary) and elm (its standby, then the present primary), for rescue and rewind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from understudy.embedded import EmbeddedPostgreSQL
from understudy.engines.base import RescueReport
from understudy.engines.postgresql import links, slots
from understudy.engines.postgresql.rescue import rescue
from understudy.engines.postgresql.rewind import rewind
from understudy.engines.postgresql.schema import statement
from understudy.engines.postgresql.sessions import Sessions
from understudy.model import Cluster, Link, Node, Policy, Ticket

SCHEMA = """
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE TABLE t (id bigint PRIMARY KEY, x text, n numeric);
CREATE TABLE pairs (a int, b text, v text, PRIMARY KEY (a, b));
CREATE TABLE whole (id int PRIMARY KEY, v text);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE "Odd ""name" (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a'b" text, m mood, doc json, big text,
    twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE keyless (v text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
CREATE TABLE uniq (id int PRIMARY KEY, u int UNIQUE);
"""
TABLES = ("t", "pairs", "whole", '"Odd ""name"', "keyless", "uniq")
OURS = ("heartbeat", "marker", "sequence_sample", "commit_token")
TICKET = Ticket(1, 0, "oak")
_numbers = itertools.count(1)


@dataclass
class World:
    """The pair. ``reset`` gives empty equal tables and a fresh link oak → elm with a spare slot on elm."""

    oak: EmbeddedPostgreSQL
    elm: EmbeddedPostgreSQL
    password: str
    cluster: Cluster
    link: Link
    reverse: Link

    def server(self, name: str) -> EmbeddedPostgreSQL:
        return self.oak if name == "oak" else self.elm

    @contextlib.contextmanager
    def app(self, node: str) -> Iterator[psycopg.Connection]:
        """An autocommit connection as the application."""
        with psycopg.connect(
            self.server(node).dsn("app", "farm", self.password), autocommit=True
        ) as connection:
            yield connection

    def run(self, node: str, *statements: str) -> None:
        """Run statements as the application, in one transaction."""
        with self.app(node) as connection, connection.transaction():
            for text in statements:
                connection.execute(text)

    @contextlib.contextmanager
    def root(self, node: str) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.server(node).dsn(dbname="farm"), autocommit=True) as connection:
            yield connection

    def dump(self, node: str, *tables: str) -> dict[str, list[Any]]:
        """Contents as text, sorted; by default everything that is replicated, but for the heartbeat's kin."""
        with self.root(node) as connection:
            names = tables or (*TABLES, "understudy.commit_token")
            # No column may have the name of the alias, or it alone would be compared.
            query = "SELECT whole_row::text FROM {} AS whole_row"
            return {n: sorted(connection.execute(query.format(n)).fetchall()) for n in names}

    @contextlib.asynccontextmanager
    async def sessions(self) -> AsyncIterator[Sessions]:
        made = Sessions(self.cluster)
        try:
            yield made
        finally:
            await made.close()

    async def reset(self, sessions: Sessions, *seed: str) -> None:
        self.oak.start()
        for link in (self.link, self.reverse):
            if link.name:
                await links.drop_link(sessions, link, TICKET)
        for node in ("oak", "elm"):
            with self.root(node) as connection:
                connection.execute("SET session_replication_role = replica")
                everything = ", ".join((*TABLES, *(f"understudy.{n}" for n in OURS), "understudy.rewound"))
                connection.execute(f"TRUNCATE {everything} RESTART IDENTITY")
                with connection.transaction():
                    for text in seed:
                        connection.execute(text)
        number = next(_numbers)
        self.link = Link(name=f"understudy_farm_{number}", publisher="oak", subscriber="elm")
        self.reverse = Link(name=f"understudy_farm_{number}r", publisher="elm", subscriber="oak")
        await slots.create_slot(sessions, "oak", self.link.name, TICKET)
        await slots.create_slot(sessions, "elm", self.reverse.name, TICKET)
        await links.follow(sessions, self.link, TICKET)

    async def stop_apply(self, sessions: Sessions) -> int:
        return await links.stop_apply(sessions, self.link, TICKET)

    async def applied(self, sessions: Sessions, link: Link) -> None:
        """Wait until the subscriber of a link has all that its publisher committed."""
        marker = secrets.token_hex(8)
        with self.root(link.publisher) as publisher, self.root(link.subscriber) as subscriber:
            publisher.execute("INSERT INTO understudy.marker (id) VALUES (%s)", (marker,))
            while not subscriber.execute("SELECT FROM understudy.marker WHERE id = %s", (marker,)).fetchall():
                enabled = "SELECT subenabled FROM pg_subscription WHERE subname = %s"
                assert subscriber.execute(enabled, (link.name,)).fetchone() == (True,)
                await asyncio.sleep(0.005)

    async def rescue(self, sessions: Sessions, after: int, folder: Path) -> RescueReport:
        return await rescue(sessions, self.cluster, self.link, after, folder, TICKET)

    async def rewind(self, sessions: Sessions, after: int) -> int:
        return await rewind(sessions, self.cluster, self.link, self.reverse, after, TICKET)

    async def come_home(self, sessions: Sessions) -> None:
        """After a rewind: oak follows elm and has everything of it."""
        await links.drop_link(sessions, self.link, TICKET)
        await links.follow(sessions, self.reverse, TICKET)
        await self.applied(sessions, self.reverse)


@contextlib.contextmanager
def make_world(folder: Path) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="pair.", dir=folder))
    folder.chmod(0o711)
    settings = {"wal_retrieve_retry_interval": "100ms", "autovacuum": "off"}
    password = secrets.token_urlsafe(12)
    with (
        EmbeddedPostgreSQL(folder / "oak", name="oak", settings=settings, temporary=True) as oak,
        EmbeddedPostgreSQL(folder / "elm", name="elm", settings=settings, temporary=True) as elm,
    ):
        nodes = []
        for priority, server in enumerate((oak, elm), 1):
            server.prepare("farm", password=password)
            with psycopg.connect(server.dsn("app", "farm", password)) as connection:
                connection.execute(SCHEMA)
            admin = server.dsn("understudy", "farm", password)
            with psycopg.connect(admin) as connection:
                connection.execute(statement("objects"))
                names = ", ".join((*TABLES, *(f"understudy.{n}" for n in OURS)))
                connection.execute(f"CREATE PUBLICATION understudy_farm FOR TABLE {names}")
                connection.execute("INSERT INTO understudy.fence (epoch, primary_node) VALUES (1, 'oak')")
            name = "oak" if server is oak else "elm"
            dsn = server.dsn("app", "farm", password)
            nodes.append(Node(name=name, dsn=dsn, admin_dsn=admin, replication_dsn=admin, priority=priority))
        cluster = Cluster(name="farm", engine="postgresql", nodes=tuple(nodes), policy=Policy())
        link = Link(name="", publisher="oak", subscriber="elm")
        yield World(oak, elm, password, cluster, link, Link(name="", publisher="elm", subscriber="oak"))
