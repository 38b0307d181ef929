"""The frame of the benches: summaries, the JSON object, the exit codes."""

from __future__ import annotations

import argparse
import json

import pytest
from bench import _common as common


def test_a_summary_of_few_values() -> None:
    assert common.summary([3.0, 1.0, 2.0]) == {"p50": 2.0, "p99": 3.0, "min": 1.0, "max": 3.0, "n": 3}


def test_values_that_never_came_are_not_counted() -> None:
    assert common.summary([None, 2.0])["n"] == 1
    assert common.summary([None])["p50"] is None


def test_one_json_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = argparse.Namespace(repeat=5, json=True)
    measured = {
        "stall_ms": common.summary([1.0]),
        "peers": {"x": {"skipped": "absent"}},
        "versions": {"y": "1"},
    }
    assert common.finish("some", arguments, lambda _: measured) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.out.count("\n") == 1
    assert {"bench", "repeat", "machine", "load", "versions", "peers", "stall_ms"} <= result.keys()
    assert result["peers"] == {"x": {"skipped": "absent"}}
    assert "skipped, absent" in printed.err


def test_what_cannot_be_measured_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(arguments: argparse.Namespace) -> common.Result:
        raise RuntimeError("no server")

    assert common.finish("some", argparse.Namespace(repeat=5, json=True), fails) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no server" in printed.err
