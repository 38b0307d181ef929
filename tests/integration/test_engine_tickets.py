"""Trap 14, the superseded caller: every call that changes a node carries a ticket, raises the fence rows of the
nodes it changes, and is refused by a node that has seen a newer one or another primary."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.conftest import Pair, at, make_pair, remove

from understudy.embedded.postgresql import EmbeddedPostgreSQL
from understudy.engines.base import Engine
from understudy.engines.postgresql import PostgreSQLEngine
from understudy.errors import EngineError, StaleEpoch, Unreachable
from understudy.model import Link, Ticket

_plans = itertools.count(10, 10)


@dataclass
class Scene:
    """A pair that all tests of this file use, one after the other. ``point``: where apply was stopped."""

    pair: Pair
    engine: PostgreSQLEngine
    folder: Path
    point: int = 0

    @property
    def link(self) -> Link:
        return self.pair.link(1)

    @property
    def reverse(self) -> Link:
        return self.pair.link(2, "b", "a")

    def rows(self) -> dict[str, tuple[int, int, str]]:
        """The fence rows: (epoch, plan, primary) by node."""
        query = "SELECT epoch, plan, primary_node FROM understudy.fence"
        return {node: self.pair.sql(node, query)[0] for node in "ab"}

    async def facts(self) -> dict[str, object]:
        """What changing calls change, by node."""
        found: dict[str, object] = {}
        for node in "ab":
            probe = await self.engine.probe(node, heartbeat=None, epoch=0)
            subscriptions = {name: (view.enabled, view.ready) for name, view in probe.subscriptions.items()}
            sequences = self.pair.sql(node, "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")
            query = "SELECT count(*), (SELECT count(*) FROM understudy.rewound) FROM item"
            counts = self.pair.sql(node, query, user="postgres")
            found[node] = (probe.fenced, probe.sync_names, set(probe.slots), subscriptions, sequences, counts)
        return found


Act = Callable[[Scene, Ticket], Awaitable[object]]


async def _nothing(scene: Scene, ticket: Ticket) -> None:
    del scene, ticket


async def _stop(scene: Scene, ticket: Ticket) -> None:
    scene.point = await scene.engine.stop_apply(scene.link, ticket)


async def _make_sequences_differ(scene: Scene, ticket: Ticket) -> None:
    del ticket
    scene.pair.sql("a", "SELECT nextval('ticket')")
    await scene.engine.probe("a", heartbeat=next(_plans), epoch=1)


@dataclass(frozen=True)
class Case:
    """A changing call, whose fence rows it raises, what makes it have something to do, and what undoes it."""

    name: str
    raises: str
    act: Act
    before: Act = _nothing
    after: Act = field(default=_nothing)


RESUME: Act = lambda s, t: s.engine.resume_apply(s.link, t)  # noqa: E731
FENCE: Act = lambda s, t: s.engine.fence("a", t)  # noqa: E731
PROMOTE: Act = lambda s, t: s.engine.promote("a", t)  # noqa: E731
SYNC: Act = lambda s, t: s.engine.require_sync(s.link, t)  # noqa: E731
RELAX: Act = lambda s, t: s.engine.relax_sync("a", t)  # noqa: E731

CASES = (
    Case("announce", "ab", lambda s, t: s.engine.announce(t, ("a", "b"))),
    Case("fence", "a", FENCE, after=PROMOTE),
    Case("promote", "a", PROMOTE, before=FENCE),
    Case("wait_replay", "a", lambda s, t: s.engine.wait_replay(s.link, t)),
    Case("copy_sequences", "b", lambda s, t: s.engine.copy_sequences("a", "b", t), _make_sequences_differ),
    Case("raise_sequences", "b", lambda s, t: s.engine.raise_sequences("b", t), _make_sequences_differ),
    Case("stop_apply", "b", lambda s, t: s.engine.stop_apply(s.link, t), after=RESUME),
    Case("resume_apply", "b", RESUME, before=_stop),
    Case(
        "create_slot",
        "b",
        lambda s, t: s.engine.create_slot("b", s.pair.link(8).name, t),
        after=lambda s, t: s.engine.drop_link(s.pair.link(8, "b", "a"), t),
    ),
    Case("follow", "b", lambda s, t: s.engine.follow(s.link, t), before=_stop),
    Case(
        "full_copy",
        "ab",
        lambda s, t: s.engine.full_copy(s.link, t),
        after=lambda s, t: s.engine.catch_up(s.link, t),
    ),
    Case("catch_up", "a", lambda s, t: s.engine.catch_up(s.link, t)),
    Case("require_sync", "a", SYNC, after=RELAX),
    Case("relax_sync", "a", RELAX, before=SYNC),
    Case(
        "rescue",
        "a",
        lambda s, t: s.engine.rescue(s.link, s.point, s.folder / "rescue", t),
        before=_stop,
        after=RESUME,
    ),
    Case("keep", "b", lambda s, t: s.engine.keep("b", s.folder / f"contents-{t.plan}", t)),
    Case(
        "rewind",
        "a",
        lambda s, t: s.engine.rewind(s.link, s.reverse, s.point, t),
        before=_stop,
        after=RESUME,
    ),
    Case(
        "drop_link",
        "ab",
        lambda s, t: s.engine.drop_link(s.pair.link(9), t),
        before=lambda s, t: s.engine.create_slot("a", s.pair.link(9).name, t),
    ),
)


def test_no_changing_call_is_left_out() -> None:
    takes_a_ticket = {
        name
        for name, method in vars(Engine).items()
        if callable(method) and "ticket" in getattr(method, "__annotations__", {})
    }
    assert {case.name for case in CASES} == takes_a_ticket


@pytest.fixture(scope="module")
def set_up(server_pair: dict[str, EmbeddedPostgreSQL]) -> Iterator[Pair]:
    pair = make_pair(server_pair)
    try:
        yield pair
    finally:
        for node in pair.servers:
            remove(pair, node)


@pytest.fixture
async def scene(set_up: Pair, tmp_path: Path) -> AsyncIterator[Scene]:
    engine = PostgreSQLEngine(set_up.cluster)
    probe = await engine.probe("a", heartbeat=None, epoch=0)
    if probe.epoch == 0:
        await engine.setup(progress=lambda _: None)
        set_up.sql("a", "INSERT INTO item (name) SELECT 'n' FROM generate_series(1, 20)")
    try:
        yield Scene(set_up, engine, tmp_path)
    finally:
        await engine.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_changing_call(scene: Scene, case: Case) -> None:
    plan = next(_plans)
    seen = at(1, plan=plan)
    await scene.engine.announce(seen, ("a", "b"))
    await scene.engine.wait_replay(scene.link, seen)
    await case.before(scene, seen)
    rows, facts = scene.rows(), await scene.facts()
    assert rows == {"a": (1, plan, "a"), "b": (1, plan, "a")}

    for superseded in (at(1, plan=plan - 1), at(0, plan=plan + 5), at(0, "b", plan=plan)):
        with pytest.raises(StaleEpoch, match=rf"epoch 1 \(plan {plan}\).* superseded") as refusal:
            await case.act(scene, superseded)
        assert f"{superseded.epoch} ({superseded.plan})" in str(refusal.value)
    for stranger in (at(1, "b", plan=plan), at(1, "b", plan=plan + 5), at(1, "b")):
        with pytest.raises(EngineError, match=r"'a' as primary.*says 'b'.*two agents") as refusal:
            await case.act(scene, stranger)
        assert not isinstance(refusal.value, StaleEpoch | Unreachable)
    assert scene.rows() == rows
    assert await scene.facts() == facts, "a refused call has changed something"

    await case.act(scene, seen)
    assert scene.rows() == rows
    newer = at(1, plan=plan + 1)
    for _ in range(2):
        await case.act(scene, newer)
        assert scene.rows() == {node: (1, plan + (node in case.raises), "a") for node in "ab"}
    await case.after(scene, newer)


async def test_a_higher_epoch_raises_the_row_whatever_its_plan_and_primary(
    pair: Pair, engine: PostgreSQLEngine
) -> None:
    await engine.announce(at(1, plan=9), ("a",))
    await engine.create_slot("b", pair.link(8).name, at(2, "b", plan=3))
    a, b = [await engine.probe(node, heartbeat=None, epoch=1) for node in "ab"]
    assert (a.epoch, a.plan, a.epoch_primary) == (1, 9, "a")
    assert (b.epoch, b.plan, b.epoch_primary) == (2, 3, "b")
    # One node has seen more than the other: the caller is superseded, and learns so although a does not know it.
    with pytest.raises(StaleEpoch):
        await engine.announce(at(1, plan=9), ("a", "b"))
    with pytest.raises(StaleEpoch):
        await engine.full_copy(pair.link(1), at(1, plan=10))
    assert (await engine.probe("a", heartbeat=None, epoch=1)).slots[pair.link(1).name].active


async def test_two_agents_with_one_epoch_are_told_apart(pair: Pair, engine: PostgreSQLEngine) -> None:
    await engine.announce(at(2, "b"), ("a", "b"))
    with pytest.raises(EngineError, match="two agents with different witnesses"):
        await engine.announce(at(2), ("a", "b"))
    with pytest.raises(EngineError, match="two agents"):
        await engine.promote("a", at(2))
