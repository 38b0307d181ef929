"""What checkout, SELECT 1 and return cost, against psycopg_pool in the same process. Microseconds per call.

Short rounds of all alternate, and each is compared with its neighbour: whatever else runs on the machine slows both.
Of each repeat the median of the pairs counts, and of the repeats the median; ``by_repeat`` has their extremes.

``cpu_us`` is what a call takes of the processor time of its own thread, in the fastest round: the waits for the server
are not in it, nor, as far as that can be avoided, what else runs on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # `python bench/overhead.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
from psycopg_pool import ConnectionPool

from bench import _common as common
from understudy import Pool, config
from understudy.demo.lab import Lab
from understudy.model import Rpo

CALLS = 20  # per round: a millisecond or two, so that rounds of all kinds meet the same machine
ROUNDS = 500  # per repeat


Clock = Callable[[], int]
"""In nanoseconds."""


def timed(call: Callable[[], object], times: int = CALLS, clock: Clock = time.perf_counter_ns) -> float:
    """Mean time of one call in a round, in µs."""
    began = clock()
    for _ in range(times):
        call()
    return (clock() - began) / times / 1000


def checkout(pool: Any) -> Callable[[], object]:
    """The same lines for both pools."""

    def call() -> object:
        with pool.connection() as conn:
            return conn.execute("SELECT 1").fetchone()

    return call


def measure(arguments: argparse.Namespace) -> common.Result:
    autocommit = {"autocommit": True}
    with Lab(mode=Rpo.BOUNDED, scale=1, say=common.say) as lab:
        loaded = config.load(lab.config_file, {})
        dsn = lab.dsn("a", "app")
        with (
            psycopg.connect(dsn, autocommit=True) as raw,
            ConnectionPool(dsn, min_size=1, max_size=1, kwargs=autocommit, open=True) as stock,
            Pool(lab.cluster, loaded.directory, min_size=1, max_size=1, kwargs=autocommit) as ours,
        ):
            calls = {
                "raw": lambda: raw.execute("SELECT 1").fetchone(),
                "pool": checkout(stock),
                "understudy": checkout(ours),
            }
            rounds = interleaved(calls, arguments.repeat * ROUNDS)
            cpu = fastest(calls)
        server = common.postgresql_version(lab)
    over, ratio = paired(rounds["understudy"], rounds["pool"], ROUNDS)
    middle = {name: round(statistics.median(values), 2) for name, values in rounds.items()}
    return {
        "understudy_over_pool_us": over["p50"],
        "understudy_over_pool_ratio": ratio["p50"],
        "by_repeat": {"over_us": over, "ratio": ratio},
        "cpu_us": cpu,
        "cpu_over_pool_us": round(cpu["understudy"] - cpu["pool"], 2),
        "raw_us": middle["raw"],
        "pool_us": middle["pool"],
        "understudy_us": middle["understudy"],
        "all_rounds_us": {name: common.summary(values, 2) for name, values in rounds.items()},
        "calls_per_round": CALLS,
        "versions": {"postgresql": server},
        "peers": {"psycopg_pool": {"understudy_us": middle["pool"]}},
    }


def paired(ours: list[float], stock: list[float], size: int) -> tuple[common.Result, common.Result]:
    """Difference (µs) and ratio of neighbouring rounds: the median of each repeat of ``size`` rounds, summed up."""
    repeats = [
        list(zip(ours[at : at + size], stock[at : at + size], strict=True))
        for at in range(0, len(ours), size)
    ]
    over = [statistics.median(a - b for a, b in pairs) for pairs in repeats]
    ratio = [statistics.median(a / b for a, b in pairs) for pairs in repeats]
    return common.summary(over, 2), common.summary(ratio, 4)


def fastest(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Of each the fastest round, in µs of this thread's processor time per call."""
    rounds = interleaved(calls, 2 * ROUNDS, CALLS // 2, time.thread_time_ns)  # short: seldom interrupted
    return {name: round(min(values), 2) for name, values in rounds.items()}


def interleaved(
    calls: dict[str, Callable[[], object]],
    count: int,
    times: int = CALLS,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, list[float]]:
    """Rounds of each in turn; which comes first changes, so that none always follows the same one."""
    names = list(calls)
    rounds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # connections are opened, statements prepared
        timed(calls[name], times, clock)
    for number in range(count):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            rounds[name].append(timed(calls[name], times, clock))
    return rounds


def main() -> int:
    return common.finish("overhead", common.options("overhead").parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
