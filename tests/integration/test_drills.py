"""Drills on real servers: each passes, measures, leaves nothing behind; and in production changes nothing for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy import config
from understudy.cli.app import main
from understudy.demo.lab import CLUSTER, Lab
from understudy.demo.workload import canary_tokens
from understudy.drill import changes, runner
from understudy.drill.definition import AnyScenario, Setting
from understudy.model import Rpo
from understudy.readiness import journal
from understudy.readiness.journal import Outcome, Radius


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(mode=Rpo.ZERO, scale=1) as made:
        yield made


def test_a_planned_change_in_production_is_measured_by_canaries(lab: Lab) -> None:
    """The only rows it writes are tokens, which the agent forgets after a day."""
    lab.await_settled()
    home = lab.state.primary
    loaded = config.load(lab.config_file, {})
    setting = Setting(radius=Radius.PRODUCTION, cluster=CLUSTER, mode=Rpo.ZERO, config=loaded)
    switchover = next(s for s in changes.SCENARIOS if s.name == "switchover")
    found = runner.run(switchover, setting, rto=60, rpo=0)
    assert (found.outcome, found.radius) == (Outcome.PASS, Radius.PRODUCTION), found.summary
    assert lab.state.primary == home
    assert found.loss is not None
    assert found.recovery is not None
    with lab.connect(home, "understudy") as connection:
        tokens = connection.execute("SELECT count(*) FROM understudy.commit_token").fetchone()
        other = canary_tokens(connection, 1)  # whoever asks for other canaries gets none
        history = connection.execute("SELECT count(*) FROM pgbench_history").fetchone()
    assert tokens is not None
    assert tokens[0] >= found.loss.acknowledged > 0
    assert other == []
    assert history == (0,)


def test_production_has_to_be_said_twice(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    state = lab.state
    once = ["--config", str(lab.config_file), "drill", "run", "switchover", "--production", CLUSTER]
    assert main(once) == 2
    assert (
        main([*once[:3], "run", "failover-crash", "--production", CLUSTER, "--yes-production", CLUSTER]) == 3
    )
    assert "only in a sandbox" in capsys.readouterr().err
    assert lab.state == state


def test_without_an_agent_nothing_is_drilled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "understudy.toml"
    file.write_text(
        f'directory = "{tmp_path}"\n[clusters.main]\nrpo = "zero"\n'
        + "".join(
            f'[[clusters.main.nodes]]\nname = "{name}"\ndsn = "postgresql://app:x@127.0.0.1:1/{name}"\n'
            for name in ("a", "b")
        )
    )
    command = ["--config", str(file), "--json", "drill", "run", "switchover"]
    assert main([*command, "--production", "main", "--yes-production", "main"]) == 6
    [found] = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "inconclusive"
    assert "there is none" in found["summary"]
    assert journal.all_of(tmp_path / "drills")[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Rpo), ids=str)
@pytest.mark.parametrize("scenario", changes.SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_drill_of_a_change_passes_in_a_sandbox(scenario: AnyScenario, mode: Rpo) -> None:
    found = runner.run(scenario, Setting(radius=Radius.SANDBOX, cluster="main", mode=mode), rto=60, rpo=10)
    assert found.outcome is Outcome.PASS, found.summary
    assert found.recovery is not None
    assert found.loss is not None
    assert found.loss.acknowledged > 100
    assert [check.outcome for check in found.cleanup] == [Outcome.PASS, Outcome.PASS]
