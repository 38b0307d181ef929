"""`make farm` as a person runs it: two servers, an agent, the web; a change of primary; and nothing left at the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MANAGE = Path(__file__).parents[1] / "manage.py"


class Farm:
    """The running demo, as its output describes it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.text = process, ""
        assert process.stdout
        for line in process.stdout:
            self.text += line
            if line.startswith("Ctrl-C"):
                break
        else:
            raise AssertionError(f"it ended with {process.wait()}:\n{self.text}")
        self.url, self.token = self.find(r"(http://\S+)/api/v1/openapi"), self.find(r"Bearer (\S+)\"")
        self.config = Path(self.find(r"UNDERSTUDY_CONFIG=(\S+)"))

    def find(self, pattern: str) -> str:
        match = re.search(pattern, self.text)
        assert match, self.text
        return match[1]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def understudy(self, *words: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("UNDERSTUDY_", "DATABASE_"))}
        done = subprocess.run(
            [sys.executable, "-m", "understudy.cli", *words],
            env={**environment, "UNDERSTUDY_CONFIG": str(self.config)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def farm() -> Iterator[Farm]:
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "farm"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield Farm(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_the_herd_is_there_also_after_a_change_of_primary(farm: Farm) -> None:
    animals = len(farm.call("GET", "animals/?limit=500")["results"])
    assert 250 < animals < 350
    farm.understudy("switchover", "b", "--yes")
    farm.call("POST", "farms/", {"name": "After"})
    assert [one["name"] for one in farm.call("GET", "farms/")["results"]] == ["After", "Hill"]
    compared = farm.understudy("verify")
    assert re.search(rf"animals_animal\s+{animals}\s+{animals}\s+equal", compared)
    farm.process.send_signal(signal.SIGINT)
    said, _ = farm.process.communicate(timeout=60)
    assert "nothing is left" in said
    assert not farm.config.parent.exists()
