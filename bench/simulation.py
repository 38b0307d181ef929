"""Random fault schedules against the promises, on all cores: `python -m bench.simulation --seeds 10000 --json`.

Progress and failing seeds go to standard error; with ``--json`` one JSON object is the last line of standard output.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.simulation.world import Setup, run

CHUNK = 50


def run_chunk(seeds: range) -> dict[str, Any]:
    """Run these seeds; only sums and failures come back."""
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    rules: set[str] = set()
    reached: set[str] = set()
    events, failures, milliseconds = 0, [], []
    for seed in seeds:
        started = time.perf_counter()
        result = run(Setup.from_seed(seed))
        milliseconds.append((time.perf_counter() - started) * 1000)
        faults += result.faults
        outcomes += result.outcomes
        rules |= result.rules_seen
        reached |= {f"{kind}:{step}" for kind, step in result.steps_seen}
        events += result.events
        if result.promise:
            failures.append({"seed": seed, "promise": result.promise, "text": result.text})
    return {
        "faults": faults,
        "outcomes": outcomes,
        "rules": rules,
        "steps": reached,
        "events": events,
        "failures": failures,
        "milliseconds": milliseconds,
    }


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    pick = [ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99)]
    return {
        "p50": round(pick[0], 3),
        "p99": round(pick[1], 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
        "n": len(ordered),
    }


def measure(first: int, seeds: int, processes: int) -> dict[str, Any]:
    """Run ``seeds`` schedules from ``first`` on; returns the bench's object."""
    started = time.monotonic()
    chunks = [range(n, min(n + CHUNK, first + seeds)) for n in range(first, first + seeds, CHUNK)]
    faults: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    rules: set[str] = set()
    reached: set[str] = set()
    events, failures, milliseconds, done = 0, [], [], 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for part in pool.imap_unordered(run_chunk, chunks):
            faults += part["faults"]
            outcomes += part["outcomes"]
            rules |= part["rules"]
            reached |= part["steps"]
            events += part["events"]
            failures += part["failures"]
            milliseconds += part["milliseconds"]
            done += 1
            for failure in part["failures"]:
                print(
                    f"seed {failure['seed']}: {failure['promise']}: {failure['text'][:200]}", file=sys.stderr
                )
            if done % 20 == 0:
                print(f"{done * CHUNK} of {seeds} schedules, {len(failures)} failures", file=sys.stderr)
    seconds = time.monotonic() - started
    return {
        "bench": "simulation",
        "repeat": 1,
        "machine": {"cpus": os.cpu_count(), "system": platform.platform()},
        "load": os.getloadavg(),
        "versions": {"python": platform.python_version()},
        "peers": {},
        "schedules": seeds,
        "seeds": [first, first + seeds - 1],
        "seconds": round(seconds, 2),
        "schedules_per_s": round(seeds / seconds, 1),
        "schedule_ms": summary(milliseconds),
        "events": events,
        "steps": sorted(reached),
        "rules": sorted(rules),
        "faults": dict(sorted(faults.items())),
        "acked": outcomes["acked"],
        "in_doubt": outcomes["in doubt"],
        "failed": outcomes["failed"],
        "failures": sorted(failures, key=lambda failure: failure["seed"]),
    }


def replay(seed: int) -> int:
    """Print one seed's history."""
    setup = Setup.from_seed(seed)
    result = run(setup, traced=True)
    where = (
        f"rpo {setup.rpo}, {setup.hosts} hosts, {setup.agents} agents, lasting: {setup.lasting or 'nothing'}"
    )
    print(f"seed {seed}: {where}")
    print("\n".join(result.trace))
    print(f"{result.promise or 'every promise held'} {result.text}")
    return 1 if result.promise else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many schedules (2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--repeat", type=int, default=1, help="accepted for uniformity; seeds are what repeats"
    )
    parser.add_argument("--replay", type=int, help="print the history of this one seed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.replay is not None:
        return replay(options.replay)
    found = measure(options.first, options.seeds, options.processes)
    if options.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['schedules']} schedules in {found['seconds']} s ({found['schedules_per_s']}/s), "
            f"{found['acked']} acknowledged writes, {len(found['failures'])} failures"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
