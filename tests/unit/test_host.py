"""A process that uses no database any more stops looking at the lease, and looks again for whoever comes."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.test_renewal import CLUSTER

from understudy.client import host as module
from understudy.client.host import Host
from understudy.lease import Lease, LeaseFile, Phase, boot_now


class Pool:
    """Somebody who listens."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def lease_changed(self, lease: Lease) -> None:
        self.heard.append(lease.epoch)

    def forget(self) -> list[object]:
        return []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(module, "_REFRESH_EVERY", 2)
    monkeypatch.setattr(module, "_IDLE", 2)
    write(tmp_path, 1)
    return Host(CLUSTER, tmp_path)


def write(folder: Path, epoch: int) -> None:
    lease = Lease(epoch=epoch, primary="a", phase=Phase.OPEN, deadline=boot_now() + 60, renewed=boot_now())
    assert LeaseFile(folder / "main.lease").write(lease)


def await_true(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def watchers() -> int:
    return sum(thread.name == "understudy-main-lease" for thread in threading.enumerate())


def test_nobody_left_nothing_looks(host: Host) -> None:
    pool = Pool()
    host.listen(pool)
    host.start()
    heard = pool.heard
    await_true(lambda: heard == [1])
    del pool
    gc.collect()
    await_true(lambda: not host.watching and not watchers())


def test_whoever_listens_afterwards_hears_of_every_change(host: Host) -> None:
    host.start()
    await_true(lambda: not host.watching)
    pool = Pool()
    host.listen(pool)
    assert host.watching
    write(host.directory, 2)
    await_true(lambda: 2 in pool.heard)


def test_whoever_waits_afterwards_is_woken(host: Host) -> None:
    host.start()
    await_true(lambda: not host.watching)
    version, woken = host.version, threading.Event()

    def wait() -> None:
        host.wait_change(version, 60)
        woken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    await_true(lambda: host.watching)
    write(host.directory, 2)
    assert woken.wait(60)
    waiting.join()


def test_while_somebody_is_there_it_goes_on(host: Host) -> None:
    pool = Pool()
    host.listen(pool)
    host.start()
    for epoch in range(2, 8):
        write(host.directory, epoch)
        await_true(lambda epoch=epoch: epoch in pool.heard)  # type: ignore[misc]
    assert watchers() == 1


@pytest.mark.slow
def test_coming_and_going_leaves_nobody_unheard(host: Host) -> None:
    """Many times in the very moment in which the watcher leaves."""
    host.start()
    for epoch in range(2, 25):
        pool = Pool()
        host.listen(pool)
        write(host.directory, epoch)
        await_true(lambda epoch=epoch, pool=pool: epoch in pool.heard)  # type: ignore[misc]
        del pool
        gc.collect()
        time.sleep(0.002 * (epoch % 50))
    await_true(lambda: not host.watching and not watchers())
