"""`zero`: how long writers wait when the standby dies, and that nobody promotes it when the primary dies next."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # `python bench/standby_loss.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from understudy.demo import audit
from understudy.demo.lab import Lab
from understudy.demo.workload import Writers
from understudy.model import Rpo


def standby_dies(lab: Lab, load: Writers) -> float:
    """Kill the standby under load; return how long the writers then waited, in ms."""
    common.steady(load)
    began = time.monotonic_ns()
    lab.servers[lab.state.other].kill()
    lab.await_state(lambda s: not s.in_sync and s.plan is None, 30, "the primary to go on alone")
    common.steady(load)
    return audit.longest_gap_ms(load.entries(), began, time.monotonic_ns())


def primary_dies(lab: Lab, load: Writers) -> str:
    """Kill the primary while the standby is not in sync; return why nobody was promoted."""
    common.steady(load)
    state, event = lab.state, lab.last_event
    lab.servers[state.primary].kill()
    lab.servers[state.other].start()
    refused = lab.await_true_event(
        lambda e: e.kind == "failover_refused" and "not in sync" in e.message, 30, after=event
    )
    if lab.state.primary != state.primary:
        raise RuntimeError(f"{state.other} was promoted although it was not in sync")
    lab.servers[state.primary].start()
    lab.await_settled(120)
    common.steady(load)
    return refused.message


def measure(arguments: argparse.Namespace) -> common.Result:
    stalls: list[float] = []
    reasons: list[str] = []
    with Lab(mode=Rpo.ZERO, scale=arguments.scale, say=common.say) as lab:
        with common.writers(lab) as load:
            for number in range(arguments.repeat):
                stalls.append(standby_dies(lab, load))
                reasons.append(primary_dies(lab, load))
                common.say(f"{number + 1} of {arguments.repeat}: stall {stalls[-1]:.0f} ms; {reasons[-1]}")
        counted, kinds = common.count(lab, load), common.kinds(load)
        server, equal = common.postgresql_version(lab), lab.verify().equal
    return {
        "stall_ms": common.summary(stalls),
        "lost": counted.absent,
        "refused_reason": reasons[-1] if reasons else "",
        "refused": len(reasons),
        "acked": counted.acked,
        "doubled": counted.doubled,
        "errors": counted.errors,
        "errors_by_kind": kinds,
        "two_writer_epochs": counted.two_writers,
        "contents_equal": equal,
        "runs": common.numbers(stalls),
        "versions": {"postgresql": server},
        "peers": {"patroni": {"skipped": common.PATRONI}},
    }


def main() -> int:
    return common.finish("standby_loss", common.options("standby_loss").parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
