"""The fuzz target by itself: its corpus, what it once found, and a short run of the fuzzer where atheris is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.fuzz_pgoutput import messages, one_input, stream

from understudy.engines.postgresql.pgoutput import decode

HERE = Path(__file__).parent
CORPUS, REGRESSIONS = HERE / "corpus" / "pgoutput", HERE / "regressions" / "pgoutput"


@pytest.mark.parametrize(
    "path", sorted([*CORPUS.iterdir(), *REGRESSIONS.iterdir()]), ids=lambda path: path.name
)
def test_every_stored_input(path: Path) -> None:
    one_input(path.read_bytes())


def test_the_corpus_holds_every_kind_of_message() -> None:
    """Else the fuzzer has to find out by itself what a message looks like."""
    kinds = {type(decode(raw)).__name__ for path in CORPUS.iterdir() for raw in messages(path.read_bytes())}
    assert kinds == {
        "Begin", "Commit", "Origin", "Relation", "TypeName", "Insert", "Update", "Delete", "Truncate",
        "LogicalMessage",
    }  # fmt: skip


def test_streams_are_cut_where_they_were_joined() -> None:
    parts = [b"B", b"", b"x" * 300]
    assert list(messages(stream(parts))) == parts


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    """20,000 inputs from the corpus on, with a fixed seed."""
    pytest.importorskip(
        "atheris", reason="no wheel of atheris for this Python: the corpus was replayed without it"
    )
    run = subprocess.run(
        [sys.executable, str(HERE / "fuzz_pgoutput.py"), "-runs=20000", "-seed=1", "-max_len=512",
         f"-artifact_prefix={tmp_path}/", str(tmp_path), str(CORPUS), str(REGRESSIONS)],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    assert "Done 20" in run.stderr
