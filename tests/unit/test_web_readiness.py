"""Readiness, backups and drills over HTTP: from files only, guarded as the rest, a report that can do nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.test_journal import drill
from tests.unit.test_kept import told
from tests.unit.web_world import GUARDED, READER, World, bearer, world

from understudy.drill import report as reports
from understudy.readiness import journal, kept

PAGE = "/api/v1/clusters/main"
HOST = "db.farm.example"


def keep(w: World, at: datetime | None = None) -> str:
    """What an agent would keep just now; the id of the drill."""
    directory = w.running.config.directory
    made = replace(
        drill(), cluster="main", summary=f"recovered <b> on {HOST} in 2.0 s", versions={"host": "oak"}
    )
    file = journal.write(directory / "drills", made)
    file.with_suffix(".html").write_text(reports.html(made))
    kept.write(directory, "main", told(at or datetime.now(UTC), drills=kept.drilled([made])))
    return made.id


async def test_what_is_kept_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        name = keep(w)
        found = (await w.client.get(f"{PAGE}/readiness")).json()
        assert (found["light"], found["fresh"]) == ("red", True)
        assert found["items"] == [{"name": "backup", "light": "red", "detail": "old", "value": None}]
        assert found["objectives"] == {"recovery_time": 3600.0}
        found = (await w.client.get(f"{PAGE}/backups?limit=1")).json()
        assert found["total"] == 2
        (newest,) = found["backups"]
        assert newest["verified"]["level"] == "bytes"
        assert found["proofs"]["restore"]["verdict"] == "pass"
        found = (await w.client.get(f"{PAGE}/drills")).json()
        (line,) = found["drills"]
        assert (line["id"], line["outcome"]) == (name, "pass")
        assert line["report"] == f"clusters/main/drills/{name}/report"  # nothing is guarded: no ticket
        assert (await w.client.get(f"{PAGE}/drills/{name}")).json()["hypothesis"] == drill().hypothesis


async def test_before_the_first_look_nothing_is_claimed(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        found = (await w.client.get(f"{PAGE}/readiness")).json()
        assert (found["light"], found["at"], found["fresh"]) == (None, None, False)
        assert (await w.client.get(f"{PAGE}/backups")).json()["backups"] == []
        assert (await w.client.get(f"{PAGE}/drills")).json()["drills"] == []


async def test_an_old_look_gives_no_light(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        keep(w, datetime.now(UTC) - timedelta(seconds=kept.STALE + 5))
        found = (await w.client.get(f"{PAGE}/readiness")).json()
        assert (found["light"], found["fresh"]) == (None, False)


async def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        kept.path_of(tmp_path, "main").write_text("{")
        for path in ("readiness", "backups", "drills"):
            answer = await w.client.get(f"{PAGE}/{path}")
            assert answer.status_code == 503
            assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("path", ["readiness", "backups", "drills", "drills/{id}", "drills/{id}/report"])
async def test_each_wants_the_token_of_a_reader(tmp_path: Path, path: str) -> None:
    async with world(tmp_path, GUARDED) as w:
        address = f"{PAGE}/{path.format(id=keep(w))}"
        assert await w.code(address) == 401
        assert await w.code(address, headers=bearer("wrong-0123456789abcdef")) == 401
        assert await w.code(address, headers=bearer(READER)) == 200
        assert await w.code(address.replace("main", "other"), headers=bearer(READER)) == 404


async def test_a_report_opens_by_its_link_and_by_no_other(tmp_path: Path) -> None:
    async with world(tmp_path, GUARDED) as w:
        name = keep(w)
        (line,) = (await w.client.get(f"{PAGE}/drills", headers=bearer(READER))).json()["drills"]
        link = f"/api/v1/{line['report']}"
        answer = await w.client.get(link)
        assert answer.status_code == 200
        assert answer.text == (tmp_path / "drills" / f"{name}.html").read_text()
        until, _, signature = link.partition("?ticket=")[2].partition(".")
        for ticket in (f"{int(until) + 1}.{signature}", f"{until}.{'0' * 64}", ".", "", f"nan.{signature}"):
            assert await w.code(f"{PAGE}/drills/{name}/report", params={"ticket": ticket}) == 401
        assert await w.code(f"{PAGE}/drills/{name}", params={"ticket": f"{until}.{signature}"}) == 401


async def test_a_report_can_do_nothing_and_shows_nobody_a_host(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        answer = await w.client.get(f"{PAGE}/drills/{keep(w)}/report")
        policy = answer.headers["content-security-policy"]
        assert "sandbox" in policy
        assert "default-src 'none'" in policy
        assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]{44}';", policy)
        assert "unsafe" not in policy
        assert HOST not in answer.text
        assert "recovered &lt;b&gt; on (host) in 2.0 s" in answer.text


@pytest.mark.parametrize("name", ["../main", "20261121T074500Z-x", "..%2F..%2Fmain.readiness", "a" * 300])
async def test_only_drills_are_read(tmp_path: Path, name: str) -> None:
    async with world(tmp_path) as w:
        keep(w)
        assert await w.code(f"{PAGE}/drills/{name}") == 404
        assert await w.code(f"{PAGE}/drills/{name}/report") == 404


async def test_another_clusters_drill_is_not_found_here(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        made = journal.write(tmp_path / "drills", replace(drill(), cluster="other"))
        assert await w.code(f"{PAGE}/drills/{made.stem}") == 404


async def test_the_schema_says_what_the_answers_hold(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        schema = (await w.client.get("/api/v1/openapi.json")).json()
        models = schema["components"]["schemas"]
        assert {"ReadinessAnswer", "BackupsAnswer", "DrillsAnswer", "Journal"} <= set(models)
        assert set(models["Listed"]["properties"]) >= {"id", "kind", "finished", "destinations", "verified"}
        assert schema["paths"]["/api/v1/clusters/{name}/drills/{drill}/report"]
