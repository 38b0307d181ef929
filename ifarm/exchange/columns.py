"""The columns of each kind of table: those of its template, its import and its export."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from ifarm.animals.identifiers import normalised
from ifarm.animals.words import (
    ArrivalReason,
    DeathReason,
    DepartureReason,
    IdentifierKind,
    MovementKind,
    Purpose,
    Sex,
    Species,
    WeightMethod,
)
from ifarm.exchange.cells import (
    Column,
    Reader,
    breeds,
    currency,
    day,
    decimal,
    moment,
    names,
    text,
    whole,
    word,
    yes,
)
from ifarm.exchange.words import Kind
from ifarm.production.words import MilkUse, Session

SELF: Final = "ifarm"
"""The source of rows that were made here; their ``source_id`` is the row's own id."""
EXAMPLE: Final = "example"
"""The ``source_id`` of a template's example, which no import takes."""


def tag(kind: IdentifierKind, wanted: str) -> Reader:
    """A tag, as it is written; its form is `identifiers.normalised`."""
    written = text(40)

    def read(found: str) -> Any:
        try:
            normalised(kind, found)
        except ValueError:
            raise ValueError(f"expected {wanted}") from None
        return written(found)

    return read


_EAR_TAG = tag(IdentifierKind.EAR_TAG, "letters or digits")
_EID = tag(IdentifierKind.EID, "15 digits (ISO 11784); format the column as text")


def _words(of: type[StrEnum]) -> tuple[str, ...]:
    return tuple(one.value for one in of)


_SOURCE = (
    Column("source", text(60), "The system the row comes from. The import's own, where empty.", ""),
    Column(
        "source_id",
        text(120),
        "Your own reference for the row: a row that was written is known by it and is not written again.",
        EXAMPLE,
    ),
)
_WHO = (
    Column(
        "tag_number", _EAR_TAG, "The animal's ear tag; spaces and leading zeros do not matter.", "AT 123 456"
    ),
    Column("eid", _EID, "Its electronic tag, 15 digits of ISO 11784. One of the two is needed.", ""),
)
_CAME = tuple(reason for reason in _words(ArrivalReason))
_REASONS = tuple(dict.fromkeys((*_CAME, *_words(DepartureReason), *_words(DeathReason))))

COLUMNS: Final[dict[Kind, tuple[Column, ...]]] = {
    Kind.ANIMALS: (
        Column(
            "tag_number", _EAR_TAG, "The ear tag; spaces and leading zeros do not matter.", "AT 123 456", True
        ),
        Column("eid", _EID, "The electronic tag, 15 digits of ISO 11784.", "040000000123456"),
        Column("name", text(80), "What people call it.", "Elsa"),
        Column("species", word(Species), "", "Cattle", True, _words(Species)),
        Column("sex", word(Sex), "", "Female", True, _words(Sex)),
        Column("breeds", breeds, "A breed's code, or parts of several, as in SIM:3 HOL:1.", "SIM"),
        Column("birth_date", day, "Year-month-day.", "2024-02-01"),
        Column("purpose", word(Purpose), "", "Milk", words=_words(Purpose)),
        Column("dam_tag", _EAR_TAG, "The mother's ear tag: in the herd, or in any row of this file.", ""),
        Column("sire_tag", _EAR_TAG, "The father's ear tag: in the herd, or in any row of this file.", ""),
        Column(
            "farm",
            text(120),
            "The farm's name or holding number. May be empty where you have one.",
            "Hill Farm",
        ),
        Column("paddock", text(80), "A paddock of that farm.", ""),
        Column("groups", names, "Groups of that farm, of different kinds, with | between them.", ""),
        Column("arrived_on", day, "When it came, if it was not born here. Year-month-day.", ""),
        Column(
            "arrival_reason", word(ArrivalReason), "Why it came; empty: it was born here.", "", words=_CAME
        ),
        Column("reference", yes, "yes: an ancestor that is not owned. It is in no herd and no count.", "no"),
        Column("estimated_value", decimal(12, 2), "In the currency of the next column.", ""),
        Column("value_currency", currency, "Three letters of ISO 4217.", ""),
        *_SOURCE,
    ),
    Kind.WEIGHTS: (
        *_WHO,
        Column("weighed_on", day, "Year-month-day.", "2024-05-01", True),
        Column("weight_kg", decimal(7, 2), "Body weight, in kilograms.", "412.5", True),
        Column("method", word(WeightMethod), "", "LoadCell", words=_words(WeightMethod)),
        *_SOURCE,
    ),
    Kind.MILK: (
        *_WHO,
        Column("production_date", day, "The farm's day. Year-month-day.", "2024-05-01", True),
        Column(
            "session", word(Session), "Which milking; WholeDay: all in one.", "Morning", True, _words(Session)
        ),
        Column("milk_kg", decimal(5, 2), "In kilograms.", "14.2", True),
        Column("fat_percent", decimal(4, 2), "In percent.", "4.1"),
        Column("protein_percent", decimal(4, 2), "In percent.", "3.4"),
        Column("somatic_cells_per_ml", whole(2_147_483_647), "Single cells in a millilitre.", "120000"),
        Column("milk_use", word(MilkUse), "Where it went; empty: the tank.", "Tank", words=_words(MilkUse)),
        Column("override_reason", text(500), "Why it goes into the tank in spite of a withdrawal.", ""),
        *_SOURCE,
    ),
    Kind.MOVEMENTS: (
        *_WHO,
        Column(
            "kind",
            word(MovementKind),
            "Arrival: of an animal that was away. New ones come with the table of animals.",
            "Departure",
            True,
            tuple(kind for kind in _words(MovementKind) if kind != MovementKind.BIRTH),
        ),
        Column("reason", text(20), "One of its kind.", "Sale", words=_REASONS),
        Column(
            "moved_at",
            moment,
            "On the farm's clock, as 2024-05-01 14:30; a day is its begin.",
            "2024-05-01 14:30",
            True,
        ),
        Column("to_farm", text(120), "Arrival and transfer: the farm's name or holding number.", ""),
        Column("to_paddock", text(80), "Arrival and transfer: a paddock of that farm.", ""),
        Column("counterpart", text(120), "The previous or the next holder.", "A. Buyer"),
        Column("override_reason", text(500), "Why it leaves in spite of a withdrawal.", ""),
        *_SOURCE,
    ),
}
