"""What a drill is, as data: the runner, the list, the presets and the runbook are all made from these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from understudy.config import Config
from understudy.config_backup import CLONE_LIMIT
from understudy.drill.stage import Stage
from understudy.model import Rpo
from understudy.readiness.journal import Check, Radius


class World(Protocol):
    """What a drill is done to. Leaving its context restores what was there."""

    def steady(self) -> Iterator[Check]:
        """The steady-state hypothesis, each statement with its evidence."""

    def trouble(self) -> str:
        """The abort rule: why the drill has to end at once, or an empty text."""

    def cleanup(self) -> Iterator[Check]:
        """That nothing of the drill is left behind. Asked after its context was left."""


W = TypeVar("W", bound=World)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a drill is to happen.

    Args:
        config: None: no configuration is there; then only sandboxes can be made.
        cluster: its name; of a sandbox: what the journal is filed under.
        mode: rpo of a sandbox, the cluster's own where there is one.
        clone_limit: bytes of the data that is cloned, at most.
        escrow: the copy of the keys that is kept elsewhere, for the drill `key-loss` in production.
    """

    radius: Radius
    cluster: str
    mode: Rpo
    config: Config | None = None
    clone_limit: int = CLONE_LIMIT
    escrow: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(Generic[W]):
    """One drill.

    Args:
        name: as on the command line. title: a sentence without a full stop.
        hypothesis: what should hold. abort_rule: when it is stopped. method: what is done, step by step, for people;
            the runbook prints it. by_hand: what a person does when this happens in earnest.
        radii: what it may be done to.
        must_fail: it breaks something on purpose, and passes where that is noticed.
        open: makes the world it is done to. run: does it; what it finds is noted on the stage.
    """

    name: str
    title: str
    hypothesis: str
    abort_rule: str
    method: tuple[str, ...]
    by_hand: tuple[str, ...]
    open: Callable[[Stage, Setting], AbstractContextManager[W]] = field(repr=False)
    run: Callable[[Stage, W], None] = field(repr=False)
    radii: tuple[Radius, ...] = (Radius.SANDBOX,)
    must_fail: bool = False


AnyScenario = Scenario[Any]
