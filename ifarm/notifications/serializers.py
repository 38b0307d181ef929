"""Shapes of notifications."""

from rest_framework import serializers


class NotificationOutput(serializers.Serializer):
    """What somebody is told."""

    id = serializers.UUIDField()
    notification_type = serializers.CharField()
    severity = serializers.CharField()
    title = serializers.CharField()
    message = serializers.CharField()
    link = serializers.CharField()
    created_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True)


class UnreadOutput(serializers.Serializer):
    """How many are unread."""

    unread = serializers.IntegerField()


class ReadInput(serializers.Serializer):
    """Up to when everything was read: ``created_at`` of the newest that was shown."""

    until = serializers.DateTimeField()
