"""Addresses of animals."""

from django.urls import path

from ifarm.animals import apis, apis_groups

open_routes = [path("breeds/", apis.BreedsApi.as_view(), name="breeds")]
routes = [
    path("animals/", apis.AnimalsApi.as_view(), name="animals"),
    path("animals/<uuid:animal_id>/", apis.AnimalApi.as_view(), name="animal"),
    path("animals/<uuid:animal_id>/identifiers/", apis.IdentifiersApi.as_view(), name="identifiers"),
    path("animals/<uuid:animal_id>/parents/", apis.ParentsApi.as_view(), name="parents"),
    path("animals/<uuid:animal_id>/movements/", apis.MovementsApi.as_view(), name="movements"),
    path("animals/<uuid:animal_id>/weights/", apis.WeightsApi.as_view(), name="weights"),
    path("animals/<uuid:animal_id>/weight-gain/", apis.GainApi.as_view(), name="weight-gain"),
    path("animals/<uuid:animal_id>/body-conditions/", apis.ConditionsApi.as_view(), name="body-conditions"),
    path("weights/<uuid:weight_id>/", apis.WeightApi.as_view(), name="weight"),
    path("body-conditions/<uuid:condition_id>/", apis.ConditionApi.as_view(), name="body-condition"),
    path("groups/", apis_groups.GroupsApi.as_view(), name="groups"),
    path("groups/<uuid:group_id>/", apis_groups.GroupApi.as_view(), name="group"),
    path("groups/<uuid:group_id>/members/", apis_groups.GroupMembersApi.as_view(), name="group-members"),
    path(
        "groups/<uuid:group_id>/movements/",
        apis_groups.GroupMovementsApi.as_view(),
        name="group-movements",
    ),
    path(
        "group-members/<uuid:group_membership_id>/",
        apis_groups.GroupMemberApi.as_view(),
        name="group-member",
    ),
]
