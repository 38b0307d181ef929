"""The months of the audit on two real servers: made, dropped, and made again after a change of primary."""

from __future__ import annotations

import pytest

from ifarm.demo import manage
from ifarm.tests.test_demo import Farm, farm

__all__ = ["farm"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MAKE = (
    "from datetime import UTC, datetime; from ifarm.audit.partitions import make_partitions;"
    " print(len(make_partitions(datetime(2024, 1, 1, tzinfo=UTC)).months))"
)
DROP = "from ifarm.audit.services import AuditService; print(len(AuditService.archive_old_logs()))"


def run(farm: Farm, code: str) -> int:
    """As the owner of the tables."""
    return int(manage(farm.config, "only-for-this-test", "shell", "-v", "0", "-c", code))


def compared(farm: Farm) -> dict[str, str]:
    """Each table of the audit, and whether both servers have the same in it."""
    lines = [line.split() for line in farm.understudy("verify").splitlines() if "audit_auditentry" in line]
    return {name.removeprefix("public.audit_auditentry_"): verdict for name, *_, verdict in lines}


def test_months_come_and_go_on_both_servers(farm: Farm) -> None:
    before = compared(farm)
    assert "other" in before
    assert run(farm, MAKE) == 13
    made = compared(farm)
    assert len(made) == len(before) + 13
    assert run(farm, DROP) == 13  # without entries: no file is needed
    assert compared(farm).keys() == before.keys()
    farm.understudy("switchover", "b", "--yes")
    farm.call("POST", "farms/", {"name": "After"})
    assert run(farm, MAKE) == 13
    after = compared(farm)
    assert after.keys() == made.keys()
    assert set(before.values()) == set(made.values()) == set(after.values()) == {"equal"}
