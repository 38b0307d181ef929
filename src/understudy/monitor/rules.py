"""From a reading to conditions: what is wrong now. Pure.

Every kind of condition, with its threshold and how long it must last: `docs/reference/alerts.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from understudy.config_alerts import Monitor, Severity
from understudy.model import Cluster, NodeView, Role, Rpo
from understudy.monitor import ready
from understudy.monitor.edges import Condition
from understudy.monitor.readings import Look, Reading
from understudy.readiness.kept import STALE

_STUCK = {
    "failover_refused": Severity.CRITICAL,
    "another_server": Severity.CRITICAL,
    "witness_down": Severity.CRITICAL,
    "witness_behind": Severity.CRITICAL,
    "copy_limit": Severity.WARNING,
    "primary_fenced": Severity.CRITICAL,
}
"""Rules of the decision core after which a person is needed."""

_BRIEF = 10.0
_WHILE = 30.0
_MINUTE = 60.0
_SHOWN = 5
"""Statements and slots that one notice names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong, and of which keys nothing is known."""

    conditions: tuple[Condition, ...]
    unseen: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one cluster."""

    cluster: Cluster
    monitor: Monitor

    def verdict(self, reading: Reading) -> Verdict:
        """Everything that is wrong at the moment of the reading."""
        conditions = [*self._cluster(reading)]
        unseen: set[str] = set()
        for node in self.cluster.nodes:
            name = node.name
            view = reading.nodes.get(name, NodeView(name=name))
            conditions += self._node(reading, view)
            look = reading.looks.get(name)
            if look is not None:
                conditions += self._looked(name, look)
            else:
                unseen |= {
                    f"{kind}:{name}" for kind in ("slow", "connections", "slots", "disk", "unseen", "hidden")
                }
            if look is not None and look.disk is None:
                unseen.add(f"disk:{name}")
            if not view.up:
                unseen |= {f"latency:{name}", "lag", "drift", f"look:{name}", f"unwritable:{name}"}
            if view.misses:
                unseen.add(f"refuses:{name}")
        if reading.state is None:
            unseen |= {
                "unprotected",
                "lag",
                "drift",
                *(f"{k}:{n.name}" for n in self.cluster.nodes for k in _SEEN),
            }
        if reading.kept is not None:
            told, age = reading.kept
            conditions += ready.conditions(told, age)
            unseen.update(ready.KEYS if age > STALE else ())
        return Verdict(conditions=tuple(conditions), unseen=frozenset(unseen - {c.key for c in conditions}))

    # --- what the agent knows ---------------------------------------------------------------------------

    def _cluster(self, reading: Reading) -> Iterator[Condition]:
        if reading.rule in _STUCK:
            yield Condition(
                key=f"stuck:{reading.rule}",
                severity=_STUCK[reading.rule],
                title=f"the agent cannot go on: {reading.rule}",
                text=reading.reason,
                patience=_BRIEF,
            )
        state = reading.state
        if state is None:
            return
        why = self._unprotected(reading)
        if why:
            text = f"{why}. Losing the primary {state.primary} at this moment would stop writes."
            yield _warning("unprotected", "nobody could take over now", text, _MINUTE)
        yield from self._lag(reading)
        schemas = {n.name: n.probe.schema for n in reading.nodes.values() if n.probe is not None and n.up}
        if len(schemas) == 2 and len(set(schemas.values())) == 2 and all(schemas.values()):
            text = "No change of primary is possible until they are the same. `understudy check` shows what differs."
            yield _warning("drift", "the schemas of both nodes differ", text, _MINUTE)

    def _unprotected(self, reading: Reading) -> str:
        """Why the standby could not take over, where it is not simply behind; else empty."""
        state = reading.state
        if state is None:
            return ""
        record = state.record(state.other)
        view = reading.nodes.get(state.other)
        if record.role is not Role.STANDBY or state.link is None:
            return f"{state.other} is {record.role}, it does not follow {state.primary}"
        if view is not None and not view.up:
            return f"the standby {state.other} does not answer"
        if self.cluster.policy.rpo is Rpo.ZERO and not state.in_sync:
            return f"the standby {state.other} is not in sync"
        if reading.lag_seconds is None:
            return f"nobody knows how far the standby {state.other} is behind"
        return ""

    def _lag(self, reading: Reading) -> Iterator[Condition]:
        lag, policy = reading.lag_seconds, self.cluster.policy
        if lag is None or lag <= self.monitor.lag:
            return
        refused = policy.rpo is Rpo.BOUNDED and lag > policy.max_lag_seconds
        more = (
            f" Past {policy.max_lag_seconds:g} s (max_lag_seconds) a failover is refused." if refused else ""
        )
        yield Condition(
            key="lag",
            severity=Severity.CRITICAL if refused else Severity.WARNING,
            title="the standby is behind",
            text=f"It is {lag:.1f} s behind; {self.monitor.lag:g} s are expected at most.{more}",
            patience=_BRIEF,
        )

    def _node(self, reading: Reading, view: NodeView) -> Iterator[Condition]:
        name = view.name
        primary = reading.state is not None and reading.state.primary == name
        grave = Severity.CRITICAL if primary else Severity.WARNING
        role = "the primary" if primary else "not the primary"
        if view.misses >= self.cluster.policy.failure_threshold:
            text = f"It is {role}. {view.misses} probes in a row were not answered: {view.error}"
            yield Condition(key=f"down:{name}", severity=grave, title=f"{name} is down", text=text)
        elif view.error and view.misses == 0:
            text, title = f"It is {role}. {view.error}", f"{name} refuses the agent"
            yield Condition(key=f"refuses:{name}", severity=grave, title=title, text=text, patience=_BRIEF)
        if not view.up or view.probe is None:
            return
        if primary and view.probe.unwritable:
            title = f"primary {name} cannot write"
            yield Condition(key=f"unwritable:{name}", severity=grave, title=title, text=view.probe.unwritable)
        took = view.probe.answered - view.probe.at
        if took > self.monitor.latency:
            text = f"A probe took {took:.3f} s; {self.monitor.latency:g} s are expected at most."
            yield _warning(f"latency:{name}", f"{name} answers slowly", text, _WHILE)
        if name in reading.troubles:
            text = f"Probes are answered, the monitor's own connection is not: {reading.troubles[name]}"
            yield _warning(f"look:{name}", f"{name} cannot be looked at", text, _MINUTE)

    # --- what the monitor saw by itself -----------------------------------------------------------------

    def _looked(self, name: str, look: Look) -> Iterator[Condition]:
        if look.slow:
            shown = "\n".join(f"{s.seconds:.1f} s: {s.text}" for s in look.slow[:_SHOWN])
            more = f"\n... and {len(look.slow) - _SHOWN} more" if len(look.slow) > _SHOWN else ""
            text = f"Longer than {self.monitor.slow_query:g} s (values are not shown):\n{shown}{more}"
            yield _warning(f"slow:{name}", f"slow statements on {name}", text)
        if look.hidden:
            yield Condition(
                key=f"hidden:{name}",
                severity=Severity.INFO,
                title=f"statements on {name} cannot be seen",
                text=f"{look.hidden} sessions hide their statements from this role: GRANT pg_read_all_stats TO it.",
                patience=_MINUTE,
            )
        used, limit = look.connections, look.connections_limit
        if limit and used * 100 >= limit * self.monitor.connections:
            text = f"{used} of {limit} are in use. When none is left, applications and the agent are refused."
            yield _warning(f"connections:{name}", f"connections of {name} run out", text, _BRIEF)
        yield from self._slots(name, look)
        if look.disk_error:
            yield _warning(f"unseen:{name}", f"the disk of {name} cannot be seen", look.disk_error, _MINUTE)
        if look.disk is not None and look.disk * 100 > self.monitor.disk:
            yield Condition(
                key=f"disk:{name}",
                severity=Severity.CRITICAL if look.disk > 0.95 else Severity.WARNING,
                title=f"the disk of {name} fills up",
                text=f"{look.disk:.0%} are in use; {self.monitor.disk} % are expected at most.",
            )

    def _slots(self, name: str, look: Look) -> Iterator[Condition]:
        ending = ("unreserved", "lost")
        bad = {
            slot: seen
            for slot, seen in look.slots.items()
            if seen.retained > self.monitor.slot_bytes or seen.status in ending
        }
        if not bad:
            return
        worst = sorted(bad.items(), key=lambda item: -item[1].retained)[:_SHOWN]
        shown = "\n".join(f"{slot}: {seen.retained / 2**20:,.0f} MiB, {seen.status}" for slot, seen in worst)
        lost = any(seen.status in ending for seen in bad.values())
        yield Condition(
            key=f"slots:{name}",
            severity=Severity.CRITICAL if lost else Severity.WARNING,
            title=f"replication slots of {name} hold back log",
            text=f"Nobody fetches it, and it stays until the disk is full or the log is given up:\n{shown}",
            patience=_BRIEF,
        )


_SEEN = ("down", "refuses", "unwritable", "latency", "look")


def _warning(key: str, title: str, text: str, patience: float = 0.0) -> Condition:
    return Condition(key=key, severity=Severity.WARNING, title=title, text=text, patience=patience)
