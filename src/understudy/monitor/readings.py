"""What the monitor has seen, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from understudy.model import ClusterState, NodeView
from understudy.readiness.kept import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowStatement:
    """A statement without its literals, and the seconds its slowest call has taken (or has been running)."""

    text: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """A replication slot: bytes of log it holds back, and PostgreSQL's word for it (`reserved`, ..., `lost`)."""

    retained: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One good look at a node.

    Args:
        slow: statements past the threshold, the slowest first.
        hidden: sessions whose statements this role may not see.
        connections, connections_limit: client sessions, and how many there may be (without the reserved ones).
        slots: by name; of the whole server, because they fill one disk.
        disk: share of the disk in use, 0 to 1; None: not known. ``disk_error``: why, where it should be.
    """

    slow: tuple[SlowStatement, ...] = ()
    hidden: int = 0
    connections: int = 0
    connections_limit: int = 0
    slots: Mapping[str, SlotReading] = field(default_factory=dict)
    disk: float | None = None
    disk_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything known of one cluster at one moment.

    Args:
        state, nodes, lag_seconds, rule, reason: what the agent knows (`agent.Sight`).
        looks: by node, the newest good look where it is recent; nodes that are not there are not known.
        troubles: by node, why the newest look failed.
        kept: what is kept of the cluster's readiness, and its age in seconds; None: nothing, or it is not configured.
    """

    state: ClusterState | None
    nodes: Mapping[str, NodeView]
    lag_seconds: float | None
    rule: str
    reason: str
    looks: Mapping[str, Look] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[Told, float] | None = None
