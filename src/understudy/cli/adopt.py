"""`understudy setup --adopt`: rebuild a lost or outdated witness from what the nodes hold.

What counts is on the nodes: the fence rows (who was announced at which epoch), who is read-only, and which
slots and subscriptions exist. The rebuilt state begins with a *reinstate* of the primary at the next epoch, so
that whatever a lost plan had left half done is rolled back by the agent in the ordinary way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from understudy.agent.orders import silence
from understudy.cli.common import Cli, CliError, Exit
from understudy.decide.plans import STEP_ROOM, begin
from understudy.model import Cluster, ClusterState, Link, NodeRecord, NodeView, PlanKind, Probe, Role
from understudy.witness import SqliteWitness

_MARGIN = 100
"""Names of slots hold the state's version and must never be used twice: the new versions begin so far above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The state to write, on top of version ``expected``, and the sentence that explains it."""

    state: ClusterState
    expected: int
    story: str


def why_lost(cluster: str, state: ClusterState | None, nodes: Mapping[str, NodeView]) -> str:
    """Why the witness cannot be right, or an empty string."""
    probes = [view.probe for view in nodes.values() if view.probe is not None]
    newest = max((p.epoch for p in probes), default=0)
    if state is not None:
        known = max(state.epoch, state.plan.epoch if state.plan is not None else 0)
        if newest > known:
            return f"the witness is older (epoch {known}) than the databases (epoch {newest})"
        return ""
    if newest > 1:
        return f"the witness knows nothing of a cluster that the databases have at epoch {newest}"
    first = f"understudy_{cluster}_1"
    names = {name for p in probes for name in _ours(cluster, p.subscriptions)}
    if names - {first}:
        return "the witness knows nothing of a cluster that the databases have in use"
    return ""


def _ours(cluster: str, names: Mapping[str, object]) -> list[str]:
    """Names of this cluster's slots or subscriptions, in the order they were made."""
    prefix = f"understudy_{cluster}_"
    return sorted((n for n in names if n.startswith(prefix)), key=_number)


def _number(name: str) -> int:
    found = re.search(r"_([0-9]+)s?$", name)
    return int(found[1]) if found else 0


def rebuild(
    cluster: Cluster, state: ClusterState | None, nodes: Mapping[str, NodeView], wanted: str | None
) -> Adopted:
    """The state that the nodes testify to. Raises CliError where that is not certain."""
    probes = {}
    for view in nodes.values():
        if view.probe is None:
            raise CliError(
                f"both nodes must answer, or a newer epoch could be overlooked: {view.error}",
                Exit.UNREACHABLE,
            )
        probes[view.name] = view.probe
    primary = _primary(cluster, probes, wanted)
    other = next(name for name in probes if name != primary)
    expected = state.version if state is not None else 0
    names = [
        n
        for p in probes.values()
        for n in (*_ours(cluster.name, p.slots), *_ours(cluster.name, p.subscriptions))
    ]
    # Above every number a node has seen: in the name of a slot, or in the ticket its fence row keeps.
    tickets = [probe.plan // STEP_ROOM for probe in probes.values()]
    version = max([expected, *map(_number, names), *tickets]) + _MARGIN
    epoch = max(p.epoch for p in probes.values())
    link, leftovers = _links(cluster.name, primary, other, probes)
    record, how = _other(other, primary, probes, link, leftovers)
    records = {
        primary: NodeRecord(name=primary, role=Role.PRIMARY, identity=probes[primary].identity),
        other: record,
    }
    rebuilt = ClusterState(
        cluster=cluster.name,
        version=version,
        epoch=epoch,
        primary=primary,
        nodes=tuple(records[node.name] for node in cluster.nodes),
        link=link,
        old_links=leftovers,
        paused=state.paused if state is not None else False,
        failbacks=state.failbacks if state is not None else (),
    )
    reason = f"adopted from the nodes: epoch {epoch}, primary {primary}"
    rebuilt = begin(rebuilt, PlanKind.REINSTATE, primary, rule="adopt", reason=reason)
    return Adopted(state=rebuilt, expected=expected, story=f"{primary} is primary (epoch {epoch}). {how}")


def _primary(cluster: Cluster, probes: Mapping[str, Probe], wanted: str | None) -> str:
    """Whoever was announced last and accepts writes; announced but read-only means that it never got so far."""
    if wanted is not None:
        if wanted not in probes:
            raise CliError(f"--primary: expected one of {', '.join(probes)}, found {wanted}", Exit.USAGE)
        return wanted
    newest = max(probes.values(), key=lambda p: p.epoch)
    named = newest.epoch_primary
    if named not in probes:
        raise CliError(
            f"the databases name a primary that is not configured ({named!r}): restore its name in "
            f"clusters.{cluster.name}.nodes",
            Exit.REFUSED,
        )
    other = next(name for name in probes if name != named)
    if not probes[named].fenced:
        return named
    if not probes[other].fenced:
        return other
    raise CliError(
        f"both nodes are read-only: a change was interrupted. Say who has all data with --primary ({named} was "
        f"announced last; a switchover to {named} that was interrupted means {other})",
        Exit.REFUSED,
    )


def _links(
    cluster: str, primary: str, other: str, probes: Mapping[str, Probe]
) -> tuple[Link | None, tuple[Link, ...]]:
    """The link that the other node follows by, and everything else that lies about, to be dropped."""
    here, there = probes[primary], probes[other]
    following = [
        n
        for n in _ours(cluster, there.subscriptions)
        if there.subscriptions[n].ready and n in here.slots and here.slots[n].usable
    ]
    link = Link(name=following[-1], publisher=primary, subscriber=other) if following else None
    used = {link.name} if link is not None else set()
    forward = set(_ours(cluster, here.slots)) | set(_ours(cluster, there.subscriptions))
    backward = set(_ours(cluster, there.slots)) | set(_ours(cluster, here.subscriptions))
    old = [Link(name=n, publisher=primary, subscriber=other) for n in sorted(forward - used, key=_number)]
    # The last of these is the one an unplanned change left behind: `rescue` reads it.
    back = sorted(backward, key=lambda n: (n in here.subscriptions and n in there.slots, _number(n)))
    old += [Link(name=n, publisher=other, subscriber=primary) for n in back]
    return link, tuple(old)


def _other(
    name: str, primary: str, probes: Mapping[str, Probe], link: Link | None, leftovers: tuple[Link, ...]
) -> tuple[NodeRecord, str]:
    """What the other node is: a standby, if it follows and is read-only; else it must be repaired."""
    there, identity = probes[name], probes[name].identity
    if link is not None and there.fenced:
        how = f"{name} follows it; its contents are compared before it may become primary unasked."
        return NodeRecord(name=name, role=Role.STANDBY, identity=identity), how
    back = leftovers[-1] if leftovers and leftovers[-1].publisher == name else None
    view = probes[primary].subscriptions.get(back.name) if back is not None else None
    rescuable = back is not None and view is not None and back.name in there.slots
    how = f"{name} is detached and will be copied anew; what only {name} has "
    how += "is rescued first." if rescuable else "CANNOT be rescued: save it yourself before you go on."
    record = NodeRecord(
        name=name,
        role=Role.DETACHED,
        identity=identity,
        rescue_point=view.origin if rescuable and view is not None else None,
        needs_copy="the witness was rebuilt",
    )
    return record, how


def refuse_agent(cli: Cli, witness: SqliteWitness) -> None:
    """An agent that acts meanwhile could decide on half of this. Raises CliError."""
    heard = silence(witness.agent(cli.cluster.name))
    if heard is not None and heard < cli.cluster.policy.agent_takeover:
        raise CliError("stop the agent first (writes go on: clients renew the lease meanwhile)", Exit.REFUSED)


def write(cli: Cli, witness: SqliteWitness, adopted: Adopted) -> ClusterState:
    """Write it, at a version above every number that a name was made from."""
    refuse_agent(cli, witness)
    written = witness.write(
        replace(adopted.state, version=adopted.state.version - 1), expected=adopted.expected
    )
    cli.log(witness, written, "adopt", adopted.story)
    cli.ring()
    return written
