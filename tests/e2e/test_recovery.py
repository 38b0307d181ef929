"""Point-in-time recovery as a user does it: the agent archives, the primary changes, the command line restores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from understudy.backup import archiving
from understudy.backup.archiver import Status, slot_name
from understudy.backup.keys import write_new
from understudy.config_backup import Physical
from understudy.demo.agent_process import run
from understudy.demo.lab import CLUSTER, DATABASE, Lab
from understudy.embedded import EmbeddedPostgreSQL
from understudy.model import Rpo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TABLES = """
[backup]
key_file = "{key}"
[[backup.destination]]
name = "disk"
folder = "{folder}"
[backup.physical]
partial_every = "1s"
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(mode=Rpo.BOUNDED, scale=1) as made:
        made.agent.stop()
        key = made.folder / "backup.key"
        write_new(key)
        (tmp_path / "disk").mkdir()
        with made.config_file.open("a") as file:
            file.write(TABLES.format(key=key, folder=tmp_path / "disk"))
        made.start_agent()
        yield made


def archiver(lab: Lab) -> Status:
    return archiving.read(archiving.path_of(lab.directory, CLUSTER), datetime.now(UTC)) or Status()


def stored_until_now(lab: Lab) -> None:
    now = datetime.now(UTC).timestamp()
    lab.await_true(
        lambda: any((d.until or 0) > now for d in archiver(lab).destinations),
        60,
        f"the archive: {archiver(lab)}",
    )


def test_back_to_the_position_before_a_mistake_after_the_primary_has_changed(lab: Lab) -> None:
    lab.await_true(lambda: archiver(lab).receiving, 60, "the archive")
    run(lab.config_file, "backup", "create", "--physical")
    with lab.connect("a") as connection:
        connection.execute("INSERT INTO pgbench_branches VALUES (4711, 1)")
        row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        connection.execute("DELETE FROM pgbench_branches")
    assert row is not None
    stored_until_now(lab)
    lab.switchover("b")
    lab.await_true(lambda: archiver(lab).node == "b" and archiver(lab).receiving, 60, "the log of b")
    with lab.connect("a") as connection:
        ours = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s"
        name = slot_name(Physical(), CLUSTER)
        lab.await_true(
            lambda: connection.execute(ours, (name,)).fetchone() == (0,), 90, "the slot on a to go"
        )

    folder = lab.folder / "restored"
    told = run(lab.config_file, "backup", "restore", "latest", "--folder", str(folder), "--to-lsn", row[0])
    assert "restored to" in told
    with (
        EmbeddedPostgreSQL(folder, name="restored", die_with_parent=True) as server,
        psycopg.connect(server.dsn(dbname=DATABASE)) as connection,
    ):
        found = connection.execute("SELECT bid FROM pgbench_branches ORDER BY 1").fetchall()
        assert found == [(1,), (4711,)]
    with lab.connect("b") as connection:
        assert connection.execute("SELECT count(*) FROM pgbench_branches").fetchone() == (0,)
