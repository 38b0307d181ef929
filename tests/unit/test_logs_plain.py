"""The plain style: what the document's own configuration gives, and what happens where it has no words."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import structlog

from understudy import config
from understudy.logs_plain import PlainStyle
from understudy.model import Cluster

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://ccfinapp:cc2025secure@localhost:5432/cc_financial",
    "DATABASE_URL_SECONDARY": "postgresql://user:password@ep-cool-name.neon.tech/cc_financial",
    "DB_HEALTH_CHECK_INTERVAL": "30000",
    "DB_CONNECTION_TIMEOUT": "5000",
    "DB_FAILURE_THRESHOLD": "3",
    "DB_PRIMARY_RETRY_INTERVAL": "120000",
}
STARTED = """[DB Manager] Initializing with configuration:
  Primary: postgresql://ccfinapp:****@localhost:5432/cc_financial
  Secondary: postgresql://user:****@ep-cool-name.neon.tech/cc_financial
  Health check interval: 30000ms
  Failure threshold: 3"""


def documented() -> Cluster:
    return config.load(None, ENVIRONMENT).clusters[0]


def styled(clusters: tuple[Cluster, ...]) -> Any:
    style = PlainStyle()
    style.learn(clusters)

    def line(event: str, cluster: str = clusters[0].name, **facts: object) -> str:
        return style(None, "info", {"event": event, "cluster": cluster, "level": "info", **facts})

    return line


def test_the_configuration_is_told_in_the_words_of_the_document() -> None:
    cluster = documented()
    line = styled((cluster,))
    assert line("agent_started", message="agent started (acting)", epoch=1, primary="x") == STARTED


def test_an_outage_as_the_document_tells_it() -> None:
    """Lines of the agent's log as a failover and a failback write them; the real ones: tests/faults/test_story.py."""
    cluster = documented()
    first, second = (node.name for node in cluster.nodes)
    line = styled((cluster,))
    at = "2025-11-14T10:{}:00.000000Z".format
    home, away = {"epoch": 1, "primary": first}, {"epoch": 2, "primary": second}
    assert line("node_up", message=f"{first} answers", node=first, **home) == (
        "[DB Manager] ✅ Connected to primary database"
    )
    down = {"node": first, "misses": 3, "error": "Connection timeout"}
    assert line("node_down", message="...", **down, **home) == (
        "[DB Manager]  Failed to connect to primary database: Connection timeout"
    )
    plan = {"plan": "failover", "target": second, "timestamp": at(25)}
    assert line("primary_down", message="...", **plan, **home) == (
        "[DB Manager] ⚠  Failure threshold reached (3/3), failing over to secondary"
    )
    assert line("step:publish", message="...", timestamp=at(26), **away) == (
        "[DB Manager] ✅ Connected to secondary database (FAILOVER MODE)"
    )
    assert line("node_up", message="...", node=first, **away) == "[DB Manager] ✅ Primary is back online"
    plan = {"plan": "switchover", "target": first, "timestamp": at(28)}
    assert line("failback", message="...", **plan, **away) == (
        "[DB Manager] 🔄 Attempting to reconnect to primary database..."
    )
    assert line("step:publish", message="...", timestamp=at(28), **(home | {"epoch": 3})) == (
        "[DB Manager] ✅ Primary database reconnected (was down for 180s)"
    )


def test_a_planned_change_was_no_outage() -> None:
    cluster = documented()
    first, second = (node.name for node in cluster.nodes)
    line = styled((cluster,))
    line("node_up", message="...", node=first, primary=first)
    assert line("request", message="...", plan="switchover", target=second, primary=first) == (
        "[DB Manager] 🔄 Switching to Secondary DB"
    )
    line("step:publish", message="...", primary=second)
    line("request", message="...", plan="switchover", target=first, primary=second)
    assert (
        line("step:publish", message="...", primary=first) == "[DB Manager] ✅ Primary database reconnected"
    )


def test_a_server_that_answers_and_cannot_write_reaches_no_threshold() -> None:
    cluster = documented()
    first, second = (node.name for node in cluster.nodes)
    line = styled((cluster,))
    said = line("primary_down", message="it cannot write", plan="failover", target=second, primary=first)
    assert said == "[DB Manager] ⚠  it cannot write, failing over to secondary"


def test_what_the_document_has_no_words_for_is_told_in_ours() -> None:
    line = styled((documented(),))
    assert line("step:verify", message="3 tables compared") == "[DB Manager] step:verify: 3 tables compared"
    assert line("upkeep_failed", error="why", level="warning") == "[DB Manager] ⚠  upkeep_failed: why"
    assert line("reloading", cluster="") == "[DB Manager] reloading"
    assert line("x", exception="Traceback ...") == "[DB Manager] x\nTraceback ..."


def test_several_clusters_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "understudy.toml"
    text = "".join(
        f'[clusters.{name}]\n[[clusters.{name}.nodes]]\nname="a"\ndsn="postgresql://u@h/{name}"\n'
        f'[[clusters.{name}.nodes]]\nname="b"\ndsn="postgresql://u@i/{name}"\n'
        for name in ("one", "two")
    )
    path.write_text(text)
    path.chmod(0o600)
    line = styled(config.load(path, {}).clusters)
    up = {"node": "a", "primary": "a"}
    assert line("node_up", cluster="two", **up) == "[DB Manager two] ✅ Connected to primary database"


def test_as_a_renderer_of_structlog() -> None:
    style, printed = PlainStyle(), io.StringIO()
    style.learn((documented(),))
    structlog.configure(processors=[style], logger_factory=structlog.PrintLoggerFactory(printed))
    structlog.get_logger().bind(cluster=documented().name).info("node_up", node="other", primary="other")
    assert printed.getvalue() == "[DB Manager] ✅ Connected to secondary database (FAILOVER MODE)\n"
