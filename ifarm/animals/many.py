"""Many new animals at once: the rules of `services.create_animal` and `set_parent`, the statements of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError

from ifarm.animals.groups import require_joinable
from ifarm.animals.models import (
    Animal,
    AnimalGroup,
    AnimalIdentifier,
    Breed,
    BreedFraction,
    GroupMembership,
    Movement,
    Parentage,
    Stay,
)
from ifarm.animals.movements import first_movement, stay_at
from ifarm.animals.policies import ANIMALS, GROUPS
from ifarm.animals.services import (
    all_identifiers,
    largest,
    new_identifier,
    require_known,
    require_possible,
    require_same_farm,
)
from ifarm.animals.words import ParentRole
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, Problem, RuleBroken
from ifarm.core.events import record_events
from ifarm.core.many import insert_values
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.policies import FARMS, PADDOCKS

Wanted = Mapping[str, Any]
"""The arguments of `create_animal`, and besides: ``id``; ``parents``, ids by `ParentRole`; ``group_ids`` and
``joined_on``, the day from which it is in them."""


@dataclass(slots=True)
class _New:
    """One animal with everything that is added with it; fractions and stay by their columns alone."""

    animal: Animal
    identifiers: list[AnimalIdentifier]
    fractions: list[dict[str, Any]]
    parents: list[Parentage]
    groups: list[GroupMembership]
    movement: Movement | None
    stay: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Known:
    """What the new animals refer to, as the actor sees it. ``animals`` grows by those that are new themselves."""

    farms: Mapping[UUID, Farm]
    paddocks: Mapping[UUID, Paddock]
    groups: Mapping[UUID, AnimalGroup]
    breeds: Mapping[tuple[str, str], Breed]
    animals: dict[UUID, Animal]


def create_animals(actor: Actor, wanted: Sequence[Wanted]) -> list[Animal | Problem | ValidationError]:
    """New animals, with all that comes with them; for each of ``wanted`` the animal, or why it cannot be.

    A parent is in the herd, or stands before its child in the list: so no cycle can be made. Raises IntegrityError
    where an identifier is in use (and ValidationError for a field that is too long): then undo all of it.
    """
    with unit_of_work():
        known = _known(actor, wanted)
        found: list[_New | Problem | ValidationError] = []
        for given in wanted:
            try:
                one = _new(known, **given)
            except (Problem, ValidationError) as problem:
                found.append(problem)
                continue
            known.animals[one.animal.id] = one.animal
            found.append(one)
        _add(actor, [one for one in found if isinstance(one, _New)])
        return [one.animal if isinstance(one, _New) else one for one in found]


def _known(actor: Actor, wanted: Sequence[Wanted]) -> _Known:
    def ids(name: str) -> set[UUID]:
        return {given[name] for given in wanted if given.get(name) is not None}

    codes = {breed["code"] for given in wanted for breed in given.get("breeds", ())}
    parents = {pk for given in wanted for pk in given.get("parents", {}).values()}
    groups = {pk for given in wanted for pk in given.get("group_ids", ())}
    return _Known(
        FARMS.instances(actor).in_bulk(ids("farm_id")),
        PADDOCKS.instances(actor).in_bulk(ids("paddock_id")),
        GROUPS.instances(actor).in_bulk(groups),
        {(breed.species, breed.code): breed for breed in Breed.objects.filter(code__in=codes)},
        ANIMALS.instances(actor).in_bulk(parents),
    )


def _found(rows: Mapping[UUID, Any], pk: UUID, what: str) -> Any:
    if pk not in rows:
        raise NotFound(f"{what} {pk} was not found.")
    return rows[pk]


def _new(
    known: _Known,
    *,
    farm_id: UUID,
    tag_number: str,
    paddock_id: UUID | None = None,
    identifiers: Sequence[Mapping[str, str]] = (),
    breeds: Sequence[Mapping[str, Any]] = (),
    parents: Mapping[ParentRole, UUID] | None = None,
    group_ids: Sequence[UUID] = (),
    joined_on: date | None = None,
    arrived_at: Any = None,
    arrival_reason: Any = None,
    **fields: Any,
) -> _New:
    animal = Animal(farm=_found(known.farms, farm_id, "farm"), tag_number=tag_number.strip(), **fields)
    animal.clean()
    if paddock_id is not None:
        animal.paddock = _found(known.paddocks, paddock_id, "paddock")
        require_same_farm(animal)
    issued = animal.birth_date or animal.farm.today()
    names = all_identifiers(tag_number, identifiers)
    movement = None
    if not animal.is_reference:
        movement = first_movement(animal, at=arrived_at, reason=arrival_reason)
    return _New(
        animal,
        [new_identifier(animal, kind, value, issued) for kind, value in names.items()],
        _fractions(known, animal, {entry["code"]: entry["parts"] for entry in breeds}),
        [_parentage(known, animal, role, pk) for role, pk in (parents or {}).items()],
        _memberships(animal, [_found(known.groups, pk, "group") for pk in group_ids], joined_on or issued),
        movement,
        None if movement is None else stay_at(animal, movement.moved_at),
    )


def _fractions(known: _Known, animal: Animal, wanted: Mapping[str, int]) -> list[dict[str, Any]]:
    own = {code: breed for (species, code), breed in known.breeds.items() if species == animal.animal_type}
    require_known(wanted, own, animal)
    main = largest(wanted)
    animal.breed = own[main] if main else None
    return [
        {"animal_id": animal.id, "breed_id": own[code].id, "parts": parts}
        for code, parts in sorted(wanted.items())
    ]


def _parentage(known: _Known, child: Animal, role: ParentRole, parent_id: UUID) -> Parentage:
    parent = _found(known.animals, parent_id, "animal")
    require_possible(child, parent, role)
    return Parentage(child=child, parent=parent, role=role.value)


def _memberships(animal: Animal, groups: Sequence[AnimalGroup], day: date) -> list[GroupMembership]:
    for group in groups:
        require_joinable(group, animal)
    if len({group.kind for group in groups}) < len(groups):
        raise RuleBroken("expected one group of a kind, found two.")
    return [GroupMembership(animal=animal, group=group, kind=group.kind, starts_on=day) for group in groups]


def _add(actor: Actor, new: Sequence[_New]) -> None:
    writes.insert_all(actor, [one.animal for one in new])
    writes.insert_all(actor, [row for one in new for row in one.identifiers])
    writes.insert_all(actor, [row for one in new for row in one.parents])
    writes.insert_all(actor, [one.movement for one in new if one.movement is not None])
    writes.insert_all(actor, [row for one in new for row in one.groups])
    insert_values(BreedFraction, {}, [row for one in new for row in one.fractions])
    insert_values(Stay, {}, [one.stay for one in new if one.stay is not None])
    writes.record_all(
        actor,
        "breeds_set",
        (
            (one.animal, {"breeds": [{}, {str(row["breed_id"]): row["parts"] for row in one.fractions}]})
            for one in new
            if one.fractions
        ),
    )
    record_events(
        "animal_created",
        ((one.animal, {"farm_id": one.animal.farm_id, "tag_number": one.animal.tag_number}) for one in new),
    )
