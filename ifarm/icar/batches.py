"""A batch of resources: each row on its own, with a result that says what became of it.

One transaction, a savepoint for each row. Rows are carried out in the order of their time, whatever order they came
in: movements follow each other, and daily sums are locked in the order of their days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from rest_framework.exceptions import ValidationError as InvalidInput

from ifarm.api.problems import TYPES, as_problem
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.errors import Problem, RuleBroken
from ifarm.core.locks import Lock, take
from ifarm.farms.policies import access_farm
from ifarm.health.services import require_past
from ifarm.icar.known import Known, Note, Outcome, find_known
from ifarm.icar.models import AnimalSource
from ifarm.icar.receive_animals import receive_parents
from ifarm.icar.resources import Resource

_THERE: Final = Note("A record of this source and id is there already. It stays as it is.")
_GONE: Final = Note("It is not here, as the sender says.")
_EARLY: Final = datetime(1, 1, 1, tzinfo=UTC)
Result = dict[str, Any]


class _Batch:
    """The rows of one request. ``valid`` has those that could be read, by their number."""

    def __init__(self, actor: Actor, resource: Resource, rows: Sequence[Mapping[str, Any]]) -> None:
        self.actor, self.resource, self.rows = actor, resource, rows
        self.valid: dict[int, Mapping[str, Any]] = {}
        self.results: dict[int, Result] = {}

    def read(self) -> None:
        """Check the shape of each row."""
        for number, row in enumerate(self.rows):
            shape = self.resource.shape(data=row)
            try:
                shape.is_valid(raise_exception=True)
                if (when := _moment(shape.validated_data)) is not None:
                    require_past(when)
                self.valid[number] = shape.validated_data
            except (InvalidInput, Problem) as error:
                self._refuse(number, error)

    def carry_out(self, known: Known) -> None:
        """Receive each valid row; then say who is whose parent, when every animal of the batch is there."""
        there = self._there()
        for number in sorted(self.valid, key=lambda one: (_moment(self.valid[one]) or _EARLY, one)):
            told = self.valid[number]
            name = (told["meta"]["source"], told["meta"]["sourceId"])
            try:
                with transaction.atomic():
                    outcome = self._one(known, told, there.get(name))
            except (Problem, ValidationError, IntegrityError) as error:
                self._refuse(number, error)
                continue
            if outcome.row is not None:
                there[name] = outcome.row
            self.results[number] = self._result(number, outcome)
        if self.resource.pedigree:
            self._parents(known)

    def _one(self, known: Known, told: Mapping[str, Any], present: Any) -> Outcome:
        if told["meta"].get("isDeleted"):
            return self._removed(present)
        if present is not None:
            return Outcome(present, [_THERE])
        return self.resource.receive(known, told)

    def _removed(self, present: Any) -> Outcome:
        if present is None:
            return Outcome(None, [_GONE])
        if self.resource.remove is None:
            raise RuleBroken(
                "expected a record that can be taken back, found one that stays. Correct it here."
            )
        self.resource.policy.require(self.actor, "delete")
        self.resource.remove(self.actor, present.id)
        return Outcome(None, [Note("It was removed.")])

    def _there(self) -> dict[tuple[str, str], Any]:
        """Rows that were told before, by their source and id there."""
        names = {(told["meta"]["source"], told["meta"]["sourceId"]) for told in self.valid.values()}
        wanted = {"source__in": {one for one, _ in names}, "source_id__in": {one for _, one in names}}
        rows = self.resource.policy.instances(self.actor)
        if self.resource.name == "animals":
            found = AnimalSource.objects.filter(animal__in=rows, **wanted).select_related("animal")
            return {(one.source, one.source_id): one.animal for one in found}
        return {(one.source, one.source_id): one for one in rows.filter(**wanted)}

    def _parents(self, known: Known) -> None:
        for number, told in sorted(self.valid.items()):
            detail = told.get("animalDetail", told)
            if self.results[number]["id"] is None or not detail.get("parentage"):
                continue
            try:
                with transaction.atomic():
                    notes = receive_parents(known, detail)
                self.results[number]["messages"] += [self._told(number, note) for note in notes]
            except (Problem, ValidationError, IntegrityError) as error:
                self.results[number]["messages"].append(self._problem(number, error))

    def _result(self, number: int, outcome: Outcome) -> Result:
        meta = self.valid[number]["meta"]
        row = outcome.row
        return {
            "id": None if row is None else row.id,
            "meta": {**_named(meta), "modified": None if row is None else row.modified_at},
            "messages": [self._told(number, note) for note in outcome.notes],
        }

    def _refuse(self, number: int, error: Exception) -> None:
        self.results[number] = {
            "id": None,
            "meta": {**_named(self.rows[number].get("meta")), "modified": None},
            "messages": [self._problem(number, error)],
        }

    def _told(self, number: int, note: Note) -> dict[str, Any]:
        return {
            "type": f"{TYPES}note",
            "severity": note.severity,
            "status": None,
            "title": "About this row",
            "detail": note.detail,
            "instance": f"#/{number}",
        }

    def _problem(self, number: int, error: Exception) -> dict[str, Any]:
        """Raises the error again where nobody knows it."""
        problem = as_problem(error)
        if problem is None:
            raise error
        fields = [f"{one['pointer']}: {one['detail']}" for one in problem.extra.get("errors", [])]
        return {
            "type": TYPES + problem.type,
            "severity": "Error",
            "status": problem.status,
            "title": problem.title,
            "detail": " ".join([problem.detail, *fields]),
            "instance": f"#/{number}",
        }


def receive(
    actor: Actor, farm_id: UUID, resource: Resource, rows: Sequence[Mapping[str, Any]]
) -> list[Result]:
    """Record the rows of others at one location; a result for each, in the order given. Raises `NotFound`."""
    with unit_of_work():
        farm = access_farm(actor, farm_id)
        batch = _Batch(actor, resource, rows)
        batch.read()
        if resource.pedigree:
            take(Lock.PEDIGREE, str(current_tenant()))
        batch.carry_out(find_known(actor, farm, batch.valid.values()))
        return [batch.results[number] for number in range(len(rows))]


def _moment(told: Mapping[str, Any]) -> datetime | None:
    found: datetime | None = told.get("eventDateTime") or told.get("milkingStartingDateTime")
    return found


def _named(meta: Any) -> dict[str, str | None]:
    given = meta if isinstance(meta, Mapping) else {}
    return {
        key: value if isinstance(value := given.get(key), str) else None for key in ("source", "sourceId")
    }
