"""The address of the sync."""

from django.urls import path

from ifarm.sync import apis

routes = [path("sync/changes", apis.ChangesApi.as_view(), name="sync-changes")]
