"""Routes of the dashboard: `dashboard/…` of a tenant, and the documents' own `/api/dashboard/…`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.utils import timezone

from ifarm.analytics import selectors
from ifarm.analytics.numbered import numbered
from ifarm.analytics.serializers import (
    ActivitiesOutput,
    ActivitiesQuery,
    AnalyticsOutput,
    DashboardAnimalsOutput,
    PageQuery,
    RecentSalesOutput,
    SalesQuery,
    StatsOutput,
)
from ifarm.animals.policies import ANIMALS
from ifarm.api.views import TenantView, operation
from ifarm.financial.apis import PeriodInput, ReportView
from ifarm.financial.invoices import today_of_tenant
from ifarm.financial.money import DIGITS, rounded
from ifarm.financial.policies import SALES
from ifarm.financial.selectors import results_of_farms
from ifarm.financial.serializers import ResultsOutput

SALES_DAYS: Final = 30
"""How far back the sales of `dashboard/analytics/` go, today included."""


class StatsApi(TenantView):
    """Today at a glance."""

    @operation(ANIMALS, "view", output=StatsOutput)
    def get(self) -> dict[str, Any]:
        """Animals, this month's money, today's milk."""
        found = selectors.stats(self.actor, today_of_tenant(), timezone.now())
        return {
            "as_of": found.as_of,
            "animals": {
                "total": found.herd.total,
                "active": found.herd.active,
                "total_value": _value(found.herd),
            },
            "financial": {
                "revenue_this_month": _pairs(found.revenue),
                "expenses_this_month": _pairs(found.expenses),
            },
            "production": {"milk_today_kg": found.milk_kg},
        }


class DashboardAnimalsApi(TenantView):
    """Animals, page by page."""

    @operation(ANIMALS, "view", output=DashboardAnimalsOutput, query=PageQuery)
    def get(self, asked: Mapping[str, int]) -> dict[str, Any]:
        """By tag, of every status."""
        page = numbered(selectors.dashboard_animals(self.actor), asked["page"], asked["page_size"])
        return {
            "count": page.count,
            "next": self._link(page.number + 1, page.size) if page.number < page.pages else None,
            "previous": self._link(page.number - 1, page.size) if page.number > 1 else None,
            "page_size": page.size,
            "total_pages": page.pages,
            "results": page.rows,
        }

    def _link(self, number: int, size: int) -> str:
        address = self.request.build_absolute_uri(self.request.path)
        return f"{address}?{urlencode({'page': number, 'page_size': size})}"


class AnalyticsApi(TenantView):
    """The herd and its sales in numbers."""

    @operation(ANIMALS, "view", output=AnalyticsOutput)
    def get(self) -> dict[str, Any]:
        """Ages today, sales of the last 30 days."""
        last = today_of_tenant()
        first = last - timedelta(days=SALES_DAYS - 1)
        herd = selectors.herd(self.actor, last)
        return {
            "first": first,
            "last": last,
            "total_animals": herd.total,
            "active_animals": herd.active,
            "total_value": _value(herd),
            "avg_age_months": herd.average_age_months,
            "oldest_animal_months": _months(herd.oldest, last),
            "youngest_animal_months": _months(herd.youngest, last),
            **self._sales(first, last),
        }

    def _sales(self, first: date, last: date) -> dict[str, Any]:
        if not SALES.may(self.actor, "view"):
            return dict.fromkeys(("total_sales", "animals_sold", "total_revenue", "avg_sale_price"))
        sold = selectors.sold(self.actor, first, last)
        return {
            "total_sales": sum(one.sales for one in sold.values()),
            "animals_sold": sum(one.animals for one in sold.values()),
            "total_revenue": _pairs({code: one.amount for code, one in sold.items()}),
            "avg_sale_price": _pairs({code: one.amount / one.animals for code, one in sold.items()}),
        }


class ActivitiesApi(TenantView):
    """What was recorded last."""

    @operation(ANIMALS, "view", output=ActivitiesOutput, query=ActivitiesQuery)
    def get(self, asked: Mapping[str, int]) -> dict[str, Any]:
        """Of every kind that the role may see, newest first."""
        return {"results": selectors.recent_activities(self.actor, asked["limit"])}


class RecentSalesApi(TenantView):
    """The last sales."""

    @operation(SALES, "view", output=RecentSalesOutput, query=SalesQuery)
    def get(self, asked: Mapping[str, int]) -> dict[str, Any]:
        """With their buyers, newest first."""
        return {"results": selectors.recent_sales(self.actor, asked["limit"])}


class FinancialSummaryApi(ReportView):
    """What came and went."""

    @operation(SALES, "view", output=ResultsOutput, query=PeriodInput)
    def get(self, asked: Mapping[str, date]) -> dict[str, Any]:
        """Of all the actor's farms together, in each currency; this year up to today unless days are named."""
        first, last = self.period(asked)
        return {"first": first, "last": last, "results": results_of_farms(self.actor, first, last)}


def _value(herd: selectors.Herd) -> list[dict[str, str]] | None:
    return _pairs({code: amount for code, (amount, _) in herd.values.items()})


def _pairs(sums: Mapping[str, Decimal] | None) -> list[dict[str, str]] | None:
    """By currency. The value of an animal may be in a currency that ISO 4217 does not have: as it was written."""
    if sums is None:
        return None
    return [
        {"amount": str(rounded(amount, code) if code in DIGITS else amount), "currency": code}
        for code, amount in sorted(sums.items())
    ]


def _months(born: date | None, on: date) -> Decimal | None:
    return None if born is None else selectors.months((on - born).days)
