"""Addresses of notifications."""

from django.urls import path

from ifarm.notifications import apis

routes = [
    path("notifications/", apis.NotificationsApi.as_view(), name="notifications"),
    path("notifications/unread/", apis.UnreadApi.as_view(), name="unread-notifications"),
    path("notifications/<uuid:notification_id>/read/", apis.ReadApi.as_view(), name="notification-read"),
]
