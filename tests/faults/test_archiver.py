"""The archive of the log when things die: whatever is killed, the log is whole in the end, or a gap is named."""

from __future__ import annotations

import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.backup.pitr_world import (
    POLICY,
    Archive,
    archive_of_a_pair,
    archive_until_killed,
    covered,
    receivers,
    slots,
    until,
)

from understudy.backup import archiver, wal
from understudy.backup.archiver import Archiver
from understudy.backup.pitr import Latest
from understudy.backup.source import primary_of
from understudy.backup.store import Store, open_store
from understudy.config_backup import Destination, Physical
from understudy.embedded import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def archive() -> Iterator[Archive]:
    with archive_of_a_pair() as archive:
        yield archive


def spool(archive: Archive) -> list[str]:
    return sorted(p.name for p in (archive.folder / "spool").glob("*.*/*") if wal.is_segment(p.name[:24]))


def test_a_killed_receiver_comes_back_without_a_gap(archive: Archive) -> None:
    archive.start()
    base = archive.base()
    for number in range(3):
        processes.send(receivers(archive), signal.SIGKILL)
        archive.insert(number * 10 + 1, number * 10 + 10)
        archive.switch()
        until(lambda: archive.status.receiving, "pg_receivewal")
    archive.await_shipped()
    assert archive.status.trouble == ""
    archive.stop()
    found = covered(archive, base, base.system_identifier)
    assert found.whole, found.reason
    with archive.restored(base, Latest()) as restored:
        assert archive.rows(restored) == set(range(1, 31))
    assert receivers(archive) == set()


def test_an_archiver_killed_at_any_moment_leaves_no_gap(archive: Archive) -> None:
    """Twelve times, each after another while: while it starts, receives, seals, stores, removes."""
    backed, dice = archive.backed, random.Random(5)
    context = multiprocessing.get_context("fork")  # keys are not for pickling
    archive.start()
    base = archive.base()
    archive.stop()
    for number in range(12):
        process = context.Process(
            target=archive_until_killed,
            args=(archive, lambda: open_store(Destination(name="shelf", folder=backed.folder))),
            daemon=True,
        )
        process.start()
        archive.insert(number * 10 + 1, number * 10 + 10)
        archive.switch()
        time.sleep(dice.uniform(0.05, 2.5))  # a moment that nothing announces
        process.kill()
        process.join()
    until(lambda: not receivers(archive), "the receivers to end with their archivers")
    archive.start()
    archive.await_shipped()
    archive.stop()
    found = covered(archive, base, base.system_identifier)
    assert found.whole, found.reason
    with archive.restored(base, Latest()) as restored:
        assert archive.rows(restored) == set(range(1, 121))


def second(archive: Archive) -> tuple[Store, Path]:
    place = archive.folder / "second"
    place.mkdir()
    return open_store(Destination(name="second", folder=place)), place


def test_a_destination_that_is_down_gets_everything_later(archive: Archive) -> None:
    store, place = second(archive)
    archive.start(store)
    archive.await_shipped()
    aside = place.rename(archive.folder / "unmounted")
    for first in (1, 11):
        archive.insert(first, first + 9)
        archive.switch()
    until(lambda: any(d.error for d in archive.status.destinations), "the error to be told")
    (bad,) = [d for d in archive.status.destinations if d.error]
    assert bad.destination == "second"
    last = max(spool(archive))
    until(lambda: (archive.status.destinations[0].last + ".partial") >= last, "the other one to go on")
    assert len(spool(archive)) >= 2  # kept for the one that is down
    aside.rename(place)
    archive.await_shipped()
    name = archive.backed.world.name
    both = [
        {i.key for i in s.list(f"{name}/wal/") if not i.key.endswith(wal.PARTIAL)}
        for s in (archive.backed.store, store)
    ]
    assert both[0] == both[1]
    until(lambda: len(spool(archive)) == 1, "the spool to be emptied")


def test_the_log_follows_the_primary_when_the_former_one_hangs(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver, "TIDY_S", 0.5)
    backed = archive.backed
    archive.start()
    base = archive.base()
    archive.insert(1, 10)
    archive.await_shipped()
    now = primary_of(backed.config, backed.world.pair.cluster)
    node = backed.world.pair.cluster.node("b")
    assert archive.archiver is not None
    before = archive.status.system
    archive.servers["a"].freeze()
    until(lambda: "no answer" in archive.status.trouble, "the frozen primary to be told")
    archive.archiver._primary = lambda: replace(now, node="b", dsn=node.admin_dsn)
    until(lambda: archive.status.node == "b" and archive.status.receiving, "the log of b")
    archive.servers["a"].thaw()
    until(lambda: slots(archive, "a") == [], "the slot on the former primary to be dropped")
    assert slots(archive, "b") == [archiver.slot_name(POLICY, backed.world.name)]
    until(lambda: not list((archive.folder / "spool").glob(f"{before}.*")), "the former log to be stored")
    found = covered(archive, base, archive.status.system)
    assert not found.whole
    assert "another server" in found.reason
    with archive.restored(base, Latest()) as restored:  # up to the change
        assert archive.rows(restored) == set(range(1, 11))


def test_a_full_spool_stops_and_a_slot_that_keeps_too_much_is_dropped(archive: Archive) -> None:
    """The host's disk first, then the primary's: both are bounded, and the gap is named."""
    store, place = second(archive)
    archive.policy = Physical(partial_every=1.0, spool_limit=40 * 2**20, slot_limit=64 * 2**20)
    archive.start(store)
    base = archive.base()
    archive.await_shipped()
    aside = place.rename(archive.folder / "unmounted")
    number = 0

    def more() -> None:
        nonlocal number
        number += 1
        archive.insert(number, number)
        archive.switch()

    while not archive.status.trouble:
        more()
        time.sleep(0.3)
    until(lambda: "spool" in archive.status.trouble and not archive.status.receiving, "receiving to stop")
    assert "second" in archive.status.trouble
    assert slots(archive, "a")
    for _ in range(6):
        more()
    until(lambda: slots(archive, "a") == [], "the slot to be dropped")
    more()
    archive.backed.sql("CHECKPOINT", user="postgres")  # from here on the server keeps nothing older
    aside.rename(place)
    until(lambda: archive.status.receiving, "receiving to begin again", 120)
    more()
    archive.await_shipped()
    found = covered(archive, base, base.system_identifier)
    assert not found.whole
    assert "is missing although later ones are there" in found.reason


def test_a_second_archiver_waits_for_the_first(archive: Archive) -> None:
    archive.start()
    cluster = archive.backed.world.pair.cluster
    waiting = Archiver(
        cluster, archive.stores, archive.backed.keys, spool=archive.folder / "spool", policy=POLICY,
        primary=lambda: primary_of(archive.backed.config, cluster),
    )  # fmt: skip
    ended = threading.Event()
    thread = threading.Thread(target=waiting.run, args=(ended,))
    thread.start()
    try:
        until(lambda: "is at it already" in waiting.status.trouble, "the second to say that it waits")
        archive.stop()
        until(lambda: waiting.status.receiving, "the second to take over")
    finally:
        ended.set()
        thread.join()
