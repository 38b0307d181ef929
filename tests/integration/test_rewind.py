"""Rewind on real servers: after it and following, both sides are equal; or nothing was touched and it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.integration.rescue_world import TICKET, World, make_world

from understudy.engines.postgresql import links
from understudy.engines.postgresql import rewind as module
from understudy.engines.postgresql.sessions import Sessions
from understudy.errors import EngineError, NeedsCopy, StaleEpoch, Unreachable

EVERYTHING = (
    "t",
    "pairs",
    "whole",
    '"Odd ""name"',
    "uniq",
    "understudy.heartbeat",
    "understudy.commit_token",
)


@pytest.fixture(scope="module")
def world(server_folder: Path) -> Iterator[World]:
    with make_world(server_folder) as made:
        yield made


SEED = (
    "INSERT INTO t SELECT g, 'seed', g FROM generate_series(1, 5) g",
    "INSERT INTO pairs SELECT g, 'k', 'seed' FROM generate_series(1, 4) g",
    "INSERT INTO whole SELECT g, 'seed' FROM generate_series(1, 4) g",
    """INSERT INTO "Odd ""name" (id, "a'b", m, doc, big) OVERRIDING SYSTEM VALUE
       SELECT g, 'seed', 'calm', '{"a": 1}', string_agg(md5(g::text || i), '')
       FROM generate_series(1, 4) g, generate_series(1, 200) i GROUP BY g""",
    "INSERT INTO understudy.heartbeat VALUES ('farm', 1, '2026-01-01')",
)

# One operation on one row of one table; none of them can fail.
KEYS = {
    "t": ("id = {k}", "(id, x, n) VALUES ({k}, '{v}', {n}.50)", "x = '{v}'", "id = {to}"),
    "pairs": ("a = {k} AND b = 'k'", "VALUES ({k}, 'k', '{v}')", "v = '{v}'", "a = {to}"),
    "whole": ("id = {k}", "VALUES ({k}, '{v}')", "v = '{v}'", "id = {to}"),
    '"Odd ""name"': (
        "id = {k}",
        """(id, "a'b", m, doc, big) OVERRIDING SYSTEM VALUE VALUES ({k}, '{v}', 'cross', '[{n}]', '{v}')""",
        """"a'b" = '{v}', m = 'cross'""",
        "",
    ),
}


def statement(operation: tuple[str, str, int, int, int], side: str) -> str:
    kind, table, key, to, number = operation
    where, insert, change, move = KEYS[table]
    words = {"k": key, "to": to, "v": f"{side}{number}'' \\", "n": number}
    if kind == "insert":
        return f"INSERT INTO {table} {insert} ON CONFLICT DO NOTHING".format(**words)
    if kind == "delete":
        return f"DELETE FROM {table} WHERE {where}".format(**words)
    if kind == "move" and move:
        free = "NOT EXISTS (SELECT FROM {} AS o WHERE {})".format(table, where.replace("{k}", "{to}"))
        return f"UPDATE {table} SET {move} WHERE {where} AND {free}".format(**words)
    return f"UPDATE {table} SET {change} WHERE {where}".format(**words)


keys = st.integers(0, 6)
numbers = st.integers(0, 99)


def transactions(*kinds: str, size: int) -> st.SearchStrategy[list[list[tuple[str, str, int, int, int]]]]:
    operation = st.tuples(st.sampled_from(kinds), st.sampled_from(sorted(KEYS)), keys, keys, numbers)
    return st.lists(st.lists(operation, min_size=1, max_size=3), min_size=2, max_size=size)


def run(world: World, node: str, work: list[list[tuple[str, str, int, int, int]]]) -> None:
    with world.app(node) as connection:
        for operations in work:
            with connection.transaction():
                for operation in operations:
                    connection.execute(statement(operation, node))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    old=transactions("insert", "update", "update", "delete", "move", size=8),
    present=st.one_of(
        transactions("insert", "update", "delete", size=8), transactions("insert", "update", "move", size=4)
    ),
    later=transactions("insert", "update", "delete", "move", size=4),
)
@pytest.mark.timeout(300)
def test_random_tails_and_random_later_writes_converge(
    world: World, old: list, present: list, later: list
) -> None:
    asyncio.run(converges(world, old, present, later))


async def converges(world: World, old: list, present: list, later: list) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions, *SEED)
        world.run("oak", "INSERT INTO t VALUES (50, 'applied', 1)")
        await world.applied(sessions, world.link)
        after = await world.stop_apply(sessions)
        heartbeat(world, "oak", 2)
        run(world, "oak", old)
        heartbeat(world, "elm", 3)
        run(world, "elm", present)
        before = world.dump("oak", *EVERYTHING)
        try:
            count = await world.rewind(sessions, after)
        except NeedsCopy as error:
            event("needs a copy")
            assert "another key" in str(error)
            assert any(o[0] == "move" for ops in present for o in ops)
            assert world.dump("oak", *EVERYTHING) == before
            return
        event("rewound")
        assert await world.rewind(sessions, after) == count  # journalled: done once
        run(world, "elm", later)
        await world.come_home(sessions)
        assert world.dump("oak", *EVERYTHING) == world.dump("elm", *EVERYTHING)


def heartbeat(world: World, node: str, number: int) -> None:
    with world.root(node) as root:
        root.execute("UPDATE understudy.heartbeat SET number = %s", (number,))


async def prepared(world: World, sessions: Sessions) -> int:
    await world.reset(sessions, *SEED, "INSERT INTO uniq VALUES (1, 1), (2, 2)")
    return await world.stop_apply(sessions)


async def test_rescue_after_a_rewind_does_not_take_the_rewind_for_a_tail(
    world: World, tmp_path: Path
) -> None:
    async with world.sessions() as sessions:
        after = await prepared(world, sessions)
        world.run("oak", "INSERT INTO t VALUES (9, 'tail', 1)", "UPDATE t SET x = 'tail' WHERE id = 1")
        await world.rewind(sessions, after)
        report = await world.rescue(sessions, after, tmp_path / "rescue")
        assert (report.transactions, report.changes) == (1, 2)


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ("TRUNCATE whole", "truncated"),
        ("INSERT INTO keyless VALUES ('a')", "no key"),
    ],
)
async def test_what_cannot_be_undone_by_key_needs_a_copy(world: World, tail: str, says: str) -> None:
    async with world.sessions() as sessions:
        after = await prepared(world, sessions)
        world.run("oak", tail)
        with pytest.raises(NeedsCopy, match=says):
            await world.rewind(sessions, after)


async def test_a_touched_row_with_another_key_on_the_present_primary_needs_a_copy(world: World) -> None:
    async with world.sessions() as sessions:
        after = await prepared(world, sessions)
        world.run("oak", "UPDATE t SET x = 'tail' WHERE id = 1", "UPDATE whole SET v = 'tail' WHERE id = 1")
        world.run("elm", "UPDATE t SET id = 77 WHERE id = 2", "UPDATE whole SET v = 'elm' WHERE id = 1")
        world.run("elm", "UPDATE t SET id = 78 WHERE id = 1")
        with pytest.raises(NeedsCopy, match="another key"):
            await world.rewind(sessions, after)


async def test_a_row_that_no_longer_fits_needs_a_copy_and_changes_nothing(world: World) -> None:
    async with world.sessions() as sessions:
        after = await prepared(world, sessions)
        world.run("oak", "UPDATE uniq SET u = 20 WHERE id = 2")
        world.run("elm", "UPDATE uniq SET u = 10 WHERE id = 1", "UPDATE uniq SET u = 1 WHERE id = 2")
        before = world.dump("oak", "uniq")
        with pytest.raises(NeedsCopy, match="do not fit"):
            await world.rewind(sessions, after)
        assert world.dump("oak", "uniq") == before


async def test_a_rewind_that_the_server_does_not_survive_happens_later_and_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.sessions() as sessions:
        after = await prepared(world, sessions)
        world.run("oak", "INSERT INTO t VALUES (9, 'tail', 1)", "UPDATE t SET x = 'tail' WHERE id = 1")
        before = world.dump("oak")
        put_back = module._put_back

        async def dies(*arguments: Any) -> None:
            await put_back(*arguments)
            world.oak.kill()

        with monkeypatch.context() as patch:
            patch.setattr(module, "_put_back", dies)
            with pytest.raises(Unreachable, match="oak"):
                await world.rewind(sessions, after)
        world.oak.start()
        assert world.dump("oak") == before
        assert await world.rewind(sessions, after) == 2
        await world.come_home(sessions)
        assert world.dump("oak") == world.dump("elm")


async def test_refusals(world: World) -> None:
    async with world.sessions() as sessions:
        after = await prepared(world, sessions)
        world.run("oak", "INSERT INTO t VALUES (9, 'tail', 1)")
        with world.root("oak") as root:
            for newer in ("epoch = 2", "plan = 7"):
                root.execute(f"UPDATE understudy.fence SET {newer}")
                with pytest.raises(StaleEpoch):
                    await world.rewind(sessions, after)
                root.execute("UPDATE understudy.fence SET epoch = 1, plan = 0")
        assert ("(9,tail,1)",) in world.dump("oak", "t")["t"], "a refused call has undone something"
        await links.follow(sessions, world.reverse, TICKET)
        with pytest.raises(EngineError, match="enabled before the rewind"):
            await world.rewind(sessions, after)
        world.run("elm", "INSERT INTO t VALUES (10, 'elm', 1)")
        await world.applied(sessions, world.reverse)
        with pytest.raises(NeedsCopy, match="already applied"):
            await world.rewind(sessions, after)
        await links.drop_link(sessions, world.reverse, TICKET)
        with pytest.raises(NeedsCopy, match="is gone"):
            await world.rewind(sessions, after)


async def test_many_keys(world: World) -> None:
    async with world.sessions() as sessions:
        await world.reset(sessions, "INSERT INTO t SELECT g, 'seed', g FROM generate_series(1, 20000) g")
        after = await world.stop_apply(sessions)
        world.run("oak", "UPDATE t SET x = 'tail' WHERE id <= 10000", "DELETE FROM t WHERE id > 19000")
        world.run("elm", "UPDATE t SET x = 'elm' WHERE id % 3 = 0", "DELETE FROM t WHERE id % 7 = 0")
        assert await world.rewind(sessions, after) == 11000
        await world.come_home(sessions)
        assert world.dump("oak") == world.dump("elm")
