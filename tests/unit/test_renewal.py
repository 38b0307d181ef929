"""A client that renews in the agent's place, without the witness: what is open goes on, nothing is opened."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from understudy.client import renewal
from understudy.lease import Lease, LeaseFile, Phase, boot_now
from understudy.model import Cluster, Node, Policy

NODES = tuple(
    Node(name=name, dsn="", admin_dsn="", replication_dsn="", priority=number)
    for number, name in enumerate("ab", start=1)
)
CLUSTER = Cluster(name="main", engine="postgresql", nodes=NODES, policy=Policy())


@pytest.fixture
def lease(tmp_path: Path) -> LeaseFile:
    return LeaseFile(tmp_path / "main.lease")


def attempt(lease: LeaseFile, monkeypatch: pytest.MonkeyPatch, *rows: tuple[int, str] | None) -> bool:
    monkeypatch.setattr(renewal, "read_fences", lambda dsns, timeout: list(rows))
    return renewal.Renewal(CLUSTER, lease.path.parent, lease).attempt()


def test_fence_rows_alone_open_no_lease(lease: LeaseFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are raised before the change is published, and it may still be rolled back."""
    assert not attempt(lease, monkeypatch, (2, "b"), (2, "b"))
    assert lease.read() is None


def test_fence_rows_alone_open_no_newer_epoch(lease: LeaseFile, monkeypatch: pytest.MonkeyPatch) -> None:
    former = Lease(
        epoch=1, primary="a", phase=Phase.OPEN, deadline=boot_now() + 0.5, renewed=boot_now() - 4.5
    )
    assert lease.write(former)
    assert not attempt(lease, monkeypatch, (2, "b"), (2, "b"))
    assert lease.read() == former


def test_two_fence_rows_prolong_what_is_open(lease: LeaseFile, monkeypatch: pytest.MonkeyPatch) -> None:
    former = Lease(
        epoch=2, primary="b", phase=Phase.OPEN, deadline=boot_now() + 0.5, renewed=boot_now() - 4.5
    )
    assert lease.write(former)
    assert attempt(lease, monkeypatch, (2, "b"), (2, "b"))
    renewed = lease.read()
    assert renewed is not None
    assert renewed.deadline > former.deadline


@pytest.mark.parametrize("rows", [((2, "b"), None), ((2, "b"), (3, "a")), (None, None)])
def test_less_than_two_rows_or_a_higher_one_prolong_nothing(
    rows: tuple[tuple[int, str] | None, ...], lease: LeaseFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = Lease(
        epoch=2, primary="b", phase=Phase.OPEN, deadline=boot_now() + 0.5, renewed=boot_now() - 4.5
    )
    assert lease.write(former)
    assert not attempt(lease, monkeypatch, *rows)
    assert lease.read() == former


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the fence rows were asked for."""
    asked = threading.Event()

    def ask(dsns: list[str], timeout: float) -> list[None]:
        asked.set()
        return [None for _ in dsns]

    monkeypatch.setattr(renewal, "read_fences", ask)
    monkeypatch.setattr(renewal, "_BETWEEN", 0.0)
    return asked


def test_a_thread_that_could_not_be_started_is_started_later(
    lease: LeaseFile, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    found = renewal.Renewal(CLUSTER, lease.path.parent, lease)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError):
            found.nudge_if_due(None)
    found.nudge_if_due(None)
    assert asked.wait(60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_a_fault_of_ours_ended_is_replaced(
    lease: LeaseFile, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(dsns: list[str], timeout: float) -> None:
        raise AssertionError("a fault of ours")

    found = renewal.Renewal(CLUSTER, lease.path.parent, lease)
    with monkeypatch.context() as patch:
        patch.setattr(renewal, "read_fences", fault)
        found.nudge_if_due(None)
        assert found._thread is not None
        found._thread.join(60)
        assert not found._thread.is_alive()
    found.nudge_if_due(None)
    assert asked.wait(60)
