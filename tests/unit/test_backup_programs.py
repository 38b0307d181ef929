"""Client programs: which one is chosen, what it is told, and what is kept of its words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from understudy.backup import staging
from understudy.backup.programs import Child, command_line, program, version_of
from understudy.backup.source import BackupError, BackupRefused, alone

DSN = "postgresql://app:s3cret@host.example/farm?sslmode=require"


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("pg_dump (PostgreSQL) 16.14", "16.14"),
        ("pg_dump (PostgreSQL) 17.11 (Debian 17.11-1.pgdg13+1)", "17.11"),
        ("pg_dump (PostgreSQL) 18beta1", "18"),
        ("nothing", ""),
    ],
)
def test_versions(tmp_path: Path, said: str, version: str) -> None:
    path = tmp_path / "tool"
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    assert version_of(path) == version


def test_the_program_of_the_servers_major(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pg_dump"
    path.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 41.2'\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert program("pg_dump", 41) == path
    with pytest.raises(BackupRefused, match=r"PostgreSQL 42, .* 41\.2.*install postgresql-client-42"):
        program("pg_dump", 42)


def test_the_password_is_in_the_environment_only() -> None:
    line, environment = command_line(DSN, "main/dump")
    assert "s3cret" not in line
    assert "sslmode=require" in line
    assert "application_name=understudy-backup/main/dump" in line
    assert environment["PGPASSWORD"] == "s3cret"
    assert "PATH" in environment
    with pytest.raises(BackupRefused, match="sslpassword"):
        command_line(f"{DSN}&sslpassword=x", "main/dump")


def test_a_failure_is_told_after_the_last_bytes_without_the_password() -> None:
    text = (
        "import sys; sys.stdout.write('half'); sys.stderr.write('bad: password=s3cret s3cret'); sys.exit(3)"
    )
    seen = []
    with Child(python(text), {}, dsn=DSN) as child, pytest.raises(BackupError) as caught:
        seen.extend(child.chunks())
    assert seen == [b"half"]
    assert "exit code 3: bad" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_of_many_words_beginning_and_end_are_kept() -> None:
    text = "import sys; sys.stderr.write('first ' + 'x' * 100000 + ' last'); sys.exit(1)"
    with Child(python(text), {}, dsn=DSN) as child, pytest.raises(BackupError, match=r"first .* last"):
        child.finish()


def test_leaving_ends_it() -> None:
    with Child(python("import time; time.sleep(600)"), {}, dsn=DSN) as child:
        pass
    with pytest.raises(BackupError, match="ended by SIGTERM"):
        child.finish()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BackupError, match="cannot be started"):
        Child([Path("/nonexistent/pg_dump")], {}, dsn=DSN)


def test_alone_is_one_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path, "backup-main"):
        with pytest.raises(BackupRefused, match="is at it already"), alone(tmp_path, "backup-main"):
            pass
        with alone(tmp_path, "backup-other"):
            pass
    with alone(tmp_path, "backup-main"):
        pass


def test_what_a_killed_process_has_left_is_swept(tmp_path: Path) -> None:
    text = (
        "import os, signal, sys; from pathlib import Path; from understudy.backup import staging\n"
        "with staging.folder(Path(sys.argv[1])) as place:\n"
        "    (place / 'large').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", text, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    with staging.folder(tmp_path) as first, staging.folder(tmp_path) as second:
        assert not left.exists()
        assert first.exists() and second.exists()
    assert list(tmp_path.iterdir()) == []
