"""Addresses of the dashboard."""

from django.urls import path

from ifarm.analytics import apis

_VIEWS = {
    "stats": apis.StatsApi,
    "animals": apis.DashboardAnimalsApi,
    "analytics": apis.AnalyticsApi,
    "activities": apis.ActivitiesApi,
    "recent-sales": apis.RecentSalesApi,
    "financial-summary": apis.FinancialSummaryApi,
}
routes = [
    path(f"dashboard/{name}/", view.as_view(), name=f"dashboard-{name}") for name, view in _VIEWS.items()
]
documented_routes = [path(name, view.as_view(), name=name) for name, view in _VIEWS.items()]
"""Under `/api/dashboard/`: without a tenant in the address, without a slash at the end, as the documents have them."""
