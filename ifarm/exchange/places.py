"""What rows name: farms, paddocks, groups and animals, as the actor sees them; each by one query for many rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q

from ifarm.animals.identifiers import normalised
from ifarm.animals.models import AnimalIdentifier
from ifarm.animals.policies import GROUPS, IDENTIFIERS
from ifarm.animals.words import IdentifierKind
from ifarm.core.actors import Actor
from ifarm.core.policies import Policy
from ifarm.exchange.columns import SELF
from ifarm.exchange.outcomes import Given, Outcome, bad, known
from ifarm.farms.models import Farm
from ifarm.farms.policies import FARMS, PADDOCKS

Form = tuple[IdentifierKind, str]
"""A tag in its normalised form."""


class Strange(Exception):
    """A row names what is not there, or not for this actor."""

    def __init__(self, column: str, detail: str, found: str = "") -> None:
        super().__init__(detail)
        self.outcome = bad(column, detail, found)


@dataclass(frozen=True, slots=True)
class Places:
    """Farms, paddocks and groups of the actor, by their names in lower case."""

    farms: Mapping[str, Farm]
    paddocks: Mapping[tuple[UUID, str], UUID]
    groups: Mapping[tuple[UUID, str], UUID]

    @classmethod
    def of(cls, actor: Actor) -> Places:
        """Three queries."""
        farms = list(FARMS.instances(actor))
        by_number = {farm.holding_number.lower(): farm for farm in farms if farm.holding_number}
        return cls(
            {**by_number, **{farm.name.lower(): farm for farm in farms}},
            _by_name(PADDOCKS.instances(actor)),
            _by_name(GROUPS.instances(actor)),
        )

    def farm(self, name: str | None, column: str = "farm") -> Farm:
        """By its name or holding number; the only one where none is named. Raises `Strange`."""
        if name is None:
            every = {farm.id: farm for farm in self.farms.values()}
            if len(every) == 1:
                return next(iter(every.values()))
            raise Strange(column, f"expected a farm, found none named and {len(every)} that it could be.")
        if name.lower() not in self.farms:
            raise Strange(column, f"expected a farm of yours, found {name!r}.", name)
        return self.farms[name.lower()]

    def paddock(self, farm: Farm, name: str | None, column: str = "paddock") -> UUID | None:
        """Raises `Strange`."""
        return None if name is None else _in_farm(self.paddocks, farm, name, column, "paddock")

    def group(self, farm: Farm, name: str) -> UUID:
        """Raises `Strange`."""
        return _in_farm(self.groups, farm, name, "groups", "group")


def _by_name(rows: Any) -> dict[tuple[UUID, str], UUID]:
    return {(farm, name.lower()): pk for farm, name, pk in rows.values_list("farm_id", "name", "id")}


def _in_farm(rows: Mapping[tuple[UUID, str], UUID], farm: Farm, name: str, column: str, what: str) -> UUID:
    found = rows.get((farm.id, name.lower()))
    if found is None:
        raise Strange(column, f"expected a {what} of {farm.name}, found {name!r}. Make it first.", name)
    return found


def forms_of(values: Mapping[str, Any]) -> dict[str, Form]:
    """The tags of a row, by the columns that they are in."""
    kinds = {"tag_number": IdentifierKind.EAR_TAG, "eid": IdentifierKind.EID}
    return {name: (kind, normalised(kind, values[name])) for name, kind in kinds.items() if name in values}


def in_use(forms: Iterable[Form], rows: Any) -> dict[Form, AnimalIdentifier]:
    """Those of the tags that an animal has now, with their animals. ``rows``: a queryset of identifiers."""
    wanted: dict[IdentifierKind, set[str]] = {}
    for kind, form in forms:
        wanted.setdefault(kind, set()).add(form)
    if not wanted:
        return {}
    either = Q()
    for kind, some in wanted.items():
        either |= Q(kind=kind.value, normalised__in=some)
    found = rows.filter(either, retired_on=None).select_related("animal")
    return {(IdentifierKind(one.kind), one.normalised): one for one in found}


def animals_of(actor: Actor, rows: Sequence[Given]) -> list[UUID | Outcome]:
    """For each row the animal whose tags it has, or what is wrong with them."""
    forms = [forms_of(given.values) for given in rows]
    found = in_use((form for one in forms for form in one.values()), IDENTIFIERS.instances(actor))
    return [_one_animal(found, one, given) for one, given in zip(forms, rows, strict=True)]


def _one_animal(
    found: Mapping[Form, AnimalIdentifier], forms: Mapping[str, Form], given: Given
) -> UUID | Outcome:
    if not forms:
        return bad("tag_number", "expected a tag_number or an eid, found neither.")
    animals = set()
    for column, form in forms.items():
        if form not in found:
            text = given.values[column]
            return bad(column, f"expected a tag of an animal of yours, found {text!r}.", text)
        animals.add(found[form].animal_id)
    if len(animals) > 1:
        return bad("eid", "expected both tags of one animal, found those of two.", given.values["eid"])
    return UUID(str(animals.pop()))


def known_records(actor: Actor, policy: Policy[Any], rows: Sequence[Given]) -> dict[UUID, Outcome]:
    """Those of the rows (by their ids) that were recorded before, by their (source, source_id)."""
    references = {given.row.id: given.reference for given in rows if given.reference is not None}
    wanted = set(references.values())
    there = _pairs(policy.model.objects.all(), wanted)
    mine = _pairs(policy.instances(actor), wanted) if there else {}
    return {pk: known(mine.get(reference)) for pk, reference in references.items() if reference in there}


def _pairs(rows: Any, references: Collection[tuple[str, str]]) -> dict[tuple[str, str], UUID]:
    """What is there by its reference: of another system, or our own."""
    if not references:
        return {}
    sources, ids = {source for source, _ in references}, {pk for _, pk in references}
    named = rows.filter(source__in=sources, source_id__in=ids).values_list("source", "source_id", "id")
    found = {(source, text): pk for source, text, pk in named if (source, text) in references}
    own = rows.filter(id__in=own_ids(references)).values_list("id", flat=True)
    return found | {(SELF, str(pk)): pk for pk in own}


def own_ids(references: Iterable[tuple[str, str]]) -> set[UUID]:
    """Ids of rows that were exported from here."""
    found = set()
    for source, text in references:
        if source == SELF:
            try:
                found.add(UUID(text))
            except ValueError:
                continue
    return found
