"""The configuration is read again while something fails: the next agent goes on with what the last one had seen."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from understudy.demo.lab import CLUSTER, Lab
from understudy.lease import LeaseFile
from understudy.model import Rpo


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        yield lab


def test_a_primary_that_dies_during_a_reload_is_failed_over_from(lab: Lab) -> None:
    """The new agent never sees it alive. Without what the old one knew, the lag would be unknown and nothing happen."""
    with contextlib.closing(LeaseFile(lab.directory / f"{CLUSTER}.lease")) as lease:
        lab.await_true(
            lambda: (found := lease.read()) is not None and found.standby_lag >= 0, 60, "a known lag"
        )
    pid, before = lab.agent.pid, lab.last_event
    assert pid is not None
    lab.agent.freeze()
    try:
        lab.servers["a"].kill()
        os.kill(pid, signal.SIGHUP)
    finally:
        lab.agent.thaw()
    lab.await_event("agent_started", 60, after=before)
    lab.await_state(lambda state: state.primary == "b" and state.plan is None, 60, "a failover")
    kinds = [event.kind for event in lab.events(before)]
    assert kinds.index("agent_started") < kinds.index("primary_down")
    assert "failover_refused" not in kinds
    lab.servers["a"].start()
    lab.await_settled()
