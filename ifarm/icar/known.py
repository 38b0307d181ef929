"""What a batch refers to, found and locked before its first row: animals by their identifiers, medicines by name.

Locks come in the order that all services keep: the pedigree, medicines, animals; rows of one table by their id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from django.db.models.functions import Lower

from ifarm.animals.identifiers import normalised
from ifarm.animals.models import Animal
from ifarm.animals.policies import ANIMALS, IDENTIFIERS
from ifarm.animals.words import IdentifierKind
from ifarm.core.actors import Actor
from ifarm.core.errors import RuleBroken
from ifarm.farms.models import Farm
from ifarm.health.models import Medicine
from ifarm.health.policies import MEDICINES
from ifarm.health.withdrawal import day_at
from ifarm.icar import words

_KINDS: Final = {scheme: kind for kind, scheme in words.SCHEMES.items()}
Name = tuple[IdentifierKind, str]
"""An identifier in the form in which it is compared."""


@dataclass(slots=True)
class Note:
    """Something to tell of a row that was understood."""

    detail: str
    severity: str = "Information"


@dataclass(slots=True)
class Outcome:
    """What became of a row: what it is recorded as, and what there is to tell."""

    row: Any
    notes: list[Note] = field(default_factory=list)


@dataclass(slots=True)
class Known:
    """What the rows of a batch refer to, as the actor sees it; it grows by the animals that they bring."""

    actor: Actor
    farm: Farm
    animals: dict[Name, UUID]
    medicines: dict[str, Medicine]

    def day(self, moment: datetime) -> date:
        """The day that a moment is in at the location."""
        return day_at(self.farm.timezone, moment)

    def find(self, told: Mapping[str, str] | None) -> UUID | None:
        """The animal that somebody names. Raises `RuleBroken` for a scheme that is not known."""
        return None if told is None else self.animals.get(_name(told))

    def animal(self, told: Mapping[str, str]) -> UUID:
        """The same. Raises `RuleBroken` where there is none."""
        found = self.find(told)
        if found is None:
            raise RuleBroken(
                f"animal {told['id']!r} ({told['scheme']}): expected one that is recorded here, found none. Send its"
                " birth or arrival first."
            )
        return found

    def add(self, animal: Animal, *told: Mapping[str, str]) -> None:
        """An animal that a row has brought, and what it is known by."""
        for one in told:
            self.animals[_name(one)] = animal.id

    def medicine(self, told: Mapping[str, Any]) -> Medicine:
        """By its name. Raises `RuleBroken`: a medicine is recorded by somebody who has read its label."""
        found = self.medicines.get(told["name"].strip().lower())
        if found is None:
            raise RuleBroken(
                f"medicine {told['name']!r}: expected one that is recorded here, found none. Record it first, with what"
                " its label says of withdrawal."
            )
        return found


def find_known(actor: Actor, farm: Farm, rows: Iterable[Mapping[str, Any]]) -> Known:
    """Everything that valid rows name, with the animals they are about locked. Inside a unit of work."""
    every = list(rows)
    names = {name for row in every for name in _names(row)}
    treated = {row["medicine"]["name"].strip().lower() for row in every if "medicine" in row}
    known = MEDICINES.instances(actor).annotate(lower=Lower("name")).filter(lower__in=treated)
    medicines = known.select_for_update(of=("self",)).order_by("id").prefetch_related("label")
    by_name = {medicine.name.lower(): medicine for medicine in medicines} if treated else {}
    animals = _animals(actor, names)
    about = {animals[name] for row in every for name in _about(row) if name in animals}
    list(ANIMALS.instances(actor).filter(id__in=about).select_for_update(of=("self",)).order_by("id"))
    return Known(actor, farm, animals, by_name)


def _animals(actor: Actor, names: set[Name]) -> dict[Name, UUID]:
    rows = IDENTIFIERS.instances(actor).filter(
        retired_on=None, animal__is_deleted=False, normalised__in={text for _, text in names}
    )
    found = rows.order_by("id").values_list("kind", "normalised", "animal_id")
    return {(IdentifierKind(kind), text): key for kind, text, key in found}


def _about(row: Mapping[str, Any]) -> Iterator[Name]:
    for member in ("animal", "identifier"):
        if member in row:
            yield from _names(row[member])


def _names(told: Any) -> Iterator[Name]:
    """Every identifier of an animal in a row that could be one."""
    if isinstance(told, Mapping):
        if told.get("scheme") in _KINDS:
            try:
                yield _name(told)
            except RuleBroken:
                return
        for value in told.values():
            yield from _names(value)
    elif isinstance(told, list):
        for value in told:
            yield from _names(value)


def _name(told: Mapping[str, str]) -> Name:
    kind = kind_of(told)
    try:
        return kind, normalised(kind, told["id"])
    except ValueError as error:
        raise RuleBroken(f"{told['scheme']}: {error}.") from None


def origin(told: Mapping[str, Any]) -> dict[str, Any]:
    """Which record of whom a row is."""
    return {"source": told["meta"]["source"], "source_id": told["meta"]["sourceId"]}


def kind_of(told: Mapping[str, str]) -> IdentifierKind:
    """What an identifier is. Raises `RuleBroken`."""
    kind = _KINDS.get(told["scheme"])
    if kind is None:
        raise RuleBroken(f"expected a scheme of {', '.join(_KINDS)}, found {told['scheme']!r}.")
    return kind
