"""A pair with real backups, an archived log and a real drill: everything that rules and panels ask for is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from tests.integration.ready_world import READER, Ready, ready_lab
from tests.integration.test_metrics import scraping

from understudy.readiness.light import NAMES, Light
from understudy.web import metrics_kept

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with ready_lab(tmp_path_factory.mktemp("ready")) as made:
        made.await_light(Light.GREEN, *NAMES)
        yield made


def test_every_figure_of_readiness_is_told_by_a_real_agent(ready: Ready) -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/understudy.rules.yml").read_text())
    board = json.loads((ROOT / "deploy/grafana/understudy.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    page = (ROOT / "docs/reference/metrics.md").read_text()
    documented = set(re.findall(r"^\| `(understudy_\w+)`", page, re.M))
    ours = {family.name for family in metrics_kept.families({})}
    assert ours <= documented
    assert len(ours & {name for text in asked for name in re.findall(r"understudy_\w+", text)}) > 10
    with scraping(ready.address, READER) as scrape:
        found = scrape()
    assert {name for name in ours if not found.get(name)} == set()
    items = {dict(labels)["item"]: value for labels, value in found["understudy_readiness"].items()}
    assert set(items) == set(NAMES)
    assert set(items.values()) == {0.0}


def test_the_api_tells_what_was_made(ready: Ready) -> None:
    head = {"Authorization": f"Bearer {READER}"}
    with httpx.Client(base_url=f"{ready.address}/api/v1/", headers=head, timeout=30) as client:
        light = client.get("clusters/demo/readiness").json()
        assert light["light"] == "green"
        assert light["archive"]["receiving"] is True
        backups = client.get("clusters/demo/backups").json()["backups"]
        assert [one["kind"] for one in backups] == ["logical", "physical"]
        assert all(one["destinations"] == ["disk"] and one["stored_bytes"] > 0 for one in backups)
        assert backups[0]["verified"]["level"] == "restore"
        (drill,) = client.get("clusters/demo/drills").json()["drills"]
        assert (drill["scenario"], drill["outcome"]) == ("failover-crash", "pass")
        assert drill["loss"]["acknowledged"] > 0
    report = httpx.get(f"{ready.address}/api/v1/{drill['report']}")  # the link is enough
    assert report.status_code == 200
    file = ready.lab.directory / "drills" / f"{drill['id']}.html"
    assert report.text == file.read_text()  # masking has taken nothing from it
