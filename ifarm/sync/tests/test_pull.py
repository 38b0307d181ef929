"""What a device is told: everything, once it was committed, and nothing that is not its person's to know."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ifarm.animals.growth import delete_weight, record_weight
from ifarm.animals.models import Animal, Weight
from ifarm.animals.movements import move_animal
from ifarm.animals.services import delete_animal
from ifarm.animals.tests.examples import make_animal
from ifarm.animals.words import MovementKind
from ifarm.api.tests.examples import all_examples
from ifarm.audit import writes
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.permissions.models import Membership
from ifarm.permissions.services import actor_for, update_membership
from ifarm.sync.kinds import KINDS
from ifarm.sync.tasks import forget_old_changes
from ifarm.sync.tests.device import Device, operation, plainly, truth
from ifarm.sync.tests.test_journal import make_farm


def weigh(actor: Actor, animal: UUID, day: int = 1) -> UUID:
    with unit_of_work(actor.tenant_id):
        weighed_on = date(2024, 1, 1) + timedelta(days=day)
        return record_weight(actor, animal, weighed_on=weighed_on, weight_kg=Decimal(100)).id


def same(device: Device) -> bool:
    return plainly(device.copy) == plainly(truth(device.actor))


@pytest.fixture
def farm(committed: psycopg.Connection[Any]) -> Iterator[tuple[Actor, UUID, UUID]]:
    """An owner, a farm, an animal."""
    owner = make_owner()
    hill = make_farm(owner)
    yield owner, hill, make_animal(owner, hill, "AT 1")


def test_one_row_of_everything_by_the_first_pull_and_by_deltas(
    committed: psycopg.Connection[Any],
) -> None:
    owner = make_owner()
    early, made = Device(owner), dict[str, UUID]()
    early.pull()
    examples = all_examples()
    for name in ("farm_id", "paddock_id", "animal_id", "mother_id", "weight_id", "condition_id", "group_id",
                 "group_membership_id", "check_id", "medicine_id", "batch_id", "treatment_id", "dose_id",
                 "production_id", "lactation_id", "event_id"):  # fmt: skip
        made[name] = examples.rows[name](owner, made)
    early.push(
        operation("weight", "create", {"animal_id": str(made["animal_id"])})
    )  # refused, and remembered
    late = Device(owner)
    late.pull(limit=3)
    early.pull(limit=4)
    assert set(late.kinds()) == set(KINDS)
    assert plainly(late.copy) == plainly(early.copy) == plainly(truth(owner))


def test_what_goes_is_told(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    weights = [weigh(owner, animal, day) for day in range(3)]
    device = Device(owner)
    device.pull()
    with unit_of_work(owner.tenant_id):
        delete_weight(owner, weights[0])
    assert device.page()["changes"] == [
        {"kind": "weight", "id": str(weights[0]), "gone": True, "belongs_to": None, "row": None}
    ]
    with unit_of_work(owner.tenant_id):
        delete_animal(owner, animal)
    device.pull()
    assert set(device.kinds()) == {"farm"}
    assert same(device)


def test_nothing_new_is_an_empty_page_with_a_cursor_that_stays_good(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    device = Device(owner)
    assert device.pull() == 1
    for _ in range(3):
        page = device.page()
        assert (page["changes"], page["more"]) == ([], False)
    weigh(owner, animal)
    assert [one["kind"] for one in device.page()["changes"]] == ["weight"]


def test_pages_end_anywhere_also_in_the_middle_of_a_transaction(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, animal = farm
    device = Device(owner)
    device.pull()
    with unit_of_work(owner.tenant_id):
        for day in range(7):
            record_weight(owner, animal, weighed_on=date(2024, 1, 1 + day), weight_kg=Decimal(90))
    make_animal(owner, hill, "AT 2")
    assert device.pull(limit=2) >= 5
    assert same(device)


def test_only_the_kinds_that_were_asked_for(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, animal = farm
    device = Device(owner)
    device.pull(kinds="weight,farm")
    weigh(owner, animal)
    make_animal(owner, hill, "AT 2")
    device.pull(kinds="farm,weight")
    assert device.kinds() == {"farm": 1, "weight": 1}
    device.page(kinds="farm")
    assert device.restarts == ["scope"]
    refused = Device(owner).call("GET", {"kinds": "farm,tractor"})
    assert (refused.status_code, "tractor" in refused.json()["detail"]) == (400, True)


@pytest.mark.parametrize("forged", ["x", "eyJ9:1tYx:abc"])
def test_a_cursor_is_ours(farm: tuple[Actor, UUID, UUID], forged: str) -> None:
    assert Device(farm[0]).call("GET", {"since": forged}).status_code == 400


def test_what_commits_late_is_told_late_and_not_forgotten(farm: tuple[Actor, UUID, UUID]) -> None:
    """The trap of every cursor made of times or sequences: the first to begin is the last to commit."""
    owner, _, animal = farm
    device = Device(owner)
    device.pull()
    begun, go = threading.Event(), threading.Event()

    def slowly() -> UUID:
        with unit_of_work(owner.tenant_id):
            key = record_weight(owner, animal, weighed_on=date(2024, 2, 1), weight_kg=Decimal(80)).id
            begun.set()
            assert go.wait(60)
            return key

    late = in_thread(slowly)
    assert begun.wait(60)
    quick = weigh(owner, animal)
    device.pull()
    assert [key for kind, key in device.copy if kind == "weight"] == [str(quick)]
    go.set()
    assert ("weight", str(late())) not in device.copy
    device.pull()
    assert device.kinds()["weight"] == 2
    assert same(device)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 9))])
def test_writers_at_random_and_a_reader_all_the_while(farm: tuple[Actor, UUID, UUID], seed: int) -> None:
    """Four writers commit or take back in whatever order it happens; two devices pull meanwhile, page by page."""
    owner, hill, first = farm
    others = [make_animal(owner, hill, f"AT {number}") for number in range(2, 5)]
    animals = [first, *others]

    def write(number: int) -> None:
        chance, mine = Random(seed * 10 + number), list[UUID]()
        for step in range(12):
            try:
                with unit_of_work(owner.tenant_id):
                    one = Animal.objects.select_for_update().get(id=chance.choice(animals))
                    added = list[UUID]()
                    for _ in range(chance.randrange(3)):
                        day = date(2024, 1, 1) + timedelta(days=step)
                        added.append(record_weight(owner, one.id, weighed_on=day, weight_kg=Decimal(99)).id)
                    if chance.random() < 0.5:
                        writes.update(owner, one, {"name": f"{number}.{step}"})
                    if mine and chance.random() < 0.4:
                        writes.delete(owner, Weight.objects.select_for_update().get(id=mine[-1]))
                    if chance.random() < 0.2:
                        raise InterruptedError
            except InterruptedError:
                continue
            mine = [key for key in mine if key not in mine[-1:]] + added

    devices, done = [Device(owner), Device(owner)], threading.Event()

    def read(device: Device, limit: int) -> None:
        while not done.is_set():
            device.page(limit=limit)

    waits = [in_thread(lambda n=number: write(n)) for number in range(4)]  # type: ignore[misc]
    reads = [in_thread(lambda d=d, n=n: read(d, n)) for d, n in zip(devices, (3, 50), strict=True)]  # type: ignore[misc]
    try:
        for wait in waits:
            wait()
    finally:
        done.set()
    for wait in reads:
        wait()
    for device in devices:
        device.pull()
        assert not device.restarts
        assert same(device)


def worker_of(owner: Actor, *farms: UUID) -> Actor:
    return make_member(owner, Role.WORKER, farms)


def test_other_farms_are_not_even_heard_of(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, _ = farm
    vale = make_farm(owner, "Vale")
    device = Device(worker_of(owner, hill))
    device.pull()
    strange = make_animal(owner, vale, "AT 2")
    weight = weigh(owner, strange)
    with unit_of_work(owner.tenant_id):
        delete_weight(owner, weight)
        delete_animal(owner, strange)
    assert device.page()["changes"] == []
    assert same(device)


def test_an_animal_that_changes_the_farm_takes_along_what_belongs_to_it(
    farm: tuple[Actor, UUID, UUID],
) -> None:
    owner, hill, animal = farm
    vale = make_farm(owner, "Vale")
    weigh(owner, animal)
    gone = weigh(owner, animal, 2)
    here, there = Device(worker_of(owner, hill)), Device(worker_of(owner, vale))
    everywhere = Device(owner)
    for device in (here, there, everywhere):
        device.pull()
    assert (here.kinds()["weight"], there.kinds()) == (2, {"farm": 1})
    with unit_of_work(owner.tenant_id):
        move_animal(owner, animal, kind=MovementKind.TRANSFER, farm_id=vale)
    with unit_of_work(owner.tenant_id):
        delete_weight(owner, gone)
    for device in (here, there, everywhere):
        device.pull(limit=2)
        assert same(device)
        assert not device.restarts
    assert (here.kinds(), there.kinds()["weight"]) == ({"farm": 1}, 1)
    with unit_of_work(owner.tenant_id):
        move_animal(owner, animal, kind=MovementKind.TRANSFER, farm_id=hill)
    for device in (here, there, everywhere):
        device.pull(limit=1)
        assert same(device)


def test_a_weight_and_a_move_at_once_reach_the_new_farm(farm: tuple[Actor, UUID, UUID]) -> None:
    """The weight is recorded where the animal was, and committed when it is elsewhere."""
    owner, _, animal = farm
    vale = make_farm(owner, "Vale")
    there = Device(worker_of(owner, vale))
    there.pull()
    noted, go = threading.Event(), threading.Event()

    def slowly() -> None:
        with unit_of_work(owner.tenant_id):
            record_weight(owner, animal, weighed_on=date(2024, 2, 1), weight_kg=Decimal(80))
            noted.set()
            assert go.wait(60)

    wait = in_thread(slowly)
    assert noted.wait(60)
    with unit_of_work(owner.tenant_id):
        move_animal(owner, animal, kind=MovementKind.TRANSFER, farm_id=vale)
    there.pull()
    assert "weight" not in there.kinds()
    go.set()
    wait()
    there.pull()
    assert there.kinds()["weight"] == 1
    assert same(there)


def test_other_farms_or_another_person_mean_a_new_beginning(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, hill, _ = farm
    vale = make_farm(owner, "Vale")
    worker = worker_of(owner, hill)
    device = Device(worker)
    device.pull()
    with unit_of_work(owner.tenant_id):
        member = Membership.objects.get(user_id=worker.id)
        update_membership(owner, member.id, {"farm_ids": [vale]}, Seen(member.version))
        device.actor = actor_for(worker.id)
    device.pull()
    assert device.restarts == ["scope"]
    assert same(device)
    assert {key for kind, key in device.copy if kind == "farm"} == {str(vale)}
    heir = Device(worker_of(owner, vale), cursor=device.cursor)
    heir.page()
    assert heir.restarts == ["scope"]


def test_who_was_away_for_too_long_begins_anew(farm: tuple[Actor, UUID, UUID]) -> None:
    owner, _, animal = farm
    early, late = Device(owner), Device(owner)
    early.pull()
    weigh(owner, animal)
    late.pull()
    with as_owner():
        assert forget_old_changes(timezone.now() + timedelta(days=91)) == 2
        assert forget_old_changes(timezone.now() + timedelta(days=91)) == 0
    late.pull()
    weigh(owner, animal)
    early.pull()
    late.pull()
    assert (early.restarts, late.restarts) == (["age"], [])
    assert same(early)
    assert same(late)


def test_another_history_is_noticed_also_where_its_numbers_fit(
    farm: tuple[Actor, UUID, UUID], committed: psycopg.Connection[Any]
) -> None:
    """What a failover does that loses the last commits: they are gone, and their numbers are given again."""
    owner, _, animal = farm
    before, ahead = Device(owner), Device(owner)
    before.pull()
    committed.execute("CREATE TABLE kept AS SELECT id FROM sync_commit")
    weigh(owner, animal)
    ahead.pull()
    committed.execute("DELETE FROM animals_weight")  # the triggers' note of it goes too
    committed.execute("DELETE FROM sync_change WHERE commit_id NOT IN (SELECT id FROM kept)")
    committed.execute("DELETE FROM sync_commit WHERE id NOT IN (SELECT id FROM kept)")
    committed.execute("DROP TABLE kept")
    weigh(owner, animal, 2)
    for device in (before, ahead):
        device.pull()
        assert same(device)
    assert (before.restarts, ahead.restarts) == ([], ["history"])


def test_a_page_that_showed_more_than_its_cursor_says_is_not_forgotten(
    farm: tuple[Actor, UUID, UUID], committed: psycopg.Connection[Any]
) -> None:
    """A page tells rows as they are now. Its cursor stands before the commit that made them so, which is then lost."""
    owner, hill, animal = farm
    device = Device(owner)
    device.pull()
    with unit_of_work(owner.tenant_id):
        Animal.objects.filter(id=animal).update(name="first")
    make_animal(owner, hill, "AT 2")
    committed.execute("CREATE TABLE kept AS SELECT id FROM sync_commit")
    with unit_of_work(owner.tenant_id):
        Animal.objects.filter(id=animal).update(name="second")
    device.page(limit=1)
    assert device.copy["animal", str(animal)]["name"] == "second"
    committed.execute("UPDATE animals_animal SET name = 'first' WHERE id = %s", (animal,))
    committed.execute("DELETE FROM sync_change WHERE commit_id NOT IN (SELECT id FROM kept)")
    committed.execute("DELETE FROM sync_commit WHERE id NOT IN (SELECT id FROM kept)")
    committed.execute("DROP TABLE kept")
    device.pull()
    assert device.restarts == ["history"]
    assert same(device)


def test_after_a_load_a_device_begins_anew(
    farm: tuple[Actor, UUID, UUID], committed: psycopg.Connection[Any]
) -> None:
    owner, _, animal = farm
    device = Device(owner)
    device.pull()
    noted = committed.execute("SELECT count(*) FROM sync_change").fetchall()[0][0]
    committed.execute(
        "INSERT INTO animals_weight SELECT (jsonb_populate_record(w, jsonb_build_object('id', gen_random_uuid()))).*"
        " FROM animals_weight w, generate_series(1, 5001) WHERE w.id = %s",
        (weigh(owner, animal),),
    )
    assert committed.execute("SELECT count(*) FROM sync_change").fetchall()[0][0] < noted + 10
    device.pull(limit=500)
    assert device.restarts == ["load"]
    assert device.kinds()["weight"] == 5002
    assert device.page()["changes"] == []


def queries_of(device: Device, **query: Any) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        device.page(**query)
    return [one["sql"] for one in queries if not one["sql"].startswith(("BEGIN", "COMMIT"))]


@pytest.mark.parametrize("size", [3, 12])
def test_the_questions_of_a_page_do_not_grow_with_it(farm: tuple[Actor, UUID, UUID], size: int) -> None:
    """Tenant, token, last commit, notes, then the rows and parts of each kind that is told, then the newest commit."""
    owner, hill, animal = farm
    device = Device(owner)
    device.pull()
    for number in range(size):
        weigh(owner, animal, number)
        make_animal(owner, hill, f"AT 7{number}")
    told = queries_of(device, limit=500)
    # animal (and its identifiers and parents), movement, weight
    assert len(told) == 5 + 3 + 1 + 1, "\n".join(told)
    empty = queries_of(device)
    assert len(empty) == 4, "\n".join(empty)


def test_the_time_of_the_server_is_told(farm: tuple[Actor, UUID, UUID]) -> None:
    told = datetime.fromisoformat(Device(farm[0]).page()["server_time"])
    assert abs(told - datetime.now(UTC)) < timedelta(minutes=5)
