"""Who may do what, and to which rows: one policy per model, in the app's `policies.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from django.db import models

from ifarm.core.actors import EVERYONE, Actor, Role
from ifarm.core.errors import NotAllowed, NotFound
from ifarm.core.models import TenantModel

Row = TypeVar("Row", bound=TenantModel)

POLICIES: Final[dict[str, Policy[Any]]] = {}
"""Every policy by the name of its model, for `permissions.services`."""


class Policy(Generic[Row]):
    """The rights of each role on one model.

    Args:
        farm: the path from the model to its farm's id (``animal__farm_id``); None: a row belongs to no farm.
        where: which rows exist at all (say, those that are not deleted).
        actions: the roles of each action; ``view`` is everyone's unless named.
    """

    def __init__(
        self,
        model: type[Row],
        *,
        farm: str | None,
        where: models.Q | None = None,
        **actions: Collection[Role],
    ) -> None:
        self.model, self.farm, self.where = model, farm, where
        self.roles = {"view": EVERYONE, **{name: frozenset(roles) for name, roles in actions.items()}}
        name = model._meta.label_lower
        if name in POLICIES:
            raise ValueError(f"{name}: expected one policy, found a second. Extend the first.")
        POLICIES[name] = self

    def right(self, action: str) -> str:
        """The name of the right: ``app.model.action``. Raises KeyError for an action the policy does not have."""
        _ = self.roles[action]
        return f"{self.model._meta.label_lower}.{action}"

    def may(self, actor: Actor, action: str) -> bool:
        """May I?"""
        return self.right(action) in actor.rights

    def require(self, actor: Actor, action: str) -> None:
        """Raises `NotAllowed`."""
        if not self.may(actor, action):
            raise NotAllowed(f"expected the right {self.right(action)}, found the role {actor.role}.")

    def instances(self, actor: Actor) -> models.QuerySet[Row]:
        """Which rows? Those of the tenant, in the farms of the actor."""
        rows: models.QuerySet[Row] = self.model.objects.all()
        if self.where is not None:
            rows = rows.filter(self.where)
        if self.farm is None or actor.farm_ids is None:
            return rows
        return rows.filter(**{f"{self.farm}__in": actor.farm_ids})

    def access(self, actor: Actor, pk: UUID, *, lock: bool = False) -> Row:
        """The only way to one row by its id; ``lock`` holds it until the end of the unit of work. Raises `NotFound`."""
        rows = self.instances(actor)
        if lock:
            rows = rows.select_for_update(of=("self",))
        try:
            return rows.get(pk=pk)
        except self.model.DoesNotExist:
            raise NotFound(f"{self.model._meta.verbose_name} {pk} was not found.") from None
