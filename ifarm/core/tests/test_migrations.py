"""Migrations lead forward and back, and say what the models say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command

from ifarm.config.django.test import OWNER, PASSWORD
from understudy.embedded import EmbeddedPostgreSQL


def test_models_and_migrations_agree(django_db_setup: None, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def shape(dsn: str) -> list[Any]:
    """Tables, constraints, policies, types and functions of ours."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            "SELECT conrelid::regclass::text || conname || pg_get_constraintdef(oid) AS line FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT tablename || policyname || cmd FROM pg_policies"
            " UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'r'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY line"
        ).fetchall()


@pytest.mark.timeout(600)  # on a machine that is busy with other things
def test_back_to_nothing_and_forward_again(
    django_db_setup: None,
    django_db_blocker: Any,
    server: EmbeddedPostgreSQL,
    clock: Callable[[datetime], None],
) -> None:
    from django.db import connection

    clock(datetime(2026, 1, 31, 23, 59, tzinfo=UTC))  # the audit's months begin with this one, both times

    with psycopg.connect(server.dsn(OWNER, "ifarm", PASSWORD), autocommit=True) as owner:
        owner.execute("CREATE DATABASE there_and_back")
    dsn = server.dsn(OWNER, "there_and_back", PASSWORD)
    settings = connection.settings_dict
    before = settings["NAME"], settings["OPTIONS"].pop("assume_role")
    connection.close()
    try:
        with django_db_blocker.unblock():
            settings["NAME"] = "there_and_back"
            call_command("migrate", verbosity=0)
            full = shape(dsn)
            for app in apps.get_app_configs():
                if app.name.startswith("ifarm.") and app.models_module is not None:
                    call_command("migrate", app.label, "zero", verbosity=0)
            assert not [
                line for (line,) in shape(dsn) if "farm" in line or "tenant" in line or "range" in line
            ]
            call_command("migrate", verbosity=0)
            assert shape(dsn) == full
    finally:
        connection.close()
        settings["NAME"], settings["OPTIONS"]["assume_role"] = before


@pytest.mark.django_db
def test_the_catalogue_of_breeds_is_there() -> None:
    from ifarm.animals.models import Breed

    assert Breed.objects.get(species="Cattle", code="SIM").name == "Simmental"
