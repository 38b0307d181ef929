"""Addresses of ICAR ADE, without a slash at the end, as its URL schemes have them."""

from django.urls import path

from ifarm.icar import apis
from ifarm.icar.resources import RESOURCES
from ifarm.icar.words import LOCATION

_PLACE = f"locations/{LOCATION}/<uuid:farm_id>"
routes = [
    path("icar/locations", apis.LocationsApi.as_view(), name="icar-locations"),
    *(
        path(f"icar/{_PLACE}/{one.name}", apis.collection_view(one).as_view(), name=f"icar-{one.name}")
        for one in RESOURCES
    ),
    *(
        path(
            f"icar/batches/{_PLACE}/{one.name}",
            apis.batch_view(one).as_view(),
            name=f"icar-{one.name}-batch",
        )
        for one in RESOURCES
    ),
]
