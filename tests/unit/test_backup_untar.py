"""What is unpacked of a tar, and what is refused; with no more of `tarfile` than Python 3.11.0 has."""

from __future__ import annotations

import ast
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from understudy.backup.untar import unpack

SOURCES = Path(__file__).parents[2] / "src" / "understudy"


def tar_of(*members: tuple[str, bytes, bytes]) -> io.BytesIO:
    """Members by name, type and contents; the contents of a link are where it leads."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o777
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            tar.addfile(info, io.BytesIO(content))
    made.seek(0)
    return made


def test_files_and_folders_are_there_and_for_their_owner_only(tmp_path: Path) -> None:
    source = tar_of(
        ("base", tarfile.DIRTYPE, b""),
        ("base/1/x", tarfile.REGTYPE, b"rows" * 1000),
        ("./empty", tarfile.REGTYPE, b""),
    )
    unpack(source, tmp_path, (os.geteuid(), os.getegid()))
    assert (tmp_path / "base" / "1" / "x").read_bytes() == b"rows" * 1000
    assert (tmp_path / "empty").read_bytes() == b""
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {0o600, 0o700}


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", tarfile.REGTYPE, b"x"),
        ("a/../../outside", tarfile.REGTYPE, b"x"),
        ("/outside", tarfile.REGTYPE, b"x"),
        ("..", tarfile.DIRTYPE, b""),
        ("link", tarfile.SYMTYPE, b"/etc"),
        ("link", tarfile.LNKTYPE, b"base"),
        ("pipe", tarfile.FIFOTYPE, b""),
    ],
)
def test_nothing_leads_outside(tmp_path: Path, member: tuple[str, bytes, bytes]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(tarfile.TarError, match=r"outside its folder|neither a file nor a folder"):
        unpack(tar_of(member), folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


def test_what_is_cut_off_is_told(tmp_path: Path) -> None:
    whole = tar_of(("x", tarfile.REGTYPE, b"rows" * 10_000)).getvalue()
    with pytest.raises(tarfile.TarError):
        unpack(io.BytesIO(whole[:20_000]), tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        unpack(tar_of(("x", tarfile.REGTYPE, b"a"), ("x", tarfile.REGTYPE, b"b")), tmp_path)


def test_nobody_asks_tarfile_for_its_filters() -> None:
    """They are not in Python 3.11.2: a restore ended with a TypeError there."""
    for path in SOURCES.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr in {"extract", "extractall"}:
                assert "filter" not in {word.arg for word in call.keywords}, path
