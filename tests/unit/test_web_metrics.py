"""`/metrics` in the format of Prometheus, and that every name in deploy/ is one of ours."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.test_journal import drill
from tests.unit.test_kept import told
from tests.unit.web_world import probe, state, world

from understudy.model import Rpo
from understudy.readiness import kept
from understudy.witness import Entry, Event

ROOT = Path(__file__).parents[2]
ARCHIVE = kept.Archive(receiving=True, until=5.0, retained=100, spool=0, trouble="")


async def samples(client: object) -> dict[str, dict[tuple[str, ...], float]]:
    text = (await client.get("/metrics")).text  # type: ignore[attr-defined]
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_what_is_measured(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.see(state(), probe("primary"), probe("standby"))
        found = await samples(w.client)
        assert found["understudy_cluster_epoch"] == {("main",): 3.0}
        assert found["understudy_node_up"] == {("main", "home"): 1.0, ("main", "cloud"): 1.0}
        assert found["understudy_replication_lag_seconds"] == {("main",): 0.5}
        assert found["understudy_replication_lag_bytes"] == {("main",): 100.0}
        w.see(None, probe("primary"), probe("standby"))
        assert "understudy_cluster_epoch" not in await samples(w.client)  # unknown is no number


async def test_in_sync_is_for_those_who_promise_it(tmp_path: Path) -> None:
    async with world(tmp_path / "zero", rpo=Rpo.ZERO) as w:
        w.see(state(in_sync=False), probe("primary"), probe("standby"))
        assert (await samples(w.client))["understudy_cluster_in_sync"] == {("main",): 0.0}
    async with world(tmp_path / "bounded") as w:
        assert "understudy_cluster_in_sync" not in await samples(w.client)  # 0 would be an alarm


async def test_what_the_agent_keeps_is_measured_too(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with world(tmp_path) as w:
        assert "understudy_readiness" not in await samples(w.client)  # nothing is kept yet
        kept.write(tmp_path, "main", told(now))
        found = await samples(w.client)
        assert found["understudy_readiness"] == {("main", "backup"): 2.0}
        assert found["understudy_readiness_timestamp_seconds"]["main",] == now.timestamp()
        assert found["understudy_objective_seconds"] == {("main", "recovery_time"): 3600.0}
        assert found["understudy_backups"] == {("main",): 2.0}
        assert found["understudy_backup_bytes"] == {
            ("main", "logical", "raw"): 4000.0,
            ("main", "logical", "stored"): 1000.0,
        }
        assert set(found["understudy_verify_last_success_timestamp_seconds"]) == {
            ("main", level) for level in ("bytes", "archive", "restore")
        }
        assert found["understudy_drill_last_outcome"] == {("main", drill().scenario): 0.0}
        assert found["understudy_wal_receiving"] == {("main",): 1.0}
        assert "understudy_wal_slot_retained_bytes" not in found  # nobody knows


async def test_of_an_old_look_only_what_is_dated_remains(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        kept.write(tmp_path, "main", told(datetime.now(UTC) - timedelta(seconds=kept.STALE + 5)))
        found = await samples(w.client)
        assert found["understudy_backup_last_success_timestamp_seconds"]
        assert found["understudy_readiness_timestamp_seconds"]
        assert not {"understudy_readiness", "understudy_wal_receiving"} & set(found)
        kept.path_of(tmp_path, "main").write_text("{")
        assert "understudy_readiness_timestamp_seconds" not in await samples(w.client)


async def test_a_failover_is_counted_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        watcher = w.client._transport.app.state.watcher  # type: ignore[attr-defined]
        watcher.look()
        for kind in ("primary_down", "step:announce", "step:publish"):
            w.witness.log("main", epoch=4, entry=Entry(agent="t", kind=kind, message="x", took=0.1))
        watcher.look()
        found = await samples(w.client)
        assert found["understudy_primary_changes_total"]["primary_down", "main"] == 1.0
        assert found["understudy_primary_changes_total"]["ordered", "main"] == 0.0
        assert found["understudy_failover_duration_seconds_count"]["primary_down", "main"] == 1.0


async def test_a_witness_that_is_away_while_a_failover_is_counted_ends_no_look(tmp_path: Path) -> None:
    """Pages, streams and metrics would show the same for ever."""
    async with world(tmp_path) as w:
        watcher = w.client._transport.app.state.watcher  # type: ignore[attr-defined]
        heard, gone = asyncio.Queue[Event](), tmp_path / "gone"

        def take_away(event: Event) -> None:  # after the line was read, before it is counted
            if event.kind == "step:publish":
                (tmp_path / "witness.db").rename(gone)

        watcher.counters.insert(0, take_away)
        watcher.listeners.append(heard.put_nowait)
        async with asyncio.timeout(60):
            while "main" not in watcher._after:
                await asyncio.sleep(0.01)
            w.witness.log("main", epoch=4, entry=Entry(agent="t", kind="step:publish", message="x", took=0.1))
            assert (await heard.get()).kind == "step:publish"
            gone.rename(tmp_path / "witness.db")
            w.witness.log("main", epoch=4, entry=Entry(agent="t", kind="later", message="x"))
            assert (await heard.get()).kind == "later"
        assert (await samples(w.client))["understudy_events_total"] == {("main",): 2.0}


async def test_every_name_in_rules_and_dashboard_exists(tmp_path: Path) -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/understudy.rules.yml").read_text())
    board = json.loads((ROOT / "deploy/grafana/understudy.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for text in asked for name in re.findall(r"understudy_\w+", text)}
    assert len(names) > 10
    async with world(tmp_path, rpo=Rpo.ZERO) as w:
        kept.write(tmp_path, "main", told(datetime.now(UTC), archive=ARCHIVE))
        found = await samples(w.client)
    assert names <= set(found), names - set(found)
    page = (ROOT / "docs/reference/metrics.md").read_text()
    assert [
        name
        for name in found
        if not name.endswith(("_created", "_bucket", "_sum", "_count")) and f"`{name}`" not in page
    ] == []


def test_every_alert_is_explained() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/understudy.rules.yml").read_text())
    page = (ROOT / "docs/how-to/monitor.md").read_text()
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| `(Understudy\w+)`", page, re.MULTILINE) == alerts
