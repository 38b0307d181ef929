"""Exports: the columns of the imports, with what is there. What is read back makes the same again.

One query with a cursor of the server, and some more for each page of it: memory does not grow with the herd.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Prefetch, QuerySet

from ifarm.animals.models import Animal, AnimalIdentifier, GroupMembership, Movement, Parentage, Weight
from ifarm.animals.policies import ANIMALS, WEIGHTS
from ifarm.animals.words import IdentifierKind, MovementKind, Relation, Status
from ifarm.core.actors import Actor
from ifarm.exchange.columns import SELF
from ifarm.exchange.writing import Row
from ifarm.production.models import Production
from ifarm.production.policies import PRODUCTIONS
from ifarm.production.words import ProductionType

_PAGE: Final = 1000
_CAME: Final = (MovementKind.BIRTH.value, MovementKind.ARRIVAL.value)


def animals_to_export(actor: Actor) -> QuerySet[Animal]:
    """The actor's animals, of every status."""
    return ANIMALS.instances(actor).order_by("tag_number", "id")


def weights_to_export(actor: Actor) -> QuerySet[Weight]:
    """The weights of the actor's animals."""
    return WEIGHTS.instances(actor).order_by("weighed_on", "id")


def milk_to_export(actor: Actor) -> QuerySet[Production]:
    """The milkings of the actor's farms."""
    rows = PRODUCTIONS.instances(actor).filter(production_type=ProductionType.MILK.value)
    return rows.order_by("production_date", "id")


def animal_rows(rows: QuerySet[Animal]) -> Iterator[Row]:
    """Those that are gone become reference animals, so that their offspring keep their parents."""
    parents = Parentage.objects.filter(relation=Relation.GENETIC.value).select_related("parent")
    came = Movement.objects.filter(kind__in=_CAME).order_by("moved_at", "id")
    now_in = GroupMembership.objects.filter(ends_on=None).select_related("group").order_by("group__name")
    every = rows.select_related("farm", "paddock").prefetch_related(
        Prefetch("identifiers", _eids(), to_attr="eids"),
        Prefetch("parents", parents, to_attr="genetic_parents"),
        Prefetch("movements", came, to_attr="came"),
        Prefetch("group_memberships", now_in, to_attr="now_in"),
        "breed_fractions__breed",
        "sources",
    )
    for animal in every.iterator(chunk_size=_PAGE):
        yield _animal(animal)


def _eids() -> QuerySet[AnimalIdentifier]:
    rows: QuerySet[AnimalIdentifier] = AnimalIdentifier.objects.filter(
        kind=IdentifierKind.EID.value, retired_on=None
    )
    return rows


def _animal(animal: Any) -> Row:
    gone = animal.is_reference or animal.status != Status.ALIVE
    first = animal.came[0] if animal.came and not gone else None
    arrival = first if first is not None and first.kind == MovementKind.ARRIVAL else None
    parents = {row.role: row.parent.tag_number for row in animal.genetic_parents}
    source = min(((one.source, one.row_id) for one in animal.sources.all()), default=(SELF, str(animal.id)))
    return {
        "tag_number": animal.tag_number,
        "eid": animal.eids[0].value if animal.eids else None,
        "name": animal.name,
        "species": animal.animal_type,
        "sex": animal.sex,
        "breeds": _breeds(animal),
        "birth_date": animal.birth_date,
        "purpose": animal.purpose,
        "dam_tag": parents.get("Dam"),
        "sire_tag": parents.get("Sire"),
        "farm": animal.farm.name,
        "paddock": animal.paddock.name if animal.paddock else None,
        "groups": " | ".join(one.group.name for one in animal.now_in if not gone),
        "arrived_on": None if arrival is None else _day(arrival, animal),
        "arrival_reason": None if arrival is None else arrival.reason,
        "reference": "yes" if gone else "no",
        "estimated_value": animal.estimated_value,
        "value_currency": animal.value_currency,
        "source": source[0],
        "source_id": source[1],
    }


def _day(arrival: Movement, animal: Animal) -> date:
    """On the farm's calendar."""
    moment: datetime = arrival.moved_at.astimezone(ZoneInfo(animal.farm.timezone))
    return moment.date()


def _breeds(animal: Any) -> str:
    parts = sorted((one.breed.code, one.parts) for one in animal.breed_fractions.all())
    if len(parts) == 1:
        return str(parts[0][0])
    return " ".join(f"{code}:{number}" for code, number in parts)


def weight_rows(rows: QuerySet[Weight]) -> Iterator[Row]:
    """Weights, with their animals' tags."""
    for row in _with_animals(rows).iterator(chunk_size=_PAGE):
        yield {
            **_tags(row),
            "weighed_on": row.weighed_on,
            "weight_kg": row.weight_kg,
            "method": row.method,
            **_source(row),
        }


def milk_rows(rows: QuerySet[Production]) -> Iterator[Row]:
    """Milkings, with their animals' tags."""
    amounts = ("milk_kg", "fat_percent", "protein_percent", "somatic_cells_per_ml", "milk_use")
    for row in _with_animals(rows).iterator(chunk_size=_PAGE):
        yield {
            **_tags(row),
            "production_date": row.production_date,
            "session": row.session,
            **{name: getattr(row, name) for name in amounts},
            **_source(row),
        }


def _with_animals(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.select_related("animal").prefetch_related(
        Prefetch("animal__identifiers", _eids(), to_attr="eids")
    )


def _tags(row: Any) -> dict[str, Any]:
    eids = row.animal.eids
    return {"tag_number": row.animal.tag_number, "eid": eids[0].value if eids else None}


def _source(row: Any) -> dict[str, str]:
    own = (row.source, row.source_id) if row.source_id else (SELF, str(row.id))
    return {"source": own[0], "source_id": own[1]}
