"""What embedded servers decide before any server runs: who may reach which folder, ports, URIs, messages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL, postgresql, processes, programs
from understudy.embedded.postgresql import PORTS, free_port

SLEEPER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]


def open_tree(tmp_path: Path) -> Path:
    """A folder whose own mode decides; pytest's parents are closed to others, so checks stop at `tmp_path`."""
    folder = tmp_path / "inner"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("mode", "enters"), [(0o755, True), (0o711, True), (0o750, False), (0o700, False)])
def test_an_account_enters_folders_open_to_others(tmp_path: Path, mode: int, enters: bool) -> None:
    folder = open_tree(tmp_path)
    folder.chmod(mode)
    stranger = programs.Account(uid=os.geteuid() + 12345, gid=os.getegid() + 12345)
    assert stranger.may_enter(folder) is enters
    owner = programs.Account(uid=os.geteuid(), gid=os.getegid())
    assert owner.may_enter(folder)


def test_the_topmost_closed_folder_is_named(tmp_path: Path) -> None:
    folder = open_tree(tmp_path)
    tmp_path.chmod(0o700)
    stranger = programs.Account(uid=os.geteuid() + 12345, gid=os.getegid() + 12345)
    closed = stranger.closed_folder(folder)
    assert closed is not None
    assert tmp_path.resolve().is_relative_to(closed)
    assert programs.Account(uid=os.geteuid(), gid=os.getegid()).closed_folder(Path("/")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its servers to another user")
def test_a_folder_the_servers_cannot_reach_is_refused_with_its_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(EmbeddedError, match=r"closed to it \(mode 700\).*chmod o\+x"):
        EmbeddedPostgreSQL(tmp_path / "oak", name="oak").create()


def test_a_version_that_is_not_in_the_wheel_is_refused() -> None:
    with pytest.raises(EmbeddedError, match=r"expected one of the versions \[16, 18\].*no PostgreSQL 9"):
        programs.installation(9, None)


def test_programs_out_of_reach_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(programs, "_readable_by", lambda user, folder: False)
    first = programs.installation(16, programs.Account(1, 1))
    (copy,) = tmp_path.iterdir()
    assert first.is_relative_to(copy)
    assert (first / "bin" / "postgres").stat().st_mode & 0o777 == 0o755
    assert copy.stat().st_mode & 0o777 == 0o755
    made = copy.stat().st_ino
    assert programs.installation(16, programs.Account(1, 1)) == first
    assert copy.stat().st_ino == made
    assert list(tmp_path.iterdir()) == [copy]
    for program in ("postgres", "initdb", "psql", "pg_dump"):  # each finds its libraries in the copy
        version = programs.run(first / "bin" / program, "--version", user=None)
        assert "(PostgreSQL) 16" in version


def test_a_copy_that_others_may_write_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(programs, "_readable_by", lambda user, folder: False)
    name = f"understudy-postgresql-{programs.importlib.metadata.version(programs.WHEEL)}-16"
    (tmp_path / name).mkdir()
    (tmp_path / name).chmod(0o777)
    with pytest.raises(EmbeddedError, match=r"that nobody else may write, found owner \d+, mode 777"):
        programs.installation(16, programs.Account(1, 1))


def test_a_program_that_fails_shows_its_last_lines() -> None:
    initdb = programs.installation(16, programs.account()) / "bin" / "initdb"
    with pytest.raises(EmbeddedError, match=r"initdb: expected exit code 0, found 1:\n.*no-such-option"):
        programs.run(initdb, "--no-such-option", user=programs.account())


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    ports = {free_port() for _ in range(20)}
    assert all(port in PORTS for port in ports)
    assert len(ports) > 1


TAKE = """
import sys; from understudy.embedded import postgresql
postgresql.PORTS = range(int(sys.argv[1]), int(sys.argv[1]) + 1)
postgresql.free_port()
"""


def test_a_free_port_is_nobody_elses_until_its_server_listens_and_afterwards() -> None:
    port = free_port()
    elsewhere = [sys.executable, "-c", TAKE, str(port)]
    for _ in range(2):  # a server that is killed comes back
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        refused = subprocess.run(elsewhere, capture_output=True, text=True, check=False)
        assert "found 1 taken ones" in refused.stderr
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port)).close()


def test_ports_are_kept_in_reserve_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_reserved", deque[socket.socket]())
    monkeypatch.setattr(postgresql, "RESERVED", 2)
    first, second, third = (free_port() for _ in range(3))
    assert [held.getsockname()[1] for held in postgresql._reserved] == [second, third]
    with socket.socket() as given_back:
        given_back.bind(("127.0.0.1", first))
    for held in postgresql._reserved:
        held.close()


def test_a_server_that_was_not_created_says_what_to_do(tmp_path: Path) -> None:
    server = EmbeddedPostgreSQL(tmp_path / "oak", name="oak")
    for attempt in (server.start, server.dsn, lambda: server.port):
        with pytest.raises(EmbeddedError, match=r"server oak in .*Call create\(\) first"):
            attempt()
    assert not server.running
    assert server.pids == set()
    server.kill()  # nothing to kill is no error
    server.destroy()


def test_destroy_leaves_a_folder_alone_that_is_no_servers(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(EmbeddedError, match=r"expected a server, found no server\.json"):
        EmbeddedPostgreSQL(tmp_path, name="oak").destroy()
    assert (tmp_path / "precious").exists()


def test_a_uri_quotes_what_must_be_quoted(tmp_path: Path) -> None:
    server = EmbeddedPostgreSQL(tmp_path, name="oak")
    (tmp_path / "server.json").write_text('{"port": 20001, "major": 16}')
    assert server.dsn("a b", "d/b", "p@s:s/w%") == "postgresql://a%20b:p%40s%3As%2Fw%25@127.0.0.1:20001/d%2Fb"
    assert server.dsn("app", "farm") == "postgresql://app@127.0.0.1:20001/farm"


def test_processes_are_found_by_folder_and_program_and_waited_for(tmp_path: Path) -> None:
    program = Path(sys.executable).resolve().name
    with subprocess.Popen(SLEEPER, cwd=tmp_path, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert processes.working_in(tmp_path, program) == {child.pid}
        assert processes.working_in(tmp_path, "postgres") == set()
        assert processes.wait_gone([child.pid], 0.05) == {child.pid}
        assert processes.stop_all(child.pid, lambda: {child.pid}) == {child.pid}
        assert processes.state(child.pid) == "T"
        assert processes.alive(child.pid)
        processes.send([child.pid], signal.SIGKILL)
        assert processes.wait_gone([child.pid], 60) == set()
        assert not processes.alive(child.pid)  # a zombie until its parent looks
    assert processes.state(child.pid) is None
    processes.send([child.pid], signal.SIGKILL)  # gone is no error
    assert processes.wait_gone([child.pid], 0) == set()


def host_with(folder: Path, version: str, *extensions: str) -> Path:
    """The programs of a PostgreSQL that somebody has installed."""
    programs_of_it, there = folder / "bin", folder / "share" / "postgresql" / "extension"
    for made in (programs_of_it, there):
        made.mkdir(parents=True)
    script = programs_of_it / "postgres"
    script.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
    script.chmod(0o755)
    for name in extensions:
        (there / f"{name}.control").touch()
    return programs_of_it


@pytest.mark.parametrize(
    ("version", "wanted", "taken"),
    [
        ("16.4", ("plpgsql", "vector"), False),  # ours has them
        ("16.4", ("plpgsql", "hstore"), True),
        ("16.4", ("plpgsql", "hstore", "vector"), False),  # nobody has all: ours says what it lacks
        ("15.9", ("plpgsql", "hstore"), False),
        ("160.1", ("plpgsql", "hstore"), False),
    ],
)
def test_programs_of_this_host_are_taken_where_ours_lack_an_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, wanted: tuple[str, ...], taken: bool
) -> None:
    theirs = host_with(tmp_path / "theirs", version, "plpgsql", "hstore")
    monkeypatch.setenv("PATH", f"{theirs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(programs, "HOST_FOLDERS", ())
    ours = programs.installation(16, None) / "bin"
    assert programs.server(16, None, wanted) == (theirs if taken else ours)
    assert programs.lacking(16, None, wanted) == (["hstore"] if not taken and "hstore" in wanted else [])


def test_programs_that_do_not_run_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = host_with(tmp_path / "broken", "16.4", "plpgsql", "hstore")
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    good = host_with(tmp_path / "good", "16.4", "plpgsql", "hstore")
    monkeypatch.setenv("PATH", f"{good}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(programs, "HOST_FOLDERS", (str(tmp_path / "broken" / "bin"),))
    assert programs.server(16, None, ("hstore",)) == good
