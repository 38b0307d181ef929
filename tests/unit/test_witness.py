"""The SQLite witness and its codec: one winner per version, durable at once, nothing guessed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import StaleVersion, WitnessError
from understudy.model import ClusterState, Link, NodeRecord, Plan, PlanKind, Request, RequestKind, Role, Step
from understudy.witness import Entry, SqliteWitness
from understudy.witness.codec import decode, encode

SPAWN = multiprocessing.get_context("spawn")


def a_state(**changes: object) -> ClusterState:
    nodes = (NodeRecord(name="oak", role=Role.PRIMARY), NodeRecord(name="elm", role=Role.STANDBY))
    return replace(ClusterState(cluster="c", version=0, epoch=1, primary="oak", nodes=nodes), **changes)  # type: ignore[arg-type]


def raise_epoch(path: str, times: int) -> int:
    """Add one to the epoch ``times`` times by compare-and-set. Returns how often somebody else was first."""
    witness, lost = SqliteWitness(Path(path)), 0
    for _ in range(times):
        while True:
            state = witness.read("c")
            assert state is not None
            try:
                witness.write(replace(state, epoch=state.epoch + 1), expected=state.version)
                break
            except StaleVersion:
                lost += 1
    witness.close()
    return lost


def write_until_killed(path: str, report: str) -> None:
    witness = SqliteWitness(Path(path))
    fd = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    state = witness.read("c")
    assert state is not None
    while True:
        state = witness.write(replace(state, epoch=state.epoch + 1), expected=state.version)
        os.write(fd, b"%d\n" % state.epoch)


def test_a_first_write_expects_version_zero(tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / "deep" / "witness.db")
    assert witness.read("c") is None
    assert witness.write(a_state(), expected=0).version == 1
    assert witness.read("c") == a_state(version=1)
    with pytest.raises(StaleVersion, match="expected version 0, found 1"):
        witness.write(a_state(), expected=0)


def test_of_many_threads_one_wins_each_version(tmp_path: Path) -> None:
    path = tmp_path / "witness.db"
    SqliteWitness(path).write(a_state(), expected=0)
    threads = [threading.Thread(target=raise_epoch, args=(str(path), 15)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = SqliteWitness(path).read("c")
    assert found is not None
    assert (found.epoch, found.version) == (61, 61)


def test_one_object_serves_several_threads(tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / "witness.db")
    witness.write(a_state(), expected=0)
    won: list[int] = []

    def try_it(number: int) -> None:
        try:
            witness.write(a_state(epoch=number), expected=1)
            won.append(number)
        except StaleVersion:
            pass

    threads = [threading.Thread(target=try_it, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    found = witness.read("c")
    assert found is not None
    assert found.epoch == won[0]


def test_of_many_processes_one_wins_each_version(tmp_path: Path) -> None:
    path = tmp_path / "witness.db"
    SqliteWitness(path).write(a_state(), expected=0)
    workers = [SPAWN.Process(target=raise_epoch, args=(str(path), 20)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    found = SqliteWitness(path).read("c")
    assert found is not None
    assert (found.epoch, found.version) == (41, 41)


def test_what_was_written_survives_kill_9_of_the_writer(tmp_path: Path) -> None:
    path, report = tmp_path / "witness.db", tmp_path / "report"
    SqliteWitness(path).write(a_state(), expected=0)
    writer = SPAWN.Process(target=write_until_killed, args=(str(path), str(report)))
    writer.start()
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and (not report.exists() or report.stat().st_size < 100):
        time.sleep(0.01)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    told = int(report.read_text().splitlines()[-1])
    found = SqliteWitness(path).read("c")
    assert found is not None
    assert found.epoch in (told, told + 1), "a write it was told of is lost, or one it never made is there"
    SqliteWitness(path).write(replace(found, epoch=999), expected=found.version)


def test_a_restored_old_copy_refuses_whoever_knows_better(tmp_path: Path) -> None:
    path, old = tmp_path / "witness.db", tmp_path / "old.db"
    witness = SqliteWitness(path)
    first = witness.write(a_state(), expected=0)
    witness._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, old)
    second = witness.write(replace(first, epoch=2), expected=1)
    witness.close()
    restored = SqliteWitness(old)
    assert restored.read("c") == first
    with pytest.raises(StaleVersion):
        restored.write(replace(second, epoch=3), expected=second.version)


def test_an_agent_is_replaced_only_when_silent(tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / "witness.db")
    assert witness.take_agent("c", "one", 100.0, 3.0) == (True, "one", 0.0)
    assert witness.take_agent("c", "two", 102.5, 3.0) == (False, "one", 2.5)
    assert witness.take_agent("c", "one", 103.0, 3.0)[0]
    assert not witness.take_agent("c", "two", 105.9, 3.0)[0]
    assert witness.take_agent("c", "two", 106.0, 3.0)[0]
    assert not witness.take_agent("c", "one", 106.5, 3.0)[0]
    witness.release_agent("c", "one")
    assert not witness.take_agent("c", "one", 107.0, 3.0)[0], "only its holder gives the place back"
    witness.release_agent("c", "two")
    assert witness.take_agent("c", "one", 107.0, 3.0)[0]


def test_after_a_reboot_the_boot_clock_starts_anew(tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / "witness.db")
    witness.take_agent("c", "one", 5000.0, 3.0)
    assert witness.take_agent("c", "two", 10.0, 3.0)[0]


def test_events_come_oldest_first_and_are_bounded(tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / "witness.db")
    for number in range(5):
        witness.log("c", epoch=1, entry=Entry(agent="a", kind="k", message=f"m{number}", took=0.5))
    events = witness.events("c", limit=3)
    assert [e.message for e in events] == ["m2", "m3", "m4"]
    assert [e.message for e in witness.events("c", limit=9, after=events[1].id)] == ["m4"]
    assert events[-1].took == 0.5
    assert witness.events("other", limit=3) == []


@pytest.mark.parametrize("folder", ["a#b", "a?b", "a%41b"])
def test_it_lies_where_it_was_asked_for_whatever_the_name_of_its_folder(folder: str, tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / folder / "witness.db")
    witness.write(a_state(), expected=0)
    witness.close()
    assert (tmp_path / folder / "witness.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_events_tell_boot_time_also_in_a_file_of_an_earlier_version(tmp_path: Path) -> None:
    """What was written before has none; whoever opens the file first adds the column, reader or writer."""
    path = tmp_path / "w.db"
    SqliteWitness(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE event DROP COLUMN boot")
        line = "INSERT INTO event (wall, cluster, agent, epoch, kind, message) VALUES (1, 'c', 'a', 1, 'old', 'm')"
        db.execute(line)
        db.commit()
    reader = SqliteWitness(path, create=False)
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    writer = SqliteWitness(path)
    writer.log("c", epoch=1, entry=Entry(agent="a", kind="new", message="m"))
    old, new = reader.events("c", limit=9)
    assert (old.kind, old.boot) == ("old", None)
    assert new.boot is not None
    assert before <= new.boot <= time.clock_gettime(time.CLOCK_BOOTTIME)
    reader.close()
    writer.close()


def test_a_full_disk_is_told_as_such_and_harms_nothing_later(tmp_path: Path) -> None:
    witness = SqliteWitness(tmp_path / "witness.db")
    witness.write(a_state(), expected=0)
    line = Entry(agent="a", kind="k", message="m" * 4000)
    (pages,) = witness._db.execute("PRAGMA page_count").fetchone()
    witness._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(WitnessError, match="database or disk is full"):
        for _ in range(100):
            witness.log("c", epoch=1, entry=line)
    witness._db.execute(f"PRAGMA max_page_count = {pages + 100}")
    witness.log("c", epoch=1, entry=line)
    witness.close()


def test_what_is_no_database_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "witness.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(WitnessError, match="check that the folder exists"):
        SqliteWitness(path)
    with pytest.raises(WitnessError):
        SqliteWitness(tmp_path / "missing.db", create=False)


# --- the codec -------------------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=12)
links = st.builds(Link, name=names, publisher=names, subscriber=names)
records = st.builds(
    NodeRecord,
    name=names,
    role=st.sampled_from(Role),
    rescue_point=st.none() | st.integers(min_value=0, max_value=2**63),
    needs_copy=st.text(max_size=20),
    identity=st.text(max_size=20),
    verified=st.booleans(),
    copies=st.integers(0, 9),
)
plans = st.builds(
    Plan,
    kind=st.sampled_from(PlanKind),
    epoch=st.integers(0, 2**40),
    source=names,
    target=names,
    number=st.integers(0, 2**40),
    slot=names,
    rule=names,
    reason=st.text(max_size=40),
    done=st.lists(st.sampled_from(Step), max_size=5).map(tuple),
)
requests = st.builds(
    Request, id=names, kind=st.sampled_from(RequestKind), target=names, accept_loss=st.booleans()
)
states = st.builds(
    ClusterState,
    cluster=names,
    version=st.integers(0, 2**40),
    epoch=st.integers(0, 2**40),
    primary=names,
    nodes=st.lists(records, min_size=1, max_size=3).map(tuple),
    link=st.none() | links,
    old_links=st.lists(links, max_size=2).map(tuple),
    reverse=st.none() | links,
    spare_slot=st.text(max_size=10),
    in_sync=st.booleans(),
    plan=st.none() | plans,
    paused=st.booleans(),
    request=st.none() | requests,
    answer=st.text(max_size=20),
    failbacks=st.lists(st.floats(0, 2e9), max_size=3).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(states)
def test_every_state_comes_back_as_it_was(state: ClusterState) -> None:
    assert decode(encode(state)) == state


@given(json_values)
def test_any_other_json_is_refused(value: object) -> None:
    with pytest.raises(WitnessError):
        decode(json.dumps(value))
    with pytest.raises(WitnessError):
        decode(json.dumps({"format": 1, "state": value}))


@given(st.text() | st.just("[" * 100_000))
@settings(max_examples=50)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(WitnessError):
        decode(text)


@given(states, st.data())
def test_one_wrong_field_is_refused_or_read_as_written(state: ClusterState, data: st.DataObject) -> None:
    """Put a random value in place of one: either it is refused, or it is a value of the right type."""
    record = json.loads(encode(state))
    key = data.draw(st.sampled_from(sorted(record["state"])))
    record["state"][key] = data.draw(json_values)
    text = json.dumps(record)
    try:
        found = decode(text)
    except WitnessError:
        return
    assert json.loads(encode(found))["state"][key] == record["state"][key]


@given(states, st.data())
def test_a_missing_or_additional_key_is_refused(state: ClusterState, data: st.DataObject) -> None:
    record = json.loads(encode(state))
    if data.draw(st.booleans()):
        del record["state"][data.draw(st.sampled_from(sorted(record["state"])))]
    else:
        record["state"]["surprise"] = 1
    with pytest.raises(WitnessError, match="expected the keys"):
        decode(json.dumps(record))


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(WitnessError, match="upgrade Understudy first"):
        decode('{"format": 2, "state": {}}')
