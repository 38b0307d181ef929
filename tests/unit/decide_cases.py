"""The table for `decide`: these answers in, this decision out. Each rule and each refusal has a line.

A line starts from a pair that is well (oak primary, elm follows) and says only what is different.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from understudy.decide.decide import MAX_COPIES
from understudy.decide.plans import begin
from understudy.model import (
    ClusterState,
    Failback,
    Link,
    NodeRecord,
    NodeView,
    PlanKind,
    Policy,
    Probe,
    Request,
    RequestKind,
    Role,
    Rpo,
    SlotView,
    Step,
    SubscriptionView,
)

NOW = 1000.0
ZERO = Policy(rpo=Rpo.ZERO, failback_after=60.0)
BOUNDED = Policy(rpo=Rpo.BOUNDED, failback_after=60.0)
LINK = Link(name="u1", publisher="oak", subscriber="elm")
SLOT = SlotView(active=True, usable=True, confirmed=100)
SUBSCRIPTION = SubscriptionView(enabled=True, running=True, ready=True, origin=100)
PRIMARY = Probe(
    at=999.5,
    answered=999.6,
    epoch=1,
    epoch_primary="oak",
    wal=100,
    identity="111/1",
    schema="s",
    slots={"u1": SLOT},
    streaming={"u1": True},
    sync_names="u1",
    heartbeat=7,
)
STANDBY = Probe(
    at=999.3,
    answered=999.4,
    epoch=1,
    epoch_primary="oak",
    fenced=True,
    wal=900,
    identity="222/1",
    schema="s",
    slots={"u1s": replace(SLOT, active=False)},
    subscriptions={"u1": SUBSCRIPTION},
    heartbeat=7,
)
STATE = ClusterState(
    cluster="c",
    version=10,
    epoch=1,
    primary="oak",
    nodes=(
        NodeRecord(name="oak", role=Role.PRIMARY, identity="111/1", verified=True),
        NodeRecord(name="elm", role=Role.STANDBY, identity="222/1", verified=True),
    ),
    link=LINK,
    spare_slot="u1s",
    in_sync=True,
)
WAITING = replace(PRIMARY, slots={"u1s": replace(SLOT, active=False)})
DETACHED = replace(
    STATE,
    link=None,
    reverse=Link(name="u1s", publisher="oak", subscriber="elm"),
    spare_slot="",
    in_sync=False,
).with_record("elm", role=Role.DETACHED, rescue_point=500, verified=False)
AWAY = replace(  # elm is primary, oak (the preferred node) follows
    STATE, primary="elm", link=Link(name="u1", publisher="elm", subscriber="oak")
)
AWAY = AWAY.with_record("oak", role=Role.STANDBY).with_record("elm", role=Role.PRIMARY)


def plan(kind: PlanKind, target: str, *done: Step, state: ClusterState = STATE) -> ClusterState:
    begun = begin(state, kind, target, rule="r", reason="x")
    assert begun.plan is not None
    epoch = begun.plan.epoch if done else begun.epoch
    return replace(begun, epoch=epoch, plan=replace(begun.plan, done=done))


def down(name: str, misses: int = 3) -> NodeView:
    return NodeView(name=name, misses=misses, error="timeout", probe=PRIMARY if name == "oak" else STANDBY)


def asks(
    kind: str, target: str = "elm", state: ClusterState = STATE, *, accept_loss: bool = False
) -> ClusterState:
    request = Request(id="r1", kind=RequestKind(kind), target=target, accept_loss=accept_loss)
    return replace(state, request=request)


@dataclass
class Case:
    """``rule`` and ``says`` are what must come out; ``begins`` the plan that is begun, if one is."""

    name: str
    rule: str
    says: str = ""
    state: ClusterState = STATE
    oak: Probe | NodeView = PRIMARY
    elm: Probe | NodeView = STANDBY
    policy: Policy = BOUNDED
    view: dict[str, Any] = field(default_factory=dict)
    begins: PlanKind | None = None
    works: bool | None = None


def _away(**changes: Any) -> dict[str, Any]:
    """Both nodes as seen while elm is primary."""
    oak = replace(STANDBY, identity="111/1")
    elm = replace(PRIMARY, identity="222/1")
    return {"state": AWAY, "oak": oak, "elm": elm, **changes}


F, S, R = PlanKind.FAILOVER, PlanKind.SWITCHOVER, PlanKind.REINSTATE
CASES = [
    Case("all is well", "steady", "oak is well"),
    Case("in zero mode", "steady", "in sync", policy=ZERO),
    Case("the primary missed too few probes", "steady", oak=down("oak", 2)),
    # --- witness
    Case("a node knows a newer epoch", "witness_behind", "seen epoch 2", elm=replace(STANDBY, epoch=2)),
    Case(
        "even if that node is down now",
        "witness_behind",
        elm=NodeView(name="elm", misses=9, probe=replace(STANDBY, epoch=2)),
    ),
    # --- failover and its gates
    Case("the primary is down", "primary_down", "missed 3 probes", oak=down("oak"), begins=F, works=True),
    Case("zero, in sync", "primary_down", oak=down("oak"), policy=ZERO, begins=F),
    Case(
        "a primary that cannot write",
        "primary_down",
        "disk full",
        begins=F,
        oak=NodeView(name="oak", unwritable=3, probe=replace(PRIMARY, unwritable="disk full")),
    ),
    Case(
        "one failed write is no failover",
        "steady",
        oak=NodeView(name="oak", unwritable=1, probe=replace(PRIMARY, unwritable="disk full")),
    ),
    Case(
        "the primary went back in time",
        "primary_down",
        "went back in time",
        begins=F,
        oak=replace(PRIMARY, wal=50),
    ),
    Case("asked before the standby answered: no proof", "steady", oak=replace(PRIMARY, wal=50, at=999.0)),
    Case(
        "another server answers",
        "primary_down",
        "another server",
        oak=replace(PRIMARY, identity="999/1"),
        begins=F,
    ),
    Case("refused: paused", "failover_refused", "paused", state=replace(STATE, paused=True), oak=down("oak")),
    Case("refused: disabled", "failover_refused", "disabled", policy=Policy(failover=False), oak=down("oak")),
    Case(
        "refused: both down",
        "failover_refused",
        "does not answer either",
        oak=down("oak"),
        elm=down("elm", 1),
    ),
    Case("refused: detached", "failover_refused", "must rejoin first", state=DETACHED, oak=down("oak")),
    Case(
        "refused: no subscription",
        "failover_refused",
        "no subscription",
        oak=down("oak"),
        elm=replace(STANDBY, subscriptions={}),
    ),
    Case(
        "refused: still copying",
        "failover_refused",
        "not finished copying",
        oak=down("oak"),
        elm=replace(STANDBY, subscriptions={"u1": replace(SUBSCRIPTION, ready=False)}),
    ),
    Case(
        "refused: schemas differ",
        "failover_refused",
        "schemas",
        oak=down("oak"),
        view={"drifted": True},
    ),
    Case(
        "what the dead primary said last may be from before a migration",
        "primary_down",
        oak=down("oak"),
        elm=replace(STANDBY, schema="t"),
        begins=F,
    ),
    Case(
        "refused: zero, not in sync",
        "failover_refused",
        "not in sync",
        policy=ZERO,
        state=replace(STATE, in_sync=False),
        oak=down("oak"),
    ),
    Case(
        "refused: lag unknown",
        "failover_refused",
        "no heartbeat tells",
        oak=down("oak"),
        view={"lag_seconds": None},
    ),
    Case(
        "refused: too many seconds",
        "failover_refused",
        "max_lag_seconds",
        oak=down("oak"),
        view={"lag_seconds": 11.0},
    ),
    Case(
        "refused: too many bytes",
        "failover_refused",
        "max_lag_bytes",
        policy=replace(BOUNDED, max_lag_bytes=89),
        oak=down("oak"),
        elm=replace(STANDBY, subscriptions={"u1": replace(SUBSCRIPTION, origin=10)}),
    ),
    Case(
        "just within the bytes",
        "primary_down",
        policy=replace(BOUNDED, max_lag_bytes=90),
        oak=down("oak"),
        begins=F,
        elm=replace(STANDBY, subscriptions={"u1": replace(SUBSCRIPTION, origin=10)}),
    ),
    # --- a change under way
    Case(
        "a failover goes on",
        "continue",
        "hold",
        state=plan(F, "elm", Step.ANNOUNCE),
        oak=down("oak"),
        works=True,
    ),
    Case(
        "its target dies, the source is back",
        "target_lost",
        "answers again",
        state=plan(F, "elm", Step.ANNOUNCE),
        elm=down("elm"),
        begins=R,
    ),
    Case(
        "both are down",
        "wait",
        "both down",
        state=plan(F, "elm", Step.ANNOUNCE),
        oak=down("oak"),
        elm=down("elm"),
        works=False,
    ),
    Case(
        "past the commit point only forward",
        "continue",
        works=True,
        oak=down("oak"),
        elm=down("elm"),
        state=plan(
            F,
            "elm",
            Step.ANNOUNCE,
            Step.HOLD,
            Step.FENCE_IF_REACHABLE,
            Step.STOP_APPLY,
            Step.RAISE_SEQUENCES,
            Step.OPEN_REVERSE_SLOT,
            Step.PROMOTE,
        ),
    ),
    Case("a switchover's target dies before the claim", "target_lost", state=plan(S, "elm"), elm=down("elm")),
    Case(
        "and after it", "target_lost", state=plan(S, "elm", Step.PREPARE_REVERSE), elm=down("elm"), begins=R
    ),
    Case(
        "a switchover's source dies",
        "escalate",
        "during the switchover",
        state=plan(S, "elm", Step.PREPARE_REVERSE),
        oak=down("oak"),
        begins=F,
    ),
    Case(
        "and the gates are shut",
        "failover_refused",
        "max_lag_seconds",
        state=plan(S, "elm", Step.PREPARE_REVERSE),
        oak=down("oak"),
        view={"lag_seconds": 99.0},
    ),
    Case(
        "a reinstated node dies",
        "escalate",
        "reinstated",
        state=plan(R, "oak", Step.ANNOUNCE),
        oak=down("oak"),
        begins=F,
    ),
    Case(
        "a pause does not stop a change",
        "continue",
        state=replace(plan(F, "elm", Step.ANNOUNCE), paused=True),
        works=True,
    ),
    # --- a person
    Case("switchover", "request", "asked for", state=asks("switchover"), begins=S),
    Case("to the primary", "request_refused", "primary already", state=asks("switchover", "oak")),
    Case(
        "the primary is silent",
        "request_refused",
        "not a switchover",
        state=asks("switchover"),
        oak=down("oak", 1),
    ),
    Case(
        "the standby is silent",
        "request_refused",
        "does not answer",
        state=asks("switchover"),
        elm=down("elm", 1),
    ),
    Case(
        "the standby receives nothing",
        "request_refused",
        "not receiving",
        state=asks("switchover"),
        elm=replace(STANDBY, subscriptions={"u1": replace(SUBSCRIPTION, running=False)}),
    ),
    Case(
        "no spare slot",
        "request_refused",
        "no spare slot",
        state=asks("switchover"),
        elm=replace(STANDBY, slots={}),
    ),
    Case(
        "zero, not in sync",
        "request_refused",
        "not in sync",
        policy=ZERO,
        state=asks("switchover", state=replace(STATE, in_sync=False)),
    ),
    Case("too far behind", "request_refused", "behind", state=asks("switchover"), view={"lag_seconds": 20.0}),
    Case("failover", "request", state=asks("failover"), begins=F),
    Case(
        "failover, gates shut",
        "request_refused",
        "behind",
        state=asks("failover"),
        view={"lag_seconds": 20.0},
    ),
    Case(
        "failover, loss accepted",
        "request",
        state=asks("failover", accept_loss=True),
        view={"lag_seconds": 20.0},
        begins=F,
    ),
    Case(
        "but never to half a copy",
        "request_refused",
        "must rejoin",
        state=asks("failover", state=DETACHED, accept_loss=True),
    ),
    Case(
        "nor while the schemas differ",
        "request_refused",
        "schemas",
        state=asks("switchover"),
        elm=replace(STANDBY, schema="t"),
    ),
    Case(
        "nor to a silent node",
        "request_refused",
        "does not answer",
        state=asks("failover", accept_loss=True),
        elm=down("elm", 1),
    ),
    # --- a primary that somebody has made read-only
    Case(
        "it is opened again",
        "primary_fenced",
        "read-only although no change is under way",
        oak=replace(PRIMARY, fenced=True),
        begins=R,
    ),
    Case(
        "not in the middle of a repair",
        "continue",
        state=plan(PlanKind.TIDY, "elm"),
        oak=replace(PRIMARY, fenced=True),
    ),
    Case(
        "not while a person looks into it",
        "primary_fenced",
        "not opened: paused",
        state=replace(STATE, paused=True),
        oak=replace(PRIMARY, fenced=True),
    ),
    Case(
        "not by a probe from before the state",
        "steady",
        oak=replace(PRIMARY, fenced=True),
        view={"changed_at": 999.9},
    ),
    # --- zero: keeping the record true
    Case(
        "the standby is lost",
        "sync_lost",
        "going on without it",
        policy=ZERO,
        view={"sync_lost_since": NOW - 1.5},
        begins=PlanKind.SYNC_OFF,
    ),
    Case("not for long enough", "steady", policy=ZERO, view={"sync_lost_since": NOW - 0.5}),
    Case(
        "it streams, as far as the primary knows, but acknowledges nothing",
        "sync_lost",
        "10.5 s behind, and writes wait",
        policy=ZERO,
        view={"lag_seconds": 10.5},
        begins=PlanKind.SYNC_OFF,
    ),
    Case("not yet behind for too long", "steady", policy=ZERO, view={"lag_seconds": 9.5}),
    Case(
        "the primary stopped waiting",
        "sync_unset",
        "does not wait",
        policy=ZERO,
        oak=replace(PRIMARY, sync_names=""),
        begins=PlanKind.SYNC_OFF,
    ),
    Case(
        "a probe from before the state",
        "steady",
        policy=ZERO,
        oak=replace(PRIMARY, sync_names=""),
        view={"changed_at": 999.9},
    ),
    Case("bounded does not care", "steady", oak=replace(PRIMARY, sync_names="")),
    Case(
        "the standby follows again",
        "sync_possible",
        policy=ZERO,
        state=replace(STATE, in_sync=False),
        begins=PlanKind.SYNC_ON,
    ),
    Case(
        "not while it is far behind",
        "steady",
        "NOT in sync",
        policy=ZERO,
        state=replace(STATE, in_sync=False),
        oak=replace(PRIMARY, sync_names=""),
        view={"lag_seconds": 10.5},
    ),
    Case(
        "not while it does not stream",
        "steady",
        "NOT in sync",
        policy=ZERO,
        state=replace(STATE, in_sync=False),
        oak=replace(PRIMARY, streaming={}),
    ),
    # --- repairs
    Case(
        "a detached node returns", "returned", "rescue", state=DETACHED, oak=WAITING, begins=PlanKind.REJOIN
    ),
    Case("not before the primary answers", "steady", state=DETACHED, oak=down("oak", 1)),
    Case(
        "another server is never emptied without a person's word",
        "another_server",
        "understudy setup",
        oak=WAITING,
        state=DETACHED,
        elm=replace(STANDBY, identity="5/1"),
    ),
    Case(
        "no slot waits",
        "needs_copy",
        "no replication slot",
        oak=WAITING,
        state=replace(DETACHED, reverse=None),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "no rescue point",
        "needs_copy",
        "unknown",
        oak=WAITING,
        state=DETACHED.with_record("elm", rescue_point=None),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "it went back in time",
        "needs_copy",
        "back in time",
        oak=WAITING,
        state=DETACHED,
        elm=replace(STANDBY, wal=400),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "a rewind was impossible",
        "needs_copy",
        "TRUNCATE",
        oak=WAITING,
        state=DETACHED.with_record("elm", needs_copy="TRUNCATE"),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "copied in vain",
        "copy_limit",
        "understudy verify",
        state=DETACHED.with_record("elm", needs_copy="x", copies=MAX_COPIES),
    ),
    Case(
        "a repair goes on",
        "continue",
        state=plan(PlanKind.REJOIN, "elm", Step.FENCE, state=DETACHED),
        works=True,
    ),
    Case(
        "its node missed a probe",
        "wait",
        state=plan(PlanKind.REJOIN, "elm", Step.FENCE, state=DETACHED),
        elm=down("elm", 1),
    ),
    Case(
        "its node is down",
        "wait",
        state=plan(PlanKind.REJOIN, "elm", Step.FENCE, state=DETACHED),
        elm=down("elm"),
    ),
    Case(
        "the slot vanished", "link_lost", "vanished", oak=replace(PRIMARY, slots={}), begins=PlanKind.RECOPY
    ),
    Case(
        "the slot lost its log",
        "link_lost",
        "lost its log",
        oak=replace(PRIMARY, slots={"u1": replace(SLOT, usable=False)}),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "the subscription vanished",
        "link_lost",
        "subscription",
        elm=replace(STANDBY, subscriptions={}),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "nobody follows",
        "link_lost",
        "follows nobody",
        state=replace(STATE, link=None, in_sync=False),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "not while paused",
        "steady",
        "paused",
        state=replace(STATE, paused=True),
        oak=replace(PRIMARY, slots={}),
    ),
    Case(
        "an unfenced standby",
        "tidy",
        "not read-only",
        elm=replace(STANDBY, fenced=False),
        begins=PlanKind.TIDY,
    ),
    Case(
        "old links",
        "tidy",
        "old links",
        state=replace(STATE, old_links=(Link(name="o", publisher="elm", subscriber="oak"),)),
        begins=PlanKind.TIDY,
    ),
    Case("no spare slot left", "tidy", "no spare slot", elm=replace(STANDBY, slots={}), begins=PlanKind.TIDY),
    Case(
        "the primary knows less than the witness",
        "primary_down",
        "it has seen epoch 1",
        state=replace(STATE, epoch=2),
        elm=replace(STANDBY, epoch=2),
        begins=F,
    ),
    Case(
        "the primary had been seen further on",
        "primary_down",
        "went back in time",
        oak=NodeView(name="oak", highest_wal=101, probe=PRIMARY),
        begins=F,
    ),
    Case(
        "the standby had been seen further on",
        "link_lost",
        "went back in time",
        elm=NodeView(name="elm", highest_wal=901, probe=STANDBY),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "refused: the standby had been seen further on",
        "failover_refused",
        "went back in time",
        oak=down("oak"),
        elm=NodeView(name="elm", highest_wal=901, probe=STANDBY),
    ),
    Case(
        "a standby that cannot be caught up",
        "link_lost",
        "duplicate key",
        state=STATE.with_record("elm", needs_copy="duplicate key"),
        begins=PlanKind.RECOPY,
    ),
    Case(
        "a standby that missed the epoch",
        "tidy",
        "has not seen epoch 2",
        state=replace(STATE, epoch=2),
        oak=replace(PRIMARY, epoch=2),
        begins=PlanKind.TIDY,
    ),
    Case(
        "a standby that stopped applying",
        "tidy",
        "stopped applying",
        elm=replace(STANDBY, subscriptions={"u1": replace(SUBSCRIPTION, enabled=False)}),
        begins=PlanKind.TIDY,
    ),
    # --- home
    Case("time to go home", "failback", "preferred", **_away(view={"healthy_since": NOW - 61}), begins=S),
    Case("too early", "steady", **_away(view={"healthy_since": NOW - 59})),
    Case("not well", "steady", **_away(view={"healthy_since": None})),
    Case("manual", "steady", **_away(view={"healthy_since": 0.0}, policy=Policy(failback=Failback.MANUAL))),
    Case("paused", "steady", **_away(view={"healthy_since": 0.0}, state=replace(AWAY, paused=True))),
    Case(
        "not verified",
        "steady",
        **_away(view={"healthy_since": 0.0}, state=AWAY.with_record("oak", verified=False)),
    ),
    Case(
        "often enough today",
        "failback_capped",
        "failback_daily_cap",
        **_away(view={"healthy_since": 0.0}, state=replace(AWAY, failbacks=(5e5,) * 3)),
    ),
    Case(
        "yesterday does not count",
        "failback",
        **_away(view={"healthy_since": 0.0}, state=replace(AWAY, failbacks=(4e5,) * 3)),
        begins=S,
    ),
    Case("it lags", "steady", **_away(view={"healthy_since": 0.0, "lag_seconds": 30.0})),
]
