"""Backups that Supabase makes by itself, as its API lists them: a server on loopback stands in for the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from understudy.backup.supabase import MAX_BYTES, Foreign, SupabaseError, listing
from understudy.cli.app import main
from understudy.config_backup import Supabase

TOKEN, PROJECT = "sbp_0123456789abcdef", "abcdefghijklmnopqrst"
FOUND: dict[str, Any] = {
    "region": "eu-central-1",
    "walg_enabled": True,
    "pitr_enabled": True,
    "backups": [
        {
            "id": 1,
            "is_physical_backup": True,
            "status": "COMPLETED",
            "inserted_at": "2026-11-20T02:10:00.123Z",
        },
        {"id": 2, "is_physical_backup": False, "status": "FAILED", "inserted_at": "2026-11-21T02:10:00Z"},
    ],
    "physical_backup_data": {
        "earliest_physical_backup_date_unix": 1763100000,
        "latest_physical_backup_date_unix": 1763704800,
    },
}
CONFIG = """
directory = "{directory}"
[[clusters.farm.nodes]]
name = "a"
dsn = "postgresql://app@localhost/farm"
[[clusters.farm.nodes]]
name = "b"
dsn = "postgresql://app@localhost/other"
[backup]
encryption = false
[[backup.destination]]
name = "disk"
folder = "{folder}"
[backup.supabase]
project = "{project}"
token_env = "THE_TOKEN"
api = "{api}"
"""


@contextmanager
def answering(
    status: int, body: bytes | dict[str, Any]
) -> Iterator[tuple[Supabase, list[tuple[str, str | None]]]]:
    """Something that answers like Supabase's API; what it was asked."""
    asked: list[tuple[str, str | None]] = []
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    api = f"http://127.0.0.1:{server.server_port}"
    try:
        yield Supabase(project=PROJECT, token_env="THE_TOKEN", token=TOKEN, api=api), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_its_backups_are_listed_newest_first() -> None:
    with answering(200, FOUND) as (settings, asked):
        found = listing(settings)
    assert asked == [(f"/v1/projects/{PROJECT}/database/backups", f"Bearer {TOKEN}")]
    assert found.backups == (
        Foreign(kind="logical", status="FAILED", made="2026-11-21T02:10:00+00:00"),
        Foreign(kind="physical", status="COMPLETED", made="2026-11-20T02:10:00+00:00"),
    )
    assert (found.pitr, found.earliest) == (True, "2025-11-14T06:00:00+00:00")


@pytest.mark.parametrize("window", [{}, None])
def test_without_point_in_time_recovery_there_is_no_window(window: object) -> None:
    with answering(200, {**FOUND, "pitr_enabled": False, "physical_backup_data": window}) as (settings, _):
        found = listing(settings)
    assert (found.pitr, found.earliest, found.latest) == (False, "", "")


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"message": TOKEN}, "set THE_TOKEN"),
        (403, {}, "may not look"),
        (404, {}, "no such project"),
        (429, {}, "in a minute"),
        (503, b"<html>", "status.supabase.com"),
        (302, {}, "try again later"),
        (200, b"<html>", "another shape"),
        (200, {"backups": []}, "another shape"),
        (200, {**FOUND, "backups": [{"status": "COMPLETED"}]}, "another shape"),
        (200, {**FOUND, "region": "\x1b[2J"}, "another shape"),
        (200, b" " * (MAX_BYTES + 1), "at most"),
    ],
)
def test_why_it_cannot_be_listed_without_the_token(
    status: int, body: bytes | dict[str, Any], says: str
) -> None:
    with answering(status, body) as (settings, _), pytest.raises(SupabaseError, match=says) as caught:
        listing(settings)
    assert TOKEN not in str(caught.value)
    assert PROJECT in str(caught.value)


def test_an_api_that_is_not_there() -> None:
    with answering(200, FOUND) as (settings, _):
        pass
    with pytest.raises(SupabaseError, match="does not answer"):
        listing(settings)


def test_the_command_lists_them_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THE_TOKEN", TOKEN)
    (tmp_path / "disk").mkdir()
    file = tmp_path / "understudy.toml"

    def listed(settings: Supabase, *more: str) -> tuple[int, str]:
        file.write_text(
            CONFIG.format(directory=tmp_path, folder=tmp_path / "disk", project=PROJECT, api=settings.api)
        )
        file.chmod(0o600)
        code = main(["--config", str(file), *more, "backup", "list"])
        said = capsys.readouterr()
        return code, said.out + said.err

    with answering(200, FOUND) as (settings, _):
        code, said = listed(settings)
        assert code == 0
        assert f"Supabase project {PROJECT} (eu-central-1), not ours" in said
        assert "from 2025-11-14T06:00:00+00:00 to 2025-11-21T06:00:00+00:00" in said
        assert "FAILED" in said
        code, said = listed(settings, "--json")
        assert json.loads(said)["supabase"]["backups"][1]["status"] == "COMPLETED"
    with answering(401, {}) as (settings, _):
        code, said = listed(settings)
        assert code == 1
        assert "the token is refused" in said
        assert TOKEN not in said
