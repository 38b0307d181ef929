"""Drills of the change of primary: planned ones, which nobody may notice, and the loss of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from understudy.demo import audit
from understudy.demo.ledger import Entry, Status
from understudy.drill.definition import Scenario
from understudy.drill.pair import SILENCE, STEADY, Pair, Sandbox, open_pair, open_servers
from understudy.drill.stage import Aborted, Stage
from understudy.model import Rpo
from understudy.readiness.journal import Loss, Radius, Recovery
from understudy.witness.base import Event

_FAILOVER: Final = 60.0  # seconds for a change of primary
_ABORT: Final = f"no canary was acknowledged anything for {SILENCE:g} s, or a wait is in vain"


# --- what is done -------------------------------------------------------------------------------------------


def switchover(stage: Stage, pair: Pair) -> None:
    """A planned change, and back to where it was."""
    home, target = pair.state.primary, pair.state.other
    _planned(stage, pair, target, measured=True)
    with stage.activity("wait until the pair is healthy again"):
        stage.wait("a healthy pair", pair.settled, pair.settle)
    _planned(stage, pair, home, measured=False)
    _settle_and_count(stage, pair)


def failback(stage: Stage, pair: Pair) -> None:
    """Away from home without measuring, and home, measured."""
    home = pair.home = pair.cluster.preferred.name
    if pair.state.primary == home:
        _planned(stage, pair, pair.state.other, measured=False)
        with stage.activity("wait until the pair is healthy again"):
            stage.wait("a healthy pair", pair.settled, pair.settle)
    _planned(stage, pair, home, measured=True)
    _settle_and_count(stage, pair)


def crash(stage: Stage, pair: Sandbox) -> None:
    """`kill -9` of every process of the primary's server; it is started again afterwards."""
    node = _lose(stage, pair, "kill -9 the primary's server", lambda n: pair.lab.servers[n].kill())
    with stage.activity(f"start {node} again and wait until it follows, verified"):
        pair.lab.servers[node].start()
        stage.wait("a healthy pair", pair.settled, pair.settle)
    _settle_and_count(stage, pair)


def freeze(stage: Stage, pair: Sandbox) -> None:
    """SIGSTOP to every process of the primary's server: it accepts connections and never answers."""
    node = _lose(stage, pair, "freeze the primary's server (SIGSTOP)", lambda n: pair.lab.servers[n].freeze())
    with stage.activity(f"thaw {node} and wait until it follows, verified"):
        pair.lab.servers[node].thaw()
        stage.wait("a healthy pair", pair.settled, pair.settle)
    _settle_and_count(stage, pair)


def region(stage: Stage, pair: Sandbox) -> None:
    """The primary's server and its files are gone for good; the other one must do alone."""
    what = "kill -9 the primary's server and remove its files"
    node = _lose(stage, pair, what, lambda n: pair.lab.servers[n].destroy())
    pair.alone = True
    with stage.activity("write on without a standby"):
        before = len(pair.entries())
        stage.wait("a hundred more answers", lambda: len(pair.entries()) > before + 100, 30)
    _account(stage, pair)
    answers = pair.entries()[before:]
    errors = audit.errors_of(answers)
    stage.check("writes go on alone", errors == 0, f"{len(answers)} answers without {node}, {errors} errors")


# --- the pieces ---------------------------------------------------------------------------------------------


def _planned(stage: Stage, pair: Pair, target: str, *, measured: bool) -> None:
    after, began, mark = pair.last_event, stage.clock(), time.monotonic_ns()
    with stage.activity(f"planned change to {target}") as told:
        pair.change(target)
        stage.wait("an answer of the new primary", lambda: _answered_since(pair, mark), 30)
        told.append(f"{target} is primary at epoch {pair.state.epoch}")
    time.sleep(STEADY)
    entries = pair.entries()
    longest = audit.longest_gap_ms(entries, mark, time.monotonic_ns()) / 1000
    errors = audit.errors_of(audit.between(entries, mark, time.monotonic_ns()))
    stage.check(
        f"the change to {target} fails nothing",
        errors == 0,
        f"{errors} errors; longest wait {longest:.3f} s",
    )
    if measured:
        _measure(stage, pair, began, pair.events(after), longest)


def _lose(stage: Stage, pair: Sandbox, name: str, fault: Callable[[str], object]) -> str:
    """Let it happen to the primary, wait for the other one, and measure. Returns the node that was lost."""
    node, after = pair.state.primary, pair.last_event
    began, mark = stage.clock(), time.monotonic_ns()
    pair.fault_at = began
    with stage.activity(name):
        fault(node)
    taken_over = "the standby takes over and writes go on"
    with stage.activity("wait for the failover") as told:
        try:
            stage.wait(
                "a failover", lambda: pair.state.primary != node and pair.state.plan is None, _FAILOVER
            )
            stage.wait("an answer of the new primary", lambda: _answered_since(pair, mark), 30)
        except Aborted as error:
            stage.check(taken_over, False, str(error))  # that is what the drill is about: it failed
            raise
        told.append(f"{pair.state.primary} is primary at epoch {pair.state.epoch}")
        stage.check(taken_over, True, told[-1])
    time.sleep(STEADY)
    outage = audit.outage_ms(pair.entries(), mark)
    if outage is None:
        raise Aborted("no canary was acknowledged anything after the fault")
    _measure(stage, pair, began, pair.events(after), outage / 1000)
    return node


def _answered_since(pair: Pair, mark: int) -> bool:
    """Whether a canary was acknowledged something at the present epoch since then."""
    epoch = pair.state.epoch
    recent = pair.entries()[-200:]
    return any(e.status is Status.ACKED and e.epoch == epoch and e.ended > mark for e in recent)


def _measure(stage: Stage, pair: Pair, began: float, events: Sequence[Event], writes: float) -> None:
    """Where the time went, from the history of the cluster and the ledgers of the canaries."""
    shift = stage.clock() - time.time()  # history has wall time; these few seconds are on one host
    seen, decided = _seen_and_decided(events)
    for event in events:
        if event.kind.startswith("step:") or event in (seen, decided):
            stage.moment(event.kind, event.wall + shift, event.message)
    points = [began]
    for at in (_at(seen, shift), _at(decided, shift), _resumed(pair.entries(), pair.state.epoch)):
        points.append(max(points[-1], at))
    stage.recovery = Recovery(
        detect=round(points[1] - points[0], 6),
        decide=round(points[2] - points[1], 6),
        act=round(points[3] - points[2], 6),
        verify=0.0,
        writes=round(writes, 6),
    )


def _at(event: Event | None, shift: float) -> float:
    return 0.0 if event is None else event.wall + shift


def _seen_and_decided(events: Sequence[Event]) -> tuple[Event | None, Event | None]:
    """The line that says what was seen (or ordered), and the last one before the first step of the plan."""
    first = next((i for i, event in enumerate(events) if event.kind.startswith("step:")), len(events))
    before = events[:first]
    seen = next((event for event in before if event.kind in ("node_down", "request")), None)
    return seen, before[-1] if before else None


def _resumed(entries: Sequence[Entry], epoch: int) -> float:
    """When the first canary was acknowledged something at that epoch, on the monotonic clock."""
    return min((e.ended for e in entries if e.epoch == epoch and e.status is Status.ACKED), default=0) / 1e9


def _settle_and_count(stage: Stage, pair: Pair) -> None:
    with stage.activity("wait until the pair is healthy"):
        stage.wait("a healthy pair", pair.settled, pair.settle)
    _account(stage, pair)


def _account(stage: Stage, pair: Pair) -> None:
    """What became of every write the canaries were promised; that proof ends the time to recover."""
    with stage.activity("stop the canaries"):
        pair.writers.stop()
    began = stage.clock()
    with stage.activity("compare their ledgers with the primary"):
        counted, oldest = pair.count()
    spent = stage.clock() - began
    zero = pair.cluster.policy.rpo is Rpo.ZERO
    lost = counted.absent if zero else counted.unaccounted
    exposed = 0.0 if oldest is None else max(0.0, pair.fault_at - oldest / 1e9)
    stage.loss = Loss(
        acknowledged=counted.acked, lost=lost, rescued=counted.rescued, seconds=round(exposed, 6)
    )
    bound = pair.cluster.policy.max_lag_seconds if pair.alone and not zero else 0.0
    where = "on the primary" if zero else "on the primary or in the rescue folders"
    if bound:
        what, held = f"nothing older than max_lag_seconds ({bound:g} s) is lost", exposed <= bound
    else:
        what, held = "no acknowledged write is lost", lost == 0
    age = f", the oldest {exposed:.3f} s before the fault" if lost else ""
    stage.check(what, held, f"{counted.acked:,} acknowledged, {lost:,} not {where}{age}")
    stage.check(
        "nothing was applied twice", counted.doubled == 0, f"{counted.doubled} copies beyond the first"
    )
    stage.check(
        "one writer at a time", counted.two_writers == 0, f"{counted.two_writers} answers of a former primary"
    )
    if stage.recovery is not None:
        stage.recovery = replace(stage.recovery, verify=round(spent, 6))
    with stage.activity("start the canaries again"):
        pair.writers.start()


# --- what people read ---------------------------------------------------------------------------------------

SCENARIOS: Final = (
    Scenario(
        name="switchover",
        title="A planned change of primary, and back",
        hypothesis="Writers wait for a moment, which is measured; they see no error, and lose nothing",
        abort_rule=_ABORT,
        method=(
            "order a switchover to the standby while canaries write",
            "wait until the former primary follows and is verified",
            "order the switchover back",
            "compare the canaries' ledgers with the primary",
        ),
        by_hand=("understudy switchover", "understudy status", "understudy verify"),
        open=open_pair,
        run=switchover,
        radii=(Radius.SANDBOX, Radius.CLONE, Radius.PRODUCTION),
    ),
    Scenario(
        name="failback",
        title="Home to the preferred primary",
        hypothesis="Writers wait for a moment, which is measured; they see no error, and lose nothing",
        abort_rule=_ABORT,
        method=(
            "make the other node primary, where the preferred one is",
            "order the failback while canaries write",
            "compare the canaries' ledgers with the primary",
        ),
        by_hand=("understudy status", "understudy failback", "understudy verify"),
        open=open_pair,
        run=failback,
        radii=(Radius.SANDBOX, Radius.CLONE, Radius.PRODUCTION),
    ),
    Scenario(
        name="failover-crash",
        title="The primary's server dies",
        hypothesis="The standby takes over by itself, no acknowledged write is lost, and the server follows again",
        abort_rule=_ABORT,
        method=(
            "kill -9 every process of the primary's server while canaries write",
            "wait for the failover and measure the time without an acknowledgement",
            "start the server again; wait until it was rescued from, rewound, follows, and is verified",
            "compare the canaries' ledgers with the primary and the rescue folders",
        ),
        by_hand=(
            "understudy status",
            "understudy explain",
            "where failover was refused: `understudy failover --accept-loss`, after reading what it says is lost",
            "understudy rescue list",
        ),
        open=open_servers,
        radii=(Radius.SANDBOX, Radius.CLONE),
        run=crash,
    ),
    Scenario(
        name="failover-freeze",
        title="The primary's server hangs: it takes connections and never answers",
        hypothesis="The standby takes over by itself, and the thawed server writes nothing any more",
        abort_rule=_ABORT,
        method=(
            "SIGSTOP every process of the primary's server while canaries write",
            "wait for the failover and measure the time without an acknowledgement",
            "SIGCONT; wait until it follows and is verified",
            "compare the canaries' ledgers with the primary and the rescue folders",
        ),
        by_hand=("understudy status", "understudy explain", "understudy rescue list"),
        open=open_servers,
        radii=(Radius.SANDBOX, Radius.CLONE),
        run=freeze,
    ),
    Scenario(
        name="region-loss",
        title="The primary's server and its disk are gone for good",
        hypothesis=(
            "The standby takes over by itself and goes on alone. In `zero` no acknowledged write is lost; in `bounded` "
            "none that is older than max_lag_seconds"
        ),
        abort_rule=_ABORT,
        method=(
            "kill -9 the primary's server and remove its files while canaries write",
            "wait for the failover and measure the time without an acknowledgement",
            "write on without a standby",
            "compare the canaries' ledgers with the primary",
        ),
        by_hand=(
            "understudy status: the other node is primary and goes on alone",
            "make a new server with an empty database, and bring it the tables without rows: "
            "docs/how-to/restore.md, *A server that is gone for good*",
            "put its address in place of the lost one's, and run `understudy setup`",
        ),
        open=open_servers,
        radii=(Radius.SANDBOX, Radius.CLONE),
        run=region,
    ),
)
