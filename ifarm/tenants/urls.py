"""Addresses outside any tenant."""

from django.urls import path

from ifarm.tenants import apis

open_routes = [
    path("tenants/", apis.TenantsApi.as_view(), name="tenants"),
    path("accept-invitation/", apis.AcceptInvitationApi.as_view(), name="accept-invitation"),
]
