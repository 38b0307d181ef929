"""The agent of one cluster on one host: look, decide, write the decision down, act; renew the lease meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from understudy.agent.doorbell import Doorbell
from understudy.agent.leasing import LeaseKeeper
from understudy.agent.probing import Prober, Watch
from understudy.agent.steps import Hands, carry_out
from understudy.decide import Decision, StepOutcome, after_failure, complete, decide, invariants, next_step
from understudy.decide.plans import CHANGES
from understudy.engines.base import Engine
from understudy.errors import EngineError, LeaseError, StaleEpoch, StaleVersion, UnderstudyError, WitnessError
from understudy.gates import Gate
from understudy.gates.keeper import GateKeeper
from understudy.lease import LeaseFile, boot_now
from understudy.model import Cluster, ClusterState, NodeView, Step, View
from understudy.witness import Entry, Witness

_TURN = 0.25
"""Longest time between two looks, in seconds, when no probe brings news earlier."""
_RETRY_PAUSE = 0.2
"""Pause before a failed step is tried again, in seconds; doubled at each failure of the same step."""
_RETRY_PAUSE_LIMIT = 10.0
_PLACE_POLL = 0.1
"""Seconds between two looks at whether the acting agent is heard, when another one starts."""
_HISTORY_WAITING = 1000
"""Lines of history that may wait to be written; the oldest give way (the log has them all the same)."""
_UPKEEP_EVERY = 10.0
"""How often the spare slot is advanced and old rows are swept, in seconds: bounds the log a spare slot keeps."""


class AlreadyRunning(UnderstudyError):
    """Another agent acts for this cluster on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What an agent knows at this moment, for those who report it.

    Args:
        state: what the witness said last (None before the first answer).
        nodes: by name, as last probed.
        lag_seconds: the most that the standby can be behind by its heartbeat, as decisions count it; None where nobody
            knows. lag_shown: what it is known to be behind (`Watch.lag_shown`).
        rule, reason: the sentence of this moment (`decide`'s own words).
        in_doubt: commits of this host's clients of which nobody knows the outcome, since this agent began.
    """

    acting: bool
    state: ClusterState | None
    nodes: Mapping[str, NodeView]
    lag_seconds: float | None
    lag_shown: float | None
    rule: str
    reason: str
    in_doubt: int = 0


Listener = Callable[[ClusterState, ClusterState, Entry], None]
"""Hears of each state that this agent has written: before, after, its line of history. Must not raise or wait."""


class ClusterAgent:
    """Keeps one cluster alive from one host until cancelled.

    Attributes:
        listeners: told of what this agent decides and does.

    Args:
        engine, witness: for this cluster; the caller closes them.
        directory: where the lease file, the doorbell and the rescue folders are.
        standby: wait for the acting agent's place instead of refusing to start while it is taken.
        gates: what carries clients that hold no lease; this agent closes them.
    """

    def __init__(
        self,
        cluster: Cluster,
        engine: Engine,
        witness: Witness,
        directory: Path,
        *,
        standby: bool = False,
        gates: Sequence[Gate] = (),
    ) -> None:
        self._cluster, self._engine, self._witness = cluster, engine, witness
        self._standby = standby
        self._lease = LeaseFile(directory / f"{cluster.name}.lease")
        self._keeper = LeaseKeeper(self._lease, cluster.policy, boot_now)
        self._gates = GateKeeper(gates, cluster.policy, clock=boot_now, record=self._record)
        self._hands = Hands(
            engine=engine,
            keeper=self._keeper,
            rescues=directory / "rescue",
            patience=2 * cluster.policy.probe_timeout,
            gates=self._gates,
        )
        self._doorbell = Doorbell(directory / f"{cluster.name}.sock", self._rung)
        self.listeners: list[Listener] = []
        self.id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._log = structlog.get_logger().bind(cluster=cluster.name, agent=self.id)
        self._news = asyncio.Event()
        self._watch = Watch()
        self._probers = {n.name: self._prober(n.name) for n in cluster.nodes}
        self._acting = False
        self._state: ClusterState | None = None
        self._read_at = 0.0
        self._changed_at = 0.0
        self._work: asyncio.Task[None] | None = None
        self._working: tuple[str, int, Step] | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._said = ""
        self._doubts = 0
        self._sentence = ("", "")
        self._up: dict[str, bool] = {}
        self._history: deque[tuple[int, Entry]] = deque(maxlen=_HISTORY_WAITING)

    def _prober(self, name: str) -> Prober:
        return Prober(
            self._engine,
            name,
            self._cluster.policy,
            heartbeat=self._heartbeat_for,
            changed=self._news.set,
            clock=boot_now,
        )

    def _heartbeat_for(self, node: str) -> tuple[int | None, int]:
        """The primary gets a heartbeat (boot time in ms) with each probe, but not while it is being changed."""
        state = self._state
        if state is None or not self._acting or node != state.primary:
            return None, state.epoch if state is not None else 0
        changing = state.plan is not None and state.plan.kind in CHANGES
        return (None if changing else int(boot_now() * 1000)), state.epoch

    def _rung(self, doubts: int) -> None:
        """A client saw an error or a commit in doubt, or something was asked for."""
        if doubts:
            self._doubts += doubts
            what = "clients of this host lost their connection during a commit; nobody knows the outcome"
            self._log.warning("commit_in_doubt", count=doubts, message=what)
        for prober in self._probers.values():
            prober.ring()
        self._news.set()

    @property
    def sight(self) -> Sight:
        """What this agent knows now; asks nobody."""
        state, nodes = self._state, self._nodes()
        rule, reason = self._sentence
        return Sight(
            acting=self._acting,
            state=state,
            nodes=nodes,
            lag_seconds=None if state is None else self._watch.lag(state, nodes),
            lag_shown=None if state is None else self._watch.lag_shown(state, nodes),
            rule=rule,
            reason=reason,
            in_doubt=self._doubts,
        )

    def inherit(self, before: ClusterAgent) -> None:
        """Go on with what the agent before this one, of this process, has seen of the same servers. Call before `run`.

        Without it a primary that dies while the configuration is read again is not failed over from in `bounded` mode:
        nobody would know the lag (`docs/decisions/0005-unknown-lag-is-too-much.md`).
        """
        if before._cluster.nodes != self._cluster.nodes or not before._acting:
            return  # another server's answers, or another agent knows better
        now = boot_now()
        for name, prober in self._probers.items():
            prober.view = before._probers[name].view
        self._watch = before._watch
        self._changed_at = now  # rules that act on what is absent want to ask once more
        if self._watch.heard:
            # The primary has taken commits since its last heartbeat: the time until now counts as lag.
            self._watch.assume_commits_until(int(now * 1000))

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then finish the step under way (bounded) and give the place up.

        Raises (it has not begun then, and may be run again):
            AlreadyRunning: another agent acts here and ``standby`` was not asked for.
            UnderstudyError: the cluster has not been set up, or with other nodes; the witness does not answer.
        """
        try:
            await self._take_place()
        except UnderstudyError as error:
            self._sentence = ("not_started", str(error))
            await self._give_place_up()
            self._acting = False
            raise
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(p.run()) for p in self._probers.values()]
            tasks.append(
                group.create_task(self._forever(self._keep_lease, self._cluster.policy.probe_interval / 2))
            )
            tasks.append(group.create_task(self._forever(self._upkeep, _UPKEEP_EVERY)))
            tasks.append(group.create_task(self._gates.run()))
            try:
                await self._turns(stop)
            finally:
                await self._settle()
                await self._gates.settle()
                for task in tasks:
                    task.cancel()
        try:
            await self._write_history()
            await self._give_place_up()
        finally:
            self._lease.close()

    @property
    def begun(self) -> bool:
        """Whether it has ever taken its place, as the acting agent or in standby."""
        return self._state is not None

    async def _give_place_up(self) -> None:
        self._doorbell.close()
        try:
            if self._acting:
                await asyncio.to_thread(self._witness.release_agent, self._cluster.name, self.id)
        except WitnessError as error:
            self._log.warning(
                "place_not_given_up",
                error=str(error),
                message="the next agent waits until this one is silent",
            )

    async def _take_place(self) -> None:
        """Become the acting agent. One that was killed a moment ago is waited out; one that is heard again is not."""
        until = boot_now() + self._cluster.policy.agent_takeover + _PLACE_POLL
        self._acting, holder, silent = await self._claim_place()
        while not self._acting and not self._standby:
            before = silent
            await asyncio.sleep(_PLACE_POLL)
            self._acting, holder, silent = await self._claim_place()
            if not self._acting and (silent < before or boot_now() > until):
                raise AlreadyRunning(
                    f"cluster {self._cluster.name}: an agent already acts on this host ({holder}, heard "
                    f"{silent:.1f} s ago); stop it, or start this one with --standby to wait in its place"
                )
        if self._acting:
            await self._doorbell.open()
        at = boot_now()
        state = await asyncio.to_thread(self._witness.read, self._cluster.name)
        if state is None:
            raise UnderstudyError(f"cluster {self._cluster.name} has not been set up: run `understudy setup`")
        made, found = sorted(n.name for n in state.nodes), sorted(n.name for n in self._cluster.nodes)
        if made != found:
            raise UnderstudyError(
                f"cluster {self._cluster.name}: expected the nodes that were set up, {', '.join(made)}; found "
                f"{', '.join(found)} in the configuration; give them their names back"
            )
        self._state, self._read_at = state, at
        self._record("agent_started", f"agent started ({'acting' if self._acting else 'waiting in standby'})")

    async def _claim_place(self) -> tuple[bool, str, float]:
        takeover = self._cluster.policy.agent_takeover
        return await asyncio.to_thread(
            self._witness.take_agent, self._cluster.name, self.id, boot_now(), takeover
        )

    async def _settle(self) -> None:
        """A step under way may finish, within its own limit; a repair can be given up at once."""
        if self._work is None or self._work.done():
            return
        changing = (
            self._state is not None and self._state.plan is not None and self._state.plan.kind in CHANGES
        )
        if changing:
            await asyncio.wait({self._work}, timeout=self._cluster.policy.step_timeout)
        self._work.cancel()
        await asyncio.wait({self._work})

    async def _forever(self, once: Callable[[], Awaitable[None]], every: float) -> None:
        """Call ``once`` every so many seconds; a witness or node that fails it is reported, and it goes on."""
        while True:
            try:
                await once()
            except UnderstudyError as error:
                self._log.warning("upkeep_failed", error=str(error))
            await asyncio.sleep(every)

    # --- the loop --------------------------------------------------------------------------------------------

    async def _turns(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with asyncio.timeout(_TURN):
                    await self._news.wait()
            except TimeoutError:
                pass  # no news is also a reason to look: time has passed
            self._news.clear()
            await self._write_history()
            if not self._acting:
                continue
            try:
                await self._turn()
            except StaleVersion:
                self._news.set()  # somebody else changed the state: read it again at once
            except WitnessError as error:
                self._say("witness_down", f"no decision can be made: {error}", alarm=True)

    async def _turn(self) -> None:
        """One look: read, decide, write, and see to the step."""
        state = await self._read()
        view = self._look(state)
        if any(n.probe is None and n.misses == 0 and not n.error for n in view.nodes.values()):
            return  # a node that has not been asked yet is neither up nor down
        decision = decide(state, view, self._cluster.policy)
        if decision.state is not None:
            state = await self._write(state, decision.state, decision.rule, decision.reason)
            self._failures, self._retry_at = 0, 0.0
        else:
            self._say(decision.rule, decision.reason, alarm=decision.alarm)
        self._see_to_work(state, view, decision)

    def _look(self, state: ClusterState) -> View:
        nodes = {name: p.view for name, p in self._probers.items()}
        probe = nodes[state.primary].probe
        if probe is not None:
            self._watch.wrote_heartbeat(probe.heartbeat, probe.answered)
        self._report_nodes(nodes)
        return self._watch.look(state, nodes, now=boot_now(), wall=time.time(), changed_at=self._changed_at)

    def _report_nodes(self, nodes: dict[str, NodeView]) -> None:
        """One event when a node goes down or comes back, not one per probe."""
        for name, node in nodes.items():
            down = node.misses >= self._cluster.policy.failure_threshold
            refuses = bool(node.error) and node.misses == 0
            if node.up and not self._up.get(name, False):
                self._up[name] = True
                self._record("node_up", f"{name} answers", node=name)
            elif (down or refuses) and self._up.get(name, True):
                self._up[name] = False
                what = "refuses the agent" if refuses else f"missed {node.misses} probes"
                text = f"{name} {what}: {node.error}"
                self._record("node_down", text, node=name, misses=node.misses, error=node.error)

    async def _read(self) -> ClusterState:
        at = boot_now()
        state = await asyncio.to_thread(self._witness.read, self._cluster.name)
        if state is None:
            raise WitnessError(
                f"cluster {self._cluster.name} vanished from the witness: run `understudy setup`"
            )
        self._learn(state, at)
        return state

    def _learn(self, state: ClusterState, at: float) -> None:
        """``state`` is what the witness said at ``at``. A new version is a reason to ask every node anew."""
        if self._state is None or state.version != self._state.version:
            self._changed_at = boot_now()
            for prober in self._probers.values():
                prober.ring()
        self._state, self._read_at = state, at
        self._gates.see(state, at)

    async def _write(
        self, before: ClusterState, after: ClusterState, kind: str, message: str, took: float | None = None
    ) -> ClusterState:
        """Compare-and-set with its line of history, after the invariants have agreed to it."""
        broken = invariants.of_change(before, after, self._cluster.policy.rpo)
        if broken:
            raise WitnessError(f"refusing to write a decision that breaks the rules: {'; '.join(broken)}")
        await self._write_history()
        at = boot_now()
        entry = Entry(agent=self.id, kind=kind, message=message, took=took)
        written = await asyncio.to_thread(self._witness.write, after, expected=before.version, entry=entry)
        self._learn(written, at)
        self._log.info(kind, message=message, took=took, **_facts(written))
        for listener in self.listeners:
            listener(before, written, entry)
        return written

    # --- work ------------------------------------------------------------------------------------------------

    def _see_to_work(self, state: ClusterState, view: View, decision: Decision) -> None:
        """Start the next step, leave the running one alone, or stop one whose plan has gone."""
        step = next_step(state, self._cluster.policy.rpo)
        plan = state.plan
        wanted = (
            (plan.slot, plan.epoch, step) if plan is not None and step is not None and decision.work else None
        )
        if self._work is not None and not self._work.done():
            same = wanted is not None and self._working is not None and self._working[:2] == wanted[:2]
            if same or (plan is not None and decision.rule == "wait"):
                return
            self._work.cancel()
            self._work.add_done_callback(lambda _: self._news.set())
            return
        if self._work is not None and not self._work.cancelled():
            self._work.result()  # a fault of ours in a step ends the agent, loudly, instead of being repeated
        if wanted is not None and step is not None and boot_now() >= self._retry_at:
            self._working = wanted
            self._work = asyncio.create_task(self._steps(state, step, view))

    async def _steps(self, state: ClusterState, step: Step, view: View) -> None:
        """Carry out step after step of one plan as long as nothing goes wrong."""
        following: Step | None = step
        try:
            while following is not None and state.plan is not None:
                slot = state.plan.slot
                self._working = (slot, state.plan.epoch, following)
                state = await self._step(state, following, view)
                same_plan = state.plan is not None and state.plan.slot == slot
                following = next_step(state, self._cluster.policy.rpo) if same_plan else None
                view = self._look(state)
            self._failures, self._retry_at = 0, 0.0
        except StaleEpoch as error:
            self._say("superseded", f"{self._working}: {error}", alarm=True)
            self._postpone()
        except WitnessError as error:
            self._say("witness_down", f"step {self._working} is done but not recorded: {error}", alarm=True)
            self._postpone()
        except EngineError as error:
            await self._failed(state, str(error))
        finally:
            self._news.set()

    async def _step(self, state: ClusterState, step: Step, view: View) -> ClusterState:
        """One step, and its compare-and-set."""
        began = boot_now()
        outcome = await carry_out(step, state, view, self._hands)
        state = await self._completed(state, step, outcome, boot_now() - began)
        if step is Step.PUBLISH:
            self._renew_lease()
        if step is Step.FULL_COPY and state.plan is not None:
            self._probers[state.plan.target].forget_position()
        return state

    async def _completed(
        self, state: ClusterState, step: Step, outcome: StepOutcome, took: float
    ) -> ClusterState:
        """Record a finished step; where somebody changed the rest of the state meanwhile, on top of that."""
        before = state
        for _ in range(5):
            after = complete(before, step, outcome, self._cluster.policy.rpo)
            try:
                return await self._write(before, after, f"step:{step}", outcome.note, took)
            except StaleVersion:
                before = await self._read()
                if before.plan != state.plan:
                    raise
        raise StaleVersion(f"step {step} could not be recorded: the state changed five times meanwhile")

    async def _failed(self, state: ClusterState, error: str) -> None:
        """A step failed: roll back or try again later, as the decision core says."""
        step = self._working[2] if self._working is not None else Step.ANNOUNCE
        decision = after_failure(state, step, error, self._cluster.policy)
        if decision.state is None:
            self._say(decision.rule, decision.reason, alarm=decision.alarm)
            self._postpone()
            return
        try:
            await self._write(state, decision.state, decision.rule, decision.reason)
        except WitnessError as failed:
            self._say("witness_down", f"roll back not recorded: {failed}", alarm=True)
            self._postpone()

    def _postpone(self) -> None:
        self._retry_at = boot_now() + min(_RETRY_PAUSE_LIMIT, _RETRY_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)

    # --- lease and upkeep --------------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        """Stay the acting agent, and renew the lease; the latter also while the witness is down."""
        try:
            acting, holder, _ = await self._claim_place()
            if acting != self._acting:
                await self._change_place(acting, holder)
            if acting:
                await self._read()
        except WitnessError as error:
            if self._acting:
                self._keeper.renew(None, self._nodes(), read_at=0.0, standby_lag=-1.0)
            self._say("witness_down", str(error), alarm=True)
            return
        if self._acting:
            self._renew_lease()

    def _renew_lease(self) -> None:
        if self._state is None:
            return
        lag = self._watch.lag(self._state, self._nodes())
        try:
            self._keeper.renew(
                self._state, self._nodes(), read_at=self._read_at, standby_lag=-1.0 if lag is None else lag
            )
        except LeaseError as error:
            self._log.warning("lease_not_renewed", error=str(error), message="tried again at once")

    def _nodes(self) -> dict[str, NodeView]:
        return {name: p.view for name, p in self._probers.items()}

    async def _change_place(self, acting: bool, holder: str) -> None:
        self._acting = acting
        if acting:
            await self._doorbell.open()
            self._record("agent_took_over", "the acting agent was silent: this one acts now")
        else:
            self._doorbell.close()
            if self._work is not None:
                self._work.cancel()
            self._gates.see(None)
            self._log.warning("superseded", holder=holder)

    async def _upkeep(self) -> None:
        """Let the spare slot forget, sweep old rows. Only while nothing is under way."""
        state = self._state
        if state is None or not self._acting or state.plan is not None:
            return
        nodes = self._nodes()
        if state.spare_slot and nodes[state.other].up:
            await self._engine.advance_slot(state.other, state.spare_slot)
        if nodes[state.primary].up:
            await self._engine.sweep(state.primary)

    # --- telling -----------------------------------------------------------------------------------------------

    def _say(self, rule: str, reason: str, *, alarm: bool) -> None:
        """The sentence of this moment: told when it changes, not when only its numbers do; alarms also in history."""
        self._sentence = (rule, reason)
        said = f"{rule}:{re.sub('[0-9]+', '#', reason)}" if alarm else rule
        if said == self._said:
            return
        self._said = said
        if alarm:
            self._record(rule, reason)
        else:
            self._log.info(rule, reason=reason)

    def _record(self, kind: str, message: str, **facts: object) -> None:
        """One line of history, written down with the next turn: the disk must not hold up the probes.

        ``facts``: for the log only.
        """
        epoch = self._state.epoch if self._state is not None else 0
        known = _facts(self._state) if self._state is not None else {"epoch": 0}
        self._log.info(kind, message=message, **known, **facts)
        self._history.append((epoch, Entry(agent=self.id, kind=kind, message=message)))
        self._news.set()

    async def _write_history(self) -> None:
        """Write what waits, in order. A witness that takes nothing is asked once a turn, not once a line."""
        while self._history:
            epoch, entry = self._history.popleft()
            try:
                await asyncio.to_thread(self._witness.log, self._cluster.name, epoch=epoch, entry=entry)
            except WitnessError as error:
                self._history.appendleft((epoch, entry))
                self._log.warning("history_not_written", error=str(error))
                return


def _facts(state: ClusterState) -> dict[str, object]:
    """What every line of the log says about the state it belongs to."""
    facts: dict[str, object] = {"epoch": state.epoch, "primary": state.primary}
    if state.plan is not None:
        facts |= {"plan": str(state.plan.kind), "target": state.plan.target}
    return facts
