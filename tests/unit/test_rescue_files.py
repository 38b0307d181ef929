"""Rescue folders: SQL that cannot be broken out of, folders that cannot be damaged unnoticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.engines.postgresql import rescue_files as rf

names = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=20)


def unquote(sql: str, quote: str) -> str:
    """What PostgreSQL's scanner reads; fails where the quoted text ends before the end."""
    assert sql[0] == sql[-1] == quote
    inner = sql[1:-1]
    assert quote not in inner.replace(quote * 2, "")
    return inner.replace(quote * 2, quote)


@given(names)
def test_quoting_gives_back_the_text(name: str) -> None:
    assert unquote(rf.quote_identifier(name), '"') == name
    assert unquote(rf.quote_literal(name), "'") == name


def change(op: str, **more: Any) -> dict[str, Any]:
    return {"schema": "public", "table": 'a"b', "op": op, "key": {}, "old": None, "new": None} | more


@pytest.mark.parametrize(
    ("record", "sql"),
    [
        (
            change("insert", new={"id": "1", "x": "it's", "n": None}),
            """INSERT INTO "public"."a""b" ("id", "x", "n") OVERRIDING SYSTEM VALUE VALUES ('1', 'it''s', NULL)""",
        ),
        (change("insert", new={}), """INSERT INTO "public"."a""b" DEFAULT VALUES"""),
        (
            change("update", key={"id": "1"}, new={"id": "1", "x": "b"}),
            """UPDATE "public"."a""b" SET "x" = 'b' WHERE "id" = '1'""",
        ),
        (
            change("update", key={"id": "1"}, new={"id": "2", "x": "b"}),
            """UPDATE "public"."a""b" SET "id" = '2', "x" = 'b' WHERE "id" = '1'""",
        ),
        (
            change("delete", key={"id": "1", "b": "2"}),
            """DELETE FROM "public"."a""b" WHERE "id" = '1' AND "b" = '2'""",
        ),
        (
            change("delete", old={"x": None}),
            """DELETE FROM "public"."a""b" WHERE ctid = (SELECT ctid FROM "public"."a""b" WHERE """
            """"x"::text IS NOT DISTINCT FROM NULL LIMIT 1)""",
        ),
        (
            change("truncate", cascade=True, restart_identity=True),
            """TRUNCATE "public"."a""b" RESTART IDENTITY CASCADE""",
        ),
    ],
)
def test_statements(record: dict[str, Any], sql: str) -> None:
    assert rf.statement(record) == sql


def make(folder: Path, *, created: str = "2026-11-01") -> Path:
    folder.mkdir(mode=0o700)
    hashes = {}
    for name in (rf.CHANGES, rf.VERDICTS, rf.REPLAY):
        file = rf.PrivateFile(folder / name)
        file.write("{}\n")
        hashes[name] = file.close()
    manifest = {
        "format": 1,
        "node": "oak",
        "link": "l",
        "after": "0/0",
        "transactions": 1,
        "changes": 1,
        "verdicts": {"safe": 1},
        "sha256": hashes,
        "created": created,
    }
    (folder / rf.MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_list_is_ordered_and_leaves_out_what_is_not_complete(tmp_path: Path) -> None:
    make(tmp_path / "b", created="2026-11-02")
    make(tmp_path / "c", created="2026-11-01")
    make(tmp_path / ".x.tmp")
    (tmp_path / "empty").mkdir()
    assert [r.folder.name for r in rf.list_rescues(tmp_path)] == ["c", "b"]
    assert rf.list_rescues(tmp_path / "missing") == []


def test_files_are_private(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    assert (folder / rf.CHANGES).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", [rf.CHANGES, rf.VERDICTS, rf.REPLAY])
def test_a_changed_file_is_found_and_named(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "a")
    assert rf.load(folder).transactions == 1
    (folder / name).write_text("{ }\n")
    with pytest.raises(rf.RescueFileError, match=name):
        rf.load(folder)
    (folder / name).unlink()
    with pytest.raises(rf.RescueFileError, match=name):
        rf.load(folder)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode()),
    )
)
def test_any_manifest_is_loaded_or_the_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("rescue")
    (folder / rf.MANIFEST).write_bytes(data)
    with pytest.raises(rf.RescueFileError):
        rf.load(folder)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "changes.jsonl"
    path.write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(rf.RescueFileError, match="line 2"):
        list(rf.read_lines(path))
