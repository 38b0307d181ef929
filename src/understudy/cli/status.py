"""`understudy status`: what is, which promise holds right now, and what is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from understudy.agent.history import HISTORY, Change, clock, last_change, step_name
from understudy.agent.looking import bytes_behind, look_at, read_lease, view_of
from understudy.agent.orders import silence
from understudy.cli.common import Cli, Exit, duration, leave, of, out, print_json, size, table
from understudy.decide import next_step, steps
from understudy.engines.base import Engine
from understudy.engines.postgresql.rescue_files import Rescue, list_rescues
from understudy.errors import UnderstudyError
from understudy.lease import Lease, Phase, boot_now
from understudy.model import Cluster, ClusterState, Fence, NodeView, Role, Rpo
from understudy.witness import SqliteWitness

_WATCH_EVERY = 1.0

_FENCES = {
    Fence.SYNC: "sync: a lost primary cannot acknowledge a commit, reachable or not",
    Fence.SOFT: "soft: read-only default and lease; a session that ignores both could write on a lost primary",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Everything `status` shows, as it was seen at one moment."""

    cluster: Cluster
    state: ClusterState
    nodes: dict[str, NodeView]
    agent: str
    silent: float | None
    lease: Lease | None
    processes: int
    in_flight: int
    change: Change | None
    rescues: tuple[Rescue, ...]
    warnings: tuple[str, ...]

    @property
    def acting(self) -> bool:
        """An agent is acting: heard within the time after which another would take its place."""
        return self.silent is not None and self.silent < self.cluster.policy.agent_takeover

    @property
    def promise(self) -> tuple[bool, str]:
        """Whether the cluster could lose its primary now, and why (not)."""
        return promise(self.cluster, self.state, self.nodes, self.lag)

    @property
    def lag(self) -> float | None:
        """Seconds the standby is behind: what the acting agent decides by, else what this command saw."""
        if self.acting:
            known = self.lease.standby_lag if self.lease is not None else -1.0
            return known if known >= 0 else None
        return view_of(self.state, self.nodes).lag_seconds

    @property
    def lease_left(self) -> float | None:
        return None if self.lease is None else self.lease.deadline - boot_now()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again once a second.")] = False,
) -> None:
    """Show roles, the promise that holds right now, what is under way, the agent and rescues. Changes nothing."""
    cli = of(context)
    with cli.witness() as witness:
        found = asyncio.run(_watching(cli, witness) if watch else _once(cli, witness))
    if watch:
        leave(Exit.OK)
    if cli.json:
        print_json(as_json(found))
    else:
        out().print(render(found))
    leave(Exit.OK if found.nodes[found.state.primary].up else Exit.UNREACHABLE)


async def _once(cli: Cli, witness: SqliteWitness) -> Status:
    async with cli.engine() as engine:
        return await look(cli, witness, engine)


async def _watching(cli: Cli, witness: SqliteWitness) -> Status:
    """Until Ctrl-C. On JSON: one object per line."""
    async with cli.engine() as engine:
        found = await look(cli, witness, engine)
        with Live(console=out(), auto_refresh=False, transient=False) as live:
            while True:
                began = time.monotonic()
                if cli.json:
                    print_json(as_json(found))
                else:
                    live.update(render(found), refresh=True)
                await asyncio.sleep(max(0.0, _WATCH_EVERY - (time.monotonic() - began)))
                found = await look(cli, witness, engine)


async def look(cli: Cli, witness: SqliteWitness, engine: Engine) -> Status:
    """Read the witness, the lease and the nodes."""
    cluster = cli.cluster
    state = cli.state(witness)
    nodes = await look_at(engine, [n.name for n in cluster.nodes], epoch=state.epoch)
    agent = witness.agent(cluster.name)
    warnings = list(cli.config.warnings)
    lease, processes, in_flight = _lease(cli.config.directory / f"{cluster.name}.lease", warnings)
    rescues = _rescues(cli.config.directory / "rescue", cluster.name, warnings)
    found = Status(
        cluster=cluster,
        state=state,
        nodes=nodes,
        agent=agent[0] if agent is not None else "",
        silent=silence(agent),
        lease=lease,
        processes=processes,
        in_flight=in_flight,
        change=last_change(witness.events(cluster.name, limit=HISTORY)),
        rescues=rescues,
        warnings=(),
    )
    return _with_warnings(found, warnings)


def _lease(path: Path, warnings: list[str]) -> tuple[Lease | None, int, int]:
    try:
        lease, processes = read_lease(path)
    except UnderstudyError as error:
        warnings.append(str(error))
        return None, 0, 0
    alive = [p for p in processes if p.alive]
    return lease, len(alive), sum(p.in_flight for p in alive)


def _rescues(folder: Path, cluster: str, warnings: list[str]) -> tuple[Rescue, ...]:
    try:
        return tuple(r for r in list_rescues(folder) if r.manifest.get("cluster", cluster) == cluster)
    except (UnderstudyError, OSError) as error:
        warnings.append(str(error))
        return ()


def _with_warnings(found: Status, warnings: list[str]) -> Status:
    state = found.state
    if not found.acting:
        warnings.append("no agent is acting: nothing would fail over now; start one with `understudy run`")
    if state.paused:
        warnings.append("paused: no automatic failover or failback; `understudy resume`")
    for node in found.nodes.values():
        if node.probe is not None and node.probe.epoch > max(
            state.epoch, state.plan.epoch if state.plan else 0
        ):
            warnings.append(f"{node.name} has seen epoch {node.probe.epoch}: `understudy setup --adopt`")
        if node.probe is not None and node.probe.unwritable:
            warnings.append(f"{node.name} cannot be written: {node.probe.unwritable}")
    primary = found.nodes[state.primary].probe
    if primary is not None and primary.fenced and state.plan is None:
        warnings.append(f"primary {state.primary} is read-only although nothing is under way")
    return replace(found, warnings=tuple(dict.fromkeys(warnings)))


def promise(
    cluster: Cluster, state: ClusterState, nodes: dict[str, NodeView], lag: float | None
) -> tuple[bool, str]:
    """Whether losing the primary now would keep what `rpo` promises, and the sentence that says so."""
    standby, policy = nodes[state.other], cluster.policy
    record = state.record(state.other)
    if record.role is not Role.STANDBY or state.link is None:
        return False, f"{record.name} is {record.role}: there is nobody to fail over to"
    if not standby.up or standby.probe is None:
        return False, f"{record.name} does not answer: there is nobody to fail over to"
    if policy.rpo is Rpo.ZERO:
        if state.in_sync:
            return True, f"in sync: every acknowledged commit is on {record.name}"
        return False, f"NOT in sync: {record.name} may lack commits, so failover would be refused"
    subscription = standby.probe.subscriptions.get(state.link.name)
    if subscription is None or not subscription.ready:
        return False, f"{record.name} has not finished copying"
    behind = bytes_behind(state, nodes)
    words = f"{record.name} is {duration(lag) if lag is not None else 'an unknown time'} behind"
    words += f", {size(behind)}" if behind is not None else ""
    bounds = f"bounds: {policy.max_lag_seconds:g} s, {size(policy.max_lag_bytes)}"
    if not subscription.running:
        return False, f"{words} and does not receive changes ({bounds})"
    within = lag is not None and lag <= policy.max_lag_seconds
    within = within and (behind is None or behind <= policy.max_lag_bytes)
    return within, f"{words} ({bounds})" + ("" if within else ": failover would be refused")


# --- for people -------------------------------------------------------------------------------------------------


def render(found: Status) -> Group:
    """The screen: two tables that fit 80 columns."""
    state, policy = found.state, found.cluster.policy
    head = f"cluster {state.cluster}  epoch {state.epoch}  primary {state.primary}  rpo {policy.rpo}"
    rows = [_node_row(found, node.name) for node in found.cluster.nodes]
    holds, why = found.promise
    facts: list[tuple[object, object]] = [
        (
            "promise",
            Text(("holds: " if holds else "DOES NOT HOLD: ") + why, style="" if holds else "bold red"),
        ),
        ("fence", _FENCES[policy.fence]),
        ("lease", _lease_line(found)),
        ("agent", _agent_line(found)),
        ("change", _plan_line(found)),
        ("last", _last_line(found.change)),
        ("rescues", _rescue_line(found.rescues)),
    ]
    facts += [("warning", Text(w, style="yellow")) for w in found.warnings]
    nodes = table(("NODE", "ROLE", "UP", "DETAILS"), rows)
    listed = table(("", ""), facts)
    listed.show_header = False
    return Group(Text(head, style="bold"), Text(""), nodes, Text(""), listed)


def _node_row(found: Status, name: str) -> Sequence[object]:
    view, record = found.nodes[name], found.state.record(name)
    up = Text("yes", style="green") if view.up else Text("NO", style="bold red")
    if view.probe is None:
        return name, record.role, up, view.error
    words = ["read-only" if view.probe.fenced else "accepts writes"]
    if name != found.state.primary:
        words.append("verified" if record.verified else "not verified yet")
    if record.needs_copy:
        words.append(f"needs a full copy: {record.needs_copy}")
    if name == found.cluster.preferred.name:
        words.append("preferred")
    if view.probe.sync_names:
        words.append("waits for its standby")
    return name, record.role, up, ", ".join(words)


def _lease_line(found: Status) -> str:
    if found.lease is None:
        return "none on this host"
    left = found.lease_left or 0.0
    phase = {Phase.OPEN: "open", Phase.HOLDING: "holding new transactions", Phase.CHANGING: "changing"}
    ends = f"{left:.1f} s left" if left > 0 else f"RUN OUT {duration(-left)} ago"
    who = f"{found.processes} processes, {found.in_flight} calls in flight"
    return f"{phase[found.lease.phase]} for {found.lease.primary} at epoch {found.lease.epoch}, {ends}; {who}"


def _agent_line(found: Status) -> str:
    if found.silent is None:
        return "none"
    return f"{found.agent}, heard {duration(found.silent)} ago" + ("" if found.acting else " (SILENT)")


def _plan_line(found: Status) -> str:
    plan = found.state.plan
    if plan is None:
        return "none under way"
    all_steps = steps(plan.kind, found.cluster.policy.rpo)
    left = all_steps[len(plan.done) :]
    now = next_step(found.state, found.cluster.policy.rpo)
    return (
        f"{plan.kind} to {plan.target} at epoch {plan.epoch} ({plan.reason}); now {now}; "
        f"done: {', '.join(plan.done) or 'nothing'}; left: {', '.join(left) or 'nothing'}"
    )


def _last_line(change: Change | None) -> str:
    if change is None:
        return "no change of primary yet"
    why = f" ({change.cause.kind}: {change.cause.message})" if change.cause is not None else ""
    return f"{clock(change.finished)}: {change.finished.message}, took {duration(change.seconds)}{why}"


def _rescue_line(rescues: Sequence[Rescue]) -> str:
    kept = [r for r in rescues if r.transactions]
    if not kept:
        return "none"
    count = sum(r.transactions for r in kept)
    return f"{len(kept)} kept, {count} transactions: `understudy rescue list`"


# --- for machines -----------------------------------------------------------------------------------------------


def as_json(found: Status) -> dict[str, object]:
    """The object of `status --json`: `docs/reference/cli.md`."""
    state, policy = found.state, found.cluster.policy
    holds, why = found.promise
    change = found.change
    behind = bytes_behind(state, found.nodes)
    return {
        "cluster": state.cluster,
        "epoch": state.epoch,
        "version": state.version,
        "primary": state.primary,
        "rpo": policy.rpo,
        "promise": {"holds": holds, "why": why},
        "fence": policy.fence,
        "in_sync": state.in_sync,
        "lag": {"seconds": found.lag, "bytes": behind},
        "paused": state.paused,
        "nodes": [
            {
                "name": record.name,
                "role": record.role,
                "up": found.nodes[record.name].up,
                "error": found.nodes[record.name].error,
                "record": record,
                "probe": found.nodes[record.name].probe,
            }
            for record in state.nodes
        ],
        "plan": state.plan,
        "lease": None if found.lease is None else {"left": found.lease_left, "record": found.lease},
        "processes": found.processes,
        "in_flight": found.in_flight,
        "agent": {"id": found.agent, "silent": found.silent, "acting": found.acting},
        "last_change": None
        if change is None
        else {
            "wall": change.finished.wall,
            "seconds": change.seconds,
            "cause": change.cause,
            "steps": [{"step": step_name(s), "took": s.took, "message": s.message} for s in change.steps],
        },
        "rescues": [
            {"folder": r.folder, "node": r.node, "transactions": r.transactions} for r in found.rescues
        ],
        "warnings": found.warnings,
    }
