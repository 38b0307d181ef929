"""Rows as new animals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.utils import timezone

from ifarm.animals.identifiers import normalised
from ifarm.animals.many import create_animals
from ifarm.animals.models import Animal, AnimalIdentifier
from ifarm.animals.policies import ANIMALS
from ifarm.animals.words import ArrivalReason, IdentifierKind, ParentRole
from ifarm.core.actors import Actor
from ifarm.core.errors import Problem
from ifarm.core.ids import uuid7
from ifarm.core.many import insert_values
from ifarm.exchange.columns import SELF
from ifarm.exchange.models import AnimalSource
from ifarm.exchange.outcomes import Given, Outcome, duplicate, known, refused, written
from ifarm.exchange.places import Form, Places, Strange, forms_of, in_use, own_ids

_PARENTS = {"dam_tag": ParentRole.DAM, "sire_tag": ParentRole.SIRE}
_AS_THEY_ARE = ("name", "sex", "birth_date", "purpose", "estimated_value", "value_currency")


def write_animals(actor: Actor, rows: Sequence[Given]) -> list[Outcome]:
    """Add the animals that can be; a number of statements that does not grow with the rows.

    A parent is in the herd, or a row before its child. Raises IntegrityError where somebody else was faster: then
    undo all of it and try less at once.
    """
    outcomes = _known(actor, rows)
    fresh = [given for given in rows if given.row.id not in outcomes]
    herd = in_use(
        (form for given in fresh for form in _all_forms(given.values)), AnimalIdentifier.objects.all()
    )
    places = Places.of(actor)
    wanted: dict[UUID, dict[str, Any]] = {}
    new: dict[Form, UUID] = {}
    for given in fresh:
        try:
            outcome = _in_herd(actor, herd, given)
            if outcome is None:
                wanted[given.row.id] = one = _arguments(places, herd, new, given)
                new |= dict.fromkeys(forms_of(given.values).values(), one["id"])
            else:
                outcomes[given.row.id] = outcome
        except Strange as strange:
            outcomes[given.row.id] = strange.outcome
    made = create_animals(actor, list(wanted.values()))
    for row_id, animal in zip(wanted, made, strict=True):
        outcomes[row_id] = (
            refused(animal) if isinstance(animal, Problem | ValidationError) else written(animal.id)
        )
    _refer(rows, outcomes)
    return [outcomes[given.row.id] for given in rows]


def _all_forms(values: Mapping[str, Any]) -> list[Form]:
    parents = [values[name] for name in _PARENTS if name in values]
    return [*forms_of(values).values(), *(_ear_tag(one) for one in parents)]


def _ear_tag(text: str) -> Form:
    return IdentifierKind.EAR_TAG, normalised(IdentifierKind.EAR_TAG, text)


def _known(actor: Actor, rows: Sequence[Given]) -> dict[UUID, Outcome]:
    """Those that were imported before, and those that were exported from here."""
    wanted = {given.row.id: given.reference for given in rows if given.reference is not None}
    if not wanted:
        return {}
    sources, ids = {one[0] for one in wanted.values()}, {one[1] for one in wanted.values()}
    found = AnimalSource.objects.filter(source__in=sources, row_id__in=ids, animal__is_deleted=False)
    there = {(one.source, one.row_id): one.animal_id for one in found}
    own = Animal.objects.filter(id__in=own_ids(wanted.values()), is_deleted=False)
    there |= {(SELF, str(pk)): pk for pk in own.values_list("id", flat=True)}
    mine = set(ANIMALS.instances(actor).filter(id__in=there.values()).values_list("id", flat=True))
    return {
        row_id: known(there[one] if there[one] in mine else None)
        for row_id, one in wanted.items()
        if one in there
    }


def _in_herd(actor: Actor, herd: Mapping[Form, AnimalIdentifier], given: Given) -> Outcome | None:
    """A duplicate of an animal that has one of its tags."""
    for column, form in forms_of(given.values).items():
        other = herd.get(form)
        if other is None:
            continue
        text = given.values[column]
        if actor.farm_ids is not None and other.animal.farm_id not in actor.farm_ids:
            return duplicate(column, f"expected a tag that is free, found {text!r}, which is not.", text)
        detail = f"expected a tag that is free, found {text!r}, which animal {other.animal.tag_number} has."
        return duplicate(column, detail, text, other.animal_id)
    return None


def _arguments(
    places: Places, herd: Mapping[Form, AnimalIdentifier], new: Mapping[Form, UUID], given: Given
) -> dict[str, Any]:
    """Those of `create_animals`. Raises `Strange`."""
    values = given.values
    farm = places.farm(values.get("farm"))
    return {
        "id": uuid7(),
        "farm_id": farm.id,
        "tag_number": values["tag_number"],
        "paddock_id": places.paddock(farm, values.get("paddock")),
        "animal_type": values["species"],
        "identifiers": [{"kind": IdentifierKind.EID, "value": values["eid"]}] if "eid" in values else [],
        "breeds": values.get("breeds", []),
        "parents": {
            role: _parent(herd, new, name, values[name]) for name, role in _PARENTS.items() if name in values
        },
        "group_ids": [places.group(farm, name) for name in values.get("groups", [])],
        "joined_on": timezone.now().astimezone(ZoneInfo(farm.timezone)).date(),
        "is_reference": values.get("reference", False),
        **_arrival(values, farm.timezone),
        **_value(values),
    }


def _parent(herd: Mapping[Form, AnimalIdentifier], new: Mapping[Form, UUID], column: str, text: str) -> UUID:
    form = _ear_tag(text)
    if form in new:
        return new[form]
    if form not in herd:
        detail = f"expected the tag of an animal in the herd or of a good row of this file, found {text!r}."
        raise Strange(column, detail, text)
    return UUID(str(herd[form].animal_id))


def _arrival(values: Mapping[str, Any], zone: str) -> dict[str, Any]:
    day, reason = values.get("arrived_on"), values.get("arrival_reason")
    if values.get("reference") and (day or reason):
        raise Strange("arrived_on", "expected nothing for a reference animal, found an arrival.")
    if day is not None and reason is None:
        raise Strange("arrival_reason", "expected a reason for an animal that arrived, found nothing.")
    arrived = {} if day is None else {"arrived_at": datetime.combine(day, time(), ZoneInfo(zone))}
    return arrived if reason is None else {**arrived, "arrival_reason": ArrivalReason(reason)}


def _value(values: Mapping[str, Any]) -> dict[str, Any]:
    if "estimated_value" in values and "value_currency" not in values:
        raise Strange("value_currency", "expected the currency of the value, found nothing.")
    return {name: values[name] for name in _AS_THEY_ARE if name in values}


def _refer(rows: Sequence[Given], outcomes: Mapping[UUID, Outcome]) -> None:
    """Keep what the other system calls the animals that were written."""
    made = {
        one.reference: outcomes[one.row.id].object_id
        for one in rows
        if one.reference is not None and outcomes[one.row.id].state == "written"
    }
    if not made:
        return
    gone = AnimalSource.objects.filter(row_id__in=[row_id for _, row_id in made], animal__is_deleted=True)
    gone.filter(id__in=[one.id for one in gone if (one.source, one.row_id) in made]).delete()
    insert_values(
        AnimalSource,
        {},
        [{"animal_id": pk, "source": source, "row_id": row_id} for (source, row_id), pk in made.items()],
    )
