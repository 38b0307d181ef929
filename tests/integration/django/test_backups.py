"""The documents' services for backup and recovery: real backups, restored beside what runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from understudy.backup.keys import Key
from understudy.backup.source import BackupRefused
from understudy.demo.lab import Lab
from understudy.embedded import EmbeddedPostgreSQL


@pytest.fixture
def backups(clean: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The same cluster with ``[backup]``, from the environment."""
    from understudy.integrations.django import target

    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("UNDERSTUDY_BACKUP_URL", str(tmp_path / "disk"))
    monkeypatch.setenv("UNDERSTUDY_BACKUP_KEY", Key.new().text)
    target.load.cache_clear()
    yield clean
    target.load.cache_clear()


def test_backup_proof_and_recovery_beside_what_runs(backups: Lab, server_folder: Path, settings_of) -> None:
    from tests.integration.django.farm.models import Herd

    from understudy.integrations.django.backups import DatabaseBackupService, DatabaseRecoveryService

    backups.await_settled()
    Herd.objects.bulk_create([Herd(name=f"h{i}") for i in range(100)])
    made = DatabaseBackupService.create_backup()
    Herd.objects.all().delete()  # the accident
    assert DatabaseBackupService.list_backups() == [made]
    assert DatabaseBackupService.verify_backup().verdict == "pass"
    with pytest.raises(BackupRefused, match="DATABASE_RECOVERY_URL"):
        DatabaseRecoveryService.recover_from_backup(made)
    with pytest.raises(BackupRefused, match="node"):
        DatabaseRecoveryService.recover_from_backup(made, backups.cluster.node("a").admin_dsn)
    assert Herd.objects.count() == 0
    with EmbeddedPostgreSQL(
        server_folder / "beside", name="beside", temporary=True, die_with_parent=True
    ) as server:
        settings_of("DATABASE_RECOVERY_URL", server.dsn(dbname="recovered"))
        restored = DatabaseRecoveryService.recover_from_backup()
        assert restored.equal
        with psycopg.connect(server.dsn(dbname="recovered")) as connection:
            assert connection.execute("SELECT count(*) FROM farm_herd").fetchone() == (100,)
    assert Herd.objects.count() == 0


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch):
    """Sets one of the project's settings."""
    from django.conf import settings

    return lambda name, value: monkeypatch.setattr(settings, name, value, raising=False)


def test_the_tasks_and_the_command(backups: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    from celery import Celery
    from django.core.management import call_command

    from understudy.integrations.django import tasks

    app = Celery("farm", broker="memory://", backend="cache+memory://")
    app.conf.beat_schedule.update(tasks.BACKUP_SCHEDULE)
    create, verify = (app.tasks[entry["task"]] for entry in tasks.BACKUP_SCHEDULE.values())
    made = create.apply().get()
    assert verify.apply().get() == {made: "pass"}
    call_command("understudy", "backup", "list")
    assert made in capsys.readouterr().out
