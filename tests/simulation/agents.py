"""An agent: look, read the witness, decide, write, do one step, write. The deciding is the real `decide`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.hosts import Host, two_of_three
from tests.simulation.kernel import Owner, Sleeper
from tests.simulation.steps import carry_out

from understudy.decide import StepOutcome, after_failure, complete, decide, next_step
from understudy.decide.plans import CHANGES
from understudy.errors import EngineError, NeedsCopy, StaleEpoch, StaleVersion, Unreachable, WitnessError
from understudy.lease import Phase
from understudy.model import ClusterState, NodeView, PlanKind, Probe, Step, View

if TYPE_CHECKING:
    from tests.simulation.nodes import Node
    from tests.simulation.world import World


class Agent:
    """One agent process. What it knows is gone when it is killed; `start` begins anew."""

    def __init__(self, world: World, name: str, host: Host) -> None:
        self.world, self.name, self.host = world, name, host
        self.kernel = world.kernel
        self.owner = Owner(name)

    def start(self, delay: float = 0.0) -> None:
        self.misses = dict.fromkeys(self.world.nodes, 0)
        self.probes: dict[str, Probe] = {}
        self.highest = dict.fromkeys(self.world.nodes, 0)
        self.beats: list[tuple[float, int]] = []  # when the primary was first seen at a heartbeat number
        self.healthy_since: float | None = None
        self.sync_lost_since: float | None = None
        self.acting = False
        self.version, self.changed_at = 0, 0.0
        self.unwritable = dict.fromkeys(self.world.nodes, 0)
        self.kernel.spawn(self.owner, self._run(), delay)

    def _run(self) -> Sleeper:
        interval = self.world.policy.probe_interval
        looked = -1.0
        while True:
            worked = False
            try:
                # A look may well be older than the state it is judged with: `View.changed_at` tells.
                state = yield from self._witness(self._read)
                yield from self._keep_lease(state)
                if self.kernel.now - looked >= interval:
                    looked = self.kernel.now
                    yield from self._look(state)
                if self.acting:
                    worked = yield from self._act(state)
            except WitnessError:
                if self.kernel.now - looked >= interval:
                    looked = self.kernel.now
                    yield from self._look(None)
            yield 0.002 if worked else max(0.05, looked + interval - self.kernel.now)

    def _witness(self, what: object) -> Sleeper:
        return (yield from self.world.network.ask_witness(self.host.name, what))

    def _read(self) -> ClusterState:
        self.acting = self.world.witness.take_agent(
            self.name, self.kernel.now, self.world.policy.agent_takeover
        )
        return self._learned(self.world.witness.state)

    def _learned(self, state: ClusterState) -> ClusterState:
        if state.version != self.version:
            self.version, self.changed_at = state.version, self.kernel.now
        return state

    def _write(self, state: ClusterState, expected: int) -> Sleeper:
        return (
            yield from self._witness(
                lambda: self._learned(self.world.witness.write(state, expected, self.name))
            )
        )

    # --- seeing ----------------------------------------------------------------------------------------------

    def _look(self, state: ClusterState | None) -> Sleeper:
        nodes = list(self.world.nodes.values())
        if state is not None and state.primary == nodes[0].name:
            nodes.reverse()  # the standby first: what it has then proves how far the primary had been
        for node in nodes:
            asked = self.kernel.now
            beat = self.acting and state is not None and state.primary == node.name
            epoch = state.epoch if state is not None else 0
            try:
                probe = yield from self.world.network.call(
                    self.host.name, node, lambda n=node, b=beat, e=epoch, t=asked: _probe(n, b, e, t), 0.25
                )
                self.probes[node.name] = probe
                self.misses[node.name] = 0
                self.highest[node.name] = max(self.highest[node.name], probe.wal)
                self.unwritable[node.name] = self.unwritable[node.name] + 1 if probe.unwritable else 0
            except Unreachable:
                self.misses[node.name] += 1

    def _view(self, state: ClusterState) -> View:
        now = self.kernel.now
        primary = self.probes.get(state.primary)
        standby = self.probes.get(state.other)
        if primary is not None and (not self.beats or self.beats[-1][1] != primary.heartbeat):
            self.beats.append((primary.at, primary.heartbeat))
        lag = None
        if standby is not None and self.beats:
            missing = [at for at, number in self.beats if number > standby.heartbeat]
            lag = self.beats[-1][0] - missing[0] if missing else 0.0
        followed = streams = False
        if state.link is not None and primary is not None and standby is not None:
            up = not self.misses[state.primary] and not self.misses[state.other]
            subscription = standby.subscriptions.get(state.link.name)
            followed = up and subscription is not None and subscription.running and not primary.unwritable
        if primary is not None:
            streams = primary.streaming.get(primary.sync_names, False)
        self.healthy_since = (self.healthy_since or now) if followed else None
        self.sync_lost_since = None if streams else (self.sync_lost_since or now)
        return View(
            now=now,
            wall=self.world.wall(),
            nodes={
                n: NodeView(
                    name=n,
                    misses=self.misses[n],
                    unwritable=self.unwritable[n],
                    probe=self.probes.get(n),
                    highest_wal=self.highest[n],
                )
                for n in self.world.nodes
            },
            changed_at=self.changed_at,
            lag_seconds=lag,
            healthy_since=self.healthy_since,
            sync_lost_since=self.sync_lost_since,
        )

    # --- this host's lease -----------------------------------------------------------------------------------

    def _keep_lease(self, state: ClusterState) -> Sleeper:
        """Bring the lease to what the witness says; open it only when two of three agree."""
        plan, lease, asked = state.plan, self.host.lease, self.host.clock()
        if plan is not None and plan.kind in CHANGES and state.epoch == plan.epoch:
            if lease.epoch < state.epoch:
                phase = Phase.HOLDING if plan.kind is PlanKind.SWITCHOVER else Phase.CHANGING
                self.host.write_lease(state.epoch, state.primary, phase, lease.deadline)
            return
        if (lease.epoch, lease.primary, lease.phase) == (state.epoch, state.primary, Phase.OPEN):
            return
        agreed = two_of_three((yield from self.host.registers()))
        if agreed == (state.epoch, state.primary):
            deadline = asked + self.world.policy.lease_ttl
            self.host.write_lease(state.epoch, state.primary, Phase.OPEN, deadline)

    # --- deciding and acting ---------------------------------------------------------------------------------

    def _act(self, state: ClusterState) -> Sleeper:
        """Returns whether something was done, so that the next look need not wait."""
        world = self.world
        decision = decide(state, self._view(state), world.policy)
        world.rules_seen.add(decision.rule)
        if decision.rule != "steady":
            self.kernel.say(self.name, f"{decision.rule}: {decision.reason}")
        if decision.state is not None:
            following = decision.state
            if not world.rules.in_sync_withdrawn_first and decision.rule == "sync_lost":
                following = replace(following, in_sync=state.in_sync)
            state = yield from self._write(following, state.version)
            yield from self._keep_lease(state)
        if not decision.work or state.plan is None:
            if decision.state is None and decision.rule == "steady":
                yield from self._advance_spare(state)
            return decision.state is not None
        step = next_step(state, world.policy.rpo)
        assert step is not None
        world.steps_seen.add((state.plan.kind, step))
        try:
            outcome = yield from self._interrupted(state, step)
        except StaleEpoch as error:
            self.kernel.say(self.name, f"{step} superseded: {error}")
            return False
        except EngineError as error:
            if isinstance(error, NeedsCopy):
                outcome = StepOutcome(needs_copy=str(error))
                if complete(state, step, outcome, world.policy.rpo).plan is None:
                    yield from self._complete(state, step, outcome)
                    return True
            self.kernel.say(self.name, f"{step} failed: {error}")
            failed = after_failure(state, step, str(error), world.policy)
            world.rules_seen.add(failed.rule)
            if failed.state is not None:
                yield from self._write(failed.state, state.version)
            return failed.state is not None
        yield from self._complete(state, step, outcome)
        return True

    def _interrupted(self, state: ClusterState, step: Step) -> Sleeper:
        """Carry the step out, unless a test wants the agent to die or the call to fail right here."""
        assert state.plan is not None
        how = self.world.interruption(state.plan.kind, step)
        if how == "dies before":
            yield from self._die()
        if how == "fails before":
            raise Unreachable("a test wants it so")
        outcome = yield from carry_out(self, state, step)
        if how == "dies after":
            yield from self._die()
        if how == "fails after":
            raise Unreachable("a test wants it so, after it took effect")
        if how == "dies written":
            following = complete(state, step, outcome, self.world.policy.rpo)
            yield from self._write(following, state.version)
            yield from self._die()
        return outcome

    def _die(self) -> Sleeper:
        self.kernel.say(self.name, "dies")
        self.kernel.kill(self.owner)
        yield 1e9

    def _complete(self, state: ClusterState, step: Step, outcome: StepOutcome) -> Sleeper:
        plan = state.plan
        assert plan is not None
        for _ in range(3):
            try:
                following = complete(state, step, outcome, self.world.policy.rpo)
                state = yield from self._write(following, state.version)
            except StaleVersion:
                state = yield from self._witness(lambda: self.world.witness.state)
                now = state.plan
                if now is None or (now.number, now.done) != (plan.number, plan.done):
                    return
                continue
            self.kernel.say(self.name, f"{plan.kind}: {step} done {outcome.note}")
            yield from self._keep_lease(state)
            return

    def _advance_spare(self, state: ClusterState) -> Sleeper:
        """Let the spare slot forget, so that it keeps no disk. Carries no epoch: the contract has none."""
        if not state.spare_slot or state.plan is not None or self.kernel.random.random() > 0.2:
            return
        name = state.spare_slot

        def advance(node: Node) -> None:
            slot = node.disk.slots.get(name)
            if slot is not None and (node.disk.read_only or not self.world.rules.advance_guarded):
                slot.confirmed = slot.saved = node.wal

        node = self.world.nodes[state.other]
        with suppress(Unreachable):
            yield from self.world.network.call(self.host.name, node, lambda: advance(node))


def _probe(node: Node, beat: bool, epoch: int, asked: float) -> Probe:
    """The probe, with a heartbeat where the caller takes this node for the primary of its epoch."""
    disk = node.disk
    if beat and disk.fence[0] <= epoch and not disk.read_only and not node.full:
        number = disk.data.get("hb", 0) + 1
        node.append((("update", "hb", number), ("update", "seq", disk.sequence)))
    return node.probe(asked)
