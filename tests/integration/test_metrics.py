# ruff: noqa: F811 - fixtures are imported by name
"""What a real agent on a real pair tells: its metrics (no rule waits for nothing), its plain log, its spans."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from tests.integration.test_web import OPERATOR, served, serving  # noqa: F401

import understudy
from understudy.client import AsyncPool, Pool
from understudy.client.single import connect
from understudy.demo.agent_process import AgentProcess
from understudy.demo.lab import Lab
from understudy.integrations.sqlalchemy import create_engine
from understudy.model import Rpo
from understudy.web import metrics_kept

ROOT = Path(__file__).parents[2]
ENDS = "SELECT pg_terminate_backend(pg_backend_pid())"  # in autocommit: a commit that never answers
AUTOCOMMIT = {"autocommit": True}
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


@contextmanager
def scraping(address: str, token: str = OPERATOR) -> Iterator[Callable[[], Samples]]:
    """Ask for `/metrics` as Prometheus does: by name, then by labels."""
    head = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=address, headers=head, timeout=60) as client:

        def ask() -> Samples:
            found: Samples = {}
            for family in text_string_to_metric_families(client.get("/metrics").text):
                for sample in family.samples:
                    found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
            return found

        yield ask


@pytest.fixture
def scrape(served: tuple[Lab, str]) -> Iterator[Callable[[], Samples]]:
    with scraping(served[1]) as ask:
        yield ask


def by_pool(lab: Lab) -> None:
    with Pool(lab.cluster, lab.directory, kwargs=AUTOCOMMIT) as pool, pool.connection() as conn:
        conn.execute(ENDS)


def by_async_pool(lab: Lab) -> None:
    async def lose() -> None:
        async with (
            AsyncPool(lab.cluster, lab.directory, kwargs=AUTOCOMMIT) as pool,
            pool.connection() as conn,
        ):
            await conn.execute(ENDS)

    asyncio.run(lose())


def by_connection(lab: Lab) -> None:
    """Django's way, and that of everybody who keeps a connection."""
    with connect(lab.cluster, lab.directory, autocommit=True) as conn:
        conn.execute(ENDS)


def by_sqlalchemy(lab: Lab) -> None:
    engine = create_engine(lab.cluster.name, config=lab.config_file, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as conn:
            conn.execute(text(ENDS))
    finally:
        engine.dispose()


@pytest.mark.parametrize("lose", [by_pool, by_async_pool, by_connection, by_sqlalchemy])
def test_a_commit_in_doubt_is_counted_whoever_commits(
    served: tuple[Lab, str], scrape: Callable[[], Samples], lose: Callable[[Lab], None]
) -> None:
    def count() -> float:
        return scrape()["understudy_commit_in_doubt_total"][("cluster", "demo"),]

    before = count()
    with pytest.raises(understudy.CommitInDoubt):
        lose(served[0])
    served[0].await_true(lambda: count() > before, 60, "a count")
    assert count() == before + 1


def test_a_failover_is_timed(served: tuple[Lab, str], scrape: Callable[[], Samples]) -> None:
    lab = served[0]
    labels = (("cause", "primary_down"), ("cluster", "demo"))
    name = "understudy_failover_duration_seconds"
    assert scrape()[f"{name}_count"][labels] == 0
    lab.servers["a"].kill()
    lab.await_true(lambda: scrape()[f"{name}_count"][labels] == 1, 60, "a failover that was timed")
    found = scrape()
    assert 0 < found[f"{name}_sum"][labels] < 60
    assert found["understudy_primary_changes_total"][labels] == 1
    assert found["understudy_cluster_epoch"][("cluster", "demo"),] == lab.state.epoch
    assert found["understudy_node_primary"][("cluster", "demo"), ("node", "b")] == 1
    down = (("cluster", "demo"), ("node", "a"))
    lab.await_true(lambda: scrape()["understudy_node_up"][down] == 0, 60, "a node that is down")
    lab.servers["a"].start()
    lab.await_settled()


def test_every_rule_and_panel_asks_for_what_a_real_agent_tells(
    served: tuple[Lab, str], scrape: Callable[[], Samples]
) -> None:
    served[0].await_settled()
    rules = yaml.safe_load((ROOT / "deploy/prometheus/understudy.rules.yml").read_text())
    board = json.loads((ROOT / "deploy/grafana/understudy.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    documented = re.findall(r"^\| `(understudy_\w+)`", (ROOT / "docs/reference/metrics.md").read_text(), re.M)
    names = {name for expression in asked for name in re.findall(r"understudy_\w+", expression)}
    only_in_zero = {"understudy_cluster_in_sync"}
    of_backups = {family.name for family in metrics_kept.families({})}  # see test_readiness

    def untold() -> set[str]:
        found = scrape()
        wanted = (names | set(documented)) - only_in_zero - of_backups
        return {n for n in wanted if not (found.get(n) or found.get(f"{n}_count"))}

    served[0].await_true(lambda: not untold(), 60, "a sample of every metric")


@pytest.mark.slow
def test_in_zero_the_standby_is_in_sync_until_it_is_lost() -> None:
    with serving(Rpo.ZERO) as (lab, address), scraping(address) as scrape:

        def in_sync() -> float | None:
            return scrape().get("understudy_cluster_in_sync", {}).get((("cluster", "demo"),))

        lab.await_true(lambda: in_sync() == 1, 60, "in sync")
        lab.servers["b"].kill()
        lab.await_true(lambda: in_sync() == 0, 60, "a primary that goes on alone")


COLLECT = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
exporter = ConsoleSpanExporter(out=open({file!r}, "a"), formatter=lambda span: span.name + "\\n")
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""


def test_a_process_with_the_plain_log_and_a_tracer_provider(
    served: tuple[Lab, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `opentelemetry-instrument understudy run` does, a provider is set before anything of ours runs."""
    lab, ordinary = served[0], served[0].agent
    (tmp_path / "sitecustomize.py").write_text(COLLECT.format(file=str(tmp_path / "spans")))
    ordinary.stop()
    lab.agent = AgentProcess(lab.config_file, tmp_path / "log", "--log-format", "plain")
    try:
        with monkeypatch.context() as environment:
            environment.setenv("PYTHONPATH", str(tmp_path))
            lab.start_agent()
        target = lab.state.other
        lab.switchover(target)
        lab.await_settled()
    finally:
        lab.agent.stop()
        lab.agent = ordinary
    lab.start_agent()
    log = (tmp_path / "log").read_text()
    assert log.startswith("[DB Manager] Initializing with configuration:\n  Primary: postgresql://app:****@")
    connected = {
        "a": "[DB Manager] ✅ Primary database reconnected\n",
        "b": "[DB Manager] ✅ Connected to secondary database (FAILOVER MODE)\n",
    }
    assert connected[target] in log
    spans = (tmp_path / "spans").read_text().splitlines()
    assert spans.index("switchover publish") < spans.index("switchover demo")
