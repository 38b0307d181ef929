"""Shapes of the dashboard. Names are the documents', with the unit where they had none; money is always a pair."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from ifarm.analytics.numbered import LARGEST, SIZE
from ifarm.analytics.selectors import MOST, Activity
from ifarm.animals.serializers import AnimalOutput
from ifarm.financial.fields import MoneyPair
from ifarm.financial.serializers import SaleOutput


def _months(**rest: Any) -> serializers.DecimalField:
    return serializers.DecimalField(max_digits=7, decimal_places=1, allow_null=True, **rest)


class PageQuery(serializers.Serializer):
    """Which page."""

    page = serializers.IntegerField(min_value=1, max_value=1_000_000, default=1)
    page_size = serializers.IntegerField(min_value=1, max_value=LARGEST, default=SIZE)


class ActivitiesQuery(serializers.Serializer):
    """How many."""

    limit = serializers.IntegerField(min_value=1, max_value=MOST, default=10)


class SalesQuery(serializers.Serializer):
    """How many."""

    limit = serializers.IntegerField(min_value=1, max_value=MOST, default=5)


class HerdNumbers(serializers.Serializer):
    """Animals that are or were here; the value is that of living ones."""

    total = serializers.IntegerField()
    active = serializers.IntegerField()
    total_value = MoneyPair(many=True)


class MoneyNumbers(serializers.Serializer):
    """From the first of the month up to today; null for a role that does not see it."""

    revenue_this_month = MoneyPair(many=True, allow_null=True)
    expenses_this_month = MoneyPair(many=True, allow_null=True)


class ProductionNumbers(serializers.Serializer):
    """Of the day it is on each farm."""

    milk_today_kg = serializers.DecimalField(max_digits=14, decimal_places=2)


class StatsOutput(serializers.Serializer):
    """Today at a glance; ``as_of`` is the tenant's day."""

    as_of = serializers.DateField()
    animals = HerdNumbers()
    financial = MoneyNumbers()
    production = ProductionNumbers()


class DashboardAnimal(AnimalOutput):
    """An animal with the status of its last health check."""

    breed_name = serializers.CharField(source="breed.name", default=None, allow_null=True)
    current_health_status = serializers.CharField(allow_null=True)


class DashboardAnimalsOutput(serializers.Serializer):
    """A page by its number. ``count`` ends at 10,000; the rest is in `animals/`, which has cursors."""

    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    page_size = serializers.IntegerField()
    total_pages = serializers.IntegerField()
    results = DashboardAnimal(many=True)


class AnalyticsOutput(serializers.Serializer):
    """The herd today, and sales of the last 30 days: null for a role that does not see them."""

    first = serializers.DateField()
    last = serializers.DateField()
    total_animals = serializers.IntegerField()
    active_animals = serializers.IntegerField()
    total_value = MoneyPair(many=True)
    avg_age_months = _months()
    oldest_animal_months = _months()
    youngest_animal_months = _months()
    total_sales = serializers.IntegerField(allow_null=True)
    animals_sold = serializers.IntegerField(allow_null=True)
    total_revenue = MoneyPair(many=True, allow_null=True)
    avg_sale_price = MoneyPair(many=True, allow_null=True)


class ActivityOutput(serializers.Serializer):
    """Something recorded about an animal; ``at`` is a day or a time, as its kind has it."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    animal_id = serializers.UUIDField()
    tag_number = serializers.CharField()
    at = serializers.SerializerMethodField()
    recorded_at = serializers.DateTimeField()

    def get_at(self, activity: Activity) -> str:
        """As ISO 8601 has it."""
        if isinstance(activity.at, datetime):
            return str(serializers.DateTimeField().to_representation(activity.at))
        return activity.at.isoformat()


class ActivitiesOutput(serializers.Serializer):
    """What was recorded last, newest first."""

    results = ActivityOutput(many=True)


class RecentSalesOutput(serializers.Serializer):
    """The last sales, newest first."""

    results = SaleOutput(many=True)
