"""Rights on files."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from ifarm.core.actors import EVERYONE, LEADERS, Actor, Role
from ifarm.core.policies import Policy
from ifarm.media.models import Media
from ifarm.media.words import MediaState


class MediaPolicy(Policy[Media]):
    """Files of the actor's farms: by the animal's farm, else by the file's own; those of no farm are everybody's."""

    def instances(self, actor: Actor) -> QuerySet[Media]:
        """Not those that were deleted."""
        rows = Media.objects.exclude(state=MediaState.DELETED.value)
        if actor.farm_ids is None:
            return rows
        mine = Q(animal__farm_id__in=actor.farm_ids) | Q(animal=None, farm_id__in=actor.farm_ids)
        return rows.filter(mine | Q(animal=None, farm=None))


MEDIA = MediaPolicy(Media, farm="farm_id", add=EVERYONE - {Role.READ_ONLY}, delete=LEADERS)


def access_media(actor: Actor, media_id: UUID, *, lock: bool = False) -> Media:
    """One file. Raises `NotFound`."""
    return MEDIA.access(actor, media_id, lock=lock)
