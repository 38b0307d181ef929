"""Routes of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.media import selectors, services
from ifarm.media.filters import MediaFilters
from ifarm.media.models import Media
from ifarm.media.policies import MEDIA
from ifarm.media.serializers import MediaInput, MediaOutput, ReservedOutput, ShownOutput
from ifarm.media.words import Bucket


class AllMediaApi(TenantView):
    """All files."""

    @operation(MEDIA, "view", output=MediaOutput, order=Order(Media, "created_at"), filters=MediaFilters)
    def get(self) -> QuerySet[Media]:
        """Those that can be shown; addresses are asked for one by one."""
        return selectors.list_media(self.actor)

    @operation(MEDIA, "add", input=MediaInput, output=ReservedOutput, status=201)
    def post(self, data: Mapping[str, Any]) -> services.Reserved:
        """Reserve one: the answer says where its bytes go. Then confirm."""
        return services.reserve(self.actor, **{**data, "bucket": Bucket(data["bucket"])})


class OneMediaApi(TenantView):
    """One file."""

    @operation(MEDIA, "view", output=ShownOutput)
    def get(self, media_id: UUID) -> selectors.Shown:
        """What it is, and an address that is good for an hour."""
        return selectors.show(self.actor, media_id)

    @operation(MEDIA, "delete")
    def delete(self, media_id: UUID) -> None:
        """Remove it."""
        services.delete(self.actor, media_id)


class ConfirmApi(TenantView):
    """The second step."""

    @operation(MEDIA, "add", output=MediaOutput)
    def post(self, reserved_id: UUID) -> Media:
        """The bytes are there."""
        return services.confirm(self.actor, reserved_id)
