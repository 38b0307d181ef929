"""The witness's file after damage: what is read is a state that was written, or a `WitnessError`; nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from understudy.client.renewal import Renewal
from understudy.errors import StaleVersion, WitnessError
from understudy.lease import LeaseFile
from understudy.model import Cluster, ClusterState, NodeRecord, Policy, Role
from understudy.witness.codec import decode, encode
from understudy.witness.sqlite import SqliteWitness

NODES = (NodeRecord(name="a", role=Role.PRIMARY), NodeRecord(name="b", role=Role.STANDBY))
STATE = ClusterState(cluster="main", version=0, epoch=7, primary="a", nodes=NODES)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A witness that holds two changes, closed, with everything in its main file."""
    path = tmp_path / "witness.db"
    witness = SqliteWitness(path)
    second = witness.write(witness.write(STATE, expected=0), expected=1)
    assert second.version == 2
    witness.close()
    yield path


def read(path: Path) -> ClusterState | None:
    witness = SqliteWitness(path, create=False)
    try:
        return witness.read("main")
    finally:
        witness.close()


# What SQLite may hold in a column, whatever its declared type.
cells = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=40)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=cells | st.just(encode(STATE).encode("utf-16")), version=cells)
@example(record=b"\xff\xfe", version=1)
@example(record=5, version=1)
@example(record=b"[", version="x")
@example(record=encode(STATE), version="x")
@example(record=encode(STATE), version=2.5)
@example(record=encode(STATE), version=b"2")
def test_any_cell_is_the_state_or_the_error(path: Path, record: object, version: object) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE state; CREATE TABLE state (cluster, version, record)")
        db.execute("INSERT INTO state VALUES ('main', ?, ?)", (version, record))
        db.commit()
    try:
        found = read(path)
    except WitnessError:
        return
    assert found is not None
    assert replace(found, version=0) == STATE


@pytest.mark.parametrize(
    ("record", "version"),
    [(5, 1), (None, 1), (2.5, 1), (encode(STATE), "x"), (encode(STATE), 2.5), (encode(STATE), None)],
)
def test_a_cell_of_another_type_is_the_error(path: Path, record: object, version: object) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE state; CREATE TABLE state (cluster, version, record)")
        db.execute("INSERT INTO state VALUES ('main', ?, ?)", (version, record))
        db.commit()
    with pytest.raises(WitnessError):
        read(path)


def damage_the_schema(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"CREATE TABLE") + 3] = 0x80
    path.write_bytes(whole)


def test_a_schema_that_is_not_utf8_is_the_error(path: Path) -> None:
    damage_the_schema(path)
    with pytest.raises(WitnessError):
        read(path)


@pytest.mark.parametrize("damage", [damage_the_schema, lambda path: path.write_bytes(b"x" * 9000)])
def test_clients_renew_without_a_witness_that_is_damaged(
    path: Path, damage: Callable[[Path], object]
) -> None:
    """It counts as one of three that does not answer; the thread that renews outlives it."""
    cluster = Cluster(name="main", engine="postgresql", nodes=(), policy=Policy())
    renewal = Renewal(cluster, path.parent, LeaseFile(path.parent / "main.lease"))
    assert renewal._state() is not None
    damage(path)
    assert renewal._state() is None


@pytest.mark.parametrize("version", [None, "x", 2.5, b"2"])
def test_a_version_that_is_none_refuses_every_change(path: Path, version: object) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE state; CREATE TABLE state (cluster PRIMARY KEY, version, record)")
        db.execute("INSERT INTO state VALUES ('main', ?, ?)", (version, encode(STATE)))
        db.commit()
    witness = SqliteWitness(path, create=False)
    with pytest.raises((WitnessError, StaleVersion)):
        witness.write(STATE, expected=2)
    witness.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_to_the_file_is_an_error_or_a_readable_state(path: Path, data: st.DataObject) -> None:
    """SQLite checks its structure and we check the record; neither ever shows as another kind of error."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    cut = data.draw(st.just(len(whole)) | st.integers(0, len(whole)))
    path.write_bytes(damaged[:cut])
    try:
        found = read(path)
        assert found is None or decode(encode(found)) == found
    except WitnessError:
        pass
    finally:
        for extra in path.parent.glob("witness.db-*"):
            extra.unlink()
        path.write_bytes(whole)
