"""Changes of health checks."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.animals.movements import AHEAD
from ifarm.animals.policies import access_animal
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.health.models import HealthCheck
from ifarm.health.policies import HEALTH_CHECKS
from ifarm.health.words import HealthStatus


def record_check(
    actor: Actor,
    animal_id: UUID,
    *,
    health_status: HealthStatus,
    checked_at: datetime | None = None,
    temperature_c: Decimal | None = None,
    **rest: Any,
) -> HealthCheck:
    """Record what somebody saw. Raises `RuleBroken` for a time that has not come."""
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        moment = checked_at or timezone.now()
        require_past(moment)
        row = HealthCheck(
            animal=animal,
            checked_at=moment,
            health_status=health_status.value,
            temperature_c=temperature_c,
            **rest,
        )
        writes.insert(actor, row)
        record_event("animal_checked", animal, farm_id=animal.farm_id, health_status=row.health_status)
        return row


def delete_check(actor: Actor, check_id: UUID) -> None:
    """Take a check back."""
    with unit_of_work():
        writes.delete(actor, HEALTH_CHECKS.access(actor, check_id, lock=True))


def require_past(moment: datetime) -> None:
    """Raises `RuleBroken` for a time that no clock of a device can have by now."""
    if moment > timezone.now() + AHEAD:
        raise RuleBroken(f"expected a time that has come, found {moment.isoformat()}.")
