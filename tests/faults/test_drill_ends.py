"""A drill that is interrupted, or has to be aborted: it leaves no process, no file and no slot, and says so."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.equipment.interruption import interrupted, processes_in

from understudy.demo import agent_process
from understudy.demo.lab import CLUSTER, Lab
from understudy.drill import changes, pair, runner
from understudy.drill.definition import AnyScenario, Setting
from understudy.drill.pair import Sandbox
from understudy.drill.stage import Stage
from understudy.model import Rpo
from understudy.readiness import journal
from understudy.readiness.journal import Journal, Outcome, Radius

SANDBOX = Setting(radius=Radius.SANDBOX, cluster="main", mode=Rpo.ZERO)
SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where everything of a drill lies, open to the user that servers run as."""
    with tempfile.TemporaryDirectory(prefix="understudy-test-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def crash() -> AnyScenario:
    return next(s for s in changes.SCENARIOS if s.name == "failover-crash")


def configured(folder: Path) -> dict[str, str]:
    """The environment of a command with a cluster that is never asked for, and a TMPDIR of its own."""
    (folder / "tmp").mkdir(mode=0o711)
    file = folder / "understudy.toml"
    nodes = "".join(
        f'[[clusters.main.nodes]]\nname = "{name}"\ndsn = "postgresql://app@127.0.0.1:1/{name}"\n'
        for name in "ab"
    )
    file.write_text(f'directory = "{folder / "state"}"\n[clusters.main]\nrpo = "zero"\n{nodes}')
    return agent_process.environment(file) | {"TMPDIR": str(folder / "tmp")}


def the_journal(folder: Path) -> Journal:
    [found], wrong = journal.all_of(folder)
    assert wrong == []
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize(
    "at",
    ["server a runs", "understudy setup", "the agent", "canaries are acknowledged", "wait for the failover"],
)
def test_a_signal_leaves_nothing_of_a_sandbox(folder: Path, at: str, number: signal.Signals) -> None:
    code, said = interrupted(["drill", "run", "failover-crash"], configured(folder), at, number)
    assert code == 130, said
    assert processes_in(folder) == []
    assert list((folder / "tmp").iterdir()) == []
    found = the_journal(folder / "state" / "drills")
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "interrupted" in found.summary


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("at", ["server a runs", "understudy setup", "wait for the failover"])
def test_what_a_killed_drill_leaves_behind_goes_with_the_next_one(folder: Path, at: str) -> None:
    """Its processes end by themselves; its folder stays until somebody drills again."""
    environment = configured(folder)
    code, said = interrupted(["drill", "run", "failover-crash"], environment, at, signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    end = time.monotonic() + 90
    while left := processes_in(folder):
        assert time.monotonic() < end, left
        time.sleep(0.05)  # processes that are nobody's children tell nobody that they end
    [remains] = (folder / "tmp").iterdir()
    assert list(remains.rglob("PG_VERSION"))
    code, said = interrupted(["drill", "run", "failover-crash"], environment, "server a runs", signal.SIGTERM)
    assert code == 130, said
    assert list((folder / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_leaves_production_as_it_was(folder: Path, number: signal.Signals) -> None:
    (folder / "tmp").mkdir()
    with Lab(mode=Rpo.ZERO, scale=1, folder=folder / "lab") as lab:
        before = lab.state
        environment = agent_process.environment(lab.config_file) | {"TMPDIR": str(folder / "tmp")}
        program = ["drill", "run", "switchover", "--production", CLUSTER, "--yes-production", CLUSTER]
        code, said = interrupted(program, environment, "canaries are acknowledged", number)
        assert code == 130, said
        assert list((folder / "tmp").iterdir()) == []
        assert not [line for line in processes_in(folder / "tmp") if "python" in line]
        assert (lab.state.epoch, lab.state.primary) == (before.epoch, before.primary)
        found = the_journal(lab.directory / "drills")
        assert (found.outcome, found.radius) == (Outcome.INCONCLUSIVE, Radius.PRODUCTION)
        assert {check.outcome for check in found.cleanup} == {Outcome.PASS}
        with lab.connect("a", "understudy") as connection:
            slots = connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
        assert all(name.startswith(f"understudy_{CLUSTER}_") for (name,) in slots)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        # What the drill does not speak of says nothing; that nobody takes over is what the other one is about.
        (lambda stage, world: stage.wait("better days", lambda: False, 60), Outcome.INCONCLUSIVE),
        (changes.crash, Outcome.FAIL),
    ],
    ids=["inconclusive", "failed"],
)
def test_without_an_answer_to_anybody_it_is_aborted(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Stage, Sandbox], None], outcome: Outcome
) -> None:
    """Both servers hang, and nothing in this world would end that."""
    monkeypatch.setattr(pair, "SILENCE", 5.0)

    def frozen(stage: Stage, world: Sandbox) -> None:
        for server in world.lab.servers.values():
            server.freeze()
        run(stage, world)

    found = runner.run(replace(crash(), run=frozen), SANDBOX, rto=60, rpo=10)
    assert found.outcome is outcome, found.summary
    assert "no canary was acknowledged anything for" in found.summary
    assert {check.outcome for check in found.cleanup} == {Outcome.PASS}
