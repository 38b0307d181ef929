"""Runs one drill: the hypothesis before, the method, the hypothesis after, cleanup, and the journal of it all."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

import understudy
from understudy.backup.source import alone
from understudy.config import mask
from understudy.demo.lab import LabError, termination_as_exit
from understudy.drill.definition import AnyScenario, Setting, World
from understudy.drill.stage import Aborted, Stage
from understudy.embedded import EmbeddedError
from understudy.errors import UnderstudyError
from understudy.readiness.journal import Check, Journal, Outcome, Radius

_EXPECTED = (UnderstudyError, LabError, EmbeddedError, psycopg.Error, OSError)
"""What a drill may run into: it is noted, and the drill fails. Everything else is a fault of ours and is raised."""


class Interrupted(UnderstudyError):
    """Ctrl-C or SIGTERM ended the drill; what it had made is gone, and its journal says how far it came."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal.summary)
        self.journal = journal


@dataclass(slots=True)
class _Course:
    """How far a drill came. ``stopped``: why it did not come to its end; ``cut``: somebody ended it."""

    begun: bool = False
    stopped: str = ""
    cut: bool = False
    before: list[Check] = field(default_factory=list)
    after: list[Check] = field(default_factory=list)
    cleanup: list[Check] = field(default_factory=list)


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
    fails. Of what a drill may run into nothing is raised. Raises `Interrupted`, and `BackupRefused` where another drill
    is at the same production cluster.
    """
    with _alone(setting), termination_as_exit():
        started, stage = datetime.now(UTC), Stage(say=say)
        course = _Course()
        _go(scenario, setting, stage, course)
        journal = _journal(scenario, setting, stage, course, started=started, rto=rto, rpo=rpo)
        if course.cut:
            raise Interrupted(journal)
        return journal


def _alone(setting: Setting) -> AbstractContextManager[None]:
    """Two drills at once would measure each other; servers of our own share nothing."""
    if setting.radius is not Radius.PRODUCTION or setting.config is None:
        return nullcontext()
    return alone(setting.config.directory, f"drill-{setting.cluster}")


def _go(scenario: AnyScenario, setting: Setting, stage: Stage, course: _Course) -> None:
    world: World | None = None
    try:
        with scenario.open(stage, setting) as world:
            course.before += _told(stage, world.steady())
            _require(course.before)
            course.begun = True
            scenario.run(stage, world)
            course.after += _told(stage, world.steady())
            stage.abort = lambda: ""
    except Aborted as error:
        course.stopped = str(error)
    except (KeyboardInterrupt, SystemExit):
        course.stopped, course.cut = (
            "interrupted; what was found until then says nothing about the rest",
            True,
        )
    except _EXPECTED as error:
        course.stopped = f"{type(error).__name__}: {error}"
        if course.begun:
            stage.check("the drill ran to its end", False, course.stopped)
    if world is not None:
        course.cleanup += _told(stage, _tidied(world))


def _tidied(world: World) -> Iterator[Check]:
    """What the world says of its cleanup; that it cannot say is no proof."""
    try:
        yield from world.cleanup()
    except _EXPECTED as error:
        evidence = f"{type(error).__name__}: {error}"
        yield Check(
            what="nothing is left behind", outcome=Outcome.INCONCLUSIVE, evidence=evidence, seconds=0.0
        )


def _journal(
    scenario: AnyScenario,
    setting: Setting,
    stage: Stage,
    course: _Course,
    *,
    started: datetime,
    rto: float,
    rpo: float,
) -> Journal:
    seconds = stage.clock() - stage.began
    outcome, summary = _judge(stage, course, rto=rto, rpo=rpo)
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
        before=tuple(_clean(course.before)),
        timeline=tuple(sorted(stage.timeline, key=lambda activity: activity.offset)),
        after=tuple(_clean(course.after)),
        evidence=tuple(stage.evidence),
        skipped=tuple(mask(text) for text in stage.skipped),
        cleanup=tuple(_clean(course.cleanup)),
        recovery=stage.recovery,
        loss=stage.loss,
        rto=rto,
        rpo=rpo,
        backup=stage.backup,
        backup_sha256=stage.backup_sha256,
        outcome=outcome,
        summary=mask(summary),
    )


def _told(stage: Stage, checks: Iterable[Check]) -> list[Check]:
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


def _judge(stage: Stage, course: _Course, *, rto: float, rpo: float) -> tuple[Outcome, str]:
    """The outcome, and the sentence that says it. What failed counts more than what could not be checked."""
    checks = [*course.before, *course.after, *stage.evidence, *course.cleanup]
    before = () if course.begun else course.before  # what was broken already says nothing about the drill
    failed = [check for check in checks if check.outcome is Outcome.FAIL and check not in before]
    if failed:
        return Outcome.FAIL, f"{failed[0].what}: {failed[0].evidence}"
    if course.stopped:
        return Outcome.INCONCLUSIVE, course.stopped
    if stage.recovery is not None and stage.recovery.total > rto:
        return Outcome.FAIL, f"recovered in {stage.recovery.total:.1f} s; the target is {rto:g} s"
    if stage.loss is not None and stage.loss.seconds > rpo:
        return Outcome.FAIL, f"{stage.loss.seconds:.1f} s of writes are lost; the target is {rpo:g} s"
    unsure = [check for check in checks if check.outcome is Outcome.INCONCLUSIVE]
    if unsure:
        return Outcome.INCONCLUSIVE, f"{unsure[0].what}: {unsure[0].evidence}"
    return Outcome.PASS, f"{len(checks)} checks passed"


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
