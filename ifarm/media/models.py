"""Files: the rows; the bytes are in an object store."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from ifarm.core.choices import choices
from ifarm.core.models import TenantForeignKey, TenantModel
from ifarm.media.words import Bucket, MediaState


class Media(TenantModel):
    """One file. Its place is `path` in `bucket`; addresses are signed when they are asked for and kept nowhere.

    Args:
        farm: whose it is; for an animal's photo that of the animal counts, also after it has moved.
        name: what people call it; never part of a path.
        path: where the looked-at bytes are; empty until then.
        uploaded_by: the user's id; of a profile picture: whose face it is.
    """

    bucket = models.CharField(max_length=16, choices=choices(Bucket))
    state = models.CharField(max_length=8, choices=choices(MediaState), default=MediaState.RESERVED.value)
    animal = TenantForeignKey("animals.Animal", null=True, blank=True, related_name="media")
    farm = TenantForeignKey("farms.Farm", null=True, blank=True, related_name="media")
    uploaded_by = models.UUIDField()
    name = models.CharField(max_length=120, blank=True, default="")
    path = models.CharField(max_length=100, blank=True, default="")
    content_type = models.CharField(max_length=40, blank=True, default="")
    size_bytes = models.PositiveIntegerField(null=True, blank=True)
    width_px = models.PositiveIntegerField(null=True, blank=True)
    height_px = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = "file"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(bucket=Bucket.DOCUMENTS.value)
                | Q(bucket=Bucket.ANIMAL_PHOTOS.value, farm=None)
                | Q(bucket=Bucket.FARM_PHOTOS.value, animal=None)
                | Q(bucket=Bucket.PROFILE_PICTURES.value, animal=None, farm=None),
                name="media_belong_to_what_they_show",
                violation_error_message="An animal's photo has no farm of its own, a farm's no animal, a face neither.",
            ),
            models.CheckConstraint(
                condition=~Q(state=MediaState.READY.value) | ~Q(path=""),
                name="ready_media_have_a_path",
            ),
        ]
        indexes: ClassVar = [
            models.Index("tenant", "created_at", "id", name="media_by_time"),
            models.Index(
                "modified_at",
                "id",
                name="media_to_sweep",
                condition=~Q(state=MediaState.READY.value),
            ),
        ]
