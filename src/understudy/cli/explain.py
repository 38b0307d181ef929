"""`understudy explain`: the decision of this moment and why, which gates are closed, and the last change."""

from __future__ import annotations

import asyncio

import typer

from understudy.agent.history import HISTORY, Change, last_change, step_name, tell
from understudy.agent.looking import look_at, view_of
from understudy.cli.common import Cli, duration, of, out, print_json, table
from understudy.config import mask
from understudy.decide import Decision, decide
from understudy.decide.closed import closed_gates
from understudy.model import ClusterState, NodeView

_RECENT = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(context: typer.Context) -> None:
    """Say what the decision core decides right now, and why. Changes nothing."""
    cli = of(context)
    with cli.witness() as witness:
        state = cli.state(witness)
        events = witness.events(cli.cluster.name, limit=HISTORY)
    nodes = asyncio.run(_look(cli, state))
    view = view_of(state, nodes)
    decision = decide(state, view, cli.cluster.policy)
    gates = closed_gates(state, view, cli.cluster)
    change = last_change(events)
    if cli.json:
        print_json(
            {
                "rule": decision.rule,
                "reason": decision.reason,
                "alarm": decision.alarm,
                "would_begin": decision.state.plan if decision.state is not None else None,
                "gates": gates,
                "view": view,
                "last_change": change,
                "recent": events[-_RECENT:],
            }
        )
        return
    _show(decision, gates, nodes, state)
    _show_change(change)
    print("\nrecent events:")
    for event in events[-_RECENT:]:
        print(mask(f"  {tell(event)}"))


async def _look(cli: Cli, state: ClusterState) -> dict[str, NodeView]:
    """A node that does not answer is asked as often as the agent would ask before it calls it down."""
    async with cli.engine() as engine:
        names = [node.name for node in cli.cluster.nodes]
        return await look_at(engine, names, epoch=state.epoch, attempts=cli.cluster.policy.failure_threshold)


def _show(decision: Decision, gates: dict[str, str], nodes: dict[str, NodeView], state: ClusterState) -> None:
    print(f"now: {decision.rule}: {mask(decision.reason)}")
    if decision.state is not None and decision.state.plan is not None:
        print(f"     an agent would begin: {decision.state.plan.kind} to {decision.state.plan.target}")
    print("\nseen by this command:")
    out().print(
        table(("NODE", "ROLE", "SEEN"), [(n, state.record(n).role, _seen(v)) for n, v in nodes.items()])
    )
    print("\ngates:")
    out().print(table(("CHANGE", "GATE"), [(name, why or "open") for name, why in gates.items()]))
    print("(the agent alone knows how long both nodes have been well: failback_after is not counted here)")


def _seen(node: NodeView) -> str:
    probe = node.probe
    if probe is None:
        return f"missed {node.misses} probes: {node.error}"
    took = duration(probe.answered - probe.at)
    state = "read-only" if probe.fenced else "accepts writes"
    return f"answered in {took}: epoch {probe.epoch} (primary {probe.epoch_primary}), {state}"


def _show_change(change: Change | None) -> None:
    if change is None:
        print("\nno change of primary yet")
        return
    print(f"\nlast change: {mask(change.finished.message)}, took {duration(change.seconds)}")
    if change.cause is not None:
        print(mask(f"  because {change.cause.kind}: {change.cause.message} (seen by {change.cause.agent})"))
    rows = [(step_name(s), duration(s.took), s.message) for s in change.steps]
    out().print(table(("STEP", "TOOK", "RESULT"), rows))
