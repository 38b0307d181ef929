"""The walls between tenants: in Python, and in the database as the application's role sees it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.utils import DataError, ProgrammingError

from ifarm.core.context import NoTenant, unit_of_work
from ifarm.core.ids import uuid7
from ifarm.core.models import TenantForeignKey, TenantModel
from ifarm.core.tests.factories import make_owner
from ifarm.farms.models import Farm, Paddock
from ifarm.farms.services import create_farm, create_paddock

OPEN = {
    "account_emailaddress",
    "account_emailconfirmation",
    "animals_breed",
    "auth_group",
    "auth_group_permissions",
    "auth_permission",
    "django_content_type",
    "django_migrations",
    "django_session",
    "mfa_authenticator",
    "users_user",
}
"""Tables that belong to no tenant: people and how they log in, the catalogue of breeds, Django's own."""


def farm_of(name: str) -> Farm:
    owner = make_owner(name)
    with unit_of_work(owner.tenant_id):
        return create_farm(owner, name=name)


def raw(text: str, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(text, parameters)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.django_db
def test_without_a_tenant_nothing_is_found_or_made() -> None:
    farm_of("Hill")
    for attempt in (
        lambda: list(Farm.objects.all()),
        lambda: Farm.objects.all().count(),
        lambda: Farm.objects.filter(name="Hill").exists(),
        lambda: Farm(name="Mine"),
        lambda: create_farm(make_owner(), name="Mine"),
    ):
        with pytest.raises(NoTenant):
            attempt()


@pytest.mark.django_db
def test_units_of_two_tenants_do_not_mix() -> None:
    with unit_of_work(uuid7()), pytest.raises(RuntimeError, match="End one first"), unit_of_work(uuid7()):
        pass


@pytest.mark.django_db
def test_each_tenant_finds_its_own() -> None:
    one, two = farm_of("One"), farm_of("Two")
    with unit_of_work(one.tenant_id):
        assert list(Farm.objects.all()) == [one]
        assert not Farm.objects.unscoped().filter(pk=two.pk).exists()
    with unit_of_work(two.tenant_id):
        assert [farm.name for farm in Farm.objects.unscoped()] == ["Two"]


@pytest.mark.django_db
def test_the_application_is_no_superuser_and_under_the_policies() -> None:
    found = raw("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
    assert found == [("ifarm_app", False, False)]


def test_raw_sql_without_a_tenant_is_an_error(committed: psycopg.Connection[Any]) -> None:
    farm_of("Hill")
    for text in ("SELECT * FROM farms_farm", "DELETE FROM farms_farm", "SELECT count(*) FROM tenants_tenant"):
        with pytest.raises((ProgrammingError, DataError)):
            raw(text)
    assert committed.execute("SELECT count(*) FROM farms_farm").fetchall() == [(1,)]


@pytest.mark.django_db
def test_raw_sql_reaches_no_other_tenant() -> None:
    one, two = farm_of("One"), farm_of("Two")
    with unit_of_work(one.tenant_id):
        assert raw("SELECT name FROM farms_farm") == [("One",)]
        assert raw("SELECT name FROM tenants_tenant") == [("One",)]
        assert raw("UPDATE farms_farm SET name = 'taken' RETURNING id") == [(one.id,)]
        assert raw("DELETE FROM farms_farm WHERE id = %s RETURNING id", two.id) == []
        assert raw("SELECT count(*) FROM permissions_membership") == [(1,)]
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            raw("UPDATE farms_farm SET tenant_id = %s", two.tenant_id)
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Farm(tenant_id=two.tenant_id, name="Theirs").save()
    with unit_of_work(two.tenant_id):
        assert raw("SELECT name FROM farms_farm") == [("Two",)]


@pytest.mark.django_db
def test_a_row_cannot_refer_to_another_tenants() -> None:
    one, two = farm_of("One"), farm_of("Two")
    with (
        unit_of_work(one.tenant_id),
        pytest.raises(IntegrityError, match="same_tenant"),
        transaction.atomic(),
    ):
        Paddock(farm_id=two.id, name="West").save()
        raw("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.django_db
def test_the_audit_can_be_added_to_and_never_changed() -> None:
    farm = farm_of("Hill")
    with unit_of_work(farm.tenant_id):
        before = raw("SELECT count(*) FROM audit_auditentry")
        assert before[0][0] > 0
        assert raw("UPDATE audit_auditentry SET action = 'nothing' RETURNING id") == []
        assert raw("DELETE FROM audit_auditentry RETURNING id") == []
        assert raw("SELECT count(*) FROM audit_auditentry") == before


@pytest.mark.django_db
def test_every_table_is_behind_the_wall_or_named_as_open() -> None:
    tables = raw(
        "SELECT relname, relrowsecurity AND relforcerowsecurity AND EXISTS"
        " (SELECT FROM pg_policy WHERE polrelid = c.oid) FROM pg_class c"
        " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    assert {name for name, walled in tables if not walled} == OPEN
    rules = raw("SELECT DISTINCT coalesce(qual, with_check) FROM pg_policies WHERE schemaname = 'public'")
    assert {rule for (rule,) in rules} == {
        "(tenant_id = (current_setting('app.tenant_id'::text))::uuid)",
        "(id = (current_setting('app.tenant_id'::text))::uuid)",
    }


@pytest.mark.django_db
def test_every_reference_inside_a_tenant_is_one_of_two_columns() -> None:
    ours = [model for model in apps.get_models() if issubclass(model, TenantModel)]
    assert len(ours) > 15
    wanted = set()
    for model in ours:
        for field in model._meta.concrete_fields:
            there = field.related_model
            if there is not None and issubclass(there, TenantModel):
                assert isinstance(field, TenantForeignKey), f"{model.__name__}.{field.name}"
                wanted.add((model._meta.db_table, field.column, there._meta.db_table))
    found = raw(
        "SELECT conrelid::regclass::text, a.attname, confrelid::regclass::text FROM pg_constraint"
        " JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[2]"
        " JOIN pg_attribute t ON t.attrelid = conrelid AND t.attnum = conkey[1] AND t.attname = 'tenant_id'"
        " WHERE contype = 'f' AND cardinality(conkey) = 2"
    )
    assert set(found) == wanted


def test_the_setting_ends_with_the_transaction(committed: psycopg.Connection[Any]) -> None:
    farm = farm_of("Hill")
    with unit_of_work(farm.tenant_id):
        assert raw("SELECT current_setting('app.tenant_id')") == [(str(farm.tenant_id),)]
    assert raw("SELECT current_setting('app.tenant_id', true)") in ([("",)], [(None,)])


def test_what_a_service_did_is_gone_with_its_unit(committed: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    farm: UUID | None = None
    with pytest.raises(RuntimeError, match="after all"), unit_of_work(owner.tenant_id):
        made = create_farm(owner, name="Hill")
        farm = create_paddock(owner, farm_id=made.id, name="West").farm_id
        raise RuntimeError("after all")
    assert farm
    query = "SELECT (SELECT count(*) FROM farms_farm), (SELECT count(*) FROM audit_auditentry WHERE object_id = %s)"
    assert committed.execute(query, (farm,)).fetchall() == [(0, 0)]
