"""Routes of ICAR ADE: `icar/locations/{scheme}/{id}/{collection}`, and `icar/batches/…` to send some.

The views are made from `resources.RESOURCES`: a collection to read and a batch to send for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers

from ifarm.api.pages import Order, page
from ifarm.api.views import TenantView, operation
from ifarm.farms.models import Farm
from ifarm.farms.policies import FARMS, access_farm
from ifarm.icar import describe
from ifarm.icar.batches import receive
from ifarm.icar.resources import Resource
from ifarm.icar.serializers import BatchResults, LocationShape, ModifiedQuery, Rows, View


def _collection(name: str, member: type[serializers.Serializer]) -> type[serializers.Serializer]:
    fields = {"__doc__": f"A page of {name}.", "view": View(), "member": member(many=True)}
    return type(f"icar{name}Collection", (serializers.Serializer,), fields)


class CollectionView(TenantView):
    """Base of what is told page by page, by when it was changed: the last page is where a reader goes on later."""

    def told(
        self, rows: QuerySet[Any], order: Order, asked: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Any]]:
        """The view and the rows that were asked for. Raises `Invalid`."""
        if since := asked.get("meta-modified-from"):
            rows = rows.filter(modified_at__gte=since)
        if until := asked.get("meta-modified-to"):
            rows = rows.filter(modified_at__lt=until)
        size = str(asked["pageSize"])
        place = {"cursor": asked["cursor"]} if "cursor" in asked else {}
        one = page(rows, order, {"limit": size, **place})
        kept = {key: value for key, value in self.parameters.items() if key != "cursor"}
        view = {"pageSize": asked["pageSize"], "first": self._link(kept)}
        if one.next is not None:
            view["next"] = self._link({**kept, "cursor": parse_qs(one.next)["cursor"][0]})
        return view, one.rows

    def _link(self, parameters: Mapping[str, str]) -> str:
        address = self.request.build_absolute_uri(self.request.path)
        return f"{address}?{urlencode(parameters)}" if parameters else address


class LocationsApi(CollectionView):
    """The farms of the tenant, as locations."""

    @operation(FARMS, "view", output=_collection("Location", LocationShape), query=ModifiedQuery)
    def get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the actor."""
        view, rows = self.told(FARMS.instances(self.actor), Order(Farm, "modified_at"), asked)
        return {"view": view, "member": [describe.location(row) for row in rows]}


def collection_view(resource: Resource) -> type[TenantView]:
    """The view of one collection."""

    class CollectionApi(CollectionView):
        @operation(
            resource.policy, "view", output=_collection(resource.kind, resource.shape), query=ModifiedQuery
        )
        def get(self, farm_id: UUID, asked: Mapping[str, Any]) -> dict[str, Any]:
            """What is recorded at a location."""
            farm = access_farm(self.actor, farm_id)
            view, rows = self.told(resource.rows(self.actor, farm), resource.order, asked)
            return {"view": view, "member": [resource.describe(row, farm) for row in rows]}

    CollectionApi.__doc__ = f"icar{resource.kind}Resource."
    return CollectionApi


def batch_view(resource: Resource) -> type[TenantView]:
    """The view that takes a batch of one collection."""

    class BatchApi(TenantView):
        @operation(resource.policy, resource.action, input=Rows, output=BatchResults)
        def post(self, farm_id: UUID, data: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
            """Record what others tell. A row that was sent before is recorded once."""
            return receive(self.actor, farm_id, resource, data)

    BatchApi.__doc__ = f"A batch of icar{resource.kind}Resource."
    return BatchApi
