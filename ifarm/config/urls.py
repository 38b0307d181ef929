"""All addresses. What belongs to a tenant is in `tenant_routes`, once under its tenant and once without."""

from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView

from ifarm.analytics.urls import documented_routes
from ifarm.api import health
from ifarm.api.routes import open_routes, tenant_routes

handler404 = "ifarm.api.problems.nothing_here"
handler500 = "ifarm.api.problems.fault_of_ours"
urlpatterns = [
    path("api/v1/openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("api/health", health.health, name="health"),
    path("api/v1/health/databases", health.databases, name="database-health"),
    path("api/dashboard/", include((documented_routes, "dashboard"))),
    path("api/v1/accounts/", include("allauth.headless.urls")),
    path("api/v1/", include(open_routes())),
    path("api/v1/tenants/<uuid:tenant_id>/", include(tenant_routes())),
    # The same without a tenant in the path: it is the token's, or the only one of the session's user; else 400.
    path("api/v1/", include((tenant_routes(), "alias"))),
]
