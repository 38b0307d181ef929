"""Shapes of the audit."""

from rest_framework import serializers


class EntryOutput(serializers.Serializer):
    """One change. ``changes``: {field: [before, after]}."""

    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    actor_id = serializers.UUIDField()
    actor_role = serializers.CharField()
    action = serializers.CharField()
    model = serializers.CharField()
    object_id = serializers.UUIDField()
    changes = serializers.JSONField()
    reason = serializers.CharField()


class ArchiveOutput(serializers.Serializer):
    """One month that is in a file."""

    id = serializers.UUIDField()
    month = serializers.DateField()
    entries = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()


class DownloadOutput(serializers.Serializer):
    """Where it can be fetched, for an hour."""

    url = serializers.URLField()
