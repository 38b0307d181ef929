"""Which animal a reading was of: by its tags, as they were in use at that time, where the device stood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Q

from ifarm.animals.identifiers import normalised
from ifarm.animals.models import AnimalIdentifier, Stay
from ifarm.animals.words import IdentifierKind
from ifarm.core.errors import RuleBroken
from ifarm.devices.models import DeviceReading
from ifarm.farms.models import Farm

VISUAL: Final = (IdentifierKind.EAR_TAG.value, IdentifierKind.MANAGEMENT.value)
"""What people read off an animal and type into a device."""


@dataclass(frozen=True, slots=True)
class Use:
    """One animal's use of one tag, for the days [``since``, ``until``), open where ``until`` is None."""

    animal_id: UUID
    since: date
    until: date | None


@dataclass(frozen=True, slots=True)
class Presence:
    """An animal on the farm, for the time [``since``, ``until``)."""

    since: datetime
    until: datetime | None


def form_of(kind: IdentifierKind, value: str) -> str:
    """The form in which tags are compared; empty for what is no tag: a bad read costs the match, not the reading."""
    try:
        return normalised(kind, value)
    except ValueError:
        return ""


class Herd:
    """The tags that some readings of one farm name, and where their animals were. Two queries for any number."""

    def __init__(self, farm: Farm, readings: Sequence[DeviceReading]) -> None:
        self.zone = ZoneInfo(farm.timezone)
        eids = {reading.eid_normalised for reading in readings} - {""}
        tags = {reading.tag_normalised for reading in readings} - {""}
        rows = AnimalIdentifier.objects.filter(
            Q(kind=IdentifierKind.EID.value, normalised__in=eids) | Q(kind__in=VISUAL, normalised__in=tags),
            animal__is_deleted=False,
            animal__is_reference=False,
        )
        self.eids: dict[str, list[Use]] = defaultdict(list)
        self.tags: dict[str, list[Use]] = defaultdict(list)
        animals: set[UUID] = set()
        columns = ("kind", "normalised", "animal_id", "issued_on", "retired_on")
        for kind, form, animal_id, since, until in rows.values_list(*columns):
            book = self.eids if kind == IdentifierKind.EID else self.tags
            book[form].append(Use(animal_id, since, until))
            animals.add(animal_id)
        self.stays = presences(farm, animals)

    def identify(self, reading: DeviceReading) -> UUID:
        """The animal's id. Raises `RuleBroken`: nobody, several, or two tags of two animals.

        An animal elsewhere is told as one that is not known: whoever sends readings of a farm learns of that farm only.
        """
        named = reading.eid or reading.visual_tag
        if not named:
            raise RuleBroken("expected a tag, found none.")
        by_eid = self._at(self.eids.get(reading.eid_normalised, ()), reading.measured_at)
        by_tag = self._at(self.tags.get(reading.tag_normalised, ()), reading.measured_at)
        if by_eid and by_tag and not by_eid & by_tag:
            raise RuleBroken(
                f"expected tags of one animal, found {reading.eid} and {reading.visual_tag} of two."
            )
        found = by_eid or by_tag
        if len(found) > 1:
            raise RuleBroken(f"expected one animal of {named}, found {len(found)}.")
        if not found:
            raise RuleBroken(f"expected an animal of {named} on the farm at that time, found none.")
        return next(iter(found))

    def _at(self, uses: Collection[Use], moment: datetime) -> set[UUID]:
        """Who had the tag then, and was there. On the day of a change the new use counts before the old one."""
        day = moment.astimezone(self.zone).date()
        here = [one for one in uses if was_there(self.stays.get(one.animal_id, ()), moment)]
        now = {one.animal_id for one in here if one.since <= day and (one.until is None or day < one.until)}
        return now or {one.animal_id for one in here if one.since <= day == one.until}


def presences(farm: Farm, animal_ids: Collection[UUID]) -> dict[UUID, list[Presence]]:
    """When each of the animals was on the farm."""
    found: dict[UUID, list[Presence]] = defaultdict(list)
    rows = Stay.objects.filter(farm=farm, animal__in=animal_ids)
    for animal_id, since, until in rows.values_list("animal_id", "starts_at", "ends_at"):
        found[animal_id].append(Presence(since, until))
    return found


def was_there(stays: Collection[Presence], moment: datetime) -> bool:
    """Whether one of the stays covers the moment."""
    return any(one.since <= moment and (one.until is None or moment < one.until) for one in stays)
