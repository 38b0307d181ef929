"""The tables `[monitor]` and `[alerts]`: what is accepted, what is refused, and that no address gets out."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.config import Config, load
from understudy.config_alerts import Alerting, Disk, Monitor, Severity
from understudy.errors import ConfigError

PAIR = """
directory = "state"
[[clusters.main.nodes]]
name = "home"
dsn = "postgresql://app@localhost/farm"
[[clusters.main.nodes]]
name = "cloud"
dsn = "postgresql://app@localhost/other"
"""
SECRET = "TokenS3cret"
HOOK = f"slack://{SECRET}A/{SECRET}B/{SECRET}C"


def loaded(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Config:
    file = tmp_path / "understudy.toml"
    file.write_text(PAIR + text)
    file.chmod(0o600)
    return load(file, env or {})


def alerting(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> Alerting:
    found = loaded(tmp_path, text, env).alerting
    assert found is not None
    return found


def test_without_the_tables_nothing_is_watched(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").alerting is None


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    found = alerting(
        tmp_path,
        """
        [monitor]
        every = "5s"
        slow_query = "500ms"
        latency = 0.2
        lag = "3s"
        slot_bytes = "2GB"
        disk = 70
        connections = 95
        [[monitor.disks]]
        node = "home"
        path = "/var/lib/postgresql"
        [[monitor.disks]]
        node = "cloud"
        size = "8GB"
        [alerts]
        per_hour = 10
        clear_after = "2min"
        quiet_start = 0
        [[alerts.routes]]
        name = "team"
        urls_env = "TEAM"
        [[alerts.routes]]
        name = "pager"
        urls = ["json://localhost/hook"]
        severity = "critical"
        """,
        {"TEAM": f" {HOOK}\n mailto://user:{SECRET}@localhost "},
    )
    disks = (Disk(node="home", path="/var/lib/postgresql"), Disk(node="cloud", size=8 * 1024**3))
    assert found.monitor == Monitor(
        every=5,
        slow_query=0.5,
        latency=0.2,
        lag=3,
        slot_bytes=2 * 1024**3,
        disk=70,
        connections=95,
        disks=disks,
    )
    assert (found.per_hour, found.clear_after, found.quiet_start) == (10, 120, 0)
    team, pager = found.routes
    assert team.urls == (HOOK, f"mailto://user:{SECRET}@localhost")
    assert (team.severity, pager.severity) == (Severity.WARNING, Severity.CRITICAL)
    assert SECRET not in repr(found)


def test_the_environment_alone_makes_one_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {
        "DATABASE_URL": "postgresql://app@localhost/farm",
        "DATABASE_URL_SECONDARY": "postgresql://app@localhost/other",
        "UNDERSTUDY_ALERT_URLS": HOOK,
    }
    found = load(None, env)
    assert found.alerting is not None
    assert [(r.name, r.urls) for r in found.alerting.routes] == [("default", (HOOK,))]
    assert SECRET not in repr(found)


def test_a_file_that_everybody_reads_and_that_holds_an_address(tmp_path: Path) -> None:
    text = f'[[alerts.routes]]\nname = "team"\nurls = ["{HOOK}"]\n'
    assert not any("alerts" in w for w in loaded(tmp_path, text).warnings)
    file = tmp_path / "understudy.toml"
    file.chmod(0o644)
    warning = next(w for w in load(file, {}).warnings if "alerts" in w)
    assert "chmod 600" in warning
    assert SECRET not in warning


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("[monitor]\nevery = 0", "monitor.every", "a duration from 1 s"),
        ("[monitor]\nslow = 1", "monitor", "known keys only"),
        ("[monitor]\ndisk = 101", "monitor.disk", "from 1 to 100"),
        ('[[monitor.disks]]\nnode = "home"', "monitor.disks[0]", "one of path, size and"),
        ('[[monitor.disks]]\nnode = "barn"\npath = "/x"', "monitor.disks[0].node", "the name of a node"),
        (
            '[[monitor.disks]]\nnode = "home"\nmetrics_url_env = "M"',
            "metrics_url_env",
            "environment variable M",
        ),
        ('[[monitor.disks]]\nnode = "home"\npath = "x"', "monitor.disks[0].path", "an absolute path"),
        ("[alerts]\nper_hour = 1", "alerts.per_hour", "from 2 to 1000"),
        ("alerts = 3", "alerts", "a table"),
        ("[alerts]\nroutes = 3", "alerts.routes", "tables [[alerts.routes]]"),
        ('[[alerts.routes]]\nname = "x"', "alerts.routes[0]", "urls or urls_env"),
        (
            '[[alerts.routes]]\nname = "x"\nurls_env = "MISSING"',
            "urls_env",
            "the environment variable MISSING",
        ),
        (f'[[alerts.routes]]\nname = "x"\nurls = "{HOOK}"', "alerts.routes[0].urls", "apprise addresses"),
        (f'[[alerts.routes]]\nname = "x"\nurls = ["{SECRET}"]', "alerts.routes[0].urls", "apprise addresses"),
        (f'[[alerts.routes]]\nname = "x"\nurls_env = "{HOOK}"', "urls_env", "the name of an environment"),
        ('[[alerts.routes]]\nname = "x"\nseverity = "loud"\nurls = ["json://x"]', "severity", '"critical"'),
    ],
)
def test_mistakes(tmp_path: Path, text: str, where: str, expected: str) -> None:
    head = text if text.startswith("alerts") else ""
    file = tmp_path / "understudy.toml"
    file.write_text(head + PAIR + ("" if head else text))
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert where in caught.value.where
    assert expected in caught.value.expected
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_address_of_metrics_is_a_secret(tmp_path: Path) -> None:
    text = '[[monitor.disks]]\nnode = "home"\nmetrics_url_env = "M"\n'
    url = f"https://service_role:{SECRET}@ref.supabase.co/customer/v1/privileged/metrics"
    found = alerting(tmp_path, text, {"M": url})
    assert found.monitor.disks == (Disk(node="home", url=url),)
    assert SECRET not in repr(found)
    for wrong in (f"ftp://u:{SECRET}@host", f"https://u:{SECRET}@", SECRET):
        with pytest.raises(ConfigError, match="https://service_role") as caught:
            loaded(tmp_path, text, {"M": wrong})
        assert SECRET not in str(caught.value)


def test_two_routes_of_one_name(tmp_path: Path) -> None:
    route = '[[alerts.routes]]\nname = "x"\nurls = ["json://localhost"]\n'
    with pytest.raises(ConfigError, match="different names"):
        loaded(tmp_path, route * 2)
