"""Shapes of farms and paddocks."""

from decimal import Decimal

from rest_framework import serializers

from ifarm.api.fields import ZoneField


class FarmInput(serializers.Serializer):
    """A farm to make or change."""

    name = serializers.CharField(max_length=120)
    holding_number = serializers.CharField(max_length=40, allow_blank=True, required=False)
    timezone = ZoneField(required=False)


class FarmOutput(serializers.Serializer):
    """A farm."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    holding_number = serializers.CharField()
    timezone = serializers.CharField()


class PaddockInput(serializers.Serializer):
    """A paddock to make or change."""

    name = serializers.CharField(max_length=80)
    area_ha = serializers.DecimalField(
        max_digits=9, decimal_places=2, min_value=Decimal("0.01"), allow_null=True, required=False
    )


class PaddockOutput(serializers.Serializer):
    """A paddock."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    farm_id = serializers.UUIDField()
    name = serializers.CharField()
    area_ha = serializers.DecimalField(max_digits=9, decimal_places=2, allow_null=True)
