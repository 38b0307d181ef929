"""Addresses of imports and exports."""

from django.urls import path

from ifarm.exchange import apis

routes = [
    path("imports/", apis.ImportsApi.as_view(), name="imports"),
    *(
        path(f"imports/templates/{kind.value}/", view, name=f"{kind.value}-template")
        for kind, view in apis.TEMPLATES.items()
    ),
    path("imports/<uuid:import_id>/", apis.ImportApi.as_view(), name="import"),
    path("imports/<uuid:import_id>/rows/", apis.ImportRowsApi.as_view(), name="import-rows"),
    path("imports/<uuid:import_id>/errors/", apis.ImportErrorsApi.as_view(), name="import-errors"),
    path("exports/animals/", apis.AnimalsExportApi.as_view(), name="animals-export"),
    path("exports/weights/", apis.WeightsExportApi.as_view(), name="weights-export"),
    path("exports/milk/", apis.MilkExportApi.as_view(), name="milk-export"),
]
