"""Addresses of a tenant itself, and outside any."""

from django.urls import path

from ifarm.tenants import apis

routes = [path("", apis.TenantApi.as_view(), name="tenant")]
open_routes = [
    path("tenants/", apis.TenantsApi.as_view(), name="tenants"),
    path("accept-invitation/", apis.AcceptInvitationApi.as_view(), name="accept-invitation"),
]
