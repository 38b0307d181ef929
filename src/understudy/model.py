"""The words of Understudy as frozen data. No I/O, no clock, no imports from the project.

The words are those of `docs/reference/words.md`. Positions in the write-ahead log (LSN) are plain integers
(bytes), durations are seconds as float, times called ``now`` are seconds on a monotonic clock, times called
``wall`` are seconds since 1970 (UTC) and used for people only, never for a decision about safety.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Rpo(StrEnum):
    """What a cluster promises about acknowledged commits when the primary is lost."""

    ZERO = "zero"
    BOUNDED = "bounded"


class Fence(StrEnum):
    """How a node is made to refuse writes (postgresql-facts §6)."""

    SYNC = "sync"
    SOFT = "soft"


class Failback(StrEnum):
    """Whether the preferred node becomes primary again by itself."""

    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a cluster is watched and when it may change. Defaults: `docs/reference/configuration.md`.

    Durations are seconds. ``max_lag_bytes`` and ``max_lag_seconds`` bound what an unplanned failover may
    leave behind in ``bounded`` mode; past either, failover is refused.
    """

    rpo: Rpo = Rpo.BOUNDED
    failover: bool = True
    failback: Failback = Failback.AUTO
    failback_after: float = 600.0
    failback_daily_cap: int = 3
    probe_interval: float = 1.0
    probe_timeout: float = 0.6
    connect_timeout: float = 5.0
    failure_threshold: int = 3
    max_lag_bytes: int = 16 * 1024 * 1024
    max_lag_seconds: float = 10.0
    lease_ttl: float = 5.0
    hold_timeout: float = 30.0
    quiet_timeout: float = 5.0
    step_timeout: float = 10.0
    sync_timeout: float = 1.0
    agent_takeover: float = 3.0

    @property
    def fence(self) -> Fence:
        """The fence that holds in this mode: the standby's DISABLE in ``zero``, lease and read-only else."""
        return Fence.SYNC if self.rpo is Rpo.ZERO else Fence.SOFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One database endpoint as configured. DSNs are libpq URIs and hold secrets: ``repr`` leaves them out.

    Args:
        name: short name, unique in its cluster.
        dsn: what applications connect with.
        admin_dsn: what the agent connects with (owner of the database; `check` lists the privileges).
        replication_dsn: how the *other* node dials this one for replication.
        priority: 1 is the preferred primary; unique in its cluster.
    """

    name: str
    dsn: str = field(repr=False)
    admin_dsn: str = field(repr=False)
    replication_dsn: str = field(repr=False)
    priority: int
    provider: str = "self-hosted"
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A named set of nodes that hold the same data, in priority order (the first is preferred)."""

    name: str
    engine: str
    nodes: tuple[Node, ...]
    policy: Policy

    @property
    def preferred(self) -> Node:
        return self.nodes[0]

    def node(self, name: str) -> Node:
        """The node of that name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


# --- what the cluster has decided: one small record in the witness ------------------------------------------


class Role(StrEnum):
    """What the cluster has decided a node is. DETACHED: must be repaired (rejoin) before it may be used."""

    PRIMARY = "primary"
    STANDBY = "standby"
    DETACHED = "detached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of replication: slot ``name`` on the publisher, subscription ``name`` on the subscriber."""

    name: str
    publisher: str
    subscriber: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """What the witness remembers of one node.

    Args:
        rescue_point: LSN on *this* node up to which the present primary has everything (set when the node
            lost its role unplanned); commits past it exist only here and must be rescued.
        needs_copy: why a logical rewind is impossible, or empty.
        identity: ``system_identifier/timeline``, so that a restored or replaced server is noticed.
        verified: contents were compared equal since the node last began to follow.
        copies: full copies made since the contents were last found equal (limited: see `decide`).
    """

    name: str
    role: Role
    rescue_point: int | None = None
    needs_copy: str = ""
    identity: str = ""
    verified: bool = False
    copies: int = 0


class PlanKind(StrEnum):
    """Changes of primary (FAILOVER, SWITCHOVER, REINSTATE) and repairs (the rest)."""

    FAILOVER = "failover"
    SWITCHOVER = "switchover"
    REINSTATE = "reinstate"
    REJOIN = "rejoin"
    RECOPY = "recopy"
    TIDY = "tidy"
    SYNC_ON = "sync_on"
    SYNC_OFF = "sync_off"


class Step(StrEnum):
    """Named, idempotent steps. What each does on PostgreSQL: `docs/explanation/protocol.md`."""

    ANNOUNCE = "announce"
    PREPARE_REVERSE = "prepare_reverse"
    HOLD = "hold"
    FENCE = "fence"
    FENCE_IF_REACHABLE = "fence_if_reachable"
    WAIT_REPLAY = "wait_replay"
    COPY_SEQUENCES = "copy_sequences"
    STOP_APPLY = "stop_apply"
    RAISE_SEQUENCES = "raise_sequences"
    OPEN_REVERSE_SLOT = "open_reverse_slot"
    REQUIRE_SYNC = "require_sync"
    RELAX_SYNC = "relax_sync"
    RESUME_APPLY = "resume_apply"
    PROMOTE = "promote"
    PUBLISH = "publish"
    RESCUE = "rescue"
    REWIND = "rewind"
    DROP_OLD_LINKS = "drop_old_links"
    FOLLOW = "follow"
    FULL_COPY = "full_copy"
    CATCH_UP = "catch_up"
    VERIFY = "verify"
    OPEN_SPARE_SLOT = "open_spare_slot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A change or repair under way. ``done`` grows by one finished step at a time, each a compare-and-set.

    Args:
        epoch: the epoch the cluster has while and after this plan runs.
        source: the primary when the plan began.
        target: the node the plan is about: the next primary, or the node being repaired.
        number: grows with every plan; the part of the fencing that tells repairs at one epoch apart.
        slot: the name that a slot made by this plan gets (unique for ever: it holds the number).
        rule, reason: which rule of the decision core began it, and the sentence it gave.
    """

    kind: PlanKind
    epoch: int
    source: str
    target: str
    number: int
    slot: str
    rule: str
    reason: str
    done: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Ticket:
    """What every call that changes a node carries: who it acts for.

    A node keeps the highest (epoch, plan) it has seen in its fence row, and refuses calls with a lower one: an
    agent that was stopped in the middle of a step cannot act for a change or repair that others have since
    taken over and gone past.

    Args:
        plan: the number of the plan and its step (`decide.plans.ticket_number`); 0 before any.
        primary: the node that is, or is becoming, primary at this epoch.
    """

    epoch: int
    plan: int
    primary: str


class RequestKind(StrEnum):
    """What a person asked for."""

    SWITCHOVER = "switchover"
    FAILOVER = "failover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A person's order, left in the state for the agent. It is answered once: carried out or refused.

    ``accept_loss``: a forced failover that skips the lag and in-sync gates (what is left behind is rescued
    when the old primary returns).
    """

    id: str
    kind: RequestKind
    target: str
    accept_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything decided about a cluster: one record, changed by compare-and-set on ``version`` only.

    Args:
        link: replication from the primary to the standby, or None while no node follows.
        old_links: replication that nobody uses any more and that must be dropped on both ends.
        reverse: replication prepared in the other direction during a switchover, not in use yet.
        spare_slot: a slot kept ready on the *standby* so that promotion need not create one.
        in_sync: in ``zero`` mode: every acknowledged commit is on the standby too. Withdrawn here *before*
            the primary is told to stop waiting.
        failbacks: wall times of automatic failbacks in the last 24 hours (daily cap).
    """

    cluster: str
    version: int
    epoch: int
    primary: str
    nodes: tuple[NodeRecord, ...]
    link: Link | None = None
    old_links: tuple[Link, ...] = ()
    reverse: Link | None = None
    spare_slot: str = ""
    in_sync: bool = False
    plan: Plan | None = None
    paused: bool = False
    request: Request | None = None
    answer: str = ""
    failbacks: tuple[float, ...] = ()

    def record(self, name: str) -> NodeRecord:
        """The record of that node. Raises KeyError."""
        for record in self.nodes:
            if record.name == name:
                return record
        raise KeyError(name)

    def with_record(self, name: str, **changes: object) -> ClusterState:
        """A copy in which one node's record is changed."""
        nodes = tuple(replace(r, **changes) if r.name == name else r for r in self.nodes)  # type: ignore[arg-type]
        return replace(self, nodes=nodes)

    @property
    def other(self) -> str:
        """The name of the node that is not primary (clusters are pairs)."""
        return next(r.name for r in self.nodes if r.name != self.primary)


# --- what an agent has seen ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """A replication slot as its server shows it. ``usable`` is False once its WAL is gone (`lost`)."""

    active: bool
    usable: bool
    confirmed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionView:
    """A subscription as its server shows it.

    ``origin`` is the replication origin position: everything the publisher committed up to it is applied and
    durable here. ``ready``: every table has finished its initial copy.
    """

    enabled: bool
    running: bool
    ready: bool
    origin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One good answer of a node to the agent's probe.

    Args:
        at: when the question was sent (monotonic).
        answered: when the answer arrived (monotonic).
        epoch, plan: the node's fence row: the highest it has seen.
        fenced: the database is read-only for new sessions.
        wal: current flush position (what a crash cannot take back).
        unwritable: why a write failed although the node answers (disk full, ...), or empty.
        sync_names: what the primary waits for on commit, or empty.
        streaming: subscription names that stream from this node -> True where a synchronous one.
        heartbeat: number of the newest heartbeat row seen on this node.
    """

    at: float
    answered: float
    epoch: int
    plan: int = 0
    epoch_primary: str = ""
    fenced: bool = False
    wal: int = 0
    identity: str = ""
    unwritable: str = ""
    sync_names: str = ""
    streaming: Mapping[str, bool] = field(default_factory=dict)
    slots: Mapping[str, SlotView] = field(default_factory=dict)
    subscriptions: Mapping[str, SubscriptionView] = field(default_factory=dict)
    heartbeat: int = 0
    schema: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What the agent knows of one node now.

    Args:
        misses: probes in a row that got no answer. Only these can make a node *down*.
        error: why the last probe brought no facts. With ``misses`` 0 the server answered and refused (a
            changed password, no free connection slot, a missing grant): it is not down, and not usable.
        unwritable: answers in a row in which a write failed for a reason of the server's own.
        highest_wal: the highest position this agent has ever seen here; a server never goes below it unless it
            was restored from the past.
        probe: the newest good answer ever, however old.
    """

    name: str
    misses: int = 0
    error: str = ""
    unwritable: int = 0
    highest_wal: int = 0
    probe: Probe | None = None

    @property
    def up(self) -> bool:
        """The last probe was answered with facts."""
        return self.probe is not None and self.misses == 0 and not self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All observations of one agent at ``now`` (monotonic seconds).

    Args:
        lag_seconds: how far the standby is behind, measured by heartbeats; None when unknown.
        healthy_since: since when all nodes are up and following without interruption; None: they are not.
        sync_lost_since: since when the synchronous standby has not been streaming; None: it is.
        drifted: the schemas were seen to differ for longer than it takes to read both anew, and since then never to
            be equal again. Fingerprints are up to 10 s old, so right after a migration they differ without drift.
        changed_at: when this agent learned of the present version of the state (monotonic). What a probe asked
            before that did not find proves nothing: it may not have been there yet.
    """

    now: float
    wall: float
    nodes: Mapping[str, NodeView]
    changed_at: float = 0.0
    lag_seconds: float | None = None
    healthy_since: float | None = None
    sync_lost_since: float | None = None
    drifted: bool = False
