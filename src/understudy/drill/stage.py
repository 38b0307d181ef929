"""Where a drill happens: what it notes, how it waits, and when it gives up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from understudy.config import mask
from understudy.errors import UnderstudyError
from understudy.readiness.journal import Activity, Check, Loss, Outcome, Recovery

_POLL: Final = 0.02  # seconds between two looks at what tells nobody when it changes


class Aborted(UnderstudyError):
    """The abort rule held, or a wait ended: the drill stops, and nothing was measured."""


@dataclass(slots=True)
class Stage:
    """What one drill notes while it runs, without secrets: messages of drivers may quote a DSN.

    Args:
        say: told what goes on, one sentence at a time.
        abort: why the drill has to stop at this moment, or an empty text. Asked during every wait.
        clock: monotonic seconds.
    """

    say: Callable[[str], None] = lambda _: None
    abort: Callable[[], str] = lambda: ""
    clock: Callable[[], float] = time.monotonic
    timeline: list[Activity] = field(default_factory=list)
    evidence: list[Check] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    recovery: Recovery | None = None
    loss: Loss | None = None
    backup: str = ""
    backup_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    @contextlib.contextmanager
    def activity(self, name: str) -> Iterator[list[str]]:
        """One line of the timeline, timed. The block may append sentences: they become its output.

        What the block raises is noted and raised on.
        """
        self.say(name)
        began, told = self.clock(), list[str]()
        outcome = Outcome.FAIL
        try:
            yield told
            outcome = Outcome.PASS
        except Aborted as error:
            outcome = Outcome.INCONCLUSIVE
            told.append(str(error))
            raise
        except (KeyboardInterrupt, SystemExit):
            outcome = Outcome.INCONCLUSIVE
            told.append("interrupted")
            raise
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            ended = self.clock()
            self.timeline.append(
                Activity(
                    name=name,
                    offset=round(began - self.began, 6),
                    seconds=round(ended - began, 6),
                    outcome=outcome,
                    output=mask("; ".join(told)),
                )
            )

    def moment(self, name: str, at: float, output: str = "") -> None:
        """Something that was seen happening at a time of this clock."""
        offset = round(at - self.began, 6)
        self.timeline.append(
            Activity(name=name, offset=offset, seconds=0.0, outcome=Outcome.PASS, output=mask(output))
        )

    def check(self, what: str, held: bool | None, evidence: str, *, seconds: float = 0.0) -> bool:
        """Note whether a statement holds; None: it could not be checked. Returns whether it does."""
        outcome = Outcome.INCONCLUSIVE if held is None else Outcome.PASS if held else Outcome.FAIL
        evidence = mask(evidence)
        self.evidence.append(Check(what=what, outcome=outcome, evidence=evidence, seconds=round(seconds, 6)))
        self.say(f"{what}: {outcome.value} ({evidence})")
        return bool(held)

    def wait(self, what: str, until: Callable[[], bool], limit: float) -> None:
        """Wait until something holds. Raises `Aborted` after ``limit`` seconds, or when the abort rule holds."""
        end = self.clock() + limit
        while not until():
            if why := self.abort():
                raise Aborted(f"while waiting for {what}: {why}")
            if self.clock() > end:
                raise Aborted(f"waited {limit:g} s for {what}, in vain")
            time.sleep(_POLL)
