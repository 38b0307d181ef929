"""Rights on imports: what somebody may add one by one, they may add as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from ifarm.animals.policies import (
    ANIMALS,
    GROUP_MEMBERSHIPS,
    IDENTIFIERS,
    MOVEMENTS,
    PARENTAGES,
    WEIGHTS,
)
from ifarm.core.actors import CARERS, Actor
from ifarm.core.policies import Policy
from ifarm.exchange.models import ImportJob
from ifarm.exchange.words import Kind
from ifarm.production.policies import PRODUCTIONS


class ImportPolicy(Policy[ImportJob]):
    """Files have rows of any farm: somebody who does not see all farms sees their own files only."""

    def instances(self, actor: Actor) -> QuerySet[ImportJob]:
        """The actor's own, or all for somebody who sees all farms."""
        rows = super().instances(actor)
        return rows if actor.farm_ids is None else rows.filter(created_by=actor.id)


IMPORTS = ImportPolicy(ImportJob, farm=None, add=CARERS)

NEEDED: Final[Mapping[Kind, tuple[tuple[Policy[Any], str], ...]]] = {
    Kind.ANIMALS: (
        (ANIMALS, "add"),
        (IDENTIFIERS, "add"),
        (PARENTAGES, "change"),
        (GROUP_MEMBERSHIPS, "add"),
    ),
    Kind.WEIGHTS: ((WEIGHTS, "add"),),
    Kind.MILK: ((PRODUCTIONS, "add"),),
    Kind.MOVEMENTS: ((MOVEMENTS, "add"),),
}
"""The rights on single rows that a table of each kind needs."""


def require_may_import(actor: Actor, kind: Kind) -> None:
    """Raises `NotAllowed`."""
    for policy, action in NEEDED[kind]:
        policy.require(actor, action)


def access_import(actor: Actor, import_id: UUID) -> ImportJob:
    """One import. Raises `NotFound`."""
    return IMPORTS.access(actor, import_id)
