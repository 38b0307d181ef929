"""The journal that the database writes: nothing is forgotten, and numbers are in the order of the commits."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection, transaction

from ifarm.animals.growth import record_weight
from ifarm.animals.models import Animal
from ifarm.animals.tests.examples import make_animal
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import await_waiting, in_thread
from ifarm.farms.services import create_farm
from ifarm.sync.kinds import KINDS

JOURNAL = import_module("ifarm.sync.migrations.0002_journal")


def make_farm(owner: Actor, name: str = "Hill") -> UUID:
    with unit_of_work(owner.tenant_id):
        return create_farm(owner, name=name).id


def commits(owner: psycopg.Connection[Any], tenant: UUID) -> list[list[tuple[str, UUID]]]:
    """What each commit changed, in the order of their numbers, which have no gaps."""
    rows = owner.execute(
        "SELECT c.number, s.kind, s.object_id FROM sync_commit c LEFT JOIN sync_change s ON s.commit_id = c.id"
        " AND s.tenant_id = c.tenant_id AND s.kind <> '' WHERE c.tenant_id = %s ORDER BY 1, 2, 3",
        (tenant,),
    ).fetchall()
    found: list[list[tuple[str, UUID]]] = []
    for number, kind, key in rows:
        if number > len(found):
            found.append([])
        assert number == len(found)
        found[-1].append((kind, key))
    return found


def test_every_kind_and_every_part_of_it_is_noted() -> None:
    wanted = {
        (model._meta.db_table, name)
        for name, kind in KINDS.items()
        for model in (kind.model, *(part for _, part in kind.parts))
    }
    assert {(table, noted[0]) for table, noted in JOURNAL.NOTED.items()} == wanted


def test_what_the_journal_calls_home_is_what_the_policy_asks_for() -> None:
    paths = {"id": "{row}.id", "farm_id": "{row}.farm_id", "animal__farm_id": "{row}.animal_id"}
    for kind in KINDS.values():
        home = JOURNAL.NOTED[kind.model._meta.db_table][2]
        farm = kind.policy.farm
        assert home == (paths[farm] if farm else JOURNAL.EVERYBODY) or home == JOURNAL.BY_PARENT


def test_plain_sql_is_noted_too(committed: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    farm = make_farm(owner)
    animal = make_animal(owner, farm, "AT 1")
    before = len(commits(committed, owner.tenant_id))
    with unit_of_work(owner.tenant_id), connection.cursor() as sql:
        sql.execute("UPDATE animals_animal SET name = 'Elsa'")
    committed.execute("UPDATE animals_animal SET name = 'Else'")  # somebody with psql
    committed.execute("DELETE FROM animals_stay")  # no device holds these
    committed.execute("DELETE FROM animals_animalidentifier")
    assert commits(committed, owner.tenant_id)[before:] == [[("animal", animal)]] * 3


def test_one_number_for_one_transaction_and_none_for_what_was_taken_back(
    committed: psycopg.Connection[Any],
) -> None:
    owner = make_owner()
    farm = make_farm(owner)
    before = len(commits(committed, owner.tenant_id))
    with unit_of_work(owner.tenant_id):
        with pytest.raises(RuntimeError), transaction.atomic():
            create_farm(owner, name="Never")
            raise RuntimeError
        first = create_farm(owner, name="One").id
        with pytest.raises(RuntimeError), transaction.atomic():
            create_farm(owner, name="Never")
            raise RuntimeError
        second = create_farm(owner, name="Two").id
    with pytest.raises(RuntimeError), unit_of_work(owner.tenant_id):
        create_farm(owner, name="Never")
        raise RuntimeError
    with unit_of_work(owner.tenant_id), transaction.atomic():
        Animal.objects.filter(farm_id=farm).update(name="nobody")  # no row, no note
    found = commits(committed, owner.tenant_id)[before:]
    assert found == [sorted([("farm", first), ("farm", second)])]


def test_a_transaction_of_two_tenants_has_a_number_in_each(committed: psycopg.Connection[Any]) -> None:
    one, two = make_owner("One"), make_owner("Two")
    farms = make_farm(one), make_farm(two)
    before = [len(commits(committed, who.tenant_id)) for who in (one, two)]
    with committed.transaction():
        for farm in farms:
            committed.execute("UPDATE farms_farm SET holding_number = 'new' WHERE id = %s", (farm,))
    for who, farm, known in zip((one, two), farms, before, strict=True):
        assert commits(committed, who.tenant_id)[known:] == [[("farm", farm)]]


def test_numbers_and_marks_are_given_here_whoever_adds_a_commit(
    committed: psycopg.Connection[Any],
) -> None:
    """As `understudy rescue` does, out of a tail that another history has gone on from."""
    owner = make_owner()
    farm = make_farm(owner)
    number, commit = len(commits(committed, owner.tenant_id)), uuid4()
    lost: Any = (commit, owner.tenant_id, 7000, commit)
    committed.execute(
        "INSERT INTO sync_commit (id, tenant_id, created_at, modified_at, number, mark)"
        " VALUES (%s, %s, now(), now(), %s, %s)",
        lost,
    )
    committed.execute("UPDATE farms_farm SET holding_number = 'new' WHERE id = %s", (farm,))
    rows = committed.execute("SELECT number, mark FROM sync_commit WHERE id = %s", (commit,)).fetchall()
    assert rows[0][0] == number + 1
    assert rows[0][1] != commit
    assert len(commits(committed, owner.tenant_id)) == number + 2


def test_the_application_cannot_change_the_journal(committed: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    make_farm(owner)
    with unit_of_work(owner.tenant_id), connection.cursor() as sql:
        for table in ("sync_commit", "sync_change", "sync_pushedoperation"):
            sql.execute(f"UPDATE {table} SET modified_at = now()")
            assert sql.rowcount == 0
            sql.execute(f"DELETE FROM {table}")
            assert sql.rowcount == 0


def test_foreign_keys_are_checked_before_the_number_is_waited_for(
    committed: psycopg.Connection[Any],
) -> None:
    """One records weights, and holds no lock on the animals until COMMIT checks its foreign keys. Another has locked
    the second animal and waits for the number: were it the other way about, they would wait for each other."""
    owner = make_owner()
    farm = make_farm(owner)
    first, second = make_animal(owner, farm, "AT 1"), make_animal(owner, farm, "AT 2")
    noted, locked = threading.Event(), threading.Event()

    def weigh() -> str:
        with unit_of_work(owner.tenant_id):
            for animal in (first, second):
                record_weight(owner, animal, weighed_on=date(2024, 1, 1), weight_kg=Decimal(100))
            noted.set()
            assert locked.wait(60)
        return "done"

    wait = in_thread(weigh)
    assert noted.wait(60)
    with unit_of_work(owner.tenant_id):
        found = Animal.objects.select_for_update().get(id=second)
        found.name = "Elsa"
        found.save()
        locked.set()
        await_waiting(committed, "transactionid")
    assert wait() == "done"
    last = commits(committed, owner.tenant_id)[-2:]
    assert [[kind for kind, _ in one] for one in last] == [["animal"], ["weight", "weight"]]


def test_who_has_a_number_is_waited_for_by_the_next_of_its_tenant_only(
    committed: psycopg.Connection[Any],
) -> None:
    owner, other = make_owner("One"), make_owner("Two")
    before = len(commits(committed, owner.tenant_id))
    with unit_of_work(owner.tenant_id):
        first = create_farm(owner, name="First").id
        with connection.cursor() as sql:
            sql.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as COMMIT does, without its end
        wait = in_thread(lambda: make_farm(owner, "Second"))
        await_waiting(committed, "advisory")
        assert in_thread(lambda: make_farm(other))()
    second = wait()
    assert commits(committed, owner.tenant_id)[before:] == [[("farm", first)], [("farm", second)]]


def test_the_owner_of_the_tables_writes_the_same_journal(committed: psycopg.Connection[Any]) -> None:
    owner = make_owner()
    with as_owner():
        farm = make_farm(owner)
    assert commits(committed, owner.tenant_id)[-1] == [("farm", farm)]
