"""What becomes of rows: common to all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError
from psycopg.errors import CheckViolation

from ifarm.api.problems import as_problem
from ifarm.core.errors import Conflict, Problem
from ifarm.exchange.cells import Flaw
from ifarm.exchange.models import ImportRow
from ifarm.exchange.words import RowState


@dataclass(frozen=True, slots=True)
class Given:
    """A row to write. ``values``: by the names of columns; ``source`` is filled in where there is a ``source_id``."""

    row: ImportRow
    values: Mapping[str, Any]

    @property
    def reference(self) -> tuple[str, str] | None:
        """(source, source_id), if the row has one."""
        return (self.values["source"], self.values["source_id"]) if "source_id" in self.values else None

    @property
    def meta(self) -> dict[str, str]:
        """The same, as records take it."""
        found = self.reference
        return {} if found is None else {"source": found[0], "source_id": found[1]}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row."""

    state: RowState
    object_id: UUID | None = None
    flaws: list[Flaw] = field(default_factory=list)


def written(object_id: UUID) -> Outcome:
    """It is a row of the herd now."""
    return Outcome(RowState.WRITTEN, object_id)


def known(object_id: UUID | None) -> Outcome:
    """It was imported before."""
    return Outcome(RowState.KNOWN, object_id)


def duplicate(column: str, detail: str, found: str, object_id: UUID | None = None) -> Outcome:
    """Something else says the same."""
    return Outcome(RowState.DUPLICATE, object_id, [Flaw(column, detail, found)])


def bad(column: str, detail: str, found: str = "") -> Outcome:
    """It cannot be."""
    return Outcome(RowState.BAD, None, [Flaw(column, detail, found)])


def refused(problem: Exception) -> Outcome:
    """Why the services, or the database, would not have it. Raises what is no refusal but a fault."""
    if isinstance(problem, Conflict):
        return duplicate("", problem.detail, "")
    if isinstance(problem, Problem):
        return bad("", problem.detail)
    if isinstance(problem, ValidationError):
        by_field = problem.message_dict if hasattr(problem, "error_dict") else {"": problem.messages}
        return Outcome(
            RowState.BAD, None, [Flaw(name, str(text)) for name, texts in by_field.items() for text in texts]
        )
    if isinstance(problem, IntegrityError):
        words = _words_of(problem)
        return bad("", words) if isinstance(problem.__cause__, CheckViolation) else duplicate("", words, "")
    raise problem


def _words_of(error: IntegrityError) -> str:
    """The constraint's own words. Raises the error where it has none: that is a fault of ours."""
    problem = as_problem(error)
    if problem is None:
        raise error
    return problem.detail
