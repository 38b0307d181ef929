"""What a schedule calls for those who log in, as the owner; a task may run twice, or twice at once."""

from __future__ import annotations

from datetime import datetime

from django.contrib.sessions.models import Session

from ifarm.core.tasks import forget


def clean_expired_sessions(now: datetime) -> int:
    """Remove the sessions that let nobody in any more; how many there were."""
    return forget(Session.objects.filter(expire_date__lt=now))
