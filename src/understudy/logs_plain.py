"""The log in the words of the DB Manager whose place the agent takes, for people and filters that know those.

    [DB Manager] ✅ Connected to primary database

"Primary" is the preferred node there and "secondary" the other one, whichever of them is primary now. What has no words
there is told in ours. The style reads the agent's own log lines; it asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from understudy.config import mask
from understudy.model import Cluster, PlanKind

_TAG = "DB Manager"
_SAYING = ("message", "reason", "error", "title")
"""Where a line of ours has its sentence."""
Line = Mapping[str, Any]


@dataclass(slots=True)
class Known:
    """What the lines of one cluster have told so far.

    Args:
        primary: the node that was primary in the newest line; empty before the first.
        misses: by node, the probes in a row that it had missed when it was called down.
        lost: when the preferred node was given up as primary; None: it was not.
    """

    cluster: Cluster
    primary: str = ""
    misses: dict[str, int] = field(default_factory=dict)
    lost: datetime | None = None

    def side(self, node: str) -> str:
        """The document's word for a node."""
        return "primary" if node == self.cluster.preferred.name else "secondary"


class PlainStyle:
    """A renderer for structlog. It has to `learn` the clusters before their agents begin."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def learn(self, clusters: Sequence[Cluster]) -> None:
        """These are the clusters now; what is known of them stays."""
        before = self._known
        self._known = {c.name: before.get(c.name, Known(c)) for c in clusters}
        for cluster in clusters:
            self._known[cluster.name].cluster = cluster

    def __call__(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> str:
        """One line of the log; with the configuration or a traceback below it, several."""
        known = self._known.get(str(line.get("cluster", "")))
        said = told(known, line) if known is not None else ""
        name = f" {line['cluster']}" if known is not None and len(self._known) > 1 else ""
        trace = f"\n{line['exception']}" if "exception" in line else ""
        return f"[{_TAG}{name}] {said or _ours(line)}{trace}"


def told(known: Known, line: Line) -> str:
    """What a line of the agent's log is in the document's words, or an empty text. Brings ``known`` up to date."""
    kind, node = str(line["event"]), str(line.get("node", ""))
    before, known.primary = known.primary, str(line.get("primary", known.primary))
    if kind == "agent_started":
        return _configuration(known.cluster)
    if kind == "node_down":
        known.misses[node] = int(line["misses"])
        return f" Failed to connect to {known.side(node)} database: {line['error']}"
    if kind == "node_up":
        return _up(known, node)
    if kind == "step:publish":
        return _published(known, before, _time(line))
    if not kind.startswith("step:") and line.get("plan") in (PlanKind.FAILOVER, PlanKind.SWITCHOVER):
        return _begun(known, line)
    return ""


def _configuration(cluster: Cluster) -> str:
    policy = cluster.policy
    nodes = zip(("Primary", "Secondary"), cluster.nodes, strict=False)
    return (
        "Initializing with configuration:\n"
        + "".join(f"  {side}: {mask(node.dsn)}\n" for side, node in nodes)
        + f"  Health check interval: {policy.probe_interval * 1000:.0f}ms\n"
        f"  Failure threshold: {policy.failure_threshold}"
    )


def _up(known: Known, node: str) -> str:
    known.misses.pop(node, None)
    if node == known.primary:
        return _connected(known)
    return "✅ Primary is back online" if known.side(node) == "primary" else ""


def _begun(known: Known, line: Line) -> str:
    """A change of primary was decided."""
    side = known.side(str(line["target"]))
    if line["plan"] == PlanKind.SWITCHOVER:
        home = side == "primary"
        return "🔄 Attempting to reconnect to primary database..." if home else "🔄 Switching to Secondary DB"
    if side == "secondary":
        known.lost = _time(line)
    misses, threshold = known.misses.get(known.primary), known.cluster.policy.failure_threshold
    why = f"Failure threshold reached ({misses}/{threshold})" if misses is not None else line["message"]
    return f"⚠  {why}, failing over to {side}"


def _published(known: Known, before: str, now: datetime | None) -> str:
    if known.side(known.primary) == "secondary" or known.primary == before:
        return _connected(known)
    lost, known.lost = known.lost, None
    down = (
        f" (was down for {(now - lost).total_seconds():.0f}s)" if now is not None and lost is not None else ""
    )
    return f"✅ Primary database reconnected{down}"


def _connected(known: Known) -> str:
    side = known.side(known.primary)
    return f"✅ Connected to {side} database" + (" (FAILOVER MODE)" if side == "secondary" else "")


def _ours(line: Line) -> str:
    """A line that the document has no words for."""
    said = next((str(line[key]) for key in _SAYING if line.get(key)), "")
    loud = "⚠  " if line.get("level") in ("warning", "error", "critical") else ""
    return f"{loud}{line.get('event', '')}" + (f": {said}" if said else "")


def _time(line: Line) -> datetime | None:
    stamp = line.get("timestamp")
    return datetime.fromisoformat(stamp) if isinstance(stamp, str) else None
