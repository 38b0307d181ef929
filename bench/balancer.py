"""How long a load balancer's check of `/nodes/NAME/primary` takes, at 500 checks a second, from a real agent.

Ten kept connections, as HAProxy keeps them. Each check counts from when it was due: a late start is part of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

if __package__ in (None, ""):  # `python bench/balancer.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from understudy.demo.lab import Lab
from understudy.embedded.postgresql import free_port
from understudy.model import Rpo

RATE, CONNECTIONS = 500, 10
WARM_UP = 500  # checks that are not counted
ASK = b"GET /nodes/a/primary HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def check(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One question and its answer, read to the end."""
    writer.write(ASK)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"expected 200, found {head[:40]!r}")
    await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))


async def ask(port: int, seconds: float) -> list[float]:
    """Milliseconds of each check."""
    found: list[float] = []
    total = WARM_UP + round(RATE * seconds)
    begin = time.perf_counter() + 0.5

    async def worker(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, total, CONNECTIONS):
            due = begin + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await check(reader, writer)
            if number >= WARM_UP:
                found.append((time.perf_counter() - due) * 1000)
        writer.close()

    await asyncio.gather(*(worker(number) for number in range(CONNECTIONS)))
    return found


def _is_primary(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/nodes/a/primary", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def measure(arguments: argparse.Namespace) -> common.Result:
    port = free_port()
    with Lab(mode=Rpo.BOUNDED, scale=1, say=common.say) as lab:
        lab.agent.stop()
        with lab.config_file.open("a") as config:
            config.write(f'[api]\nlisten = "127.0.0.1:{port}"\n')
        lab.start_agent()
        lab.await_true(lambda: _is_primary(port), 20, "a primary")
        runs = [asyncio.run(ask(port, arguments.seconds)) for _ in range(arguments.repeat)]
        server = common.postgresql_version(lab)
    return {
        "rate_per_s": RATE,
        "primary_ms": common.summary([ms for run in runs for ms in run], digits=2),
        "p99_of_each_run_ms": [common.summary(run, digits=2)["p99"] for run in runs],
        "versions": {"postgresql": server},
        "peers": {"patroni": {"skipped": common.PATRONI}},
    }


def main() -> int:
    parser = common.options("balancer")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (10)")
    return common.finish("balancer", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
