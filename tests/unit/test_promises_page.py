"""The page of promises names its tests: each must exist, and every promise must have some. iFarm's names its rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "promises.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (Promise \d)", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_promise_names_tests() -> None:
    assert list(sections()) == [f"Promise {number}" for number in range(1, 9)]
    for name, text in sections().items():
        assert len(NAMED.findall(text)) >= 3, f"{name}: expected tests that fail when it breaks"


def test_every_named_test_exists() -> None:
    missing = []
    for file, test in NAMED.findall(PAGE.read_text()):
        path = ROOT / file
        functions = set()
        if path.is_file():
            tree = ast.parse(path.read_text())
            functions = {
                n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        if not path.is_file() or (test and test not in functions):
            missing.append(f"{file}::{test}")
    assert not missing, f"docs/promises.md names tests that do not exist: {missing}"


def test_every_test_named_has_its_full_name() -> None:
    """No `...::test_x` slips past the pattern above."""
    text = PAGE.read_text()
    assert text.count("::test_") == sum(1 for _, test in NAMED.findall(text) if test)


def test_ifarm_tells_where_each_room_is() -> None:
    rooms = (ROOT / "ifarm" / "README.md").read_text().partition("## Rooms\n")[2].partition("\n## ")[0]
    there = {folder.parent.name for folder in (ROOT / "ifarm").glob("*/__init__.py")}
    assert set(re.findall(r"`(\w+)`", rooms)) == there
