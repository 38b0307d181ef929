"""A server that speaks S3 (moto), on loopback, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from understudy.embedded import processes
from understudy.embedded.postgresql import HOST, free_port

START_S = 90.0


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """`IFARM_STORE` of a server that runs until the block ends."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=processes.die_with_parent,  # noqa: PLW1509
    )
    url, until = f"http://{HOST}:{port}", time.monotonic() + START_S
    try:
        while not _answers(url):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)  # nothing announces that it listens
        yield {
            "backend": "s3",
            "endpoint": url,
            "region": "us-east-1",
            "access_key": "test",
            "secret_key": "test",
        }
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code < 500
    except httpx.HTTPError:
        return False
