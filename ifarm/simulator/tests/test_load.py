"""A small herd in a real database: the command, the walls, the constraints, the summaries."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

from ifarm.animals.models import Animal
from ifarm.breeding.services import settle
from ifarm.core.context import unit_of_work
from ifarm.core.models import TenantForeignKey
from ifarm.permissions.services import job_actor
from ifarm.production.lactations import yield_of
from ifarm.production.models import DailySummary, Lactation, Production
from ifarm.production.summaries import COLUMNS, computed

UNTIL = "2026-10-31"


@pytest.fixture
def as_owner(committed: Any) -> Iterator[Any]:
    """Commands connect as the owner of the tables; what is given sees all tenants."""
    options = connection.settings_dict["OPTIONS"]
    connection.close()
    role = options.pop("assume_role")
    yield committed
    connection.close()
    options["assume_role"] = role


def simulate(**options: Any) -> list[UUID]:
    said = StringIO()
    words = ["--until", UNTIL, "--animals", "120", "--years", "1", "--milk-every", "14"]
    call_command("simulate_herd", *words, **options, stdout=said, stderr=StringIO())
    return [UUID(line.split()[0]) for line in said.getvalue().splitlines()]


def test_two_tenants_behind_their_walls(as_owner: Any) -> None:
    first, second = simulate(tenants=2)
    strangers = sum(as_owner.execute(query).fetchone()[0] for query in _references())
    assert strangers == 0
    for tenant, other in ((first, second), (second, first)):
        with unit_of_work(tenant), connection.cursor() as cursor:
            cursor.execute("SET LOCAL ROLE ifarm_app")
            cursor.execute("SELECT DISTINCT tenant_id FROM animals_animal")
            assert cursor.fetchall() == [(tenant,)]
            assert not Production.objects.unscoped().filter(tenant_id=other).exists()
            _require_consistent()
            _require_summaries()


def _references() -> list[str]:
    """For each reference inside a tenant: rows that refer to nothing, or to another tenant's."""
    found = []
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, TenantForeignKey):
                there, column = field.related_model._meta.db_table, field.column
                found.append(
                    f"SELECT count(*) FROM {model._meta.db_table} a WHERE a.{column} IS NOT NULL AND NOT EXISTS"
                    f" (SELECT FROM {there} b WHERE b.id = a.{column} AND b.tenant_id = a.tenant_id)"
                )
    return found


def _require_consistent() -> None:
    """What every service keeps true."""
    with connection.cursor() as cursor:
        for query in (
            "SELECT count(*) FROM animals_animal a WHERE (a.status = 'Alive') <> EXISTS"
            " (SELECT FROM animals_stay s WHERE s.animal_id = a.id AND s.ends_at IS NULL)",
            "SELECT count(*) FROM animals_animal a WHERE (SELECT count(*) FROM animals_animalidentifier i"
            " WHERE i.animal_id = a.id AND i.retired_on IS NULL) <> 2",
            "SELECT count(*) FROM production_production p JOIN animals_stay s ON s.animal_id = p.animal_id"
            " WHERE p.production_date < s.starts_at::date OR p.production_date > s.ends_at::date",
            "SELECT count(*) FROM production_production p WHERE milk_kg IS NOT NULL AND NOT EXISTS"
            " (SELECT FROM production_lactation l WHERE l.animal_id = p.animal_id AND p.production_date >= l.starts_on"
            " AND (l.ends_on IS NULL OR p.production_date < l.ends_on))",
            "SELECT count(*) FROM health_withdrawal w JOIN animals_movement m ON m.animal_id = w.animal_id"
            " WHERE m.kind = 'Departure' AND w.product = 'Meat' AND m.moved_at::date < w.free_on",
            "SELECT count(*) FROM breeding_offspring o JOIN breeding_breedingevent e ON e.id = o.calving_id"
            " JOIN animals_animal a ON a.id = o.animal_id WHERE a.birth_date <> e.happened_on",
            "SELECT count(*) FROM financial_sale s WHERE amount <>"
            " (SELECT sum(amount) FROM financial_saleline l WHERE l.sale_id = s.id)",
        ):
            cursor.execute(query)
            assert cursor.fetchone()[0] == 0, query


def _require_summaries() -> None:
    """Sampled days as `production.summaries` adds them up, and no day without."""
    days = list(DailySummary.objects.order_by("day", "production_type"))
    assert {one.production_type for one in days} == {"milk", "eggs", "meat"}
    assert (
        len(days)
        == Production.objects.values("farm_id", "production_date", "production_type").distinct().count()
    )
    for one in days[:: len(days) // 20]:
        rows = Production.objects.filter(
            farm_id=one.farm_id, production_date=one.day, production_type=one.production_type
        )
        assert {name: getattr(one, name) for name in COLUMNS} == computed(rows)


def test_the_seed_decides_all_but_the_keys(as_owner: Any) -> None:
    simulate(seed=3)
    with pytest.raises(CommandError, match="expected a database without animals"):
        simulate(seed=3)
    simulate(seed=3, add=True)
    simulate(seed=4, add=True)
    query = (
        "SELECT array_agg((tag_number, sex, birth_date, a.status, estimated_value, kg)::text ORDER BY tag_number)"
        " FROM animals_animal a LEFT JOIN LATERAL (SELECT sum(milk_kg) AS kg FROM production_production"
        " WHERE animal_id = a.id) p ON true JOIN tenants_tenant t ON t.id = a.tenant_id"
        " GROUP BY t.id ORDER BY t.created_at"
    )
    first, same, other = (row[0] for row in as_owner.execute(query))
    assert first == same != other


def test_the_application_may_not(committed: Any) -> None:
    with pytest.raises(CommandError, match="expected the role that owns the tables"):
        simulate()


def test_a_tenant_that_cannot_be_written_ends_it_all(as_owner: Any) -> None:
    as_owner.execute("ALTER TABLE farms_farm ADD CONSTRAINT no_hill CHECK (name <> 'Hill')")
    try:
        with pytest.raises(IntegrityError, match="no_hill"):
            simulate(tenants=5)
    finally:
        as_owner.execute("ALTER TABLE farms_farm DROP CONSTRAINT no_hill")
    assert as_owner.execute("SELECT count(*) FROM farms_farm").fetchone() == (0,)


def test_what_was_written_can_be_read_by_services(as_owner: Any) -> None:
    (tenant,) = simulate()
    with unit_of_work(tenant):
        lactation = Lactation.objects.filter(end_reason="DryOff", starts_on__gt="2025-11-15").first()
        assert lactation is not None
        found = yield_of(job_actor(tenant), lactation.id)
        assert found.milk_kg is not None
        assert 5_000 < found.milk_kg < 20_000
        cows = Animal.objects.filter(status="Alive", breeding_events__isnull=False).distinct()
        assert cows.count() > 20
        for cow in cows:
            before = list(cow.due_events.order_by("kind").values_list("kind", "due_from"))
            settle(cow)  # raises where the events contradict each other
            assert before == list(cow.due_events.order_by("kind").values_list("kind", "due_from"))
