"""Readings: received in batches, matched to animals, recorded as weights and milk, matched again, released.

Whoever writes readings of a device holds the device's lock, so a batch that is sent twice at once is stored once. Locks
come in one order: the device, its animals (by id), the days of production (by date).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import IntegrityError, transaction
from django.utils import timezone

from ifarm.animals.growth import delete_weight, record_weight
from ifarm.animals.models import Animal, Weight
from ifarm.animals.policies import ANIMALS, access_animal
from ifarm.animals.words import IdentifierKind
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Conflict, NotFound, Problem, RuleBroken
from ifarm.core.events import record_event
from ifarm.devices.matching import Herd, form_of, presences
from ifarm.devices.models import Device, DeviceReading, ReadingMatch
from ifarm.devices.policies import READINGS, access_device
from ifarm.devices.words import (
    AHEAD,
    EARLIEST,
    MEASURES,
    METHODS,
    MOST,
    POSSIBLE,
    DeviceKind,
    Outcome,
    session_at,
)
from ifarm.production.models import Production
from ifarm.production.services import delete_production, record_production
from ifarm.production.words import ProductionType

REMATCHED_DAYS: Final = 90
"""How far back readings are matched again, unless somebody says otherwise."""
_SENT: Final = ("measured_at", "eid", "visual_tag", "weight_kg", "milk_kg", "session", "milk_use")
"""What a device says of one reading: what must be equal in one that is sent again."""
_LONGEST: Final = 300
"""Characters of a problem that is kept."""


@dataclass(slots=True)
class Line:
    """What became of one row. ``number`` counts from 0; ``source_id`` is empty where the row did not say it."""

    number: int
    source_id: str
    outcome: Outcome
    reading: DeviceReading | None = None
    match: ReadingMatch | None = None
    problem: Problem | None = None


def record_readings(actor: Actor, device_id: UUID, rows: Sequence[Mapping[str, Any] | Problem]) -> list[Line]:
    """Take what a device read: a line for each row, in the order given. What is wrong with a row costs that row only.

    A row that is a `Problem` already is refused as it is. A row that was received before is known, and nothing happens.
    A new one is kept, and matched to an animal if its tags say which; a weight or milk then becomes a record of that
    animal. One that cannot be is kept unmatched: `match_reading` and `match_again` are for later. Raises `NotFound`,
    `RuleBroken` for a device that is switched off.
    """
    with unit_of_work():
        device = access_device(actor, device_id, lock=True)
        _require_own(actor, device)
        now = timezone.now()
        Device.objects.filter(id=device.id).update(last_seen_at=now)
        before = _received(device, rows)
        lines = [_line(device, number, row, before, now) for number, row in enumerate(rows)]
        new = [line for line in lines if line.reading is not None and line.outcome is Outcome.UNMATCHED]
        _match(actor, device, new)
        DeviceReading.objects.bulk_create(line.reading for line in new if line.reading is not None)
        matches = ReadingMatch.objects.bulk_create(line.match for line in new if line.match is not None)
        _show(lines, matches)
        if new:
            told = {word.value: count for word, count in Counter(line.outcome for line in lines).items()}
            writes.record(actor, "readings_received", device, {"readings": told})
            record_event("device_readings_received", device, farm_id=device.farm_id, kind=device.kind, **told)
        return lines


def match_reading(
    actor: Actor, reading_id: UUID, *, animal_id: UUID | None = None, **said: Any
) -> ReadingMatch:
    """Match one reading by hand: to the animal named, or to the one that its tags name by now.

    ``said``: ``session``, ``milk_use`` and ``override_reason`` of a milking, where the device did not say it. Raises
    `Conflict` for one that is matched, and what stands against the record.
    """
    with unit_of_work():
        reading, device = _locked(actor, reading_id)
        if reading.matches.exists():
            raise Conflict("This reading is matched already. Release it first.")
        found = Herd(reading.farm, [reading]).identify(reading) if animal_id is None else animal_id
        animal = access_animal(actor, found, lock=True)
        if not presences(reading.farm, [animal.id]):
            raise RuleBroken(
                "expected an animal that was on the farm of the reading, found one that never was."
            )
        match = ReadingMatch(
            reading=reading, animal=animal, record_id=_recorded(actor, device, reading, animal.id, said)
        )
        writes.insert(actor, match)
        _tell("device_reading_matched", reading, match)
        return match


def match_again(actor: Actor, device_id: UUID, *, since: datetime | None = None) -> list[Line]:
    """Match what could not be matched when it came: the newest 1,000 readings since a time, or of the last 90 days.

    For animals that were recorded, or got their tag, after they were read.
    """
    with unit_of_work():
        device = access_device(actor, device_id, lock=True)
        begin = since or timezone.now() - timedelta(days=REMATCHED_DAYS)
        rows = READINGS.instances(actor).filter(
            device=device, farm=device.farm, matches=None, measured_at__gte=begin
        )
        lines = [
            Line(number, reading.source_id, Outcome.UNMATCHED, reading)
            for number, reading in enumerate(rows.order_by("-measured_at", "-id")[:MOST])
        ]
        _match(actor, device, lines)
        for line in lines:
            if line.match is not None:
                writes.insert(actor, line.match)
                _tell("device_reading_matched", line.match.reading, line.match)
        return lines


def release_reading(actor: Actor, reading_id: UUID) -> None:
    """It was of another animal: take back the match and what was recorded with it. It can be matched again.

    Raises `NotFound` for one that is not matched.
    """
    with unit_of_work():
        reading, _ = _locked(actor, reading_id)
        match = reading.matches.first()
        if match is None:
            raise NotFound("the match was not found: this reading is of nobody.")
        if Weight.objects.filter(id=match.record_id).exists():
            delete_weight(actor, match.record_id)
        elif Production.objects.filter(id=match.record_id).exists():
            delete_production(actor, match.record_id, reason="reading released")
        writes.delete(actor, match)
        _tell("device_reading_released", reading, match)


def _locked(actor: Actor, reading_id: UUID) -> tuple[DeviceReading, Device]:
    """A reading and its device, which is locked in its place: nothing changes a reading, so nothing can lock it."""
    reading = READINGS.access(actor, reading_id)
    return reading, Device.objects.select_for_update(of=("self",)).get(id=reading.device_id)


def _require_own(actor: Actor, device: Device) -> None:
    """The key of one device is not good for another."""
    if actor.token_id not in (None, device.token_id) and Device.objects.filter(token=actor.token_id).exists():
        raise NotFound(f"device {device.id} was not found.")
    if not device.is_active:
        raise RuleBroken("expected a device that is in use, found one that is switched off.")


def _received(device: Device, rows: Sequence[Mapping[str, Any] | Problem]) -> dict[str, DeviceReading]:
    names = {row["source_id"] for row in rows if not isinstance(row, Problem)}
    found = device.readings.filter(source_id__in=names).prefetch_related("matches")
    return {reading.source_id: reading for reading in found}


def _line(
    device: Device,
    number: int,
    row: Mapping[str, Any] | Problem,
    before: dict[str, DeviceReading],
    now: datetime,
) -> Line:
    """What a row is; a new reading is put into ``before``, so that a second one of its name is known too."""
    if isinstance(row, Problem):
        return Line(number, "", Outcome.REFUSED, problem=row)
    name = row["source_id"]
    try:
        _require_possible(device, row, now)
        reading = _reading(device, row)
        known = before.setdefault(name, reading)
        if known is reading:
            return Line(number, name, Outcome.UNMATCHED, reading)
        if any(getattr(known, field) != getattr(reading, field) for field in _SENT):
            raise Conflict("This device has sent another reading of this source_id.")
    except Problem as problem:
        return Line(number, name, Outcome.REFUSED, problem=problem)
    return Line(number, name, Outcome.KNOWN, known)


def _show(lines: Sequence[Line], matches: Sequence[ReadingMatch]) -> None:
    """Known readings show their match too, also where they are of this batch."""
    new = {match.reading_id: match for match in matches}
    for line in lines:
        if line.outcome is Outcome.KNOWN and line.reading is not None:
            line.match = new.get(line.reading.id) or next(iter(line.reading.matches.all()), None)


def _reading(device: Device, row: Mapping[str, Any]) -> DeviceReading:
    return DeviceReading(
        device=device,
        farm=device.farm,
        source_id=row["source_id"],
        eid_normalised=form_of(IdentifierKind.EID, row.get("eid", "")),
        tag_normalised=form_of(IdentifierKind.EAR_TAG, row.get("visual_tag", "")),
        **{name: row[name] for name in _SENT if name in row},
    )


def _require_possible(device: Device, row: Mapping[str, Any], now: datetime) -> None:
    """Raises `RuleBroken` for what this device cannot have read."""
    moment = row["measured_at"]
    if not EARLIEST <= moment <= now + AHEAD:
        raise RuleBroken(
            f"expected a time from {EARLIEST:%Y} to now, found {moment.isoformat()}. Set the device's clock."
        )
    measure = MEASURES[DeviceKind(device.kind)]
    for name in POSSIBLE:
        if (row.get(name) is not None) != (name == measure):
            wanted = f"{measure} and nothing else" if measure else "a tag and no amount"
            raise RuleBroken(f"{device.kind}: expected {wanted}, found otherwise at {name}.")
    if measure is None and not (row.get("eid") or row.get("visual_tag")):
        raise RuleBroken(f"{device.kind}: expected a tag, found none.")
    if measure != "milk_kg" and (row.get("session") or row.get("milk_use")):
        raise RuleBroken(f"{device.kind}: expected nothing about milk, found it.")
    if measure is not None:
        value: Decimal = row[measure]
        lowest, highest = POSSIBLE[measure]
        if not lowest <= value <= highest:
            raise RuleBroken(f"expected {measure} from {lowest} to {highest}, found {value}.")


def _match(actor: Actor, device: Device, lines: Sequence[Line]) -> None:
    """Find the animal of each line's reading and record what was measured; a line keeps its problem where it cannot be.

    In the order of time, so that whoever else records production locks its days in the same order.
    """
    given = [(line, line.reading) for line in lines if line.reading is not None]
    herd = Herd(device.farm, [reading for _, reading in given])
    found: dict[int, UUID] = {}
    for line, reading in given:
        try:
            found[line.number] = herd.identify(reading)
        except RuleBroken as problem:
            line.problem = problem
    animals = _animals(actor, set(found.values()))
    for line, reading in sorted(given, key=lambda one: one[1].measured_at):
        if line.number in found:
            try:
                if found[line.number] not in animals:
                    raise RuleBroken("expected an animal of your farms, found one that is elsewhere by now.")
                with transaction.atomic():
                    record_id = _recorded(actor, device, reading, found[line.number], {})
                line.match = ReadingMatch(
                    reading=reading, animal=animals[found[line.number]], record_id=record_id
                )
                line.outcome = Outcome.MATCHED
            except IntegrityError:
                line.problem = Conflict("It contradicts a record that is there.")
            except Problem as problem:
                line.problem = problem
        if line.problem is not None and reading._state.adding:
            reading.problem = line.problem.detail[:_LONGEST]


def _animals(actor: Actor, animal_ids: set[UUID]) -> dict[UUID, Animal]:
    rows = ANIMALS.instances(actor).select_for_update(of=("self",)).filter(id__in=animal_ids).order_by("id")
    return {animal.id: animal for animal in rows}


def _recorded(
    actor: Actor, device: Device, reading: DeviceReading, animal_id: UUID, said: Mapping[str, Any]
) -> UUID | None:
    """The weight or the milk of a reading as a record of its animal; None for a reader of tags."""
    # A clock that is minutes ahead leads to no day that has not come.
    moment = min(reading.measured_at, timezone.now())
    local = moment.astimezone(ZoneInfo(reading.farm.timezone))
    origin = {"source": f"device:{device.id}", "source_id": reading.source_id}
    if reading.weight_kg is not None:
        method = METHODS[DeviceKind(device.kind)].value
        return record_weight(
            actor, animal_id, weighed_on=local.date(), weight_kg=reading.weight_kg, method=method, **origin
        ).id
    if reading.milk_kg is None:
        return None
    return record_production(
        actor,
        production_type=ProductionType.MILK,
        production_date=local.date(),
        animal_id=animal_id,
        milk_kg=reading.milk_kg,
        session=said.get("session") or reading.session or session_at(local).value,
        milk_use=said.get("milk_use") or reading.milk_use,
        override_reason=said.get("override_reason", ""),
        **origin,
    ).id


def _tell(event: str, reading: DeviceReading, match: ReadingMatch) -> None:
    record_event(
        event,
        reading,
        device_id=reading.device_id,
        farm_id=reading.farm_id,
        animal_id=match.animal_id,
        record_id=match.record_id,
    )
