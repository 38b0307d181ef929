"""Shapes of imports."""

from __future__ import annotations

from rest_framework import serializers

from ifarm.core.choices import choices
from ifarm.exchange.columns import SELF
from ifarm.exchange.words import Kind


class ImportInput(serializers.Serializer):
    """A file (CSV or XLSX, of a template's columns), and what to do with it."""

    file = serializers.FileField()
    kind = serializers.ChoiceField(choices(Kind))
    source = serializers.CharField(max_length=60, default="file")
    dry_run = serializers.BooleanField(default=False)
    all_or_nothing = serializers.BooleanField(default=False)

    def validate_source(self, source: str) -> str:
        """Our own name is for what was exported from here, which says so in its rows."""
        if source == SELF:
            raise serializers.ValidationError(f"Expected a name other than {SELF}.")
        return source


class ImportOutput(serializers.Serializer):
    """An import, and how far it is. ``rows_good``: written, or ready in a dry run."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    file_type = serializers.CharField()
    file_name = serializers.CharField()
    written = serializers.CharField()
    size_bytes = serializers.IntegerField()
    source = serializers.CharField()
    dry_run = serializers.BooleanField()
    all_or_nothing = serializers.BooleanField()
    created_by = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    state = serializers.CharField()
    rows_total = serializers.IntegerField()
    rows_done = serializers.IntegerField()
    rows_good = serializers.IntegerField()
    rows_known = serializers.IntegerField()
    rows_duplicate = serializers.IntegerField()
    rows_bad = serializers.IntegerField()
    error_message = serializers.CharField()
    ended_at = serializers.DateTimeField(allow_null=True)


class FlawOutput(serializers.Serializer):
    """What is wrong with a row, or one cell of it; ``detail``: what was expected, and what was found."""

    column = serializers.CharField(allow_blank=True)
    detail = serializers.CharField()
    found = serializers.CharField(allow_blank=True)


class ImportRowOutput(serializers.Serializer):
    """A row of a file, and what became of it. ``number``: its line."""

    id = serializers.UUIDField()
    number = serializers.IntegerField()
    state = serializers.CharField()
    errors = FlawOutput(many=True)
    object_id = serializers.UUIDField(allow_null=True)
