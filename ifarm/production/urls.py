"""Addresses of production."""

from django.urls import path

from ifarm.production import apis

routes = [
    path("production/", apis.ProductionsApi.as_view(), name="production"),
    path("production/daily/", apis.SummariesApi.as_view(), name="daily-summaries"),
    path("production/<uuid:production_id>/", apis.ProductionApi.as_view(), name="production-record"),
    path(
        "animals/<uuid:animal_id>/production_history/", apis.HistoryApi.as_view(), name="production-history"
    ),
    path("animals/<uuid:animal_id>/lactations/", apis.LactationsApi.as_view(), name="lactations"),
    path("lactations/<uuid:lactation_id>/", apis.LactationApi.as_view(), name="lactation"),
    path("lactations/<uuid:lactation_id>/yield/", apis.YieldApi.as_view(), name="lactation-yield"),
    path("groups/<uuid:group_id>/milk/", apis.GroupMilkApi.as_view(), name="group-milk"),
]
