"""Animals and their movements, as others tell them.

A birth or an arrival brings an animal into the herd; ``animals`` alone brings none: who only stands there was never
registered, and no day is known from which on it is here. Those that are off the farm are kept as reference animals.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ifarm.animals.models import Animal, Movement, Parentage
from ifarm.animals.movements import move_animal
from ifarm.animals.policies import ANIMALS, MOVEMENTS, PARENTAGES, access_animal
from ifarm.animals.services import create_animal, set_parent
from ifarm.animals.words import (
    ArrivalReason,
    DepartureReason,
    IdentifierKind,
    MovementKind,
    ParentRole,
    Relation,
    Sex,
    Status,
)
from ifarm.audit import writes
from ifarm.core.errors import RuleBroken
from ifarm.farms.policies import FARMS
from ifarm.icar import words
from ifarm.icar.known import Known, Note, Outcome, kind_of, origin
from ifarm.icar.models import AnimalSource

Told = Mapping[str, Any]
_ROLES: Final = {Sex.FEMALE: ParentRole.DAM, Sex.MALE: ParentRole.SIRE}
_MOST_PARTS: Final = 1024
"""Of a breed: what `BreedPartInput` takes."""


def receive_animal(known: Known, told: Told) -> Outcome:
    """A known one gets its source and its parents; an unknown one that is off the farm is a reference animal."""
    found = known.find(told["identifier"])
    if found is not None:
        row = access_animal(known.actor, found, lock=True)
        _remember(known, row, told["meta"])
        return Outcome(row, [Note("It is recorded already; what describes it is not changed.")])
    if words.STATUS.understand(told.get("status", Status.ALIVE.value)) == Status.ALIVE:
        raise RuleBroken(
            f"{told['identifier']['id']}: expected an animal that is recorded here, found a new one. Send its birth"
            " (born here, or registered) or its arrival: they say since when it is here."
        )
    return Outcome(_new(known, told, is_reference=True))


def receive_birth(known: Known, told: Told) -> Outcome:
    """An animal was born here, or is registered for the first time. Whoever is known gets the source of its birth."""
    found = known.find(told["animal"])
    if found is not None:
        return _adopted(known, found, MovementKind.BIRTH, told)
    born = told["registrationReason"] == "Born"
    moment = told["eventDateTime"]
    animal = _new(
        known,
        _detail(told, moment if born else None),
        arrived_at=moment,
        arrival_reason=None if born else ArrivalReason.OTHER,
    )
    return _first(known, animal, told)


def receive_arrival(known: Known, told: Told) -> Outcome:
    """An animal came: a new one, one that was away, or one of another farm of the tenant."""
    reason = ArrivalReason(words.ARRIVAL.understand(told["arrivalReason"]))
    moment = told["eventDateTime"]
    counterpart = told.get("consignment", {}).get("originAddress", "")
    found = known.find(told["animal"])
    if found is None:
        animal = _new(known, _detail(told, None), arrived_at=moment, arrival_reason=reason)
        return _first(known, animal, told, counterpart=counterpart)
    animal = access_animal(known.actor, found)
    kind = MovementKind.ARRIVAL
    if animal.status == Status.ALIVE and animal.farm_id == known.farm.id:
        return _adopted(known, found, kind, told)
    if animal.status == Status.ALIVE and reason is ArrivalReason.INTERNAL_TRANSFER:
        kind = MovementKind.TRANSFER
    row = move_animal(
        known.actor,
        found,
        kind=kind,
        moved_at=moment,
        reason=reason.value,
        farm_id=known.farm.id,
        counterpart=counterpart,
        **origin(told),
    )
    return Outcome(row)


def receive_departure(known: Known, told: Told) -> Outcome:
    """An animal left. One that went to another farm of the tenant arrives there, and that is all there is of it."""
    consignment = told.get("consignment", {})
    animal = access_animal(known.actor, known.animal(told["animal"]))
    if told.get("departureKind") == "InternalTransfer" and _is_here(known, consignment):
        return Outcome(None, [Note("It is recorded with its arrival at the other farm.")])
    reason = DepartureReason(words.DEPARTURE.understand(told["departureReason"]))
    row = move_animal(
        known.actor,
        animal.id,
        kind=MovementKind.DEPARTURE,
        moved_at=told["eventDateTime"],
        reason=reason.value,
        counterpart=consignment.get("destinationAddress", ""),
        **origin(told),
    )
    return Outcome(row)


def _is_here(known: Known, consignment: Told) -> bool:
    place = consignment.get("destinationLocation", {})
    mine = {str(key) for key in FARMS.instances(known.actor).values_list("id", flat=True)}
    return place.get("scheme") == words.LOCATION and place["id"] in mine


def receive_death(known: Known, told: Told) -> Outcome:
    """An animal died."""
    reason = words.DEATH.understand(told["deathReason"])
    row = move_animal(
        known.actor,
        known.animal(told["animal"]),
        kind=MovementKind.DEATH,
        moved_at=told["eventDateTime"],
        reason=reason,
        **origin(told),
    )
    return Outcome(row)


def receive_parents(known: Known, told: Told) -> list[Note]:
    """Say who the parents of an animal are, as far as they are known here. After all rows of a batch.

    Only where nobody has said it: what people have corrected is not undone by those who send the old again.
    """
    notes: list[Note] = []
    child = known.find(told["identifier"])
    for one in told.get("parentage", []):
        if child is None or known.find(one["parentOf"]) != child:
            continue  # of a generation before: its own resource says so
        parent = known.find(one["identifier"])
        role = _ROLES.get(Sex(words.SEX.understand(one["gender"])))
        relation = Relation(words.RELATION.understand(one.get("relation", Relation.GENETIC.value)))
        name = one["identifier"]["id"]
        if parent is None or role is None:
            notes.append(Note(f"The parent {name} is not recorded here.", "Warning"))
            continue
        said = Parentage.objects.filter(child_id=child, role=role.value, relation=relation.value).first()
        if said is None:
            PARENTAGES.require(known.actor, "change")
            set_parent(known.actor, child, parent_id=parent, role=role, relation=relation)
        elif said.parent_id != parent:
            notes.append(Note(f"Another {role.value.lower()} than {name} is recorded here.", "Warning"))
    return notes


def _detail(told: Told, born: datetime | None) -> Told:
    """The animal of an event that brings it. Raises `RuleBroken` where the event does not describe it."""
    detail = told.get("animalDetail")
    if detail is None:
        raise RuleBroken(
            f"{told['animal']['id']}: expected `animalDetail` for an animal that is new here, found none."
        )
    if (detail["identifier"]["scheme"], detail["identifier"]["id"]) != tuple(
        told["animal"][name] for name in ("scheme", "id")
    ):
        raise RuleBroken("expected the same animal in `animal` and `animalDetail`, found two.")
    return detail if detail.get("birthDate") or born is None else {**detail, "birthDate": born}


def _new(known: Known, told: Told, **arrived: Any) -> Animal:
    """A new animal, with what it is known by and its breeds; its parents come later."""
    ANIMALS.require(known.actor, "add")
    others = list(told.get("alternativeIdentifiers", []))
    if kind_of(told["identifier"]) is not IdentifierKind.EAR_TAG:
        raise RuleBroken(
            f"expected an ear tag ({words.SCHEMES[IdentifierKind.EAR_TAG]}) as `identifier` of a new animal, found"
            f" {told['identifier']['scheme']}. Other schemes are `alternativeIdentifiers`."
        )
    if told.get("managementTag"):
        others.append({"scheme": words.SCHEMES[IdentifierKind.MANAGEMENT], "id": told["managementTag"]})
    purpose, born = told.get("productionPurpose"), told.get("birthDate")
    animal = create_animal(
        known.actor,
        farm_id=known.farm.id,
        tag_number=told["identifier"]["id"],
        animal_type=words.SPECIES.understand(told["specie"]),
        sex=words.SEX.understand(told["gender"]),
        name=told.get("name", ""),
        birth_date=None if born is None else known.day(born),
        purpose=words.PURPOSE.understand(purpose) if purpose else "",
        identifiers=[{"kind": kind_of(one).value, "value": one["id"]} for one in others],
        breeds=_parts(told),
        **arrived,
    )
    known.add(animal, told["identifier"], *others)
    if "meta" in told:
        _remember(known, animal, told["meta"])
    return animal


def _parts(told: Told) -> list[dict[str, Any]]:
    """Breeds in whole parts, as we keep them."""
    if "breedFractions" in told:
        given = [(one["breed"], Fraction(one["fraction"])) for one in told["breedFractions"]["fractions"]]
    else:
        given = [(told["primaryBreed"], Fraction(1))] if "primaryBreed" in told else []
    whole = sum((part for _, part in given), Fraction(0))
    if whole and any(part.denominator != 1 or part > _MOST_PARTS for _, part in given):
        given = [(breed, Fraction(round(part * _MOST_PARTS / whole))) for breed, part in given]
    for breed, _ in given:
        if breed["scheme"] != words.BREED:
            raise RuleBroken(f"expected the scheme {words.BREED} of a breed, found {breed['scheme']!r}.")
    return [{"code": breed["id"], "parts": int(part)} for breed, part in given if part]


def _remember(known: Known, animal: Animal, meta: Told) -> None:
    """Where an animal was told from, the first time."""
    if not AnimalSource.objects.filter(animal=animal).exists():
        named = {"source": meta["source"], "source_id": meta["sourceId"]}
        writes.insert(known.actor, AnimalSource(animal=animal, **named))


def _first(known: Known, animal: Animal, told: Told, **more: str) -> Outcome:
    """The movement that brought a new animal, with where it was told from."""
    row = Movement.objects.select_for_update(of=("self",)).get(animal=animal)
    return Outcome(writes.update(known.actor, row, {**origin(told), **more}))


def _adopted(known: Known, animal_id: Any, kind: MovementKind, told: Told) -> Outcome:
    """A movement that is recorded here, and was told from nowhere yet. Raises `RuleBroken` where it is another."""
    rows = MOVEMENTS.instances(known.actor).filter(animal_id=animal_id, kind=kind.value)
    if kind is MovementKind.ARRIVAL:
        rows = rows.filter(moved_at=told["eventDateTime"])
    row = rows.select_for_update(of=("self",)).order_by("moved_at").first()
    if row is None:
        raise RuleBroken(f"{told['animal']['id']}: expected an animal that is away, found one that is here.")
    if not row.source_id:
        row = writes.update(known.actor, row, origin(told))
    return Outcome(row, [Note("It is recorded already.")])


def kilograms(measure: Told) -> Decimal:
    """A mass, to ten grams. Raises `RuleBroken` for a unit that is not one."""
    factor = words.MASS_KG.get(measure["units"])
    if factor is None:
        raise RuleBroken(f"expected a unit of {', '.join(words.MASS_KG)}, found {measure['units']!r}.")
    return (Decimal(measure["measurement"]) * factor).quantize(Decimal("0.01"))
