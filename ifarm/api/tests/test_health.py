"""What is said of the databases; the two addresses themselves are in `ifarm/tests/golden/`."""

from __future__ import annotations

import json
import math

import pytest
from django.test import Client

from ifarm.api.health import Seen, Watch, databases_body, health_body
from understudy.integrations.django.health import HealthStatus, NodeHealth

GOOD: NodeHealth = {"healthy": True, "response_time_ms": 1.0, "error": None}
LOST: NodeHealth = {"healthy": False, "response_time_ms": None, "error": "connection to 10.0.0.7 refused"}


def status(primary: NodeHealth, backup: NodeHealth, away: bool = False) -> HealthStatus:
    return {"primary": primary, "backup": backup, "failover_active": away}


@pytest.mark.parametrize(
    ("primary", "backup", "away", "overall", "current"),
    [
        (GOOD, GOOD, False, "healthy", "primary"),
        (GOOD, LOST, False, "degraded", "primary"),
        (GOOD, GOOD, True, "healthy", "secondary"),
        (LOST, GOOD, True, "degraded", "secondary"),
        (LOST, GOOD, False, "unhealthy", "primary"),
        (LOST, LOST, True, "unhealthy", "secondary"),
    ],
)
def test_what_is_said(
    primary: NodeHealth, backup: NodeHealth, away: bool, overall: str, current: str
) -> None:
    seen = Seen(status(primary, backup, away))
    first, second = databases_body(seen, "Neon"), health_body(seen, failover=True)
    assert first["overall_status"] == overall
    assert first["postgres"]["using_primary"] is not away
    assert second["status"] == ("unhealthy" if overall == "unhealthy" else "healthy")
    assert second["hotSwap"]["currentDatabase"] == current
    assert second["hotSwap"]["failoverAvailable"] is (backup, primary)[away]["healthy"]
    assert "10.0.0.7" not in json.dumps([first, second])


def test_misses_in_a_row_are_counted() -> None:
    coming = iter([LOST, LOST, GOOD, LOST])
    watch = Watch(lambda: status(next(coming), GOOD), fresh=-1)
    assert [watch.look().misses for _ in range(4)] == [1, 2, 0, 1]


def test_nobody_makes_the_web_ask_faster() -> None:
    coming = iter([status(GOOD, GOOD)])  # asked a second time it would raise
    watch = Watch(lambda: next(coming), fresh=math.inf)
    assert watch.look() is watch.look()


@pytest.mark.parametrize("path", ["/api/health", "/api/v1/health/databases"])
def test_it_is_only_looked_at(path: str) -> None:
    assert Client().post(path).status_code == 405
