"""What the benches of PgBouncer and HAProxy share: plain psycopg through the gate, a planned change, a lost primary."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench import _common as common
from bench.failover import break_primary, mend
from understudy.demo import audit
from understudy.demo.lab import Lab
from understudy.demo.ledger import Status
from understudy.demo.workload import Writers


@dataclass(frozen=True, slots=True)
class Seen:
    """The longest gap between acknowledgements across a change, in ms, and the errors that writers saw."""

    gap_ms: float
    errors: int


def planned(lab: Lab, load: Writers) -> Seen:
    """One switchover to the other node under load."""
    lab.await_settled()
    common.steady(load)
    began = time.monotonic_ns()
    lab.switchover(lab.state.other)
    return seen(load, began)


def lost(lab: Lab, load: Writers, fault: str = "kill") -> Seen:
    """The primary is lost under load; afterwards it comes back as standby."""
    lab.await_settled()
    common.steady(load)
    target, began = lab.state.other, time.monotonic_ns()
    primary = break_primary(lab, fault)
    lab.await_state(lambda s: s.primary == target and s.plan is None, 30, "a failover")
    found = seen(load, began)
    mend(lab, fault, primary)
    return found


def seen(load: Writers, began: int, within: float = 60) -> Seen:
    """Wait for 200 more acknowledgements (a writer that only fails is no sign of life), then look at the ledgers.

    Raises RuntimeError where they have not come after ``within`` seconds.
    """
    more, acked, end = load.reader(), 0, time.monotonic() + within
    while acked < 200:
        if time.monotonic() > end:
            raise RuntimeError(f"the writers do not go on within {within:g} s: {load.errors()[-3:]}")
        time.sleep(0.05)
        acked += sum(entry.status is Status.ACKED for entry in more.new())
    entries, ended = load.entries(), time.monotonic_ns()
    gap = audit.longest_gap_ms(entries, began, ended)
    return Seen(gap, audit.errors_of(audit.between(entries, began, ended)))


def figures(lab: Lab, load: Writers, changes: list[Seen], losses: list[Seen]) -> common.Result:
    """The keys that both benches print. Counted when the pair is whole again and the writers have ended."""
    lab.await_settled()
    counted = common.count(lab, load)
    return {
        "stall_ms": common.summary(seen.gap_ms for seen in changes),
        "errors": sum(seen.errors for seen in changes),
        "lost": counted.absent,
        "acked": counted.acked,
        "doubled": counted.doubled,
        "unaccounted": counted.unaccounted,
        "outage_ms": common.summary(seen.gap_ms for seen in losses),
        "outage_errors": sum(seen.errors for seen in losses),
        "errors_by_kind": common.kinds(load),
        "contents_equal": lab.verify().equal,
        "runs": {
            "stall": common.numbers([seen.gap_ms for seen in changes]),
            "outage": common.numbers([seen.gap_ms for seen in losses]),
        },
        "versions": {"postgresql": common.postgresql_version(lab)},
    }


def writers(lab: Lab, dsn: str) -> Writers:
    """Four processes with psycopg alone, one transaction every 5 ms each, through the gate."""
    return Writers(lab.folder / "gate-ledgers", scale=lab.scale, plain_dsn=dsn)
