"""Keeping every gate of a cluster where the cluster's state wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from understudy.config_dsn import mask
from understudy.decide.plans import CHANGES
from understudy.errors import EngineError
from understudy.gates.base import Gate, NotRunning
from understudy.model import ClusterState, PlanKind, Policy, Step

_LOOK_EVERY = 1.0
"""Seconds between two looks at a gate that is as it should be: one that was restarted may be wrong for so long."""
_TRY_AGAIN = 0.2
"""Seconds between two tries on a gate that did not do what it was told."""


class Aim(Enum):
    """What the state wants of every gate."""

    OPEN = "leads to the primary"
    CLOSED = "lets nothing pass"
    LEAVE = "stays as it is"


def aim(state: ClusterState) -> Aim:
    """What a state wants of every gate: closed while nobody may write, open at the primary otherwise.

    A planned change closes its gates in its step *hold*, where they are waited for; from then on they are kept
    closed. An unplanned one closes them as soon as it is announced. A roll back leaves them as it finds them until
    it is published: they are closed already, or the clients behind them have not noticed anything yet.
    """
    plan = state.plan
    if plan is None or plan.kind not in CHANGES or plan.epoch != state.epoch or Step.PUBLISH in plan.done:
        return Aim.OPEN
    if plan.kind is PlanKind.SWITCHOVER and Step.HOLD in plan.done:
        return Aim.CLOSED
    if plan.kind is PlanKind.FAILOVER and Step.ANNOUNCE in plan.done:
        return Aim.CLOSED
    return Aim.LEAVE


@dataclass
class _Kept:
    """One gate, and what its loop knows of it.

    Args:
        lock: one order at a time; a step of a plan and the loop may both have one.
        opened: the epoch at which it was last led to the primary; None before the first look.
        trouble: what it last failed with, so that the same is told once.
    """

    gate: Gate
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    opened: int | None = None
    trouble: str = ""


class GateKeeper:
    """Drives the gates of one cluster for its acting agent.

    Args:
        clock: seconds on the clock that states are stamped with (`see`).
        record: called with (kind, message) when a gate begins to fail, and when it is well again.
    """

    def __init__(
        self,
        gates: Sequence[Gate],
        policy: Policy,
        *,
        clock: Callable[[], float],
        record: Callable[[str, str], None],
    ) -> None:
        self._kept = [_Kept(gate) for gate in gates]
        self._policy, self._clock, self._record = policy, clock, record
        self._state: ClusterState | None = None
        self._read_at = 0.0

    def see(self, state: ClusterState | None, read_at: float = 0.0) -> None:
        """The witness said ``state`` at ``read_at``. None: this agent does not act any more, hands off."""
        before = None if self._state is None else (aim(self._state), self._state.epoch)
        self._state, self._read_at = state, read_at
        if state is None or before == (aim(state), state.epoch):
            return
        for kept in self._kept:
            kept.news.set()

    async def hold(self, state: ClusterState) -> None:
        """The step *hold* of a change. A planned one waits until every gate is quiet, at most ``quiet_timeout``.

        An unplanned one waits for no gate: `run` severs them meanwhile. A gate that is not running carries nobody
        and is passed over. Raises `EngineError` where a gate cannot be held (the change is rolled back).
        """
        if state.plan is None or state.plan.kind is not PlanKind.SWITCHOVER:
            return
        done = await asyncio.gather(*(self._hold(kept) for kept in self._kept), return_exceptions=True)
        for kept, error in zip(self._kept, done, strict=True):
            if isinstance(error, Exception) and not isinstance(error, NotRunning):
                raise EngineError(f"{kept.gate.name}: {_words(error)}") from error

    async def _hold(self, kept: _Kept) -> None:
        quiet = self._policy.quiet_timeout
        try:
            async with asyncio.timeout(quiet), kept.lock:
                await kept.gate.hold()
        except TimeoutError:
            raise EngineError(
                f"not quiet after quiet_timeout = {quiet:g} s: transactions are still in flight, or it hangs "
                "(PgBouncer: pool_mode must be transaction or statement); end them or try again later"
            ) from None

    async def run(self) -> None:
        """Keep every gate where the state wants it, until cancelled; closes them then."""
        try:
            async with asyncio.TaskGroup() as group:
                for kept in self._kept:
                    group.create_task(self._keep(kept))
        finally:
            for kept in self._kept:
                await kept.gate.close()

    async def settle(self) -> None:
        """The agent is about to leave: open what its last step has published, or clients would wait for the next."""
        state = self._state
        if state is None or aim(state) is not Aim.OPEN:
            return
        await asyncio.gather(*(self._look(kept) for kept in self._kept if kept.opened != state.epoch))

    async def _keep(self, kept: _Kept) -> None:
        while True:
            kept.news.clear()
            # Where it is locked, the step *hold* is at it, for longer than a look may take.
            well = kept.lock.locked() or await self._look(kept)
            try:
                async with asyncio.timeout(_LOOK_EVERY if well else _TRY_AGAIN):
                    await kept.news.wait()
            except TimeoutError:
                pass  # a gate tells nobody when it was restarted: only looking finds that

    async def _look(self, kept: _Kept) -> bool:
        """One bounded look at one gate, and what has to be done to it. Returns whether it is as it should be."""
        try:
            async with asyncio.timeout(2 * self._policy.probe_timeout), kept.lock:
                await self._attend(kept)
        except TimeoutError:
            self._tell(kept, f"no answer within {2 * self._policy.probe_timeout:g} s")
        except Exception as error:  # noqa: BLE001 (told; a gate, or our driver of it, must not end the agent)
            self._tell(kept, _words(error))
        else:
            self._tell(kept, "")
        return not kept.trouble

    async def _attend(self, kept: _Kept) -> None:
        """Act on the newest state, if it is one of now: an agent that was stopped must not act on what it knew."""
        state = self._state
        if state is None or self._clock() - self._read_at > self._policy.agent_takeover:
            return
        wanted = aim(state)
        if kept.opened is None:
            kept.opened = state.epoch if wanted is Aim.OPEN else 0
        if wanted is Aim.CLOSED:
            await kept.gate.sever()
        elif wanted is Aim.OPEN:
            await kept.gate.lead_to(state.primary, anew=kept.opened != state.epoch)
            kept.opened = state.epoch

    def _tell(self, kept: _Kept, trouble: str) -> None:
        """One event when a gate begins to fail in a new way, one when it is well again."""
        if trouble == kept.trouble:
            return
        kept.trouble = trouble
        if trouble:
            self._record("gate_failed", f"{kept.gate.name}: {trouble}")
        else:
            self._record("gate_well", f"{kept.gate.name} does as it is told again")


def _words(error: Exception) -> str:
    """An error for people; one that is not ours is named by its kind too."""
    return str(error) if isinstance(error, EngineError) else mask(f"{type(error).__name__}: {error}")
