"""Runs one drill: the hypothesis before, the method, the hypothesis after, cleanup, and the journal of it all."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

import understudy
from understudy.config import mask
from understudy.demo.lab import LabError
from understudy.drill.definition import AnyScenario, Setting
from understudy.drill.stage import Aborted, Stage
from understudy.embedded import EmbeddedError
from understudy.errors import UnderstudyError
from understudy.readiness.journal import Check, Journal, Outcome

_EXPECTED = (UnderstudyError, LabError, EmbeddedError, psycopg.Error, OSError)
"""What a drill may run into: it is noted, and the drill fails. Everything else is a fault of ours and is raised."""


def run(
    scenario: AnyScenario,
    setting: Setting,
    *,
    rto: float,
    rpo: float,
    say: Callable[[str], None] = lambda _: None,
) -> Journal:
    """Run a drill and return its journal. ``rto``, ``rpo``: targets in seconds.

    A drill that was aborted, or could not begin, is inconclusive; one that found something else than its hypothesis
    fails. Raises nothing that a drill may run into.
    """
    started = datetime.now(UTC)
    stage = Stage(say=say)
    before: list[Check] = []
    after: list[Check] = []
    cleanup: list[Check] = []
    stopped = ""
    try:
        with scenario.open(stage, setting) as world:
            before += _told(stage, world.steady())
            _require(before)
            scenario.run(stage, world)
            after += _told(stage, world.steady())
            stage.abort = lambda: ""
        cleanup += world.cleanup()
    except Aborted as error:
        stopped = str(error)
    except _EXPECTED as error:
        stopped = f"{type(error).__name__}: {error}"
        stage.check("the drill ran to its end", False, stopped)
    seconds = stage.clock() - stage.began
    checks = [*before, *after, *stage.evidence, *cleanup]
    outcome, summary = _judge(stage, checks, stopped, rto=rto, rpo=rpo)
    return Journal(
        id=f"{started:%Y%m%dT%H%M%SZ}-{scenario.name}-{secrets.token_hex(3)}",
        scenario=scenario.name,
        cluster=setting.cluster,
        hypothesis=scenario.hypothesis,
        abort_rule=scenario.abort_rule,
        radius=setting.radius,
        operator=_operator(),
        must_fail=scenario.must_fail,
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        versions=_versions() | stage.versions,
        config=hashlib.sha256(repr(setting.config).encode()).hexdigest(),
        before=tuple(_clean(before)),
        timeline=tuple(sorted(stage.timeline, key=lambda activity: activity.offset)),
        after=tuple(_clean(after)),
        evidence=tuple(stage.evidence),
        skipped=tuple(stage.skipped),
        cleanup=tuple(_clean(cleanup)),
        recovery=stage.recovery,
        loss=stage.loss,
        rto=rto,
        rpo=rpo,
        backup=stage.backup,
        backup_sha256=stage.backup_sha256,
        outcome=outcome,
        summary=mask(summary),
    )


def _told(stage: Stage, checks: Any) -> list[Check]:
    found = []
    for check in checks:
        stage.say(f"{check.what}: {check.outcome.value} ({check.evidence})")
        found.append(check)
    return found


def _require(before: Sequence[Check]) -> None:
    """A drill on something that is broken already would measure nothing. Raises `Aborted`."""
    wrong = [check for check in before if check.outcome is not Outcome.PASS]
    if wrong:
        raise Aborted(f"not begun: {wrong[0].what}: {wrong[0].outcome.value} ({wrong[0].evidence})")


def _judge(
    stage: Stage, checks: Sequence[Check], stopped: str, *, rto: float, rpo: float
) -> tuple[Outcome, str]:
    """The outcome, and the sentence that says it. What failed counts more than what could not be checked."""
    failed = [check for check in checks if check.outcome is Outcome.FAIL]
    if failed and not (stopped and stage.recovery is None and not stage.evidence):
        return Outcome.FAIL, f"{failed[0].what}: {failed[0].evidence}"
    if stopped:
        return Outcome.INCONCLUSIVE, stopped
    if stage.recovery is not None and stage.recovery.total > rto:
        return Outcome.FAIL, f"recovered in {stage.recovery.total:.1f} s; the target is {rto:g} s"
    if stage.loss is not None and stage.loss.seconds > rpo:
        return Outcome.FAIL, f"{stage.loss.seconds:.1f} s of writes are lost; the target is {rpo:g} s"
    unsure = [check for check in checks if check.outcome is Outcome.INCONCLUSIVE]
    if unsure:
        return Outcome.INCONCLUSIVE, f"{unsure[0].what}: {unsure[0].evidence}"
    return Outcome.PASS, _figures(stage, checks)


def _figures(stage: Stage, checks: Sequence[Check]) -> str:
    parts = [f"{len(checks)} checks passed"]
    if stage.recovery is not None:
        parts.append(
            f"{stage.recovery.writes:.2f} s without an answer, proven after {stage.recovery.total:.1f} s"
        )
    if stage.loss is not None:
        parts.append(f"{stage.loss.lost} of {stage.loss.acknowledged} acknowledged writes lost")
    return "; ".join(parts)


def _clean(checks: Sequence[Check]) -> list[Check]:
    """The world's checks without secrets, as the stage's are."""
    return [
        Check(what=c.what, outcome=c.outcome, evidence=mask(c.evidence), seconds=c.seconds) for c in checks
    ]


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _versions() -> dict[str, str]:
    return {
        "understudy": understudy.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
    }
