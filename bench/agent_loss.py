"""The agent dies under load: writers must not notice. The primary dies while no agent runs: the next one fails over."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # `python bench/agent_loss.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from understudy.demo import audit
from understudy.demo.lab import Lab
from understudy.demo.workload import Writers
from understudy.model import Rpo


def agent_dies(lab: Lab, load: Writers, away: float) -> tuple[float, float]:
    """Kill the agent, let it stay away, start it again. Returns the longest gaps (ms): before that, and meanwhile."""
    common.steady(load)
    before = time.monotonic_ns()
    time.sleep(away)  # the same load with an agent, for as long: what machine and server do by themselves
    began = time.monotonic_ns()
    lab.agent.kill()
    time.sleep(away)
    ended = time.monotonic_ns()
    lab.start_agent()
    entries = load.entries()
    return audit.longest_gap_ms(entries, before, began), audit.longest_gap_ms(entries, began, ended)


def nobody_watches(lab: Lab, load: Writers) -> float:
    """The primary dies while no agent runs; one that is started 1 s later fails over. Returns the outage in ms."""
    common.steady(load)
    lab.agent.kill()
    common.steady(load)
    node, began = lab.state.primary, time.monotonic_ns()
    lab.servers[node].kill()
    time.sleep(1.0)
    lab.agent.start()
    lab.await_state(lambda s: s.primary != node and s.plan is None, 60, "a failover by a new agent")
    common.steady(load)
    outage = audit.outage_ms(load.entries(), began)
    lab.servers[node].start()
    lab.await_settled(120)
    return outage if outage is not None else float("nan")


def measure(arguments: argparse.Namespace) -> common.Result:
    gaps: list[tuple[float, float]] = []
    outages: list[float] = []
    with Lab(mode=Rpo.BOUNDED, scale=arguments.scale, say=common.say) as lab:
        with common.writers(lab) as load:
            for number in range(arguments.repeat):
                gaps.append(agent_dies(lab, load, arguments.away))
                common.say(f"{number + 1} of {arguments.repeat}: longest gap {gaps[-1][1]:.0f} ms")
        away, away_kinds = common.count(lab, load), common.kinds(load)
        server = common.postgresql_version(lab)
    with Lab(mode=Rpo.ZERO, scale=arguments.scale, say=common.say) as lab:
        with common.writers(lab) as load:
            for number in range(arguments.repeat):
                outages.append(nobody_watches(lab, load))
                common.say(f"{number + 1} of {arguments.repeat}: outage {outages[-1]:.0f} ms")
        alone = common.count(lab, load)
        equal = lab.verify().equal
    return {
        "away_s": arguments.away,
        "gap_ms": common.summary(gap for _, gap in gaps),
        "gap_with_agent_ms": common.summary(gap for gap, _ in gaps),
        "errors": away.errors,
        "lost": away.absent + alone.absent,
        "acked": away.acked + alone.acked,
        "doubled": away.doubled + alone.doubled,
        "two_writer_epochs": away.two_writers + alone.two_writers,
        "errors_by_kind": away_kinds,
        "new_agent_outage_ms": common.summary(outages),
        "new_agent_lost": alone.absent,
        "new_agent_errors": alone.errors,
        "contents_equal": equal,
        "runs": {"gap": common.numbers([gap for _, gap in gaps]), "outage": common.numbers(outages)},
        "versions": {"postgresql": server},
        "peers": {"patroni": {"skipped": common.PATRONI}},
    }


def main() -> int:
    parser = common.options("agent_loss")
    parser.add_argument("--away", type=float, default=30.0, help="seconds for which no agent runs (30)")
    return common.finish("agent_loss", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
