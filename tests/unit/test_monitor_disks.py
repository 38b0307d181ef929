"""A disk that does not answer is said, and nobody waits for it."""

from __future__ import annotations

import os
import threading

import pytest

from understudy.config_alerts import Disk
from understudy.monitor import disks
from understudy.monitor.disks import Disks, of_path


def test_a_disk_of_this_host() -> None:
    share, error = of_path("/")
    assert share is not None
    assert 0 <= share <= 1
    assert error == ""
    assert of_path("/no/such/folder") == (None, "/no/such/folder: No such file or directory")


class TooSlow:
    """A server on which the sum over all files takes longer than a look may."""

    asked = 0

    async def execute(self, _: str) -> None:
        self.asked += 1
        raise TimeoutError


async def test_a_sum_that_takes_too_long_does_not_fail_every_look() -> None:
    now, server = [0.0], TooSlow()
    found = Disks((Disk(node="a", size=2**40),), lambda: now[0])
    with pytest.raises(TimeoutError):  # the look in which it is asked cannot go on: its time is up
        await found.share("a", server)  # type: ignore[arg-type]
    for _ in range(5):
        now[0] += 10
        share, error = await found.share("a", server)  # type: ignore[arg-type]
        assert share is None
        assert "takes too long" in error
    assert server.asked == 1
    now[0] += 10
    with pytest.raises(TimeoutError):
        await found.share("a", server)  # type: ignore[arg-type]


async def test_a_folder_that_hangs_is_said_and_asked_by_one_thread_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, release, asked, begun = [0.0], threading.Event(), list[str](), threading.Event()

    def hang(path: str) -> os.statvfs_result:
        asked.append(path)
        begun.set()
        release.wait()
        return os.statvfs_result((4096, 4096, 100, 50, 50, 0, 0, 0, 0, 255))

    monkeypatch.setattr(disks.os, "statvfs", hang)
    found = Disks((Disk(node="a", path="/far/away"),), lambda: now[0])
    try:
        for number in range(10):
            assert number == 0 or begun.wait(60)
            assert await found.share("a", None) == (None, "")  # type: ignore[arg-type]
            now[0] += 30
        share, error = await found.share("a", None)  # type: ignore[arg-type]
        assert share is None
        assert "nobody has answered for 300 s" in error
        assert asked == ["/far/away"]
    finally:
        release.set()
    while (await found.share("a", None))[0] is None:  # type: ignore[arg-type]
        pass
    assert await found.share("a", None) == (0.5, "")  # type: ignore[arg-type]
    assert await found.share("b", None) == (None, "")  # type: ignore[arg-type]
