"""`make demo`: the devices by themselves, and the whole story as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import pytest

from ifarm.demo_clients import SOURCE, Orders, persist, record

MANAGE = Path(__file__).parents[1] / "manage.py"
Answer = tuple[int, Any, bool]


def orders(writer: int) -> Orders:
    return Orders(
        writer=writer,
        ledger=Path("x"),
        interval=0,
        place="",
        token="",
        farm_id="f",
        cows=("1", "2"),
        newest=date(2026, 3, 1),
    )


def test_no_two_records_are_alike() -> None:
    sent = [record(orders(writer), seq) for writer in (1, 2) for seq in range(1, 200)]
    names = [body.pop("source") for _, body in sent]
    assert len(set(names)) == len(sent)
    assert all(name.startswith(SOURCE) for name in names)
    milkings = [json.dumps(body) for path, body in sent[:199] if path == "production/"]
    assert len(set(milkings)) == len(milkings)  # a second one of the same milking would be refused
    assert {path.rpartition("s/")[0].partition("/")[0] for path, _ in sent} >= {"animals", "expense"}


def answers(*given: Answer | Exception) -> tuple[Callable[[], Answer], list[Answer | Exception]]:
    left = list(given)

    def ask() -> Answer:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask, left


def test_a_record_is_sent_until_it_is_taken() -> None:
    told: list[str] = []
    busy, lost = (409, "busy", True), (503, "no primary", True)
    ask, left = answers(RemoteDisconnected("gone"), lost, busy, (201, {"id": "1"}, False))
    assert persist(ask, lambda kind, _: told.append(kind))
    assert told == ["no answer", "503", "409"]
    assert not left


@pytest.mark.parametrize("status", [400, 409, 422, 500])
def test_a_refusal_is_an_error(status: int) -> None:
    told: list[str] = []
    ask, left = answers((status, "no", False), (201, {}, False))
    assert not persist(ask, lambda kind, _: told.append(kind))
    assert told == [str(status)]
    assert len(left) == 1


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ifarm-story-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("mode", "fault"), [("zero", "kill"), ("bounded", "freeze")])
def test_the_whole_story(temporary: Path, mode: str, fault: str) -> None:
    done = subprocess.run(
        [sys.executable, str(MANAGE), "demo", "--json", "--mode", mode, "--fault", fault],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["mode"], found["fault"]) == (mode, fault)
    assert found["acked"] > 50
    assert (found["lost"], found["doubled"], found["errors"], found["failback_errors"]) == (0, 0, 0, 0)
    assert found["invariant_ok"] and found["checksums_equal"]
    assert "All promises held" in done.stderr.replace("\n", " ")
    assert not list(temporary.glob("understudy-lab-*"))
