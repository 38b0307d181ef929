"""What a device may do offline: each action is a handler of the ordinary API, with its input, right and rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from django.utils.timezone import localdate
from rest_framework import serializers

from ifarm.animals import apis as animals
from ifarm.animals import apis_groups as groups
from ifarm.api.views import Operation, TenantView
from ifarm.breeding import apis as breeding
from ifarm.core.actors import Actor
from ifarm.core.errors import Invalid, RuleBroken, VersionMissing
from ifarm.core.versions import Seen
from ifarm.health import apis as health
from ifarm.production import apis as production

_VERSIONS: Final = (4, 7)


@dataclass(frozen=True, slots=True)
class Action:
    """How an operation is carried out.

    Args:
        target: the handler's argument that is the object; none: the operation makes the object.
        parent: the handler's argument that ``data`` names.
        shows: the member of ``data`` that names what is shown afterwards, where it is not the object.
        day: the member of ``data`` that must be a day that has come, where the service leaves that open.
    """

    view: type[TenantView]
    method: str
    target: str = ""
    parent: str = ""
    shows: str = ""
    day: str = ""

    @property
    def handler(self) -> Operation:
        """What the API says about it."""
        declared: Operation = getattr(self.view, self.method).operation
        return declared

    @property
    def based(self) -> bool:
        """Whether it changes something that is there, and so must say which version the person saw."""
        return self.handler.versioned or self.method == "delete"


def _of_animal(view: type[TenantView], **rest: Any) -> Action:
    return Action(view, "post", parent="animal_id", **rest)


ACTIONS: Final[dict[tuple[str, str], Action]] = {
    ("animal", "create"): Action(animals.AnimalsApi, "post"),
    ("animal", "update"): Action(animals.AnimalApi, "patch", target="animal_id"),
    ("animal", "delete"): Action(animals.AnimalApi, "delete", target="animal_id"),
    ("animal", "identify"): Action(animals.IdentifiersApi, "post", target="animal_id"),
    ("movement", "create"): _of_animal(animals.MovementsApi),
    ("weight", "create"): _of_animal(animals.WeightsApi, day="weighed_on"),
    ("weight", "delete"): Action(animals.WeightApi, "delete", target="weight_id"),
    ("body_condition", "create"): _of_animal(animals.ConditionsApi, day="scored_on"),
    ("body_condition", "delete"): Action(animals.ConditionApi, "delete", target="condition_id"),
    ("group_member", "create"): Action(groups.GroupMembersApi, "post", parent="group_id"),
    ("group_member", "update"): Action(groups.GroupMemberApi, "patch", target="group_membership_id"),
    ("health_check", "create"): _of_animal(health.ChecksApi),
    ("health_check", "delete"): Action(health.CheckApi, "delete", target="check_id"),
    ("treatment", "create"): _of_animal(health.AnimalTreatmentsApi),
    ("treatment", "update"): Action(health.TreatmentApi, "patch", target="treatment_id"),
    ("treatment", "dose"): Action(health.DosesApi, "post", parent="treatment_id", shows="treatment_id"),
    ("production", "create"): Action(production.ProductionsApi, "post"),
    ("production", "update"): Action(production.ProductionApi, "patch", target="production_id"),
    ("production", "delete"): Action(production.ProductionApi, "delete", target="production_id"),
    ("lactation", "update"): Action(production.LactationApi, "patch", target="lactation_id"),
    ("breeding_event", "heat"): _of_animal(breeding.HeatsApi),
    ("breeding_event", "service"): _of_animal(breeding.ServicesApi),
    ("breeding_event", "check"): _of_animal(breeding.ChecksApi),
    ("breeding_event", "abortion"): _of_animal(breeding.AbortionsApi),
    ("breeding_event", "calving"): _of_animal(breeding.CalvingsApi),
    ("breeding_event", "delete"): Action(breeding.EventApi, "delete", target="event_id"),
}


def carry_out(actor: Actor, action: Action, object_id: UUID, data: dict[str, Any], base: int | None) -> Any:
    """Do it, as the API would. Raises whatever the API makes a problem of; `StaleVersion` has the row as it is."""
    view = action.view()
    view.actor = actor
    declared = action.handler
    declared.policy.require(actor, declared.action)
    given: dict[str, Any] = {}
    if action.parent:
        given[action.parent] = _named(data.pop(action.parent, None), action.parent)
    if action.target:
        given[action.target] = object_id
    if declared.input is not None:
        given["data"] = _valid(action, declared.input, data)
        if not action.target:
            given["data"]["id"] = _made_by_device(object_id)
    elif data:
        raise Invalid(f"data: expected nothing for this action, found {sorted(data)[0]!r}.")
    if action.based and base is None:
        raise VersionMissing("expected `base_version` or `base_operation`: which version the person saw.")
    if declared.versioned:
        given["seen"] = Seen(base or 0)
    elif base is not None and action.target:
        Seen(base).require(declared.policy.access(actor, object_id, lock=True))
    return getattr(view, action.method)(**given)


def _named(value: Any, name: str) -> UUID:
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise Invalid(f"data.{name}: expected a UUID, found {value!r}.") from None


def _made_by_device(object_id: UUID) -> UUID:
    if object_id.version not in _VERSIONS:
        raise Invalid(f"object_id: expected a UUID of version 4 or 7 for a new row, found {object_id}.")
    return object_id


def _valid(action: Action, shape: type[serializers.Serializer], data: dict[str, Any]) -> dict[str, Any]:
    """Checked as the API does, and nothing in it that the API would leave aside: a note would be lost in silence."""
    incoming = shape(data=data, partial=action.method == "patch")
    if strange := sorted(data.keys() - incoming.fields.keys()):
        raise Invalid(f"data: expected of {', '.join(incoming.fields)}, found {strange[0]!r}.")
    incoming.is_valid(raise_exception=True)
    valid = dict(incoming.validated_data)
    day: date | None = valid.get(action.day) if action.day else None
    if day is not None and day > localdate() + timedelta(days=1):  # where it is tomorrow already
        raise RuleBroken(f"{action.day}: expected a day that has come, found {day}.")
    return valid
