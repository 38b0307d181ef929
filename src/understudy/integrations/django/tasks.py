"""The Celery task of the health check. A project's ``core/tasks.py`` is one line:

from understudy.integrations.django.tasks import check_database_health  # noqa: F401
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from celery import shared_task
from celery.schedules import crontab

from understudy.integrations.django.health import DatabaseHealthService, HealthStatus

logger = logging.getLogger(__name__)

TASK: Final = "core.tasks.check_database_health"
BEAT_SCHEDULE: Final[dict[str, dict[str, Any]]] = {
    "check-database-health": {"task": TASK, "schedule": crontab(minute="*/1")}
}
"""For ``app.conf.beat_schedule.update(BEAT_SCHEDULE)``: update it, since an assignment removes the other entries."""

_lock = threading.Lock()
_before: list[tuple[bool, bool, bool]] = []


@shared_task(name=TASK, ignore_result=False)
def check_database_health() -> HealthStatus:
    """Look at both nodes. What has changed since this worker's last look is logged once, not every minute.

    Telling people is the affair of Understudy's own alerts: they do not go through the database that is down.
    """
    status = DatabaseHealthService.get_health_status()
    now = (status["primary"]["healthy"], status["backup"]["healthy"], status["failover_active"])
    with _lock:
        changed = _before != [now]
        first = not _before
        _before[:] = [now]
    if changed and not (first and now == (True, True, False)):
        logger.warning("Databases: primary healthy: %s, backup healthy: %s, failover active: %s", *now)
    return status
