"""Shapes of files."""

from rest_framework import serializers

from ifarm.core.choices import choices
from ifarm.media.words import Bucket


class MediaInput(serializers.Serializer):
    """A file that is about to come."""

    bucket = serializers.ChoiceField(choices=choices(Bucket))
    name = serializers.CharField(max_length=120, required=False, allow_blank=True)
    animal_id = serializers.UUIDField(required=False)
    farm_id = serializers.UUIDField(required=False)


class UploadOutput(serializers.Serializer):
    """What to send the bytes with: the fields of ``form`` and then `file` (POST), or the bare bytes (PUT)."""

    method = serializers.CharField()
    url = serializers.URLField()
    form = serializers.DictField(child=serializers.CharField())
    headers = serializers.DictField(child=serializers.CharField())


class ReservedOutput(serializers.Serializer):
    """Where it goes."""

    id = serializers.UUIDField()
    most_bytes = serializers.IntegerField()
    expires_s = serializers.IntegerField()
    upload = UploadOutput()


class MediaOutput(serializers.Serializer):
    """A file that can be shown."""

    id = serializers.UUIDField()
    bucket = serializers.CharField()
    animal_id = serializers.UUIDField(allow_null=True)
    farm_id = serializers.UUIDField(allow_null=True)
    uploaded_by = serializers.UUIDField()
    name = serializers.CharField()
    content_type = serializers.CharField()
    size_bytes = serializers.IntegerField()
    width_px = serializers.IntegerField(allow_null=True)
    height_px = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()


class ShownOutput(serializers.Serializer):
    """A file and where to fetch it."""

    media = MediaOutput()
    url = serializers.URLField()
    expires_s = serializers.IntegerField()
