"""The lease file: no byte pattern, no kill and no fork may ever make it name a wrong primary."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.errors import LeaseError
from understudy.lease import PROCESS_SLOTS, Lease, LeaseFile, Phase, boot_now
from understudy.lease_slots import PID, START, start_time

STATE = 512


def make(epoch: int, primary: str = "a", phase: Phase = Phase.OPEN, **more: object) -> Lease:
    values: dict[str, object] = {"deadline": 5.0 + epoch, "renewed": float(epoch)} | more
    return Lease(epoch=epoch, primary=primary, phase=phase, **values)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory" / "main.lease"


def test_a_new_file_holds_no_lease(path: Path) -> None:
    assert LeaseFile(path).read() is None
    assert path.stat().st_mode & 0o777 == 0o660


def test_what_is_written_is_read_by_another_mapping(path: Path) -> None:
    lease = make(7, "frankfurt", Phase.HOLDING, standby="höhle", standby_lag=0.25)
    assert LeaseFile(path).write(lease)
    assert LeaseFile(path).read() == lease


def test_a_lower_epoch_is_refused_and_an_equal_one_is_not(path: Path) -> None:
    file = LeaseFile(path)
    assert file.write(make(5, "a", Phase.CHANGING))
    assert not file.write(make(4, "a"))
    assert file.write(make(5, "b"))
    assert file.read() == make(5, "b")


def test_renew_needs_exactly_that_open_record(path: Path) -> None:
    file = LeaseFile(path)
    assert not file.renew(1, "a", renewed=1, deadline=2)
    file.write(make(3))
    assert not file.renew(2, "a", renewed=9, deadline=99)
    assert not file.renew(4, "a", renewed=9, deadline=99)
    assert not file.renew(3, "b", renewed=9, deadline=99)
    assert file.renew(3, "a", renewed=9, deadline=99, standby="b", standby_lag=1.5)
    assert file.read() == make(3, renewed=9.0, deadline=99.0, standby="b", standby_lag=1.5)
    file.write(make(3, phase=Phase.HOLDING))
    assert not file.renew(3, "a", renewed=9, deadline=99)


def test_renew_never_moves_the_deadline_back(path: Path) -> None:
    file = LeaseFile(path)
    file.write(make(3, deadline=50.0, renewed=45.0))
    assert file.renew(3, "a", renewed=40, deadline=45)
    assert file.read() == make(3, deadline=50.0, renewed=45.0)


def test_a_name_that_does_not_fit_is_refused(path: Path) -> None:
    with pytest.raises(LeaseError, match="at most 47 bytes"):
        LeaseFile(path).write(make(1, "n" * 48))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(min_size=STATE, max_size=STATE))
def test_any_bytes_are_no_lease(path: Path, junk: bytes) -> None:
    file = LeaseFile(path)
    file.write(make(1))
    path.write_bytes(junk + path.read_bytes()[STATE:])
    assert file.read() is None
    file.close()
    path.unlink()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.integers(0, STATE - 1), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damage_reads_as_none_or_as_a_record_that_was_written(
    path: Path, damage: list[tuple[int, int]]
) -> None:
    file = LeaseFile(path)
    written = [make(1, "a"), make(2, "b", Phase.CHANGING)]
    for lease in written:
        file.write(lease)
    with path.open("r+b") as raw:
        for at, value in damage:
            raw.seek(at)
            raw.write(bytes([value]))
    assert file.read() in [None, *written]
    assert file.write(make(3, "b")), "a corrupt file is repaired by the next write"
    assert file.read() == make(3, "b")
    file.close()
    path.unlink()


def test_files_that_are_not_ours_are_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"precious")
    with pytest.raises(LeaseError, match="found 8 bytes"):
        LeaseFile(path)
    assert path.read_bytes() == b"precious"


def test_another_layout_is_refused(path: Path) -> None:
    LeaseFile(path)
    with path.open("r+b") as raw:
        raw.seek(8)
        raw.write(b"\x63")
    with pytest.raises(LeaseError, match="another version"):
        LeaseFile(path)


def test_a_directory_without_permission_is_named(tmp_path: Path) -> None:
    with pytest.raises(LeaseError, match="cannot open"):
        LeaseFile(Path("/proc/nothing/main.lease"))


def test_a_deleted_file_is_made_anew_and_slots_move_along(path: Path) -> None:
    file = LeaseFile(path)
    file.write(make(1))
    slot = file.register()
    slot.set_epoch_seen(1)
    slot.enter()
    path.unlink()
    assert file.refresh()
    assert not file.refresh()
    assert file.read() is None
    assert LeaseFile(path).quiet(before_epoch=2) == [os.getpid()]


def test_a_slot_that_could_not_move_moves_at_the_next_refresh(tmp_path: Path) -> None:
    """Else the agent would not see what it counts, for good."""
    file = LeaseFile(tmp_path / "c.lease")
    slot = file.register()
    slot.enter()
    file.path.unlink()
    others = LeaseFile(file.path)
    words = [others._slot(number) for number in range(PROCESS_SLOTS)]
    for taken in words:  # every slot belongs to a process that lives
        taken[PID], taken[START] = os.getpid(), start_time(os.getpid()) or 0
    with pytest.raises(LeaseError, match="slots are taken"):
        file.refresh()
    for taken in words:
        taken[PID] = 0
    file.refresh()
    assert [process.in_flight for process in others.processes()] == [1]
    others.close()
    file.close()


def test_a_path_that_cannot_be_looked_at_is_our_error(path: Path) -> None:
    """Any other would end the agent, which tries a lease again."""
    file = LeaseFile(path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(LeaseError, match="symbolic links"):
        file.refresh()
    with pytest.raises(LeaseError, match="symbolic links"):
        file.write(make(1))


def test_a_folder_that_was_removed_is_not_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    file = LeaseFile(folder / "c.lease")
    file.write(make(1))
    (folder / "c.lease").unlink()
    folder.rmdir()
    assert not file.refresh()
    assert not folder.exists()
    lease = file.read()
    assert lease is not None
    assert lease.epoch == 1


# --- process slots ------------------------------------------------------------------------------------------


def test_threads_that_see_a_replaced_file_at_once_move_each_slot_once(path: Path) -> None:
    """A slot that moved twice would be counted in two places, and one of them by nobody: a call that never ends."""
    file = LeaseFile(path)
    slots = [file.register() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(40):
            tags = [slot.enter() for slot in slots]
            path.unlink()
            go = threading.Barrier(4)
            for done in [pool.submit(lambda go=go: (go.wait(60), file.refresh())) for _ in range(4)]:
                done.result()
            assert [view.in_flight for view in LeaseFile(path).processes()] == [1] * len(slots)
            for slot, tag in zip(slots, tags, strict=True):
                slot.leave(tag)
            assert LeaseFile(path).quiet(before_epoch=9) == []


def test_a_write_that_is_promised_is_in_the_file_that_others_map(path: Path) -> None:
    """Whoever maps a replaced file anew meanwhile: a record and its sequence never go to two files."""
    file = LeaseFile(path)
    stop = threading.Event()

    def refresh() -> None:
        while not stop.is_set():
            with contextlib.suppress(LeaseError):  # a busy machine: the lock was held for too long
                file.refresh()

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(refresh) for _ in range(2)]
        try:
            for epoch in range(1, 200):
                path.unlink(missing_ok=True)
                with contextlib.suppress(LeaseError):
                    if file.write(make(epoch)):
                        assert LeaseFile(path).read() == make(epoch)
        finally:
            stop.set()
        for other in others:
            other.result()


def test_a_file_that_was_cut_short_is_a_clear_error_in_every_thread(path: Path) -> None:
    file = LeaseFile(path)
    slots = [file.register() for _ in range(2)]
    path.unlink()
    path.write_bytes(b"UNDRSTDY")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(file.refresh) for _ in range(4)]:
            with pytest.raises(LeaseError, match="found 8 bytes"):
                done.result()
    path.unlink()
    assert file.refresh()
    assert len(LeaseFile(path).processes()) == len(slots)


def test_quiet_counts_calls_of_older_epochs_only(path: Path) -> None:
    file = LeaseFile(path)
    slot = file.register()
    slot.set_epoch_seen(1)
    tag = slot.enter()
    assert file.quiet(before_epoch=1) == []
    assert file.quiet(before_epoch=2) == [os.getpid()]
    slot.set_epoch_seen(2)
    newer = slot.enter()
    assert file.quiet(before_epoch=2) == [os.getpid()]
    slot.leave(tag)
    assert file.quiet(before_epoch=2) == []
    assert file.processes()[0].in_flight == 1
    slot.leave(newer)
    assert slot.in_flight == 0


@given(st.lists(st.sampled_from(["enter", "leave", "epoch"]), max_size=40), st.randoms())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_slot_against_a_model(tmp_path: Path, actions: list[str], rng: random.Random) -> None:
    (tmp_path / "m.lease").unlink(missing_ok=True)
    file = LeaseFile(tmp_path / "m.lease")
    slot, flying, epoch = file.register(), [], 0
    for action in actions:
        if action == "enter":
            flying.append(slot.enter())
        elif action == "leave" and flying:
            slot.leave(flying.pop(rng.randrange(len(flying))))
        elif action == "epoch":
            epoch += rng.randint(0, 2)
            slot.set_epoch_seen(epoch)
        assert slot.in_flight == len(flying)
        if any(tag < epoch for tag in flying):
            assert file.quiet(before_epoch=epoch) == [os.getpid()]
        if not flying:
            assert file.quiet(before_epoch=epoch + 9) == []
    file.close()


def test_counts_stay_right_with_many_threads(path: Path) -> None:
    slot = LeaseFile(path).register()

    def work() -> None:
        for number in range(2000):
            tag = slot.enter()
            slot.set_epoch_seen(number // 100)
            slot.leave(tag)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slot.in_flight == 0


def test_slots_of_dead_processes_are_freed(path: Path) -> None:
    file = LeaseFile(path)
    pid = os.fork()
    if pid == 0:
        slot = LeaseFile(path).register()
        slot.enter()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert file.quiet(before_epoch=9) == []
    assert [(view.pid, view.alive) for view in file.processes()] == [(pid, False)]
    assert file.processes() == []


def test_a_full_table_is_a_clear_error(path: Path) -> None:
    file = LeaseFile(path)
    slot = file.register()
    for number in range(1, PROCESS_SLOTS):
        words = file._slot(number)
        words[PID], words[START] = os.getpid(), start_time(os.getpid()) or 0
    with pytest.raises(LeaseError, match="1024 process slots are taken"):
        file.register()
    slot.release()
    file.register()


def test_a_forked_child_does_not_touch_the_parents_slot(path: Path) -> None:
    file = LeaseFile(path)
    slot = file.register()
    slot.enter()
    pid = os.fork()
    if pid == 0:
        slot.leave(0)
        slot.enter()
        slot.enter()
        file.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert [view.in_flight for view in file.processes()] == [1]
    slot.leave(0)
    assert file.processes()[0].in_flight == 0


# --- several processes --------------------------------------------------------------------------------------


def _write_forever(path: str, names: tuple[str, str]) -> None:
    file = LeaseFile(path)
    epoch = 1
    while True:
        # The primary is a function of the epoch, so a mixture of two records would be noticed.
        present = file.read()
        epoch = (present.epoch if present else 0) + 1
        file.write(make(epoch, names[epoch % 2], renewed=float(epoch), deadline=float(epoch) + 5))


def _is_whole(lease: Lease | None) -> bool:
    return lease is None or (
        lease.primary == ("even", "odd")[lease.epoch % 2]
        and lease.renewed == lease.epoch
        and lease.deadline == lease.epoch + 5
    )


def test_killed_writers_never_leave_a_wrong_record(path: Path) -> None:
    file = LeaseFile(path)
    rng = random.Random(1)
    fork = multiprocessing.get_context("fork")
    newest = 0
    for _ in range(40):
        writers = [
            fork.Process(target=_write_forever, args=(str(path), ("even", "odd")), daemon=True)
            for _ in range(2)
        ]
        for writer in writers:
            writer.start()
        for _ in range(rng.randrange(50, 60_000)):
            lease = file.read()
            assert _is_whole(lease)
            if lease is not None:
                assert lease.epoch >= newest
                newest = lease.epoch
        for writer in writers:
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
        assert _is_whole(file.read())
    last = file.read()
    assert last is not None
    assert file.write(make(last.epoch + 1))


def _read_in_child(path: str, results: multiprocessing.Queue[object]) -> None:
    results.put(LeaseFile(path).read())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_sees_the_lease(path: Path, method: str) -> None:
    file = LeaseFile(path)
    lease = make(4, deadline=boot_now())
    file.write(lease)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=_read_in_child, args=(str(path), results))
    child.start()
    assert results.get() == lease
    child.join()
