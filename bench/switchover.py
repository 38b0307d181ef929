"""How long writers wait during a planned change, there by order and back home by itself."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # `python bench/switchover.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from bench import _pgbouncer_script as script
from understudy.demo import audit
from understudy.demo.lab import Lab
from understudy.demo.workload import Writers
from understudy.model import Rpo

BEFORE = 200_000_000  # ns of ordinary life that are looked at before the order and after the change


def change(lab: Lab, load: Writers, target: str, *, ordered: bool) -> tuple[float, int]:
    """One planned change under load. Returns (stall in ms, errors that writers saw)."""
    common.steady(load)
    event, began = lab.last_event, time.monotonic_ns()
    if ordered:
        lab.switchover(target)
    else:
        lab.await_event("failback", 60, after=event)
        began = time.monotonic_ns() - BEFORE
        lab.await_state(lambda s: s.primary == target and s.plan is None, 60, "a failback")
    common.steady(load, 200)
    ended = time.monotonic_ns()
    entries = load.entries()
    seen = audit.between(entries, began, ended)
    return audit.longest_gap_ms(entries, began, ended), audit.errors_of(seen)


def measure(arguments: argparse.Namespace) -> common.Result:
    out: list[tuple[float, int]] = []
    home: list[tuple[float, int]] = []
    policy = {"failback": "auto", "failback_after": "5s", "failback_daily_cap": 100}
    with Lab(mode=Rpo(arguments.mode), scale=arguments.scale, policy=policy, say=common.say) as lab:
        with common.writers(lab) as load:
            for number in range(arguments.repeat):
                lab.await_settled()
                out.append(change(lab, load, "b", ordered=True))
                home.append(change(lab, load, "a", ordered=False))
                common.say(
                    f"{number + 1} of {arguments.repeat}: out {out[-1][0]:.0f} ms, home {home[-1][0]:.0f} ms"
                )
            lab.await_settled()
        counted, kinds = common.count(lab, load), common.kinds(load)
        server, equal = common.postgresql_version(lab), lab.verify().equal
        peer = common.peer("pgbouncer", lambda: script.measure(lab, arguments.repeat))
    return {
        "mode": arguments.mode,
        "stall_ms": common.summary(stall for stall, _ in out),
        "errors": sum(errors for _, errors in out),
        "acked": counted.acked,
        "lost": counted.absent,
        "failback_stall_ms": common.summary(stall for stall, _ in home),
        "failback_errors": sum(errors for _, errors in home),
        "failback_acked": counted.acked,
        "failback_lost": counted.absent,
        "doubled": counted.doubled,
        "two_writer_epochs": counted.two_writers,
        "errors_by_kind": kinds,
        "contents_equal": equal,
        "runs": {"out": common.numbers([s for s, _ in out]), "home": common.numbers([s for s, _ in home])},
        "versions": {"postgresql": server},
        "peers": {
            "pgbouncer by script": peer,
            "patroni": {"skipped": common.PATRONI},
        },
    }


def main() -> int:
    parser = common.options("switchover")
    parser.add_argument("--mode", choices=[mode.value for mode in Rpo], default=Rpo.BOUNDED.value)
    return common.finish("switchover", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
