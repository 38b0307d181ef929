"""Gates without their programs: what a state wants of them, the file of PgBouncer, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.decide_cases import STATE
from tests.unit.test_plans import finish, start

from understudy.errors import EngineError
from understudy.gates.base import NotRunning
from understudy.gates.keeper import Aim, GateKeeper, aim
from understudy.gates.pgbouncer import Way, repoint, repointed, way_of
from understudy.model import ClusterState, PlanKind, Policy, Rpo, Step

POLICY = Policy(probe_timeout=0.05, quiet_timeout=0.05)

# --- what a state wants --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "step", "wanted"),
    [
        (PlanKind.SWITCHOVER, Step.PREPARE_REVERSE, Aim.OPEN),  # nothing has stopped yet
        (PlanKind.SWITCHOVER, Step.ANNOUNCE, Aim.LEAVE),
        (PlanKind.SWITCHOVER, Step.HOLD, Aim.LEAVE),  # the step itself holds, and waits
        (PlanKind.SWITCHOVER, Step.FENCE, Aim.CLOSED),
        (PlanKind.SWITCHOVER, Step.PUBLISH, Aim.CLOSED),
        (PlanKind.FAILOVER, Step.ANNOUNCE, Aim.LEAVE),
        (PlanKind.FAILOVER, Step.HOLD, Aim.CLOSED),
        (PlanKind.FAILOVER, Step.PUBLISH, Aim.CLOSED),
        (PlanKind.REINSTATE, Step.ANNOUNCE, Aim.LEAVE),
        (PlanKind.REINSTATE, Step.PUBLISH, Aim.LEAVE),
        (PlanKind.TIDY, Step.FENCE, Aim.OPEN),
    ],
)
def test_what_a_state_wants_before_a_step(kind: PlanKind, step: Step, wanted: Aim) -> None:
    assert aim(finish(start(kind), Rpo.ZERO, until=step)) is wanted


@pytest.mark.parametrize("kind", PlanKind)
def test_every_plan_ends_open(kind: PlanKind) -> None:
    assert aim(finish(start(kind), Rpo.ZERO)) is Aim.OPEN


# --- the file of PgBouncer -----------------------------------------------------------------------------------

WAY = Way("10.0.0.2", 5433, "farm")


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("farm = host=10.0.0.1 port=5432 dbname=farm", "farm = host=10.0.0.2 port=5433 dbname=farm"),
        (
            "farm = port=1 pool_size=20 host=x dbname='a b' auth_user=me",
            "farm = port=5433 pool_size=20 host=10.0.0.2 dbname=farm auth_user=me",
        ),
        ("farm =", "farm = host=10.0.0.2 port=5433 dbname=farm"),
        ("  farm=pool_size=3", "  farm= host=10.0.0.2 port=5433 dbname=farm pool_size=3"),
        (
            "\"farm\" = host=x connect_query='SELECT 1' port=1",
            "\"farm\" = dbname=farm host=10.0.0.2 connect_query='SELECT 1' port=5433",
        ),
    ],
)
def test_only_three_words_of_one_line_change(line: str, after: str) -> None:
    text = "; farm = old\n[databases]\nfarm2 = host=a\n{}\n[pgbouncer]\nfarm = 3\n"
    assert repointed(text.format(line), "farm", WAY) == text.format(after)


def test_a_file_without_the_entry_is_told_apart() -> None:
    assert repointed("[databases]\nother = host=a\n", "farm", WAY) is None
    assert repointed("[pgbouncer]\nfarm = host=a\n", "farm", WAY) is None


@given(
    host=st.sampled_from(["10.0.0.2", "::1", "/run/a b", "db.example"]),
    dbname=st.text(st.characters(codec="ascii", exclude_categories=("C",)), min_size=1, max_size=20),
)
def test_repointing_twice_is_repointing_once(host: str, dbname: str) -> None:
    once = repointed("[databases]\nfarm = pool_size=1\n", "farm", Way(host, 5432, dbname))
    assert once is not None
    assert repointed(once, "farm", Way(host, 5432, dbname)) == once


def test_words_inside_a_quoted_value_are_left_alone() -> None:
    line = "farm = connect_query='SET app.host=1; SET x.port = ''5''' dbname=old host=10.0.0.1 port=5432\n"
    after = "farm = connect_query='SET app.host=1; SET x.port = ''5''' dbname=farm host=10.0.0.2 port=5433\n"
    assert repointed(f"[databases]\n{line}", "farm", WAY) == f"[databases]\n{after}"
    line = "farm = connect_query='SET app.host=1'\n"
    after = "farm = host=10.0.0.2 port=5433 dbname=farm connect_query='SET app.host=1'\n"
    assert repointed(f"[databases]\n{line}", "farm", WAY) == f"[databases]\n{after}"


def test_a_file_that_is_too_long_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.gates.pgbouncer.MAX_FILE_BYTES", 60)
    file = tmp_path / "databases.ini"
    text = "[databases]\nfarm = host=a\n" + "; a comment\n" * 10
    file.write_text(text)
    with pytest.raises(EngineError, match="more than 60 bytes"):
        repoint(file, "farm", WAY)
    assert file.read_text() == text


def test_a_link_stays_a_link_and_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "databases.ini", tmp_path / "databases.ini"
    real.write_bytes(b"[databases]\r\nfarm = host=a port=1 dbname=x\r\n; end\r\n")
    link.symlink_to(real)
    repoint(link, "farm", WAY)
    assert link.is_symlink()
    assert real.read_bytes() == b"[databases]\r\nfarm = host=10.0.0.2 port=5433 dbname=farm\r\n; end\r\n"


def test_the_file_keeps_its_mode_and_is_left_alone_where_it_is_right(tmp_path: Path) -> None:
    file = tmp_path / "databases.ini"
    file.write_text("[databases]\nfarm = host=a\n")
    file.chmod(0o640)
    repoint(file, "farm", WAY)
    assert file.stat().st_mode & 0o777 == 0o640
    inode = file.stat().st_ino
    repoint(file, "farm", WAY)
    assert file.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["databases.ini"]


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be rewritten"):
        repoint(tmp_path / "none.ini", "farm", WAY)


def test_the_way_to_a_node() -> None:
    assert way_of("postgresql://app:x@10.0.0.2:5433/farm") == WAY
    assert way_of("postgresql://app:x@10.0.0.2/farm").port == 5432


# --- the keeper ----------------------------------------------------------------------------------------------


@dataclass
class Door:
    """A gate of the test's own: notes what it is told; ``doing`` runs at each order."""

    told: list[str] = field(default_factory=list)
    doing: Callable[[], asyncio.Future[None] | None] = lambda: None
    name: str = "a door"

    async def _order(self, text: str) -> None:
        self.told.append(text)
        if (waits := self.doing()) is not None:
            await waits

    async def hold(self) -> None:
        await self._order("hold")

    async def sever(self) -> None:
        await self._order("sever")

    async def lead_to(self, node: str, *, anew: bool) -> None:
        await self._order(f"lead to {node}" + (" anew" if anew else ""))

    async def close(self) -> None:
        self.told.append("close")


def keeper(door: Door, now: float = 100.0) -> tuple[GateKeeper, list[tuple[str, str]]]:
    said: list[tuple[str, str]] = []
    made = GateKeeper(
        [door], POLICY, clock=lambda: now, record=lambda kind, message: said.append((kind, message))
    )
    return made, said


async def told(made: GateKeeper, door: Door, count: int) -> list[str]:
    """Run the keeper until the door has been told so much."""
    task = asyncio.create_task(made.run())
    async with asyncio.timeout(60):
        while len(door.told) < count:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task})
    return door.told[:count]


def before(kind: PlanKind, step: Step) -> ClusterState:
    return finish(start(kind), Rpo.ZERO, until=step)


async def test_a_gate_is_led_to_the_primary_and_closed_in_a_failover() -> None:
    door = Door()
    made, said = keeper(door)
    made.see(STATE, 100.0)
    assert await told(made, door, 1) == ["lead to oak"]
    made.see(before(PlanKind.FAILOVER, Step.HOLD), 100.0)
    assert (await told(made, door, 3))[2] == "sever"
    made.see(finish(start(PlanKind.FAILOVER), Rpo.ZERO), 100.0)
    assert (await told(made, door, 5))[4] == "lead to elm anew"
    assert said == []


async def test_an_agent_that_takes_over_in_a_change_opens_anew() -> None:
    door = Door()
    made, _ = keeper(door)
    made.see(before(PlanKind.SWITCHOVER, Step.FENCE), 100.0)
    await told(made, door, 1)
    made.see(finish(start(PlanKind.SWITCHOVER), Rpo.ZERO), 100.0)
    assert (await told(made, door, 3))[2] == "lead to elm anew"


@pytest.mark.parametrize(("age", "acting"), [(POLICY.agent_takeover + 0.1, True), (0.0, False)])
async def test_an_old_state_and_a_lost_place_move_nothing(age: float, acting: bool) -> None:
    """An agent that was stopped wakes up with what it knew then; another one acts meanwhile."""
    door = Door()
    made, _ = keeper(door, now=100.0 + age)
    made.see(STATE, 100.0)
    if not acting:
        made.see(None)
    task = asyncio.create_task(made.run())
    for _ in range(20):  # more turns of the loop than an order would need
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert door.told == ["close"]


async def test_an_agent_that_leaves_opens_what_it_has_published() -> None:
    door = Door()
    made, _ = keeper(door)
    made.see(before(PlanKind.SWITCHOVER, Step.PUBLISH), 100.0)
    await told(made, door, 1)
    await made.settle()
    assert door.told == ["sever", "close"]  # not published: whoever takes over opens
    made.see(finish(start(PlanKind.SWITCHOVER), Rpo.ZERO), 100.0)
    await made.settle()
    await made.settle()
    assert door.told == ["sever", "close", "lead to elm anew"]


async def test_a_planned_change_waits_for_the_gate_and_gives_up() -> None:
    door = Door(doing=asyncio.get_running_loop().create_future)
    made, _ = keeper(door)
    with pytest.raises(EngineError, match="a door: not quiet after quiet_timeout"):
        await made.hold(before(PlanKind.SWITCHOVER, Step.HOLD))


async def test_an_unplanned_change_waits_for_no_gate() -> None:
    door = Door(doing=asyncio.get_running_loop().create_future)
    made, _ = keeper(door)
    await made.hold(before(PlanKind.FAILOVER, Step.HOLD))
    assert door.told == []


async def test_a_gate_that_is_not_running_carries_nobody() -> None:
    def refuse() -> None:
        raise NotRunning("nobody listens")

    door = Door(doing=refuse)
    made, _ = keeper(door)
    await made.hold(before(PlanKind.SWITCHOVER, Step.HOLD))
    assert door.told == ["hold"]


@pytest.mark.parametrize("trouble", [EngineError("no"), KeyError("paused")])
async def test_a_gate_that_fails_is_told_once_and_tried_again(trouble: Exception) -> None:
    left = [trouble, trouble]

    def fail_twice() -> None:
        if left:
            raise left.pop()

    door = Door(doing=fail_twice)
    made, said = keeper(door)
    made.see(replace(STATE, version=11), 100.0)
    await told(made, door, 3)
    assert [kind for kind, _ in said] == ["gate_failed", "gate_well"]
