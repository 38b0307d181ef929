"""Changes of animals: what they are, what they are known by, who their parents are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from ifarm.animals.identifiers import normalised
from ifarm.animals.models import Animal, AnimalIdentifier, Breed, BreedFraction, Parentage
from ifarm.animals.movements import came
from ifarm.animals.policies import access_animal
from ifarm.animals.words import ArrivalReason, IdentifierKind, ParentRole, Relation, Sex
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.events import record_event
from ifarm.core.locks import Lock, take
from ifarm.core.versions import Seen
from ifarm.farms.policies import access_farm, access_paddock

MAIN_KIND = IdentifierKind.EAR_TAG
_FEMALE = frozenset({Sex.FEMALE.value, Sex.UNKNOWN.value})
_MALE = frozenset({Sex.MALE.value, Sex.UNKNOWN.value})


def create_animal(
    actor: Actor,
    *,
    farm_id: UUID,
    tag_number: str,
    paddock_id: UUID | None = None,
    identifiers: Sequence[Mapping[str, str]] = (),
    breeds: Sequence[Mapping[str, Any]] = (),
    arrived_at: datetime | None = None,
    arrival_reason: ArrivalReason | None = None,
    **fields: Any,
) -> Animal:
    """A new animal, with its identifiers, breeds and the movement that brought it.

    Without ``arrival_reason`` it was born here. A reference animal has no movement. Raises `NotFound` for a strange
    farm or paddock, `RuleBroken`, and IntegrityError for an identifier in use.
    """
    with unit_of_work():
        farm = access_farm(actor, farm_id)
        animal = Animal(farm=farm, tag_number=tag_number.strip(), **fields)
        if paddock_id is not None:
            animal.paddock = access_paddock(actor, paddock_id)
            require_same_farm(animal)
        writes.insert(actor, animal)
        issued = animal.birth_date or farm.today()
        for kind, value in all_identifiers(tag_number, identifiers).items():
            _issue(actor, animal, kind, value, issued)
        if breeds:
            _set_breeds(actor, animal, breeds)
        if not animal.is_reference:
            came(actor, animal, at=arrived_at, reason=arrival_reason)
        record_event("animal_created", animal, farm_id=farm.id, tag_number=animal.tag_number)
        return animal


def all_identifiers(tag_number: str, identifiers: Sequence[Mapping[str, str]]) -> dict[IdentifierKind, str]:
    """What a new animal is known by: its tag number and the others."""
    return {MAIN_KIND: tag_number, **{IdentifierKind(one["kind"]): one["value"] for one in identifiers}}


def update_animal(actor: Actor, animal_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Animal:
    """Change what describes an animal; places, identifiers and parents have services of their own.

    Raises `StaleVersion`.
    """
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        seen.require(animal)
        changes = dict(changes)
        breeds = changes.pop("breeds", None)
        animal = writes.update(actor, animal, changes)
        if breeds is not None:
            _set_breeds(actor, animal, breeds)
        record_event("animal_updated", animal, farm_id=animal.farm_id, fields=sorted(changes))
        return animal


def delete_animal(actor: Actor, animal_id: UUID, reason: str = "recorded by mistake") -> None:
    """Take back an animal that was recorded by mistake: it is kept, hidden, and its identifiers are free again."""
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        today = animal.farm.today()
        for identifier in animal.identifiers.select_for_update().filter(retired_on=None):
            writes.update(actor, identifier, {"retired_on": max(today, identifier.issued_on)}, reason=reason)
        writes.bury(actor, animal, {"is_deleted": True}, reason=reason)
        record_event("animal_deleted", animal, farm_id=animal.farm_id, tag_number=animal.tag_number)


def issue_identifier(
    actor: Actor, animal_id: UUID, *, kind: IdentifierKind, value: str, issued_on: date
) -> AnimalIdentifier:
    """Give an animal an identifier; one of the same kind is retired on that day and stays in the history.

    Raises IntegrityError where another animal has it, ValidationError for one that cannot be.
    """
    with unit_of_work():
        animal = access_animal(actor, animal_id, lock=True)
        for old in animal.identifiers.select_for_update().filter(kind=kind, retired_on=None):
            if issued_on < old.issued_on:
                raise RuleBroken(
                    f"expected a day from {old.issued_on} on, found {issued_on}: the tag before is newer."
                )
            writes.update(actor, old, {"retired_on": issued_on}, reason="replaced")
        identifier = _issue(actor, animal, kind, value, issued_on)
        if kind is MAIN_KIND:
            writes.update(actor, animal, {"tag_number": identifier.value})
        return identifier


def _issue(
    actor: Actor, animal: Animal, kind: IdentifierKind, value: str, issued_on: date
) -> AnimalIdentifier:
    return writes.insert(actor, new_identifier(animal, kind, value, issued_on))


def new_identifier(animal: Animal, kind: IdentifierKind, value: str, issued_on: date) -> AnimalIdentifier:
    """An identifier that is not added yet. Raises `RuleBroken` for one that cannot be."""
    try:
        form = normalised(kind, value)
    except ValueError as error:
        raise RuleBroken(f"{kind}: {error}.") from None
    return AnimalIdentifier(
        animal=animal, kind=kind.value, value=value.strip(), normalised=form, issued_on=issued_on
    )


def _set_breeds(actor: Actor, animal: Animal, breeds: Sequence[Mapping[str, Any]]) -> None:
    """Replace the fractions; the animal shows the largest."""
    wanted = {entry["code"]: entry["parts"] for entry in breeds}
    known = {b.code: b for b in Breed.objects.filter(species=animal.animal_type, code__in=wanted)}
    require_known(wanted, known, animal)
    before = {str(f.breed_id): f.parts for f in animal.breed_fractions.all()}
    animal.breed_fractions.all().delete()
    BreedFraction.objects.bulk_create(
        [
            BreedFraction(animal=animal, breed=known[code], parts=parts)
            for code, parts in sorted(wanted.items())
        ]
    )
    after = {str(known[code].id): parts for code, parts in wanted.items()}
    if before != after:
        writes.record(actor, "breeds_set", animal, {"breeds": [before, after]})
    main = largest(wanted)
    writes.update(actor, animal, {"breed": known[main] if main else None})


def largest(parts: Mapping[str, int]) -> str | None:
    """The breed that an animal shows, of its breeds' parts by code."""
    return max(parts, key=lambda code: (parts[code], code), default=None)


def require_known(wanted: Mapping[str, int], known: Mapping[str, Breed], animal: Animal) -> None:
    """Raises `NotFound` for a breed that its species does not have."""
    if missing := sorted(wanted.keys() - known.keys()):
        raise NotFound(f"breed {missing[0]} of {animal.animal_type} was not found.")


def set_parent(
    actor: Actor,
    animal_id: UUID,
    *,
    parent_id: UUID,
    role: ParentRole,
    relation: Relation = Relation.GENETIC,
) -> Parentage:
    """Say who a parent is, instead of who was named before. Raises `RuleBroken`: sex, species, age, a cycle."""
    with unit_of_work():
        take(Lock.PEDIGREE, str(current_tenant()))  # two halves of a cycle cannot be added at once
        child, parent = access_animal(actor, animal_id, lock=True), access_animal(actor, parent_id)
        require_possible(child, parent, role)
        if child.id in _ancestors(parent.id):
            raise RuleBroken(
                f"expected an ancestor, found {parent.tag_number}, which descends from {child.tag_number}."
            )
        before = Parentage.objects.filter(child=child, role=role.value, relation=relation.value).first()
        if before is not None:
            return writes.update(actor, before, {"parent": parent})
        return writes.insert(
            actor, Parentage(child=child, parent=parent, role=role.value, relation=relation.value)
        )


def require_possible(child: Animal, parent: Animal, role: ParentRole) -> None:
    """Raises `RuleBroken`: sex, species, age."""
    if parent.sex not in (_FEMALE if role is ParentRole.DAM else _MALE):
        raise RuleBroken(f"expected a {role.value.lower()} of that sex, found {parent.sex}.")
    if parent.animal_type != child.animal_type:
        raise RuleBroken(f"expected {child.animal_type}, found {parent.animal_type}.")
    born, before = child.birth_date, parent.birth_date
    if not (born is None or before is None) and before >= born:
        raise RuleBroken(f"expected a parent born before {child.birth_date}, found {parent.birth_date}.")


def _ancestors(animal_id: UUID) -> set[UUID]:
    """The animal itself and all its ancestors, of whatever relation."""
    query = (
        "WITH RECURSIVE up (id) AS (SELECT %s::uuid UNION"
        " SELECT p.parent_id FROM animals_parentage p JOIN up ON p.child_id = up.id) SELECT id FROM up"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, (animal_id,))
        return {row[0] for row in cursor.fetchall()}


def require_same_farm(animal: Animal) -> None:
    """Raises `RuleBroken` for a paddock of another farm."""
    if animal.paddock is not None and animal.paddock.farm_id != animal.farm_id:
        raise RuleBroken("expected a paddock of the animal's farm, found one of another.")
