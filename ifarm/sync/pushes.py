"""Carry out what devices did offline: in their order, once, each by itself, by the handlers of the API."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ifarm.animals.movements import AHEAD
from ifarm.api.problems import TYPES, as_problem
from ifarm.core.actors import Actor
from ifarm.core.context import current_tenant, unit_of_work
from ifarm.core.encoding import plain
from ifarm.core.errors import Fault, Invalid, KeyReused, Problem, RuleBroken, StaleVersion
from ifarm.core.locks import Lock, take
from ifarm.sync.actions import ACTIONS, carry_out
from ifarm.sync.kinds import KINDS
from ifarm.sync.models import PushedOperation
from ifarm.sync.words import FINAL, Outcome
from understudy.integrations.django.middleware import lost

_log = logging.getLogger(__name__)
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What `PushOutput` shows."""

    received_at: datetime
    clock_skew_seconds: float
    results: list[Result]


def push(actor: Actor, *, sent_at: datetime, operations: Sequence[Mapping[str, Any]]) -> Pushed:
    """Carry out operations in their order; what one meets does not touch the others, but for those that need it.

    An operation whose id this person has sent before is answered as it was then. Pushes of one person wait for each
    other. The answers are kept in the transaction of the effects: after a doubt, send the same again.
    """
    with unit_of_work():
        take(Lock.SYNC_PUSH, f"{current_tenant()}/{actor.id}")
        now = timezone.now()
        skew = (sent_at - now).total_seconds()
        turn = _Turn(actor, now, skew, _answered(actor, operations))
        return Pushed(now, skew, [turn.answer(operation) for operation in operations])


def _answered(actor: Actor, operations: Sequence[Mapping[str, Any]]) -> dict[UUID, PushedOperation]:
    ids = {operation["id"] for operation in operations}
    ids |= {operation["base_operation"] for operation in operations if operation.get("base_operation")}
    rows = PushedOperation.objects.filter(actor_id=actor.id, operation_id__in=ids)
    return {row.operation_id: row for row in rows}


def fingerprint(operation: Mapping[str, Any]) -> str:
    """What makes two operations the same."""
    return hashlib.sha256(json.dumps(plain(dict(operation)), sort_keys=True).encode()).hexdigest()


class _Turn:
    """One push: what was answered before, and what could not be done in it."""

    def __init__(
        self, actor: Actor, now: datetime, skew: float, answered: dict[UUID, PushedOperation]
    ) -> None:
        self.actor, self.now, self.skew, self.answered = actor, now, skew, answered
        self.undone: dict[UUID, UUID] = {}
        """Objects and operations that later ones may need, and the operation that failed them."""

    def answer(self, operation: Mapping[str, Any]) -> Result:
        """The result of one operation."""
        result = self._known(operation)
        if result is None:
            result = self._waits(operation) or self._try(operation)
            if Outcome(result["outcome"]) in FINAL:
                self._keep(operation, result)
        if result["outcome"] != Outcome.DONE:
            self.undone[operation["id"]] = operation["id"]
            if (operation["kind"], operation["action"]) in ACTIONS and _makes(operation):
                self.undone[operation["object_id"]] = operation["id"]
        return result

    def _known(self, operation: Mapping[str, Any]) -> Result | None:
        before = self.answered.get(operation["id"])
        if before is None:
            return None
        if before.fingerprint != fingerprint(operation):
            problem = KeyReused(f"operation {operation['id']} was sent with another content. Take a new id.")
            return _told(operation, Outcome.REFUSED, problem=_document(problem))
        answer: Result = before.answer
        return answer

    def _waits(self, operation: Mapping[str, Any]) -> Result | None:
        """What needs an operation that was not done is not tried, and not decided for good."""
        for needed in _needs(operation):
            if needed in self.undone:
                return _told(operation, Outcome.SKIPPED, because=self.undone[needed])
        return None

    def _try(self, operation: Mapping[str, Any]) -> Result:
        try:
            with transaction.atomic():
                return self._do(operation)
        except StaleVersion as stale:
            return self._conflict(operation, stale)
        except Exception as error:
            if lost(error):
                raise
            problem = as_problem(error)
            if problem is not None and problem.status < 500:
                return _told(operation, Outcome.REFUSED, problem=_document(problem))
            _log.exception("operation %s of %s failed", operation["id"], self.actor.id)
            detail = "Nothing of this operation remains. The fault is recorded. Send it again."
            return _told(operation, Outcome.FAILED, problem=_document(Fault(detail)))

    def _do(self, operation: Mapping[str, Any]) -> Result:
        name = operation["kind"], operation["action"]
        action = ACTIONS.get(name)
        if action is None:
            raise Invalid(f"expected an action of the list, found {'.'.join(name)}.")
        if operation["recorded_at"] > self.now + AHEAD:
            raise RuleBroken(
                f"recorded_at: expected a time that has come, found {operation['recorded_at'].isoformat()}."
                f" The device's clock is {self.skew:.0f} s ahead."
            )
        data = dict(operation["data"])
        carry_out(self.actor, action, operation["object_id"], data, self._base(operation))
        shown = UUID(operation["data"][action.shows]) if action.shows else operation["object_id"]
        row = KINDS[operation["kind"]].told(self.actor, [shown]).get(shown)
        return _told(operation, Outcome.DONE, version=(row or {}).get("version"), row=row)

    def _base(self, operation: Mapping[str, Any]) -> int | None:
        before = operation.get("base_operation")
        if before is None:
            named: int | None = operation.get("base_version")
            return named
        row = self.answered.get(before)
        of_this = row is not None and row.outcome == Outcome.DONE and row.object_id == operation["object_id"]
        if row is None or not of_this or row.answer.get("version") is None:
            raise Invalid(f"base_operation: expected one that was done to this object, found {before}.")
        return int(row.answer["version"])

    def _conflict(self, operation: Mapping[str, Any], stale: StaleVersion) -> Result:
        """Both versions: a person decides, and sends what shall hold as a new operation."""
        key = operation["object_id"]
        theirs = KINDS[operation["kind"]].told(self.actor, [key]).get(key)
        return _told(
            operation,
            Outcome.CONFLICT,
            problem=_document(stale),
            base_version=self._base(operation),
            yours=operation["data"],
            version=None if theirs is None else theirs["version"],
            theirs=theirs,
        )

    def _keep(self, operation: Mapping[str, Any], result: Result) -> None:
        row = PushedOperation(
            actor_id=self.actor.id,
            operation_id=operation["id"],
            fingerprint=fingerprint(operation),
            answer=result,
            skew_seconds=self.skew,
            **{name: operation[name] for name in ("kind", "action", "object_id", "recorded_at")},
            outcome=result["outcome"],
        )
        row.save(force_insert=True)
        self.answered[row.operation_id] = row


def _makes(operation: Mapping[str, Any]) -> bool:
    return not ACTIONS[operation["kind"], operation["action"]].target


def _needs(operation: Mapping[str, Any]) -> Iterator[UUID]:
    """The object, the operation it is based on, and every row that the data names."""
    yield operation["object_id"]
    if operation.get("base_operation"):
        yield operation["base_operation"]
    yield from _ids(operation["data"])


def _ids(value: Any) -> Iterator[UUID]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _ids(one)
    elif isinstance(value, list):
        for one in value:
            yield from _ids(one)
    elif isinstance(value, str) and len(value) == 36:
        try:
            yield UUID(value)
        except ValueError:
            return


def _told(operation: Mapping[str, Any], outcome: Outcome, **members: Any) -> Result:
    head = {"id": operation["id"], "outcome": outcome.value, "kind": operation["kind"]}
    told: Result = plain({**head, "object_id": operation["object_id"], **members})
    return told


def _document(problem: Problem) -> dict[str, Any]:
    return {
        "type": TYPES + problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **{name: value for name, value in problem.extra.items() if name not in ("current", "submitted")},
    }
