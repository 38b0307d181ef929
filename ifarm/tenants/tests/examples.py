from __future__ import annotations

from typing import Any

from ifarm.api.tests.examples import Examples, Ids

examples = Examples()


@examples.body("tenant", "PATCH")
def changed_tenant(ids: Ids, number: int) -> dict[str, Any]:
    return {"name": f"Renamed {number}", "timezone": "Europe/Vienna", "currency": "CHF"}
