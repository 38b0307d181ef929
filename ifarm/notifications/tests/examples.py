from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.api.tests.examples import Examples, Ids
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.notifications.services import NotificationService, mark_read
from ifarm.users.models import User

examples = Examples()


@examples.row("notification_id")
def notification(actor: Actor, ids: Ids) -> UUID:
    with unit_of_work(actor.tenant_id):
        user = User.objects.get(pk=actor.id)
        return NotificationService.send_notification(user, "weather", "Frost", "Tonight.", link="/farms/").id


@examples.spare("notification-read")
def one_that_was_read(actor: Actor, ids: Ids) -> UUID:
    pk = notification(actor, ids)
    with unit_of_work(actor.tenant_id):
        return mark_read(actor, pk, at=timezone.now()).id


@examples.fill("notifications")
def more_notifications(actor: Actor, ids: Ids, number: int) -> None:
    notification(actor, ids)


@examples.body("unread-notifications", "PUT")
def everything(ids: Ids, number: int) -> dict[str, Any]:
    return {"until": timezone.now().isoformat()}
