"""Every step of every plan, interrupted: the agent is killed or stopped around it, either server crashes at it.

`pytest -m "" tests/faults/test_interrupted.py -k zero --table FILE` runs every cell of that mode and writes the table.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.agent_world import Servers, world_of
from tests.faults.interrupted import Fault, agents_of, converged, play
from tests.integration.conftest import make_pair

from understudy.decide.plans import steps
from understudy.engines.postgresql.engine import PostgreSQLEngine
from understudy.model import Failback, PlanKind, Rpo, Step

KINDS = (PlanKind.SWITCHOVER, PlanKind.FAILOVER, PlanKind.REJOIN)
CELLS = [
    (rpo, kind, step, fault) for rpo in Rpo for kind in KINDS for step in steps(kind, rpo) for fault in Fault
]
QUICK = {
    (Rpo.ZERO, PlanKind.SWITCHOVER, Step.REQUIRE_SYNC, Fault.STOP_BEFORE),
    (Rpo.ZERO, PlanKind.FAILOVER, Step.STOP_APPLY, Fault.KILL_AFTER),
    (Rpo.ZERO, PlanKind.SWITCHOVER, Step.FENCE, Fault.CRASH_A),
    (Rpo.BOUNDED, PlanKind.SWITCHOVER, Step.PROMOTE, Fault.STOP_AFTER),
    (Rpo.BOUNDED, PlanKind.REJOIN, Step.CATCH_UP, Fault.CRASH_A),
}


def _cells() -> list[object]:
    return [
        pytest.param(
            *cell, marks=() if cell in QUICK else pytest.mark.slow, id="-".join(cell).replace(" ", "_")
        )
        for cell in CELLS
    ]


@pytest.mark.parametrize(("rpo", "kind", "step", "fault"), _cells())
async def test_converges_and_loses_nothing(
    rpo: Rpo, kind: PlanKind, step: Step, fault: Fault, servers: Servers, healed: None, tmp_path: Path, table
) -> None:
    pair = make_pair(servers, rpo=rpo, failback=Failback.MANUAL, probe_timeout=0.6)
    async with world_of(pair, tmp_path) as world, agents_of(world) as agents:
        for number in range(20):
            pair.sql("a", "INSERT INTO item (name) VALUES (%s)", f"before {number}")
        await play(world, servers, agents, kind, step, fault)
        state = await converged(world)
        table(rpo, kind, step, fault, f"{state.primary} at epoch {state.epoch}")
        found = pair.sql(state.primary, "SELECT count(*), count(DISTINCT name) FROM item")
        assert found == [(21, 21)]  # everything acknowledged is there once, and the last row
        engine = PostgreSQLEngine(pair.cluster)
        try:
            assert (await engine.verify(state.primary, state.other)).equal
        finally:
            await engine.close()
