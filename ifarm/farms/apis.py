"""Routes of farms and paddocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.versions import Seen
from ifarm.farms import selectors, services
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.policies import FARMS, PADDOCKS, access_farm, access_paddock
from ifarm.farms.serializers import FarmInput, FarmOutput, PaddockInput, PaddockOutput


class FarmsApi(TenantView):
    """All farms."""

    @operation(FARMS, "view", output=FarmOutput, order=Order(Farm, "name", "created_at"))
    def get(self) -> QuerySet[Farm]:
        """The farms the actor may see."""
        return selectors.list_farms(self.actor)

    @operation(FARMS, "add", input=FarmInput, output=FarmOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> Farm:
        """A new farm."""
        return services.create_farm(self.actor, **data)


class FarmApi(TenantView):
    """One farm."""

    @operation(FARMS, "view", output=FarmOutput)
    def get(self, farm_id: UUID) -> Farm:
        """Look at it."""
        return access_farm(self.actor, farm_id)

    @operation(FARMS, "change", input=FarmInput, output=FarmOutput, versioned=True)
    def patch(self, farm_id: UUID, data: Mapping[str, Any], seen: Seen) -> Farm:
        """Change it."""
        return services.update_farm(self.actor, farm_id, data, seen)

    @operation(FARMS, "delete")
    def delete(self, farm_id: UUID) -> None:
        """Remove it, if nothing refers to it."""
        services.delete_farm(self.actor, farm_id)


class PaddocksApi(TenantView):
    """The paddocks of one farm."""

    @operation(PADDOCKS, "view", output=PaddockOutput, order=Order(Paddock, "name", "created_at"))
    def get(self, farm_id: UUID) -> QuerySet[Paddock]:
        """All of them."""
        return selectors.list_paddocks(self.actor, farm_id)

    @operation(PADDOCKS, "add", input=PaddockInput, output=PaddockOutput, status=201)
    def post(self, farm_id: UUID, data: Mapping[str, Any]) -> Paddock:
        """A new one."""
        return services.create_paddock(self.actor, farm_id=farm_id, **data)


class PaddockApi(TenantView):
    """One paddock."""

    @operation(PADDOCKS, "view", output=PaddockOutput)
    def get(self, paddock_id: UUID) -> Paddock:
        """Look at it."""
        return access_paddock(self.actor, paddock_id)

    @operation(PADDOCKS, "change", input=PaddockInput, output=PaddockOutput, versioned=True)
    def patch(self, paddock_id: UUID, data: Mapping[str, Any], seen: Seen) -> Paddock:
        """Change it."""
        return services.update_paddock(self.actor, paddock_id, data, seen)

    @operation(PADDOCKS, "delete")
    def delete(self, paddock_id: UUID) -> None:
        """Remove it, if nothing refers to it."""
        services.delete_paddock(self.actor, paddock_id)
