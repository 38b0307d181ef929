"""What becomes of a drill: passed, failed, inconclusive; and nothing is ever left out of its journal."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.equipment.interruption import heard

from understudy.backup.source import BackupRefused
from understudy.config import Config
from understudy.drill import runner
from understudy.drill.catalogue import PRESETS, SCENARIOS, NoSuchDrill, wanted
from understudy.drill.definition import Scenario, Setting
from understudy.drill.stage import Aborted, Stage
from understudy.errors import EngineError
from understudy.model import Rpo
from understudy.readiness.journal import Check, Journal, Loss, Outcome, Radius, Recovery

SETTING = Setting(radius=Radius.SANDBOX, cluster="main", mode=Rpo.ZERO)


@dataclass
class Glass:
    """Something that can break."""

    whole: bool = True
    left_behind: bool = False
    looks: list[str] = field(default_factory=list)

    def steady(self) -> Iterator[Check]:
        self.looks.append("steady")
        yield check("the glass is whole", self.whole)

    def trouble(self) -> str:
        return ""

    def cleanup(self) -> Iterator[Check]:
        self.looks.append("cleanup")
        yield check("no shards", not self.left_behind)


def check(what: str, held: bool) -> Check:
    return Check(what=what, outcome=Outcome.PASS if held else Outcome.FAIL, evidence=str(held), seconds=0.0)


def drill(run: Callable[[Stage, Glass], None], glass: Glass | None = None, **targets: float) -> Journal:
    world = glass or Glass()
    scenario = replace(SCENARIO, run=run, open=lambda stage, setting: contextlib.nullcontext(world))
    return runner.run(scenario, SETTING, rto=targets.get("rto", 10), rpo=targets.get("rpo", 1))


def nothing(stage: Stage, glass: Glass) -> None:
    with stage.activity("look at it"):
        pass


SCENARIO = Scenario(
    name="glass", title="A glass", hypothesis="It stays whole", abort_rule="it cracks", method=("drop it",),
    by_hand=("buy another",), open=lambda stage, setting: contextlib.nullcontext(Glass()), run=nothing,
)  # fmt: skip


def test_what_held_before_and_after_passes() -> None:
    found = drill(nothing)
    assert found.outcome is Outcome.PASS
    assert [len(found.before), len(found.after), len(found.cleanup), len(found.timeline)] == [1, 1, 1, 1]


def test_what_was_broken_before_is_not_drilled() -> None:
    glass = Glass(whole=False)
    found = drill(lambda stage, glass: pytest.fail("it was begun"), glass)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "not begun: the glass is whole" in found.summary


def test_what_is_broken_afterwards_fails() -> None:
    def drop(stage: Stage, glass: Glass) -> None:
        glass.whole = False

    found = drill(drop)
    assert found.outcome is Outcome.FAIL
    assert found.summary == "the glass is whole: False"


def test_what_is_left_behind_fails() -> None:
    assert drill(nothing, Glass(left_behind=True)).outcome is Outcome.FAIL


def test_an_aborted_drill_measured_nothing() -> None:
    def stop(stage: Stage, glass: Glass) -> None:
        stage.abort = lambda: "it cracks"
        stage.wait("a sound", lambda: False, 10)

    found = drill(stop)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "while waiting for a sound: it cracks" in found.summary


def test_a_wait_has_an_end() -> None:
    found = drill(lambda stage, glass: stage.wait("a sound", lambda: False, 0.05))
    assert "waited 0.05 s for a sound, in vain" in found.summary


def test_an_error_on_the_way_is_a_failure_with_its_place() -> None:
    def stumble(stage: Stage, glass: Glass) -> None:
        with stage.activity("drop it"):
            raise EngineError("postgresql://app:hunter2@db/farm refused")

    found = drill(stumble)
    assert found.outcome is Outcome.FAIL
    assert found.timeline[-1].outcome is Outcome.FAIL
    assert "hunter2" not in repr(found)


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def wrong(stage: Stage, glass: Glass) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drill(wrong)


def test_an_aborted_drill_that_had_found_something_failed() -> None:
    def both(stage: Stage, glass: Glass) -> None:
        stage.check("nothing is lost", held=False, evidence="3 lost")
        raise Aborted("no answer")

    found = drill(both)
    assert (found.outcome, found.summary) == (Outcome.FAIL, "nothing is lost: 3 lost")


def test_what_could_not_be_checked_is_no_pass() -> None:
    def blind(stage: Stage, glass: Glass) -> None:
        stage.check("contents are equal", held=None, evidence="the server went away")

    assert drill(blind).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("total", "outcome"), [(9.0, Outcome.PASS), (11.0, Outcome.FAIL)])
def test_the_time_to_recover_has_a_target(total: float, outcome: Outcome) -> None:
    def measure(stage: Stage, glass: Glass) -> None:
        stage.recovery = Recovery(detect=1, decide=0, act=total - 2, verify=1, writes=2)

    assert drill(measure, rto=10).outcome is outcome


@pytest.mark.parametrize(("age", "outcome"), [(0.5, Outcome.PASS), (1.5, Outcome.FAIL)])
def test_what_may_be_lost_has_a_target(age: float, outcome: Outcome) -> None:
    def measure(stage: Stage, glass: Glass) -> None:
        stage.loss = Loss(acknowledged=100, lost=1, rescued=0, seconds=age)

    assert drill(measure, rpo=1).outcome is outcome


def test_names_and_presets_are_resolved_in_one_order() -> None:
    names = [scenario.name for scenario in wanted(("failback", "monthly-failover", "switchover"))]
    assert names == ["switchover", "failback", "failover-crash", "restore-latest"]
    for preset in PRESETS:
        assert wanted((preset,))
    with pytest.raises(NoSuchDrill, match="monthly-failover"):
        wanted(("earthquake",))


def test_every_drill_says_what_people_need() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        assert scenario.method
        assert scenario.by_hand
        assert not scenario.hypothesis.endswith(".")
        assert replace(scenario) == scenario


def test_what_could_not_begin_is_inconclusive() -> None:
    """No room, no server: that says nothing about what was to be drilled."""

    @contextlib.contextmanager
    def no_room(stage: Stage, setting: Setting) -> Iterator[Glass]:
        raise OSError(28, "No space left on device")
        yield Glass()

    found = runner.run(replace(SCENARIO, open=no_room), SETTING, rto=10, rpo=1)
    assert (found.outcome, found.cleanup) == (Outcome.INCONCLUSIVE, ())
    assert "No space left" in found.summary


def test_what_was_found_while_it_was_made_ready_counts() -> None:
    """A dump that does not restore is a finding, although nothing was begun with it."""

    @contextlib.contextmanager
    def broken(stage: Stage, setting: Setting) -> Iterator[Glass]:
        stage.check("the dump restores", held=False, evidence="a bit turned over")
        raise Aborted("no clone")
        yield Glass()

    found = runner.run(replace(SCENARIO, open=broken), SETTING, rto=10, rpo=1)
    assert (found.outcome, found.summary) == (Outcome.FAIL, "the dump restores: a bit turned over")


@pytest.mark.parametrize("error", [Aborted("no answer"), EngineError("it broke")])
def test_also_where_it_stops_early_it_is_looked_at_what_is_left(error: Exception) -> None:
    def stop(stage: Stage, glass: Glass) -> None:
        raise error

    assert [c.what for c in drill(stop).cleanup] == ["no shards"]
    assert drill(stop, Glass(left_behind=True)).outcome is Outcome.FAIL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_journal_and_cleanup(number: signal.Signals) -> None:
    def wait(stage: Stage, glass: Glass) -> None:
        with stage.activity("wait"):
            signal.raise_signal(number)
            pytest.fail("the signal was lost")

    before = signal.getsignal(signal.SIGTERM)
    with heard(signal.SIGINT), pytest.raises(runner.Interrupted) as caught:
        drill(wait)
    found = caught.value.journal
    assert (found.outcome, [c.what for c in found.cleanup]) == (Outcome.INCONCLUSIVE, ["no shards"])
    assert "interrupted" in found.summary
    assert [(line.outcome, line.output) for line in found.timeline] == [(Outcome.INCONCLUSIVE, "interrupted")]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_world_that_cannot_say_what_is_left_is_no_proof() -> None:
    class Gone(Glass):
        def cleanup(self) -> Iterator[Check]:
            raise OSError("who knows")
            yield

    assert drill(nothing, Gone()).outcome is Outcome.INCONCLUSIVE


def test_two_drills_at_one_cluster_are_refused(tmp_path: Path) -> None:
    config = Config(clusters=(), directory=tmp_path, source="test", warnings=())
    setting = replace(SETTING, radius=Radius.PRODUCTION, config=config)

    def again(stage: Stage, glass: Glass) -> None:
        with pytest.raises(BackupRefused, match=str(os.getpid())):
            runner.run(SCENARIO, setting, rto=10, rpo=1)
        assert runner.run(SCENARIO, SETTING, rto=10, rpo=1).outcome is Outcome.PASS  # sandboxes share nothing
        other = replace(setting, cluster="other")
        assert runner.run(SCENARIO, other, rto=10, rpo=1).outcome is Outcome.PASS

    assert runner.run(replace(SCENARIO, run=again), setting, rto=10, rpo=1).outcome is Outcome.PASS
