"""Addresses of breeding."""

from django.urls import path

from ifarm.breeding import apis

routes = [
    path("animals/<uuid:animal_id>/breeding-events/", apis.EventsApi.as_view(), name="breeding-events"),
    path("animals/<uuid:animal_id>/heats/", apis.HeatsApi.as_view(), name="heats"),
    path("animals/<uuid:animal_id>/services/", apis.ServicesApi.as_view(), name="services"),
    path("animals/<uuid:animal_id>/pregnancy-checks/", apis.ChecksApi.as_view(), name="pregnancy-checks"),
    path("animals/<uuid:animal_id>/abortions/", apis.AbortionsApi.as_view(), name="abortions"),
    path("animals/<uuid:animal_id>/calvings/", apis.CalvingsApi.as_view(), name="calvings"),
    path("animals/<uuid:animal_id>/reproduction/", apis.ReproductionApi.as_view(), name="reproduction"),
    path("breeding-events/<uuid:event_id>/", apis.EventApi.as_view(), name="breeding-event"),
    path("calvings/<uuid:calving_id>/", apis.CalvingApi.as_view(), name="calving"),
    path("breeding/due/", apis.DueApi.as_view(), name="breeding-due"),
    path("breeding/plans/", apis.PlansApi.as_view(), name="breeding-plans"),
    path("farms/<uuid:farm_id>/breeding-figures/", apis.FiguresApi.as_view(), name="breeding-figures"),
]
