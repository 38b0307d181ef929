"""Imports: a file becomes a job with its rows; small ones are carried out at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ifarm.animals.identifiers import normalised
from ifarm.animals.words import IdentifierKind
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import Invalid, RuleBroken
from ifarm.core.events import record_event
from ifarm.core.many import insert_values
from ifarm.exchange.cells import Flaw, read_row
from ifarm.exchange.columns import COLUMNS, EXAMPLE
from ifarm.exchange.models import ImportJob, ImportRow
from ifarm.exchange.places import forms_of
from ifarm.exchange.policies import require_may_import
from ifarm.exchange.reading import Line, read
from ifarm.exchange.running import CHUNK, advance
from ifarm.exchange.words import OPEN, Kind, RowState

MOST_OPEN: Final = 20
"""Imports of a tenant that are not over."""


@dataclass(slots=True)
class _Draft:
    """A row before it is kept."""

    line: Line
    values: dict[str, Any]
    flaws: list[Flaw]
    state: RowState = RowState.WAITING
    position: int = field(default=0)


def start_import(
    actor: Actor,
    *,
    kind: Kind,
    body: bytes,
    file_name: str = "",
    source: str = "file",
    dry_run: bool = False,
    all_or_nothing: bool = False,
) -> ImportJob:
    """Take a file: a job, with a row for each of its rows. A chunk or less is carried out here and now, in this unit.

    Cells that cannot be read are told at once, also those of a job that waits. Raises `NotAllowed`, `TooLarge`,
    `Invalid` for what is no such table, `RuleBroken` for too many jobs at once.
    """
    with unit_of_work():
        require_may_import(actor, kind)
        columns = COLUMNS[kind]
        required = [column.name for column in columns if column.required]
        sheet = read(body, [column.name for column in columns], required, kind.value)
        drafts = _drafts(kind, source, sheet.header, sheet.lines)
        if not drafts:
            raise Invalid("expected rows below the header, found none.")
        if ImportJob.objects.filter(state__in=OPEN).count() >= MOST_OPEN:
            raise RuleBroken(f"expected fewer than {MOST_OPEN} imports that wait, found {MOST_OPEN}.")
        states = [draft.state for draft in drafts]
        job = ImportJob(
            kind=kind.value,
            file_type=sheet.type.value,
            file_name=file_name[:120],
            written=sheet.written[:80],
            size_bytes=len(body),
            source=source,
            dry_run=dry_run,
            all_or_nothing=all_or_nothing,
            created_by=actor.id,
            header=sheet.header,
            rows_total=len(drafts),
            rows_done=len(drafts) - states.count(RowState.WAITING),
            rows_bad=states.count(RowState.BAD),
            rows_duplicate=states.count(RowState.DUPLICATE),
        )
        writes.insert(actor, job)
        insert_values(ImportRow, {"job_id": job.id}, [_row(draft) for draft in drafts])
        record_event("import_started", job, kind=job.kind, rows=job.rows_total, dry_run=dry_run)
        if len(drafts) <= CHUNK or RowState.WAITING not in states:
            while advance(job.id):
                pass
            job.refresh_from_db()
        return job


def _row(draft: _Draft) -> dict[str, Any]:
    return {
        "number": draft.line.number,
        "position": draft.position,
        "cells": draft.line.cells,
        "state": draft.state.value,
        "errors": [flaw.plain() for flaw in draft.flaws],
    }


def _drafts(kind: Kind, source: str, header: Sequence[str], lines: Sequence[Line]) -> list[_Draft]:
    """Rows that were read, those of them that are bad or said twice, and the turn of each."""
    drafts = []
    for line in lines:
        values, flaws = read_row(COLUMNS[kind], dict(zip(header, line.cells, strict=False)))
        if values.get("source_id") == EXAMPLE:
            continue
        state = RowState.BAD if flaws else RowState.WAITING
        drafts.append(_Draft(line, {"source": source, **values}, flaws, state))
    good = [draft for draft in drafts if not draft.flaws]
    _mark_repeated(kind, good)
    for position, draft in enumerate(_in_turn(kind, good)):
        draft.position = position
    return drafts


def _mark_repeated(kind: Kind, drafts: Sequence[_Draft]) -> None:
    """Of rows that say the same, the first counts."""
    first: dict[Hashable, int] = {}
    for draft in drafts:
        names = _names(kind, draft.values)
        seen = [(column, first[name]) for column, name in names.items() if name in first]
        for column, number in seen:
            found = str(draft.values[column])
            detail = f"expected each once, found {found!r} in row {number} too."
            draft.flaws.append(Flaw(column, detail, found))
        if seen:
            draft.state = RowState.DUPLICATE
            continue
        first |= dict.fromkeys(names.values(), draft.line.number)


def _names(kind: Kind, values: Mapping[str, Any]) -> dict[str, Hashable]:
    """What no other row of the file may say too, by the column that shows it."""
    tags = forms_of(values)
    found: dict[str, Hashable] = {}
    if "source_id" in values:
        found["source_id"] = ("source", values["source"], values["source_id"])
    if kind is Kind.ANIMALS:
        return found | dict(tags.items())
    if kind is Kind.WEIGHTS and "source_id" in values:
        return found  # a second weight of the day may well be the same
    same = _SAME[kind](values)
    return found | {column: (tag, *same) for column, tag in tags.items()}


_SAME: Final[Mapping[Kind, Callable[[Mapping[str, Any]], tuple[Hashable, ...]]]] = {
    Kind.WEIGHTS: lambda values: (values["weighed_on"], values["weight_kg"], values.get("method")),
    Kind.MILK: lambda values: (values["production_date"], values["session"]),
    Kind.MOVEMENTS: lambda values: (values["moved_at"], values["kind"]),
}


def _in_turn(kind: Kind, drafts: Sequence[_Draft]) -> list[_Draft]:
    """Parents before their offspring; days and moments one after another, as the services want them."""
    if kind is Kind.MILK:
        return sorted(drafts, key=lambda draft: draft.values["production_date"])
    if kind is Kind.MOVEMENTS:
        return sorted(drafts, key=lambda draft: _turn(draft.values["moved_at"]))
    return _parents_first(drafts) if kind is Kind.ANIMALS else list(drafts)


def _turn(moment: datetime) -> datetime:
    """What compares moments with an offset and those on a farm's clock, which is taken for that of Greenwich."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _parents_first(drafts: Sequence[_Draft]) -> list[_Draft]:
    """In the file's order where that is possible. Of a circle some row stands before its parent, and is refused."""
    by_tag = {forms_of(draft.values)["tag_number"]: draft for draft in drafts}
    ordered: dict[int, _Draft] = {}
    begun: set[int] = set()
    for draft in drafts:
        waiting = [draft]
        while waiting:
            one = waiting[-1]
            number = one.line.number
            parents = [by_tag[form] for form in _parents(one) if form in by_tag]
            first = [parent for parent in parents if parent.line.number not in begun]
            if number in ordered or (number in begun and not first):
                ordered.setdefault(number, one)
                waiting.pop()
                continue
            begun.add(number)
            waiting += first
    return list(ordered.values())


def _parents(draft: _Draft) -> list[tuple[IdentifierKind, str]]:
    kind = IdentifierKind.EAR_TAG
    return [
        (kind, normalised(kind, draft.values[name]))
        for name in ("dam_tag", "sire_tag")
        if name in draft.values
    ]
