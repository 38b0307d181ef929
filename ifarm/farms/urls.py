"""Addresses of farms and paddocks."""

from django.urls import path

from ifarm.farms import apis

routes = [
    path("farms/", apis.FarmsApi.as_view(), name="farms"),
    path("farms/<uuid:farm_id>/", apis.FarmApi.as_view(), name="farm"),
    path("farms/<uuid:farm_id>/paddocks/", apis.PaddocksApi.as_view(), name="paddocks"),
    path("paddocks/<uuid:paddock_id>/", apis.PaddockApi.as_view(), name="paddock"),
]
