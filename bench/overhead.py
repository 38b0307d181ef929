"""What checkout, SELECT 1 and return cost, against psycopg_pool in the same process. Microseconds per call.

Rounds of both alternate. Of each repeat's rounds the fastest counts (what else runs on the machine only ever adds),
and of the repeats the median.
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

CALLS = 250  # per round: some 15 ms, so that rounds of all kinds meet the same machine
ROUNDS = 40  # per repeat


def timed(call: Callable[[], object], times: int = CALLS) -> float:
    """Mean time of one call in a round, in µs."""
    began = time.perf_counter_ns()
    for _ in range(times):
        call()
    return (time.perf_counter_ns() - began) / times / 1000


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
        server = common.postgresql_version(lab)
    best = {name: minima(values) for name, values in rounds.items()}
    pairs = list(zip(best["understudy"], best["pool"], strict=True))
    return {
        "understudy_over_pool_us": round(statistics.median(a - b for a, b in pairs), 2),
        "understudy_over_pool_ratio": round(statistics.median(a / b for a, b in pairs), 4),
        "raw_us": round(statistics.median(best["raw"]), 2),
        "pool_us": round(statistics.median(best["pool"]), 2),
        "understudy_us": round(statistics.median(best["understudy"]), 2),
        "all_rounds_us": {name: common.summary(values, 2) for name, values in rounds.items()},
        "calls_per_round": CALLS,
        "versions": {"postgresql": server},
        "peers": {"psycopg_pool": {"understudy_us": round(statistics.median(best["pool"]), 2)}},
    }


def minima(values: list[float], size: int = ROUNDS) -> list[float]:
    """The fastest round of each repeat of ``size`` rounds."""
    return [min(values[at : at + size]) for at in range(0, len(values), size)]


def interleaved(
    calls: dict[str, Callable[[], object]], count: int, times: int = CALLS
) -> dict[str, list[float]]:
    """Rounds of each in turn; which comes first changes, so that none always follows the same one."""
    names = list(calls)
    rounds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # connections are opened, statements prepared
        timed(calls[name], times)
    for number in range(count):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            rounds[name].append(timed(calls[name], times))
    return rounds


def main() -> int:
    return common.finish("overhead", common.options("overhead").parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
