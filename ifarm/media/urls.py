"""Addresses of files."""

from django.urls import path

from ifarm.media import apis

routes = [
    path("media/", apis.AllMediaApi.as_view(), name="media"),
    path("media/<uuid:media_id>/", apis.OneMediaApi.as_view(), name="one-media"),
    path("media/<uuid:reserved_id>/confirm/", apis.ConfirmApi.as_view(), name="confirm-media"),
]
