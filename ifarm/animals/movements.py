"""Where animals are: each movement ends one stay and begins the next."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils import timezone

from ifarm.animals.groups import leave_all_groups, members_on
from ifarm.animals.models import Animal, Movement, Stay
from ifarm.animals.policies import ANIMALS, access_animal, access_group
from ifarm.animals.words import REASONS, ArrivalReason, MovementKind, Status
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.policies import access_farm, access_paddock
from ifarm.health.withdrawal import require_may_leave

AHEAD: Final = timedelta(minutes=10)
"""How far a device's clock may be ahead."""

_EVENTS = {
    MovementKind.BIRTH: "animal_moved",
    MovementKind.ARRIVAL: "animal_moved",
    MovementKind.TRANSFER: "animal_moved",
    MovementKind.DEPARTURE: "animal_moved",
    MovementKind.DEATH: "animal_died",
}


def came(actor: Actor, animal: Animal, *, at: datetime | None, reason: ArrivalReason | None) -> Movement:
    """The first movement of a new animal: its birth here, or its arrival. Part of the caller's unit of work."""
    movement = writes.insert(actor, first_movement(animal, at=at, reason=reason))
    begin_stay(animal, movement.moved_at)
    return movement


def first_movement(animal: Animal, *, at: datetime | None, reason: ArrivalReason | None) -> Movement:
    """What `came` adds, not added yet. Raises `RuleBroken` for a time that has not come."""
    kind = MovementKind.BIRTH if reason is None else MovementKind.ARRIVAL
    moment = at or (_begin_of_day(animal) if kind is MovementKind.BIRTH else timezone.now())
    _require_past(moment)
    return Movement(
        animal=animal,
        kind=kind.value,
        reason="" if reason is None else reason.value,
        moved_at=moment,
        to_farm=animal.farm,
        to_paddock=animal.paddock,
    )


def _begin_of_day(animal: Animal) -> datetime:
    if animal.birth_date is None:
        return timezone.now()
    return datetime.combine(animal.birth_date, time(), ZoneInfo(animal.farm.timezone))


def begin_stay(animal: Animal, moment: datetime) -> None:
    """From now on the animal is where its row says."""
    Stay(**stay_at(animal, moment)).save(force_insert=True)


def stay_at(animal: Animal, moment: datetime) -> dict[str, Any]:
    """The columns of what `begin_stay` adds."""
    return {
        "animal_id": animal.id,
        "farm_id": animal.farm_id,
        "paddock_id": animal.paddock_id,
        "starts_at": moment,
    }


def move_animal(
    actor: Actor,
    animal_id: UUID,
    *,
    kind: MovementKind,
    moved_at: datetime | None = None,
    reason: str = "",
    farm_id: UUID | None = None,
    paddock_id: UUID | None = None,
    counterpart: str = "",
    override_reason: str = "",
    **meta: Any,
) -> Movement:
    """Record a movement of an animal and change its place and status with it.

    Arrival and transfer lead to ``farm_id`` (the animal's own farm if none is named) and ``paddock_id``. Movements come
    in the order of time; whoever leaves a farm leaves its groups. Raises `NotFound` for a strange place, `RuleBroken`
    where kind, reason, status or time do not fit, `InWithdrawal` where the animal must not be eaten yet and there is
    no ``override_reason``.
    """
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        moment = moved_at or timezone.now()
        _require_fitting(animal, kind, reason)
        _require_past(moment)
        stay = animal.stays.select_for_update().filter(ends_at=None).first()
        _require_later(animal, moment)
        require_may_leave(
            actor, animal, kind=kind, reason=reason, moment=moment, override_reason=override_reason
        )
        movement = Movement(
            animal=animal, kind=kind.value, reason=reason, moved_at=moment, counterpart=counterpart, **meta
        )
        if stay is not None:
            movement.from_farm_id, movement.from_paddock_id = stay.farm_id, stay.paddock_id
            stay.ends_at = moment
            stay.modified_at = timezone.now()
            stay.save(update_fields=["ends_at", "modified_at"])
        changes: dict[str, Any] = {}
        if kind in (MovementKind.ARRIVAL, MovementKind.TRANSFER):
            farm, paddock = _place(actor, animal, farm_id, paddock_id)
            movement.to_farm_id, movement.to_paddock_id = farm.id, paddock and paddock.id
            changes = {"farm": farm, "paddock": paddock, "status": Status.ALIVE.value}
        else:
            gone = Status.DEAD if kind is MovementKind.DEATH else Status.OFF_FARM
            changes = {"paddock": None, "status": gone.value}
        writes.insert(actor, movement)
        if changes.get("farm") != animal.farm:
            leave_all_groups(actor, animal, animal.farm.day_of(moment))
        writes.update(actor, animal, changes, reason=f"{kind.value} {reason}".strip())
        if movement.to_farm_id is not None:
            begin_stay(animal, moment)
        record_event(
            _EVENTS[kind],
            animal,
            kind=kind.value,
            reason=reason,
            from_farm_id=movement.from_farm_id,
            to_farm_id=movement.to_farm_id,
        )
        return movement


def move_group(
    actor: Actor,
    group_id: UUID,
    *,
    kind: MovementKind,
    moved_at: datetime | None = None,
    **where: Any,
) -> list[Movement]:
    """Move every animal that is in a group at a time: each gets its own movement, or none does. In order of their ids.

    ``where`` has the arguments of `move_animal`. Who leaves the farm leaves its groups, so a group arrives nowhere.
    Raises as `move_animal`, with the animal's ``animal_id`` and tag, and `RuleBroken` where nobody is in the group.
    """
    with unit_of_work():
        if kind is MovementKind.ARRIVAL:
            raise RuleBroken(
                "expected a movement of animals that are here, found an arrival. Move each by itself."
            )
        group = access_group(actor, group_id)
        moment = moved_at or timezone.now()
        day = group.farm.day_of(moment)
        members = ANIMALS.instances(actor).filter(id__in=members_on(actor, group_id, day))
        animals = list(members.select_for_update(of=("self",)).order_by("id"))
        if not animals:
            raise RuleBroken(f"expected animals in the group on {day}, found none.")
        return [_move_member(actor, animal, kind=kind, moved_at=moment, **where) for animal in animals]


def _move_member(actor: Actor, animal: Animal, **movement: Any) -> Movement:
    try:
        return move_animal(actor, animal.id, **movement)
    except RuleBroken as problem:
        told = {**problem.extra, "animal_id": str(animal.id)}
        raise type(problem)(f"{animal.tag_number}: {problem.detail}", **told) from problem


def _place(
    actor: Actor, animal: Animal, farm_id: UUID | None, paddock_id: UUID | None
) -> tuple[Farm, Paddock | None]:
    farm = access_farm(actor, farm_id or animal.farm_id)
    paddock = None if paddock_id is None else access_paddock(actor, paddock_id)
    if paddock is not None and paddock.farm_id != farm.id:
        raise RuleBroken("expected a paddock of that farm, found one of another.")
    return farm, paddock


def _require_fitting(animal: Animal, kind: MovementKind, reason: str) -> None:
    if animal.is_reference:
        raise RuleBroken("expected an animal of the herd, found a reference animal: it is nowhere.")
    if kind is MovementKind.BIRTH:
        raise RuleBroken(
            "expected a movement of an animal that lives, found a birth. Record the animal instead."
        )
    if reason not in REASONS[kind]:
        words = ", ".join(sorted(REASONS[kind] - {""}))
        raise RuleBroken(f"{kind.value}: expected a reason of {words}, found {reason!r}.")
    here = animal.status == Status.ALIVE
    if kind is MovementKind.ARRIVAL and (here or animal.status == Status.DEAD):
        raise RuleBroken(f"expected an animal that is away, found one that is {animal.status}.")
    if kind is not MovementKind.ARRIVAL and not here:
        raise RuleBroken(f"expected an animal that is here, found one that is {animal.status}.")


def _require_past(moment: datetime) -> None:
    if moment > timezone.now() + AHEAD:
        raise RuleBroken(f"expected a time that has come, found {moment.isoformat()}.")


def _require_later(animal: Animal, moment: datetime) -> None:
    last = animal.movements.order_by("-moved_at").values_list("moved_at", flat=True).first()
    if last is not None and moment <= last:
        raise RuleBroken(
            f"expected a time after the movement before ({last.isoformat()}), found {moment.isoformat()}."
        )
