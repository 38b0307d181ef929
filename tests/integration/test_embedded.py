"""Embedded PostgreSQL servers: their life, the faults they are for, and each privilege of the prepared roles."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL, processes

Factory = Callable[..., EmbeddedPostgreSQL]
PASSWORD = "it's a p@ss/word%"  # every character that quoting could get wrong


def write(server: EmbeddedPostgreSQL, text: str) -> None:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        connection.execute("INSERT INTO note VALUES (%s)", (text,))


def notes(server: EmbeddedPostgreSQL) -> list[str]:
    with psycopg.connect(server.dsn()) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM note ORDER BY text")]


def answers(server: EmbeddedPostgreSQL, timeout_s: int = 60) -> bool:
    try:
        with psycopg.connect(server.dsn(), connect_timeout=timeout_s):
            return True
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize("major", [16, 18])
def test_two_servers_are_up_quickly_and_differ(server_factory: Factory, major: int) -> None:
    started = time.monotonic()
    oak, elm = server_factory("oak", major=major), server_factory("elm", major=major)
    assert time.monotonic() - started < 60  # about 1.0 s on two idle cores; the rest is for busy machines
    assert oak.port != elm.port
    identities = set()
    for server in (oak, elm):
        with psycopg.connect(server.dsn()) as connection:
            assert connection.info.server_version // 10000 == major
            row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
            identities.add(row)
    assert len(identities) == 2


def test_a_kill_keeps_what_was_committed_and_the_port(server_factory: Factory) -> None:
    oak = server_factory("oak")
    port = oak.port
    for round_, whole in enumerate((True, False)):
        write(oak, f"round {round_}")
        oak.kill(whole=whole)
        assert not oak.running
        assert oak.pids == set()
        assert not answers(oak)
        oak.start()
        assert oak.port == port
    assert notes(oak) == ["round 0", "round 1"]


def test_stop_and_start_and_both_again_are_harmless(server_factory: Factory) -> None:
    oak = server_factory("oak")
    write(oak, "kept")
    first = oak.postmaster_pid
    oak.start()
    assert oak.postmaster_pid == first
    oak.stop()
    oak.stop()
    assert not oak.running
    oak.create()  # takes the existing data over
    oak.start()
    assert notes(oak) == ["kept"]


def test_a_frozen_server_accepts_and_never_answers_until_thawed(server_factory: Factory) -> None:
    oak = server_factory("oak")
    with psycopg.connect(oak.dsn()) as session:
        oak.freeze()
        assert all(processes.state(pid) == "T" for pid in oak.pids)
        assert oak.running
        assert not answers(oak, 2)
        oak.thaw()
        assert answers(oak)
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_frozen_postmaster_leaves_sessions_alive(server_factory: Factory) -> None:
    oak = server_factory("oak")
    with psycopg.connect(oak.dsn(), autocommit=True) as session:
        oak.freeze_postmaster()
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert not answers(oak, 2)
        oak.thaw()
        assert answers(oak)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_frozen_server_can_be_ended(server_factory: Factory, end: str) -> None:
    oak = server_factory("oak")
    oak.freeze()
    getattr(oak, end)()
    assert oak.pids == set()
    oak.start()
    assert answers(oak)


def test_another_object_and_another_process_can_take_the_server_over(server_factory: Factory) -> None:
    oak = server_factory("oak")
    same = EmbeddedPostgreSQL(oak.folder, name="oak again")
    assert same.postmaster_pid == oak.postmaster_pid
    script = "import sys; from pathlib import Path; from understudy.embedded import EmbeddedPostgreSQL as E\n"
    script += "server = E(Path(sys.argv[1]), name='oak'); server.kill(); server.start()"
    subprocess.run([sys.executable, "-c", script, str(oak.folder)], check=True)
    assert oak.running  # started by a process that has ended: servers outlive it
    assert answers(same)
    same.kill()
    assert not oak.running


def test_with_leaves_no_process_and_no_folder(server_folder: Path) -> None:
    folder = server_folder / "with"
    with pytest.raises(KeyboardInterrupt), EmbeddedPostgreSQL(folder, name="oak", temporary=True) as oak:
        assert oak.running
        raise KeyboardInterrupt
    assert oak.pids == set()
    assert not folder.exists()


def test_a_server_may_die_with_its_parent(server_factory: Factory) -> None:
    oak = server_factory("oak", start=False)
    script = (
        "import sys, os; from pathlib import Path; from understudy.embedded import EmbeddedPostgreSQL as E\n"
    )
    script += "server = E(Path(sys.argv[1]), name='oak', die_with_parent=True); server.start(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(oak.folder)], check=False)
    assert processes.wait_gone(oak.pids, 60) == set()
    assert not oak.running


def test_a_destroyed_server_leaves_no_shared_memory(server_factory: Factory) -> None:
    oak = server_factory("oak")
    segment = (oak.data / "postmaster.pid").read_text().splitlines()[6].split()[1]

    def known() -> set[str]:
        return {
            line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()
        }  # key, shmid, ...

    assert segment in known()
    oak.kill()
    oak.destroy()
    assert segment not in known()
    assert not oak.folder.exists()


def test_a_server_that_does_not_start_shows_its_log(server_factory: Factory) -> None:
    oak = server_factory("oak", start=False, settings={"shared_buffers": "a lot"})
    with pytest.raises(
        EmbeddedError, match=r"(?s)server oak in .*found exit code 1\..*shared_buffers.*a lot"
    ):
        oak.start()
    assert not oak.running


def test_a_taken_port_is_named(server_factory: Factory) -> None:
    oak = server_factory("oak")
    elm = server_factory("elm", start=False, port=oak.port)
    with pytest.raises(EmbeddedError, match=rf"(?s)ready on port {oak.port}.*in use"):
        elm.start()


def test_data_of_another_version_is_refused(server_factory: Factory) -> None:
    oak = server_factory("oak", start=False)
    with pytest.raises(EmbeddedError, match=r"expected PostgreSQL 18, found data of 16"):
        EmbeddedPostgreSQL(oak.folder, name="oak", major=18).create()


def test_settings_are_those_of_a_real_server(server_factory: Factory) -> None:
    oak = server_factory("oak", settings={"work_mem": "5MB", "cluster_name": "it's oak"})
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "wal_level": "logical",
        "listen_addresses": "127.0.0.1",
    }
    expected |= {"work_mem": "5MB", "cluster_name": "it's oak", "synchronous_commit": "on"}
    with psycopg.connect(oak.dsn()) as connection:
        for name, value in expected.items():
            assert connection.execute("SELECT current_setting(%s)", (name,)).fetchone() == (value,)


def test_secrets_are_private_and_passwords_are_asked_for(server_factory: Factory) -> None:
    oak = server_factory("oak")
    assert (oak.folder / "password").stat().st_mode & 0o777 == 0o600
    assert not (oak.folder / "initdb.password").exists()
    wrong = oak.dsn(password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    oak.prepare("farm", password=PASSWORD)
    with psycopg.connect(oak.dsn("understudy", "farm", PASSWORD)) as connection, pytest.raises(psycopg.Error):
        connection.execute("CREATE SUBSCRIPTION x CONNECTION 'port=1 password=hush' PUBLICATION x")
    log = oak.log.read_text()
    assert "STATEMENT:" not in log
    assert PASSWORD not in log
    assert "hush" not in log


# The prepared roles: each privilege, exercised as the role that has it.


@pytest.fixture(scope="module")
def oak_and_elm(module_server_factory: Factory) -> tuple[EmbeddedPostgreSQL, EmbeddedPostgreSQL]:
    pair = module_server_factory("oak"), module_server_factory("elm")
    for server in pair:
        server.prepare("farm", password=PASSWORD)
        server.prepare("farm", password=PASSWORD)  # may be repeated
        with psycopg.connect(server.dsn("app", "farm", PASSWORD)) as app:
            app.execute("CREATE TABLE animal (id bigint PRIMARY KEY, name text)")
    return pair


@pytest.fixture
def oak(oak_and_elm: tuple[EmbeddedPostgreSQL, EmbeddedPostgreSQL]) -> EmbeddedPostgreSQL:
    return oak_and_elm[0]


@pytest.fixture
def admin(oak: EmbeddedPostgreSQL) -> Iterator[psycopg.Connection]:
    with psycopg.connect(oak.dsn("understudy", "farm", PASSWORD), autocommit=True) as connection:
        yield connection


def value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_neither_role_is_a_superuser(oak: EmbeddedPostgreSQL) -> None:
    with psycopg.connect(oak.dsn()) as connection:
        query = (
            "SELECT rolname, rolsuper, rolreplication FROM pg_roles WHERE rolname IN ('app', 'understudy')"
        )
        rows = connection.execute(query).fetchall()
    assert sorted(rows) == [("app", False, False), ("understudy", False, True)]


def test_admin_switches_synchronous_replication(admin: psycopg.Connection) -> None:
    admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody_there'")
    try:
        assert value(admin, "SELECT pg_reload_conf()") is True
        deadline = time.monotonic() + 60
        while value(admin, "SHOW synchronous_standby_names") != "nobody_there":
            assert time.monotonic() < deadline
    finally:
        admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
        admin.execute("SELECT pg_reload_conf()")


def test_admin_applies_as_a_replica(admin: psycopg.Connection) -> None:
    admin.execute("SET session_replication_role = replica")
    assert value(admin, "SHOW session_replication_role") == "replica"


def test_admin_ends_a_session_of_the_application(oak: EmbeddedPostgreSQL, admin: psycopg.Connection) -> None:
    with psycopg.connect(oak.dsn("app", "farm", PASSWORD)) as app:
        assert value(admin, f"SELECT pg_terminate_backend({app.info.backend_pid}, 5000)") is True
        with pytest.raises(errors.AdminShutdown):
            app.execute("SELECT 1")


def test_admin_acts_for_the_application(admin: psycopg.Connection) -> None:
    admin.execute("INSERT INTO animal VALUES (1000, 'inherited')")
    admin.execute("SET ROLE app")
    admin.execute("DELETE FROM animal WHERE id = 1000")


def test_admin_sees_what_monitoring_needs(admin: psycopg.Connection) -> None:
    assert value(admin, "SELECT count(*) FROM pg_replication_origin_status") is not None
    assert value(admin, "SELECT system_identifier FROM pg_control_system()")
    assert value(admin, "SELECT pg_current_wal_lsn()")
    value(admin, "SELECT count(query) FROM pg_stat_activity")


def test_admin_records_origins_as_the_relay_does(admin: psycopg.Connection) -> None:
    admin.execute("SELECT pg_replication_origin_create('relay')")
    try:
        admin.execute("SELECT pg_replication_origin_session_setup('relay')")
        with admin.transaction():
            admin.execute("SELECT pg_replication_origin_xact_setup('0/ABC', now())")
            admin.execute("INSERT INTO animal VALUES (2000, 'relayed')")
        assert value(admin, "SELECT pg_replication_origin_session_is_setup()") is True
        assert value(admin, "SELECT pg_replication_origin_session_progress(true)") == "0/ABC"
        with admin.transaction():
            admin.execute("SELECT pg_replication_origin_xact_setup('0/ABD', now())")
            admin.execute("SELECT pg_replication_origin_xact_reset()")
            admin.execute("DELETE FROM animal WHERE id = 2000")
        admin.execute("SELECT pg_replication_origin_session_reset()")
        admin.execute("SELECT pg_replication_origin_advance('relay', '0/ABF')")
        assert value(admin, "SELECT pg_replication_origin_progress('relay', false)") == "0/ABF"
    finally:
        admin.execute("SELECT pg_replication_origin_drop('relay')")


def test_admin_publishes_and_subscribes(oak_and_elm: tuple[EmbeddedPostgreSQL, EmbeddedPostgreSQL]) -> None:
    oak, elm = oak_and_elm
    source = oak.dsn("understudy", "farm", PASSWORD)
    with (
        psycopg.connect(source, autocommit=True) as publisher,
        psycopg.connect(elm.dsn("understudy", "farm", PASSWORD), autocommit=True) as subscriber,
    ):
        publisher.execute("CREATE PUBLICATION farm FOR TABLE animal")
        subscriber.execute(
            psycopg.sql.SQL("CREATE SUBSCRIPTION farm CONNECTION {} PUBLICATION farm").format(source)
        )
        for number, name in enumerate(("copied or streamed", "streamed"), start=1):
            with psycopg.connect(oak.dsn("app", "farm", PASSWORD)) as app:
                app.execute("INSERT INTO animal VALUES (%s, %s)", (number, name))
            deadline = time.monotonic() + 60
            while value(subscriber, "SELECT count(*) FROM animal WHERE id < 10") != number:
                assert time.monotonic() < deadline, elm.log_tail()
        origin = "SELECT pg_replication_origin_progress('pg_' || oid, true) FROM pg_subscription"
        assert value(subscriber, origin) is not None
        assert value(subscriber, "SELECT remote_lsn FROM pg_replication_origin_status LIMIT 1") is not None
        subscriber.execute("ALTER SUBSCRIPTION farm DISABLE")
        subscriber.execute("DROP SUBSCRIPTION farm")
        publisher.execute("DROP PUBLICATION farm")


def test_the_application_cannot_do_what_admin_can(oak: EmbeddedPostgreSQL) -> None:
    with psycopg.connect(oak.dsn("app", "farm", PASSWORD), autocommit=True) as app:
        for statement in (
            "ALTER SYSTEM SET synchronous_standby_names = ''",
            "SET session_replication_role = replica",
            "SELECT pg_reload_conf()",
            "SELECT * FROM pg_replication_origin_status",
            "SET ROLE understudy",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                app.execute(statement)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its servers to another user")
def test_servers_of_root_run_as_somebody_else(server_factory: Factory) -> None:
    oak = server_factory("oak")
    assert all(Path(f"/proc/{pid}").stat().st_uid != 0 for pid in oak.pids)
