"""Addresses of devices."""

from django.urls import path

from ifarm.devices import apis

routes = [
    path("devices/", apis.DevicesApi.as_view(), name="devices"),
    path("devices/<uuid:device_id>/", apis.DeviceApi.as_view(), name="device"),
    path("devices/<uuid:device_id>/key/", apis.DeviceKeyApi.as_view(), name="device-key"),
    path("devices/<uuid:device_id>/readings/", apis.DeviceReadingsApi.as_view(), name="device-readings"),
    path("devices/<uuid:device_id>/match-again/", apis.MatchAgainApi.as_view(), name="match-again"),
    path("device-readings/", apis.ReadingsApi.as_view(), name="all-readings"),
    path("device-readings/<uuid:reading_id>/", apis.ReadingApi.as_view(), name="reading"),
    path("device-readings/<uuid:reading_id>/match/", apis.MatchApi.as_view(), name="reading-match"),
]
