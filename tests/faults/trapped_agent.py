"""An agent process that stops or kills itself exactly before or after one step of one plan.

`python -m tests.faults.trapped_agent CONFIG [KIND STEP before|after STOP|KILL]`: without a trap a plain agent that
waits for the acting one's place.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from understudy import config
from understudy.agent import agent as agent_module
from understudy.agent.service import serve
from understudy.agent.steps import Hands, carry_out
from understudy.decide.plans import StepOutcome
from understudy.model import ClusterState, PlanKind, Step, View


def set_trap(kind: PlanKind, step: Step, when: str, sent: signal.Signals) -> None:
    """Wrap `carry_out`: the process sends itself the signal at that moment, once."""
    left = [1]

    def spring() -> None:
        if left:
            left.pop()
            os.kill(os.getpid(), sent)

    async def wrapped(now: Step, state: ClusterState, view: View, hands: Hands) -> StepOutcome:
        here = state.plan is not None and (state.plan.kind, now) == (kind, step)
        if here and when == "before":
            spring()
        outcome = await carry_out(now, state, view, hands)
        if here and when == "after":
            spring()
        return outcome

    agent_module.carry_out = wrapped  # type: ignore[assignment]


def main() -> None:
    path, *trap = sys.argv[1:]
    if trap:
        kind, step, when, sent = trap
        set_trap(PlanKind(kind), Step(step), when, signal.Signals[f"SIG{sent}"])
    asyncio.run(serve(lambda: config.load(Path(path), environ={}), standby=True))


if __name__ == "__main__":
    main()
