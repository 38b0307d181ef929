"""Rescue on real servers: what only the old primary has, all of it and nothing else."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.integration.rescue_world import TICKET, World, make_world

from understudy.engines.postgresql import links, rescue_files, slots
from understudy.engines.postgresql import rescue as module
from understudy.engines.postgresql.pgoutput import Commit, Message
from understudy.engines.postgresql.rescue_files import Verdict
from understudy.engines.postgresql.tail import messages
from understudy.engines.postgresql.transactions import transactions
from understudy.errors import NeedsCopy, StaleEpoch


@pytest.fixture(scope="module")
def world(server_folder: Path) -> Iterator[World]:
    with make_world(server_folder) as made:
        yield made


def lines(folder: Path, name: str = rescue_files.CHANGES) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


async def test_the_tail_is_saved_and_nothing_else(world: World, tmp_path: Path) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions, "INSERT INTO t VALUES (1, 'old', 1)")
        world.run("oak", "INSERT INTO t VALUES (2, 'applied', 2)")
        await world.applied(sessions, world.link)
        after = await world.stop_apply(sessions)
        world.run("oak", "INSERT INTO t VALUES (3, 'it''s', NULL)", "UPDATE t SET x = 'new' WHERE id = 1")
        world.run("oak", "DELETE FROM t WHERE id = 2")
        with world.root("oak") as root:
            root.execute("INSERT INTO understudy.heartbeat VALUES ('farm', 1, now())")
        report = await world.rescue(sessions, after, tmp_path / "rescue")
        assert (report.transactions, report.changes, report.truncates) == (2, 3, ())
        assert report.folder is not None
        assert after <= report.first_lsn < report.last_lsn
        saved = lines(report.folder)
        assert [(r["op"], r["key"]) for r in saved] == [
            ("insert", {"id": "3"}),
            ("update", {"id": "1"}),
            ("delete", {"id": "2"}),
        ]
        assert saved[0]["types"] == {"id": "bigint", "x": "text", "n": "numeric"}
        assert saved[0]["new"] == {"id": "3", "x": "it's", "n": None}
        assert report.folder.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in report.folder.iterdir()} == {0o600}
        # Again: the same folder is used. Damaged: it is set aside and made anew.
        assert await world.rescue(sessions, after, tmp_path / "rescue") == report
        (report.folder / rescue_files.CHANGES).write_text("")
        assert await world.rescue(sessions, after, tmp_path / "rescue") == report
        assert len(list(tmp_path.iterdir())) == 2
        assert rescue_files.load(report.folder).changes == 3


async def test_nothing_to_save_makes_no_folder(world: World, tmp_path: Path) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        after = await world.stop_apply(sessions)
        with world.root("oak") as root:
            root.execute("INSERT INTO understudy.heartbeat VALUES ('farm', 1, now())")
        report = await world.rescue(sessions, after, tmp_path / "rescue")
        assert (report.folder, report.transactions, report.changes) == (None, 0, 0)
        assert list(tmp_path.iterdir()) == []


async def test_an_interrupted_rescue_leaves_nothing_and_can_be_repeated(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        after = await world.stop_apply(sessions)
        world.run("oak", "INSERT INTO t VALUES (1, 'tail', 1)")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(module, "_publish", full)
            with pytest.raises(OSError, match="No space"):
                await world.rescue(sessions, after, tmp_path / "rescue")
        assert list(tmp_path.iterdir()) == []
        assert (await world.rescue(sessions, after, tmp_path / "rescue")).changes == 1


async def test_a_present_primary_that_is_away_leaves_verdicts_unknown(world: World, tmp_path: Path) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        after = await world.stop_apply(sessions)
        world.run("oak", "INSERT INTO t VALUES (1, 'tail', 1)")
        world.elm.kill()
        try:
            report = await world.rescue(sessions, after, tmp_path / "rescue")
        finally:
            world.elm.start()
        assert report.folder is not None
        assert rescue_files.load(report.folder).verdicts == {"unknown": 1}


async def test_a_slot_that_is_gone_needs_a_copy_and_a_stale_caller_is_refused(
    world: World, tmp_path: Path
) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        after = await world.stop_apply(sessions)
        with world.root("oak") as root:
            for newer in ("epoch = 2", "plan = 7"):
                root.execute(f"UPDATE understudy.fence SET {newer}")
                with pytest.raises(StaleEpoch):
                    await world.rescue(sessions, after, tmp_path / "rescue")
                root.execute("UPDATE understudy.fence SET epoch = 1, plan = 0")
        assert list(tmp_path.iterdir()) == []
        await links.drop_slot(sessions, "oak", world.link.name, TICKET)
        with pytest.raises(NeedsCopy, match=world.link.name):
            await world.rescue(sessions, after, tmp_path / "rescue")


async def test_the_origin_is_the_end_of_a_commit_and_the_next_may_begin_right_there(
    world: World, tmp_path: Path
) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        await slots.create_slot(sessions, "oak", "observer", TICKET)
        world.run("oak", "INSERT INTO t VALUES (1, 'a', 1)")
        await world.applied(sessions, world.link)
        after = await world.stop_apply(sessions)
        adjacent = None
        for number in range(60):
            commit_together(world, 100 * number)
            async with sessions.control("oak", timeout=60) as connection, connection.transaction():
                seen: list[Message] = [
                    m async for chunk in messages(connection, "observer", "understudy_farm") for m in chunk
                ]
            ends = {m.end_lsn for m in seen if isinstance(m, Commit)}
            assert after in ends
            assert after not in {m.commit_lsn for m in seen if isinstance(m, Commit)} - ends
            found = [t for t in transactions(seen) if t.commit_lsn in ends and t.commit_lsn > after]
            if found:
                adjacent = found[0]
                break
        await links.drop_slot(sessions, "oak", "observer", TICKET)
        assert adjacent is not None, "no two commit records were adjacent"
        report = await world.rescue(sessions, adjacent.commit_lsn, tmp_path / "rescue")
        assert report.first_lsn == adjacent.commit_lsn  # a comparison commit_lsn > after would lose it


def commit_together(world: World, base: int, count: int = 6) -> None:
    """Many sessions commit at the same moment, so that commit records can lie back to back."""
    barrier = threading.Barrier(count)

    def one(key: int) -> None:
        with world.app("oak") as connection, connection.transaction():
            connection.execute("INSERT INTO t VALUES (%s, 'together', 0)", (base + 1000 + key,))
            barrier.wait()

    threads = [threading.Thread(target=one, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Load:
    """Threads that insert until the server goes away; they remember what was acknowledged."""

    def __init__(self, world: World, count: int = 4) -> None:
        self.world, self.acknowledged, self.enough = world, list[int](), threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(k,)) for k in range(count)]

    def _run(self, base: int) -> None:
        key = base * 1_000_000
        try:
            with self.world.app("oak") as connection:
                while True:
                    key += 1
                    with connection.transaction():
                        connection.execute("INSERT INTO t VALUES (%s, 'load', 1)", (key,))
                        connection.execute("INSERT INTO pairs VALUES (%s, 'b', 'load')", (key,))
                    self.acknowledged.append(key)
                    if len(self.acknowledged) > 50:
                        self.enough.set()
        except psycopg.OperationalError:
            pass

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("seed", range(4))
async def test_killed_under_load_tail_and_standby_are_the_primary(
    world: World, tmp_path: Path, seed: int
) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        load = Load(world)
        load.start()
        load.enough.wait()
        if seed % 2:  # the standby stops first: a long tail
            after = await world.stop_apply(sessions)
            threading.Event().wait(random.Random(seed).uniform(0, 0.3))
            world.oak.kill()
        else:
            world.oak.kill()
            after = await world.stop_apply(sessions)
        load.join()
        world.oak.start()
        report = await world.rescue(sessions, after, tmp_path / "rescue")
        saved = lines(report.folder) if report.folder else []
        for table in ("t", "pairs"):
            with world.app("oak") as old, world.app("elm") as present:
                column = "id" if table == "t" else "a"
                there = {row[0] for row in present.execute(f"SELECT {column} FROM {table}")}
                everything = {row[0] for row in old.execute(f"SELECT {column} FROM {table}")}
            only = {int(r["key"][column]) for r in saved if r["table"] == table}  # type: ignore[index,call-overload]
            assert only | there == everything
            assert not only & there
            assert set(load.acknowledged) <= everything
        assert await world.rewind(sessions, after) >= report.changes
        await world.come_home(sessions)
        assert world.dump("oak") == world.dump("elm")


async def test_replay_sql_and_apply(world: World, tmp_path: Path) -> None:
    odd = '"Odd ""name"'
    async with world.sessions() as sessions:
        await world.reset(sessions, "INSERT INTO t VALUES (1, 'old', 1)", "INSERT INTO whole VALUES (1, 'w')")
        after = await world.stop_apply(sessions)
        world.run(
            "oak",
            "INSERT INTO t VALUES (10, '\\ '' $$; --', 1.50)",
            "INSERT INTO pairs VALUES (1, E'a\nb', 'x')",
        )
        world.run(
            "oak",
            f"""INSERT INTO {odd} ("a'b", m, doc, big) VALUES ('q', 'cross', '[1, 2]', repeat('x', 9))""",
        )
        world.run(
            "oak", "UPDATE whole SET v = 'changed' WHERE id = 1", "INSERT INTO keyless VALUES ('a'), (NULL)"
        )
        world.run("oak", "DELETE FROM keyless WHERE v IS NULL")
        token = "00000000-0000-0000-0000-000000000001"
        again = f"INSERT INTO understudy.commit_token (token) VALUES ('{token}')"
        world.run("oak", "INSERT INTO t VALUES (20, 'retried', 1)", again)
        world.run("oak", "INSERT INTO t VALUES (30, 'taken on elm', 1)")
        world.run("elm", "INSERT INTO t VALUES (21, 'retried', 1)", again)
        world.run("elm", "INSERT INTO t VALUES (30, 'elm', 1)")
        report = await world.rescue(sessions, after, tmp_path / "rescue")
        assert report.folder is not None
        verdicts = [(v["verdict"], v["changes"]) for v in lines(report.folder, rescue_files.VERDICTS)]
        assert verdicts == [
            ("safe", 2),
            ("safe", 1),
            ("manual", 3),
            ("manual", 1),
            ("superseded", 2),
            ("manual", 1),
        ]
        assert rescue_files.load(report.folder).verdicts == {"safe": 2, "manual": 3, "superseded": 1}
        dsn = world.cluster.node("elm").dsn
        applied = await rescue_files.apply(dsn, report.folder)
        assert (applied.applied, applied.changes, applied.already) == (2, 3, 0)
        assert [left.verdict for left in applied.left] == [Verdict.MANUAL] * 2 + [
            Verdict.SUPERSEDED,
            Verdict.MANUAL,
        ]
        for table in ("pairs", odd):
            assert world.dump("elm", table) == world.dump("oak", table)
        second = await rescue_files.apply(dsn, report.folder)
        assert (second.applied, second.already) == (0, 2)
        everything = await rescue_files.apply(dsn, report.folder, only_safe=False)
        assert (everything.applied, everything.already) == (2, 2)  # row 30 exists, the token too
        assert len(everything.left) == 2
        # replay.sql as a person runs it, on a copy of the starting point
        with world.root("elm") as root:
            root.execute("TRUNCATE t, pairs, whole, keyless, understudy.commit_token")
            root.execute(f"TRUNCATE {odd}")
            root.execute(
                "INSERT INTO public.t VALUES (1, 'old', 1); INSERT INTO public.whole VALUES (1, 'w')"
            )
            root.execute((report.folder / rescue_files.REPLAY).read_text())
        tables = ("t", "pairs", "whole", "keyless", odd)
        assert world.dump("elm", *tables) == world.dump("oak", *tables)


async def test_a_long_tail_is_streamed(world: World, tmp_path: Path) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions)
        after = await world.stop_apply(sessions)
        world.run(
            "oak", "INSERT INTO t SELECT g, 'x', g FROM generate_series(1, 20000) g", "TRUNCATE keyless"
        )
        report = await world.rescue(sessions, after, tmp_path / "rescue")
        assert (report.transactions, report.changes) == (1, 20001)
        assert report.truncates == ("public.keyless",)
        with pytest.raises(NeedsCopy, match="truncated"):
            await world.rewind(sessions, after)
