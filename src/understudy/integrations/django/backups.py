"""``DatabaseBackupService`` and ``DatabaseRecoveryService``: the names that projects call, on `understudy.backup`.

A project's ``core/services/database_backup.py`` and ``database_recovery.py`` are one line each:

    from understudy.integrations.django.backups import DatabaseBackupService  # noqa: F401
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.conf import settings

from understudy.backup.manifest import Kind, Level, Verdict, Verification
from understudy.backup.restore import Restored, restore_logical
from understudy.backup.shelf import Shelf
from understudy.backup.source import BackupError, BackupRefused
from understudy.integrations.django.places import cluster_connection
from understudy.integrations.django.target import load

logger = logging.getLogger(__name__)

SETTING = "DATABASE_RECOVERY_URL"
"""In settings.py: where a recovery restores to. A database that is made, or is empty, on a server of its own."""


def _shelf() -> Shelf:
    connection = cluster_connection()
    path = connection.settings_dict["OPTIONS"].get("config")
    return Shelf(load(None if path is None else str(path)), connection.target.cluster)


class DatabaseBackupService:
    """Backups of the cluster behind `default`. Every method raises `BackupError`, `StoreError` or `KeysError`."""

    @staticmethod
    def create_backup() -> str:
        """Make a backup of the present primary in every destination of ``[backup]``, and return its id.

        The standby is not refreshed from it: it follows the primary, row by row, by replication.
        """
        manifest = _shelf().create(Kind.LOGICAL, tell=logger.info)
        logger.info("backup %s was made", manifest.id)
        return manifest.id

    @staticmethod
    def list_backups() -> list[str]:
        """The ids of all backups, newest last."""
        shelf = _shelf()
        return [manifest.id for manifest in shelf.catalog.backups(shelf.cluster.name)]

    @staticmethod
    def verify_backup(backup: str = "latest") -> Verification:
        """Restore a backup into a scratch server and compare every table. What came of it is in ``verdict``."""
        shelf = _shelf()
        return shelf.verify(shelf.find(backup), Level.RESTORE, tell=logger.info)

    @staticmethod
    def verify_due_backups() -> list[Verification]:
        """Prove the backups whose turn has come, as a daily job. Raises `BackupError` where one of them failed."""
        shelf = _shelf()
        level = Level(shelf.policy.verify.level)
        due = shelf.due(datetime.now(UTC), 86400.0)
        done = [shelf.verify(manifest, level, tell=logger.info) for manifest in due]
        bad = [found.backup for found in done if found.verdict is Verdict.FAIL]
        if bad:
            raise BackupError(
                f"{', '.join(bad)}: the verification failed; `understudy backup info` says where"
            )
        return done


class DatabaseRecoveryService:
    """Recovery beside what runs, never onto it."""

    @staticmethod
    def recover_from_backup(backup_file: str = "latest", into: str | None = None) -> Restored:
        """Restore a backup into another database and compare it with what was backed up.

        Args:
            backup_file: the backup's id, or `latest`. Files of pg_dump are not taken: nobody knows what is in them.
            into: a libpq URI of the database to be made; None: ``settings.DATABASE_RECOVERY_URL``.

        Raises `BackupRefused` where nothing was changed: no place to restore to, a database that holds something, or
        a node of the cluster. How the restored database becomes the application's: docs/how-to/restore.md.
        """
        shelf = _shelf()
        place = into or getattr(settings, SETTING, "")
        if not place:
            raise BackupRefused(
                f"{SETTING}: expected the libpq URI of a database to restore into, found nothing. The primary is "
                "never restored onto: restore beside it, compare, then change over (docs/how-to/restore.md)"
            )
        manifest = shelf.find(backup_file)
        restored = restore_logical(
            shelf.config, manifest, shelf.place(manifest), shelf.keys, place, tell=logger.info
        )
        logger.info("backup %s was restored into %s", manifest.id, restored.database)
        return restored
