"""Shapes of tenants."""

from rest_framework import serializers

from ifarm.api.fields import ZoneField
from ifarm.financial.fields import CurrencyInput


class TenantInput(serializers.Serializer):
    """A tenant to make."""

    name = serializers.CharField(max_length=120)
    timezone = ZoneField(default="UTC")
    currency = serializers.RegexField(r"^[A-Z]{3}$", default="EUR")


class TenantChange(serializers.Serializer):
    """What its owner can change of a tenant."""

    name = serializers.CharField(max_length=120)
    timezone = ZoneField()
    currency = CurrencyInput()


class TenantOutput(serializers.Serializer):
    """A tenant."""

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.CharField()
    timezone = serializers.CharField()
    currency = serializers.CharField()


class PlaceOutput(serializers.Serializer):
    """A tenant the user works in, and as what."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    role = serializers.CharField()


class AcceptInput(serializers.Serializer):
    """The secret of an invitation."""

    secret = serializers.CharField(max_length=100)


class JoinedOutput(serializers.Serializer):
    """What an accepted invitation has led to."""

    tenant_id = serializers.UUIDField()
    membership_id = serializers.UUIDField(source="id")
    role = serializers.CharField()
