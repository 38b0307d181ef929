from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.api.tests.examples import Examples, Ids

examples = Examples()


@examples.body("sync-changes", "POST")
def pushed(ids: Ids, number: int) -> dict[str, Any]:
    now = timezone.now().isoformat()
    data = {"animal_id": str(ids["animal_id"]), "weighed_on": "2024-02-01", "weight_kg": "300.00"}
    weight = {"kind": "weight", "action": "create", "recorded_at": now, "data": data}
    ours = {"id": str(UUID(int=number, version=4)), "object_id": str(UUID(int=900 + number, version=4))}
    return {"sent_at": now, "operations": [weight | ours]}
