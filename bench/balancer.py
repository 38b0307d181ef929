"""How long a load balancer's check of `/nodes/NAME/primary` takes, at 500 checks a second, from a real agent.

`python -m bench.balancer`: p50, p99 and the longest, in milliseconds. Goal: p99 of at most 5 ms.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import time

import httpx

from understudy.demo.lab import Lab
from understudy.model import Rpo

RATE, SECONDS, CONNECTIONS = 500, 20, 10


async def measure(address: str) -> list[float]:
    """Milliseconds of each check, counted from when it was due: a late start is part of it."""
    limits = httpx.Limits(max_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=address, limits=limits) as client:
        found: list[float] = []
        begin = time.perf_counter() + 0.5

        async def worker(first: int) -> None:
            for number in range(first, RATE * SECONDS, CONNECTIONS):
                due = begin + number / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                answer = await client.get("/nodes/a/primary")
                assert answer.status_code == 200
                found.append((time.perf_counter() - due) * 1000)

        await asyncio.gather(*(worker(n) for n in range(CONNECTIONS)))
    return found


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        lab.agent.stop()
        lab.config_file.write_text(lab.config_file.read_text() + f'[api]\nlisten = "127.0.0.1:{port}"\n')
        lab.start_agent()
        address = f"http://127.0.0.1:{port}"
        lab.await_true(lambda: httpx.get(f"{address}/nodes/a/primary").status_code == 200, 20, "a primary")
        found = asyncio.run(measure(address))
    cuts = statistics.quantiles(found, n=100)
    print(
        f"{len(found)} checks at {RATE}/s: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms, max {max(found):.2f} ms"
    )


if __name__ == "__main__":
    main()
