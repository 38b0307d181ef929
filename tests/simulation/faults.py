"""What goes wrong, as plain data: a list of `Fault`, drawn from a seed (swarm) or by Hypothesis (shrinkable)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from understudy.model import Request, RequestKind

if TYPE_CHECKING:
    from tests.simulation.world import World

KINDS = (
    "node_crash",
    "node_freeze",
    "cut",
    "isolate",
    "partition",
    "no_witness",
    "no_replication",
    "loss",
    "late",
    "double",
    "slow",
    "agent_crash",
    "agent_pause",
    "host_freeze",
    "witness_down",
    "clock_jump",
    "slot_lost",
    "slot_gone",
    "fenced",
    "disk_full",
    "switchover",
    "failover",
    "force",
    "pause",
)
RARE = ("restore_primary", "restore_standby", "restore_witness")
"""Things go back in time: tried in runs of their own (they are no single failure of a running part)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``which`` picks the target (modulo their number), ``lasts`` is seconds until it is undone."""

    at: float
    kind: str
    which: int
    lasts: float

    def __str__(self) -> str:
        return f"{self.at:.2f}s {self.kind} #{self.which} for {self.lasts:.1f}s"


def draw(seed: int, until: float, only: tuple[str, ...] = ()) -> list[Fault]:
    """A swarm: each seed has its own few kinds of fault and its own rate. ``only``: of these kinds, all of them."""
    chance = random.Random(seed * 2 + 1)
    kinds = list(only) or chance.sample(KINDS, chance.randint(1, 6))
    times = sorted(chance.uniform(1.5, until) for _ in range(14 if only else chance.randint(1, 9)))
    if chance.random() < 0.35:  # bursts find races
        times = sorted(t if chance.random() < 0.5 else times[0] + chance.random() for t in times)
    faults = [
        Fault(at, chance.choice(kinds), chance.randrange(12), chance.choice((0.2, 0.6, 1.5, 3.0, 6.0)))
        for at in times
    ]
    if not only and chance.random() < 0.03:
        faults = [Fault(8.0 + chance.random(), chance.choice(RARE), 0, 1.0)]
        if chance.random() < 0.7:
            faults.append(Fault(4.0, "switchover", 0, 0.1))
    return faults


def apply(world: World, fault: Fault) -> None:
    """Do it now, and plan its end."""
    world.kernel.say("fault", str(fault))
    world.fault_counts[fault.kind] += 1
    undo = _APPLY[fault.kind](world, fault.which)
    if undo is not None:
        world.kernel.at(
            world.kernel.now + fault.lasts, lambda: (world.kernel.say("mended", fault.kind), undo())[1]
        )


def _node(world: World, which: int):
    return list(world.nodes.values())[which % 2]


def _node_crash(world, which):
    node = _node(world, which)
    node.crash()
    return node.start


def _node_freeze(world, which):
    node = _node(world, which)
    node.freeze()
    return node.thaw


def _cut(world, which):
    places = [*world.nodes, *(h.name for h in world.hosts), "witness"]
    pairs = [(a, b) for a in places for b in places if a != b]
    pair = pairs[world.kernel.random.randrange(len(pairs))]
    world.network.cuts.add(pair)
    return lambda: world.network.cuts.discard(pair)


def _isolate(world, which):
    places = [*world.nodes, *(h.name for h in world.hosts)]
    name = places[which % len(places)]
    pairs = {(name, p) for p in [*places, "witness"] if p != name}
    pairs |= {(b, a) for a, b in pairs}
    world.network.cuts |= pairs
    return lambda: world.network.cuts.difference_update(pairs)


def _partition(world, which):
    """Two halves: host 0 with one node, the rest with the other."""
    left = {world.hosts[0].name, list(world.nodes)[which % 2]}
    if which % 3 == 0:
        left.add("witness")
    right = {*world.nodes, *(h.name for h in world.hosts), "witness"} - left
    pairs = {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}
    world.network.cuts |= pairs
    return lambda: world.network.cuts.difference_update(pairs)


def _no_witness(world, which):
    """One host cannot reach the witness; everything else works."""
    pair = (world.hosts[which % len(world.hosts)].name, "witness")
    world.network.cuts.add(pair)
    return lambda: world.network.cuts.discard(pair)


def _no_replication(world, which):
    """The nodes do not reach each other; everybody else reaches both."""
    one, other = world.nodes
    world.network.cuts.add((one, other))
    return lambda: world.network.cuts.discard((one, other))


def _rate(name, value, calm):
    def apply_(world, which):
        setattr(world.network, name, value)
        return lambda: setattr(world.network, name, calm)

    return apply_


def _agent_crash(world, which):
    agent = world.agents[which % len(world.agents)]
    world.kernel.kill(agent.owner)
    return lambda: (world.kernel.kill(agent.owner), agent.start())[1]


def _agent_pause(world, which):
    agent = world.agents[which % len(world.agents)]
    agent.owner.paused = True
    return lambda: world.kernel.resume(agent.owner)


def _host_freeze(world, which):
    host = world.hosts[which % len(world.hosts)]
    owners = [host.owner, *(a.owner for a in world.agents if a.host is host)]
    for owner in owners:
        owner.paused = True
    return lambda: [world.kernel.resume(owner) for owner in owners]


def _witness_down(world, which):
    world.witness.up = False
    return lambda: setattr(world.witness, "up", True)


def _clock_jump(world, which):
    world.wall_offset += (-3600.0, 86_400.0, 7.0)[which % 3]


def _fenced(world, which):
    """Somebody makes a database read-only by hand."""
    _node(world, which).disk.read_only = True


def _slot_lost(world, which):
    """max_slot_wal_keep_size: the log that the slot needs is removed."""
    _each_slot(world, which, lost=True)


def _slot_gone(world, which):
    _each_slot(world, which, lost=False)


def _each_slot(world, which, *, lost):
    node = _node(world, which)
    for name, slot in list(node.disk.slots.items()):
        if lost:
            slot.usable = False
        else:
            del node.disk.slots[name]
    node.release()
    world.excuse_rows(node.name)


def _disk_full(world, which):
    node = _node(world, which)
    node.full = True
    return lambda: setattr(node, "full", False)


def _request(kind, accept_loss=False):
    def apply_(world, which):
        state = world.witness.state
        if not world.witness.up or state.plan is not None:
            return
        request = Request(id=f"r{world.next_id()}", kind=kind, target=state.other, accept_loss=accept_loss)
        if accept_loss:
            world.checks.accepted_loss = True
        world.witness.write(replace(state, request=request), state.version, "person")

    return apply_


def _pause(world, which):
    state = world.witness.state
    world.witness.write(replace(state, paused=True), state.version, "person")

    def undo():
        now = world.witness.state
        world.witness.write(replace(now, paused=False), now.version, "person")

    return undo


def _restore_node(of_primary):
    def apply_(world, which):
        state = world.witness.state
        if state.plan is not None:
            return  # see simulation.md: what is excused
        node = world.nodes[state.primary if of_primary else state.other]
        node.restore()
        if of_primary:
            world.excuse_rows(node.name)

    return apply_


def _restore_witness(world, which):
    world.witness.restore(15)


_APPLY = {
    "node_crash": _node_crash,
    "node_freeze": _node_freeze,
    "cut": _cut,
    "isolate": _isolate,
    "partition": _partition,
    "no_witness": _no_witness,
    "no_replication": _no_replication,
    "loss": _rate("loss", 0.2, 0.0),
    "late": _rate("late", 0.2, 0.0),
    "double": _rate("double", 0.2, 0.0),
    "slow": _rate("slow", 30.0, 1.0),
    "agent_crash": _agent_crash,
    "agent_pause": _agent_pause,
    "host_freeze": _host_freeze,
    "witness_down": _witness_down,
    "clock_jump": _clock_jump,
    "fenced": _fenced,
    "slot_lost": _slot_lost,
    "slot_gone": _slot_gone,
    "disk_full": _disk_full,
    "switchover": _request(RequestKind.SWITCHOVER),
    "failover": _request(RequestKind.FAILOVER),
    "force": _request(RequestKind.FAILOVER, accept_loss=True),
    "pause": _pause,
    "restore_primary": _restore_node(True),
    "restore_standby": _restore_node(False),
    "restore_witness": _restore_witness,
}
