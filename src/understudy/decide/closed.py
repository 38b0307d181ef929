"""Which changes could be begun at this moment, and why not. Pure: the decision core itself is asked."""

from __future__ import annotations

from dataclasses import replace

from understudy.decide.decide import decide
from understudy.model import Cluster, ClusterState, Request, RequestKind, View


def closed_gates(state: ClusterState, view: View, cluster: Cluster) -> dict[str, str]:
    """For each change a person or the agent could begin now: why it would be refused; empty: the gate is open.

    The answers are the decision core's own: it is asked what it would do with such an order.
    """
    gates = {}
    for kind in RequestKind:
        request = Request(id="explain", kind=kind, target=state.other)
        decision = decide(replace(state, request=request), view, cluster.policy)
        if decision.rule == "request":
            gates[str(kind)] = ""
        else:
            gates[str(kind)] = (
                decision.reason.partition(" refused: ")[2] or f"{decision.rule}: {decision.reason}"
            )
    automatic = (
        "paused" if state.paused else "" if cluster.policy.failover else "failover = false in the policy"
    )
    gates["automatic failover"] = automatic or gates[str(RequestKind.FAILOVER)]
    preferred = cluster.preferred.name
    if state.primary == preferred:
        gates["automatic failback"] = f"{preferred} is primary already"
    elif state.paused or cluster.policy.failback != "auto":
        gates["automatic failback"] = "paused" if state.paused else "failback = manual in the policy"
    elif not state.record(preferred).verified:
        gates["automatic failback"] = f"{preferred} is not verified yet"
    else:
        gates["automatic failback"] = gates[str(RequestKind.SWITCHOVER)]
    return gates
