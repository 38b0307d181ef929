"""Verify on real servers: equal under load, a changed byte is found, writers notice nothing."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.rescue_world import World, make_world

from understudy.engines.postgresql import verify as module
from understudy.engines.postgresql.sessions import Sessions
from understudy.engines.postgresql.verify import verify
from understudy.errors import EngineError


@pytest.fixture(scope="module")
def world(server_folder: Path) -> Iterator[World]:
    with make_world(server_folder) as made:
        with made.app("oak") as oak, made.app("elm") as elm:
            for connection in (oak, elm):
                connection.execute(TYPES)
        for node in ("oak", "elm"):
            with made.root(node) as root:
                root.execute("ALTER PUBLICATION understudy_farm ADD TABLE types, parted")
        yield made


TYPES = """
CREATE TABLE types (id int PRIMARY KEY, n numeric, f float8, i interval, j json, jb jsonb, p point, m mood,
    b bytea, a text[], c char(5), v varchar, r int4range, bits bit(3), cash money, net inet, tz timetz);
CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
"""
ROW = {
    "n": "1.50",
    "f": "0.1",
    "i": "1 day",
    "j": '{"a":1}',
    "jb": '{"a": 1.0}',
    "p": "(1,2)",
    "m": "calm",
    "b": "\\x00ff",
    "a": "{a,NULL}",
    "c": "abc",
    "v": "it's",
    "r": "[1,5)",
    "bits": "101",
    "cash": "1.00",
    "net": "10.0.0.1/8",
    "tz": "10:00+01",
}
CHANGED = {
    "n": "1.5",
    "f": "-0.1",
    "i": "24 hours",
    "j": '{"a": 1}',
    "jb": '{"a": 1.00}',
    "p": "(1,2.5)",
    "m": "cross",
    "b": "\\x00fe",
    "a": '{a,"NULL"}',
    "c": "abd",
    "v": "It's",
    "r": "[1,6)",
    "bits": "100",
    "cash": "1.01",
    "net": "10.0.0.1/9",
    "tz": "09:00+00",
}


class Writers:
    """Threads that write several tables in varying order until told to stop; errors are kept."""

    def __init__(self, world: World, count: int = 4) -> None:
        self._world, self._stop = world, threading.Event()
        self.errors: list[psycopg.Error] = []
        self.started = threading.Barrier(count + 1)
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def _run(self, number: int) -> None:
        rng = random.Random(number)
        with self._world.app("oak") as connection:
            self.started.wait()
            while not self._stop.is_set():
                work = [
                    (
                        "INSERT INTO t VALUES (%s, 'w', 1) ON CONFLICT (id) DO UPDATE SET n = t.n + 1",
                        number * 100,
                    ),
                    (
                        "INSERT INTO pairs VALUES (%s, 'b', 'w') ON CONFLICT (a, b) DO UPDATE SET v = now()",
                        number,
                    ),
                    (
                        "INSERT INTO whole VALUES (%s, 'w') ON CONFLICT (id) DO UPDATE SET v = random()",
                        number,
                    ),
                ]
                if number % 2:
                    work.reverse()  # against each other: with a lock of ours in between, a deadlock
                try:
                    with connection.transaction():
                        for text, base in work:
                            connection.execute(text, (base * 100 + rng.randrange(50),))
                except psycopg.Error as error:
                    self.errors.append(error)
                self._stop.wait(0.01)  # a pace that the standby can follow on a busy machine

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        self.started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


async def fresh(world: World, sessions: Sessions) -> None:
    await world.reset(sessions)
    with world.root("oak") as root:
        root.execute("TRUNCATE types, parted")  # on elm too, by replication


async def test_equal_under_load_and_writers_notice_nothing(world: World) -> None:
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        with Writers(world) as writers:
            reports = [await verify(sessions, world.cluster, "oak", "elm") for _ in range(20)]
        assert [r.different for r in reports] == [()] * 20
        assert writers.errors == []
        assert any(c.left[0] for c in reports[-1].tables)
        positions = [r.position for r in reports]
        assert positions == sorted(set(positions))
        names = {c.table for c in reports[0].tables}
        assert {"public.t", "public.parted_1", "understudy.commit_token"} <= names
        assert "understudy.heartbeat" not in names


@pytest.mark.parametrize("column", sorted(ROW))
async def test_any_changed_column_is_found_and_its_table_named(world: World, column: str) -> None:
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        row = {"id": "1", **ROW}
        with world.root("oak") as root:
            marks = ", ".join(["%s"] * len(row))
            root.execute(f"INSERT INTO types ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        report = await verify(sessions, world.cluster, "oak", "elm")
        assert report.equal
        with world.root("elm") as root:
            root.execute(f"UPDATE types SET {column} = %s", (CHANGED[column],))
        report = await verify(sessions, world.cluster, "oak", "elm")
        assert report.different == ("public.types",)


async def test_rows_missing_doubled_or_misplaced_are_found(world: World) -> None:
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        world.run(
            "oak",
            "INSERT INTO keyless VALUES ('a'), ('a'), ('b')",
            "INSERT INTO parted VALUES (1, 'x'), (11, 'y')",
        )
        assert (await verify(sessions, world.cluster, "oak", "elm")).equal
        with world.root("elm") as root:
            root.execute("DELETE FROM keyless WHERE v = 'a'; DELETE FROM parted WHERE id = 11")
            report = await verify(sessions, world.cluster, "oak", "elm")
            assert report.different == ("public.keyless", "public.parted_2")
            root.execute("ALTER TABLE parted_2 RENAME TO gone")
            report = await verify(sessions, world.cluster, "oak", "elm")
            assert {c.table: c.right[1] for c in report.tables}["public.parted_2"] == "no such table"
            root.execute("ALTER TABLE gone RENAME TO parted_2")


async def test_rows_that_a_policy_hides_from_us_are_no_equal_contents(world: World) -> None:
    """Without BYPASSRLS the agent would see no row of either node, and find them equal whatever they hold."""
    secure = "ALTER TABLE types ENABLE ROW LEVEL SECURITY; ALTER TABLE types FORCE ROW LEVEL SECURITY"
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        world.run("oak", "INSERT INTO types (id) VALUES (1)")
        assert (await verify(sessions, world.cluster, "oak", "elm")).equal
        with world.root("oak") as oak, world.root("elm") as elm:
            try:
                for root in (oak, elm):
                    root.execute(secure)
                elm.execute("DELETE FROM types")
                with pytest.raises(EngineError, match="row-level security"):
                    await verify(sessions, world.cluster, "oak", "elm")
                for root in (oak, elm):
                    root.execute("ALTER ROLE understudy BYPASSRLS")
                assert (await verify(sessions, world.cluster, "oak", "elm")).different == ("public.types",)
            finally:
                for root in (oak, elm):
                    root.execute(
                        "ALTER ROLE understudy NOBYPASSRLS; ALTER TABLE types DISABLE ROW LEVEL SECURITY"
                    )
                    root.execute("ALTER TABLE types NO FORCE ROW LEVEL SECURITY")


async def test_when_one_side_fails_the_other_has_ended_too(world: World) -> None:
    """It would go on, on a connection that is closed under it or lent to somebody else."""
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        with world.root("oak") as oak, world.root("elm") as elm:
            oak.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY")
            try:
                with elm.transaction():
                    elm.execute("LOCK TABLE types IN ACCESS EXCLUSIVE MODE")  # comes after t
                    with pytest.raises(EngineError, match=r"oak: .*row-level security"):
                        await verify(sessions, world.cluster, "oak", "elm")
                    assert asyncio.all_tasks() == {asyncio.current_task()}
            finally:
                oak.execute(
                    "ALTER TABLE t DISABLE ROW LEVEL SECURITY; ALTER TABLE t NO FORCE ROW LEVEL SECURITY"
                )
        assert (await verify(sessions, world.cluster, "oak", "elm")).equal


async def test_a_table_that_stays_locked_is_an_error_and_blocks_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        with world.app("oak") as busy, busy.transaction():
            busy.execute("INSERT INTO t VALUES (1, 'open', 1)")
            with pytest.raises(EngineError, match="try again"):
                await verify(sessions, world.cluster, "oak", "elm")
            world.run("oak", "INSERT INTO t VALUES (2, 'free', 1)")
        assert (await verify(sessions, world.cluster, "oak", "elm")).equal


async def test_a_standby_that_does_not_follow_is_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    async with world.sessions() as sessions:
        await fresh(world, sessions)
        await world.stop_apply(sessions)
        with pytest.raises(EngineError, match="does not follow"):
            await verify(sessions, world.cluster, "oak", "elm")
