"""What the benches of PgBouncer and HAProxy share: plain psycopg through the gate, a planned change, a lost primary."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench import _common as common
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
    return _seen(load, began)


def lost(lab: Lab, load: Writers) -> Seen:
    """The primary is killed under load; afterwards it comes back as standby."""
    lab.await_settled()
    common.steady(load)
    primary, target = lab.state.primary, lab.state.other
    began = time.monotonic_ns()
    lab.servers[primary].kill()
    lab.await_state(lambda s: s.primary == target and s.plan is None, 30, "a failover")
    seen = _seen(load, began)
    lab.servers[primary].start()
    return seen


def _seen(load: Writers, began: int) -> Seen:
    """Wait for 200 more acknowledgements (a writer that only fails is no sign of life), then look at the ledgers."""
    now, end = time.monotonic_ns(), time.monotonic() + 60
    while sum(entry.status is Status.ACKED and entry.ended > now for entry in load.entries()) < 200:
        if time.monotonic() > end:
            raise RuntimeError(f"the writers do not go on: {load.errors()[-3:]}")
        time.sleep(0.05)
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
