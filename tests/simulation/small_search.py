"""Breadth-first search over everything that can happen in the smallest world (`small_nodes`).

Two nodes, two agents, one change of primary, and faults at every point. What is real: `decide`, `after_failure`,
`complete`, `next_step`, the invariants, and `agent.steps.carry_out`. Each step of an agent is atomic;
between any two of them anything else may happen. What an agent has seen may be as old as it likes.

Deciding is atomic too (read the witness, decide, compare-and-set): a compare-and-set that succeeds means that the
state had not changed since it was read, so nothing is lost by this; views are stale all the same, because looking
is a step of its own. The state's `version` counts plans here, not writes, so that histories meet again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.simulation.small_nodes import (
    NAMES,
    Blocked,
    Broken,
    Lease,
    Servers,
    Write,
    run_step,
)
from tests.simulation.small_world import LOOKS_AT_UP, Agent, Scenario, World

from understudy.decide import after_failure, complete, next_step
from understudy.errors import EngineError, StaleEpoch
from understudy.model import (
    Rpo,
    Step,
)


class Search(Scenario):
    """A scenario in motion: what can happen next, and which faults may come."""

    # --- what can happen --------------------------------------------------------------------------------------------

    def following(self, world: World) -> Iterator[tuple[str, World]]:
        """Everything that can happen next without a further fault, with its name."""
        yield from self._clients(world)
        yield from self._replication(world)
        for lease in self.leases(world, lagging=True):
            if lease.epoch > world.lease.epoch:
                write = world.write
                if write.lagging and write.in_flight:
                    write = Write("ghost", write.node) if write.status == "sent" else Write("over")
                yield f"a lagging host opens at {lease.epoch}", world._replace(lease=lease, write=write)
        for name in NAMES:
            node = self.nodes.items[getattr(world, name)]
            if node.up != "up":
                up = {name: self.nodes.number(node._replace(up="up"))}
                yield f"{name} is back", world._replace(**up)
        for cut in world.cuts:
            yield f"{cut} is mended", world._replace(cuts=tuple(c for c in world.cuts if c != cut))
        for index, agent in enumerate(world.agents):
            if agent.awake:
                yield from self._agent(world, index, agent)

    def _clients(self, world: World) -> Iterator[tuple[str, World]]:
        write = world.write
        if write.status == "none":
            for lease, lagging in self._valid(world):
                node = self.nodes.items[getattr(world, lease.primary)]
                if node.up != "down" and not node.read_only:
                    sent = Write("sent", lease.primary, lease.epoch, lagging)
                    yield f"w is sent to {lease.primary} at {lease.epoch}", world._replace(write=sent)
        elif write.status in ("sent", "ghost"):
            if self.nodes.items[getattr(world, write.node)].up == "up":
                servers = self.servers(world)
                servers.commit()
                servers.acknowledge(zero=self.rpo is Rpo.ZERO)  # at once, where nobody has to be waited for
                yield f"w is committed on {write.node}", self.put(world, servers)
        elif write.status == "waiting":
            servers = self.servers(world)
            if servers.acknowledge(zero=self.rpo is Rpo.ZERO):
                yield f"w is acknowledged by {write.node}", self.put(world, servers)

    def _valid(self, world: World) -> Iterator[tuple[Lease, bool]]:
        if world.lease.epoch:
            yield world.lease, True
        for lease in self.leases(world, lagging=False):
            yield lease, False

    def _replication(self, world: World) -> Iterator[tuple[str, World]]:
        key = (world.oak, world.elm, "oak-elm" in world.cuts, world.state)
        found = self._applied.get(key)
        if found is None:
            found = self._applied[key] = []
            for name in NAMES:
                for subscription in self.nodes.items[getattr(world, name)].subscriptions:
                    servers = self.servers(world)
                    if servers.apply(name, subscription.name):
                        changed = {name: self.nodes.number(servers.nodes[name])}
                        found.append((f"{name} applies what {subscription.name} brings", changed))
        for label, changed in found:
            yield label, world._replace(**changed)

    def _agent(self, world: World, index: int, agent: Agent) -> Iterator[tuple[str, World]]:
        who = f"agent {index}"
        if agent.doing is None and self._replaced(world, index):
            return
        wants_look = agent.doing is None or (agent.doing[2] < 0 and agent.doing[1] in LOOKS_AT_UP)
        if wants_look:
            seen = self.look(world, index)
            changed = agent._replace(seen=seen, fresh=agent.known)
            if changed != agent:
                yield f"{who} looks", _with(world, index, changed)
        if agent.doing is None:
            if (
                agent.seen is not None
                and self.witness_answers(world, index)
                and not self._replaced(world, index)
            ):
                yield from self._turn(world, index, agent)
            return
        if self.deep:
            yield f"{who} forgets {agent.doing[1]}", _with(world, index, agent._replace(doing=None))
        elif self.witness_answers(world, index) and not self._replaced(world, index):
            yield from self._turn_at_work(world, index, agent)
        if agent.doing[2] < 0:
            yield from self._carry_out(world, index, agent)
        elif self.witness_answers(world, index):
            yield from self._record(world, index, agent)

    def _replaced(self, world: World, index: int) -> bool:
        """Once the second agent acts, the first only goes on with what it had begun."""
        return not self.deep and index == 0 and world.agents[1].awake

    def _turn_at_work(self, world: World, index: int, agent: Agent) -> Iterator[tuple[str, World]]:
        """A look while a step is under way. Only another plan stops that step."""
        assert agent.doing is not None
        before = self.states.items[agent.doing[0]].plan
        seen = self.look(world, index)
        number, step = self._decide(world.state, seen, fresh=agent.known)
        plan = self.states.items[number].plan
        if plan is None or step is None or plan.number == before.number:
            return
        after = _wrote(world, number) if number != world.state else world
        changed = agent._replace(known=True, fresh=False, seen=seen, doing=(number, step, -1))
        yield f"agent {index} stops {agent.doing[1]} for {plan.kind}", _with(after, index, changed)

    def _turn(self, world: World, index: int, agent: Agent) -> Iterator[tuple[str, World]]:
        """Read the witness, decide, compare-and-set."""
        assert agent.seen is not None
        fresh = agent.fresh and agent.known
        number, step = self._decide(world.state, agent.seen, fresh=fresh)
        doing = None if step is None else (number, step, -1)
        if number != world.state:
            world = _wrote(world, number)
            fresh = False
        changed = agent._replace(known=True, fresh=fresh, doing=doing)
        after = _with(world, index, changed)
        yield f"agent {index} decides", after

    def _carry_out(
        self, world: World, index: int, agent: Agent, *, lost: str = ""
    ) -> Iterator[tuple[str, World]]:
        """One step on the servers. ``lost``: "call" or "answer", the fault that makes it fail."""
        assert agent.doing is not None
        number, step, _ = agent.doing
        state = world.state if step in (Step.HOLD, Step.VERIFY) else -1
        view = agent.seen if step in LOOKS_AT_UP else None
        cuts = tuple(c for c in world.cuts if c == "oak-elm" or c[0] == str(index) or step is Step.HOLD)
        servers = (world.oak, world.elm, world.write, world.rescued, world.lease)
        key = (servers, number, step, view, state, cuts, index)
        if key not in self._done:
            self._done[key] = self._do(world, index, agent)
        result, servers = self._done[key]
        if isinstance(result, Broken):
            raise result
        if lost == "call":
            after, result = world, EngineError("lost")
        else:
            after = self.put(world, servers)
            result = EngineError("lost") if lost and isinstance(result, int) else result
        label = f"agent {index}: {step}"
        if isinstance(result, int):
            yield label, _with(after, index, agent._replace(doing=(number, step, result)))
        elif isinstance(result, Blocked):
            if after != world:
                yield f"{label} waits", after
        elif isinstance(result, StaleEpoch):
            yield f"{label} is superseded", _with(after, index, agent._replace(doing=None))
        else:
            yield f"{label} fails: {result}", self._failed(after, index, agent, str(result))

    def _do(self, world: World, index: int, agent: Agent) -> tuple[Any, Servers]:
        assert agent.doing is not None
        assert agent.seen is not None
        number, step, _ = agent.doing
        servers = self.servers(world, index)
        try:
            outcome = run_step(step, self.states.items[number], self.view(agent.seen, fresh=False), servers)
        except (EngineError, Broken) as error:
            return error, servers
        return self.outcomes.number(replace(outcome, note="")), servers

    def _failed(self, world: World, index: int, agent: Agent, error: str) -> World:
        """`after_failure`: a compare-and-set against the state that the step was carried out for."""
        assert agent.doing is not None
        number, step, _ = agent.doing
        idle = agent._replace(doing=None)
        decision = after_failure(self.states.items[number], step, error, self.policy)
        self.rules.add(decision.rule)
        if decision.state is None or number != world.state or not self.witness_answers(world, index):
            return _with(world, index, idle)
        world = _wrote(world, self.written(number, decision.state))
        return _with(world, index, idle._replace(known=True, fresh=False))

    def _record(self, world: World, index: int, agent: Agent) -> Iterator[tuple[str, World]]:
        """The finished step's compare-and-set, and on to the next step without another look."""
        assert agent.doing is not None
        number, step, outcome = agent.doing
        label = f"agent {index}: {step} is recorded"
        key = (world.state, number, step, outcome)
        if key not in self._recorded:
            self._recorded[key] = self._completed(*key)
        found = self._recorded[key]
        if found is None:
            yield f"{label}: too late", _with(world, index, agent._replace(doing=None))
            return
        number, following = found
        doing = (number, following, -1) if following is not None else None
        changed = agent._replace(known=True, fresh=False, doing=doing)
        yield label, _with(_wrote(world, number), index, changed)

    def _completed(self, now: int, number: int, step: Step, outcome: int) -> tuple[int, Step | None] | None:
        """The state once the step is recorded, and the next step; None when the plan has changed meanwhile."""
        present = self.states.items[now]
        if present.plan != self.states.items[number].plan:
            return None
        after = complete(present, step, self.outcomes.items[outcome], self.rpo)
        return self.written(now, after), next_step(after, self.rpo)

    # --- faults ------------------------------------------------------------------------------------------------------

    def disturbed(self, world: World) -> Iterator[tuple[str, World]]:
        """Every fault that may come now."""
        if not world.trigger and not world.faults:
            return
        spent = world._replace(trigger=False) if world.trigger else world._replace(faults=world.faults - 1)
        for kind, label, after in self._faults(spent, first=world.trigger):
            if self.kinds is None or world.trigger or kind in self.kinds:
                yield label, after

    def _faults(self, world: World, *, first: bool) -> Iterator[tuple[str, str, World]]:
        for name in NAMES[:1] if first else NAMES:
            node = self.nodes.items[getattr(world, name)]
            if node.up == "up":
                for how in ("down", "frozen"):
                    servers = self.servers(world)
                    servers.nodes[name] = node._replace(up=how)
                    if how == "down":
                        servers.end_sessions(name)
                    after = self.put(world, servers)
                    yield how, f"{name} is {how}", after
                    yield from self._unanswered(after, how, f"{name} is {how}")
        links = (
            ("0-oak",)
            if first
            else ("0-oak", "0-elm", "0-witness", "1-oak", "1-elm", "1-witness", "oak-elm", "witness")
        )
        for cut in links:
            if cut not in world.cuts:
                yield "cut", f"{cut} is cut", world._replace(cuts=tuple(sorted((*world.cuts, cut))))
        if first:
            return
        yield from self._agent_faults(world)

    def _unanswered(self, world: World, kind: str, label: str) -> Iterator[tuple[str, str, World]]:
        """The same, and the answer to a step that has just taken effect is lost with it."""
        for index, agent in enumerate(world.agents):
            if agent.doing is not None and agent.doing[2] >= 0:
                after = self._failed(world, index, agent, "lost")
                yield kind, f"{label}, agent {index} gets no answer to {agent.doing[1]}", after

    def _agent_faults(self, world: World) -> Iterator[tuple[str, str, World]]:
        if not world.agents[1].awake:
            woken = _with(world, 1, Agent(True))
            yield "agent", "agent 0 falls behind, agent 1 takes over", woken
        for index, agent in enumerate(world.agents):
            if agent.awake and agent.doing is not None:
                yield "agent", f"agent {index} dies and begins anew", _with(world, index, Agent(True))
            if agent.awake and agent.doing is not None and agent.doing[2] < 0:
                for lost in ("call", "answer"):
                    for label, after in self._carry_out(world, index, agent, lost=lost):
                        yield "message", f"{label} ({lost} lost)", after


def _with(world: World, index: int, agent: Agent) -> World:
    one, two = world.agents
    return world._replace(agents=(agent, two) if index == 0 else (one, agent))


def _wrote(world: World, number: int) -> World:
    """The state has changed: nobody knows it yet."""
    one, two = (a if not (a.known or a.fresh) else a._replace(known=False, fresh=False) for a in world.agents)
    return world._replace(state=number, agents=(one, two))
