"""The Celery tasks: the health check, and backups for projects whose schedule is Celery's. A project's
``core/tasks.py`` is one line:

from understudy.integrations.django.tasks import check_database_health  # noqa: F401

The agent runs backups by itself where ``[backup]`` has schedules; these tasks are for projects that would rather have
them in their beat. They are not part of `BEAT_SCHEDULE`.
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

BACKUP_SCHEDULE: Final[dict[str, dict[str, Any]]] = {
    "create-database-backup": {
        "task": "core.tasks.create_database_backup",
        "schedule": crontab(hour="2", minute="15"),
    },
    "verify-database-backups": {
        "task": "core.tasks.verify_database_backups",
        "schedule": crontab(hour="4", minute="15"),
    },
}
"""The same for backups: made every night, and proven by restoring them."""

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


@shared_task(name="core.tasks.create_database_backup")
def create_database_backup() -> str:
    """Make a backup and return its id. One that is under way already makes this one fail, and harms nothing."""
    from understudy.integrations.django.backups import DatabaseBackupService

    return DatabaseBackupService.create_backup()


@shared_task(name="core.tasks.verify_database_backups")
def verify_database_backups() -> dict[str, str]:
    """Prove the backups whose turn has come; their verdicts by id. Fails where one of them does."""
    from understudy.integrations.django.backups import DatabaseBackupService

    return {found.backup: found.verdict.value for found in DatabaseBackupService.verify_due_backups()}
