"""Many at once leave the same rows as one by one, and are refused the same."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.many import create_animals
from ifarm.animals.models import (
    Animal,
    AnimalIdentifier,
    BreedFraction,
    GroupMembership,
    Movement,
    Parentage,
    Stay,
)
from ifarm.animals.services import create_animal, set_parent
from ifarm.animals.words import ArrivalReason, ParentRole
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.ids import uuid7
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_owner
from ifarm.farms.services import create_farm, create_paddock

pytestmark = pytest.mark.django_db
BORN = date(2024, 3, 1)
ARRIVED = datetime(2025, 6, 1, 8, 30, tzinfo=UTC)
MADE_BY_CHANCE = {"id", "tenant_id", "created_at", "modified_at", "version"}


class Place:
    def __init__(self) -> None:
        self.owner: Actor = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm = create_farm(self.owner, name="Hill").id
            self.other = create_farm(self.owner, name="Vale").id
            self.paddock = create_paddock(self.owner, farm_id=self.farm, name="West").id
            self.far_paddock = create_paddock(self.owner, farm_id=self.other, name="West").id
            self.group = create_group(self.owner, farm_id=self.farm, name="Calves", kind="Management").id

    def wanted(self, tag: str, **more: Any) -> dict[str, Any]:
        given = {"farm_id": self.farm, "tag_number": tag, "animal_type": "Cattle", "sex": "Female"}
        return {**given, "birth_date": BORN, **more}

    def three(self) -> list[dict[str, Any]]:
        dam, calf, away = uuid7(), uuid7(), uuid7()
        return [
            self.wanted("AT 1", id=dam, birth_date=date(2020, 1, 1), paddock_id=self.paddock),
            self.wanted(
                "AT 2",
                id=calf,
                name="Elsa",
                parents={ParentRole.DAM: dam},
                breeds=[{"code": "SIM", "parts": 3}, {"code": "HOL", "parts": 1}],
                identifiers=[{"kind": "Eid", "value": "040 000 000 000 001"}],
                group_ids=[self.group],
                joined_on=date(2024, 5, 1),
            ),
            self.wanted("AT 3", id=away, arrived_at=ARRIVED, arrival_reason=ArrivalReason.PURCHASE),
            self.wanted("AT 4", id=uuid7(), is_reference=True, birth_date=None),
        ]

    def one_by_one(self, wanted: list[dict[str, Any]]) -> None:
        for given in wanted:
            rest = dict(given)
            parents, groups = rest.pop("parents", {}), rest.pop("group_ids", [])
            day = rest.pop("joined_on", None)
            animal = create_animal(self.owner, **rest)
            for role, parent in parents.items():
                set_parent(self.owner, animal.id, parent_id=parent, role=role)
            for group in groups:
                join_group(self.owner, group, animal_id=animal.id, starts_on=day)


def plainly(row: Mapping[str, Any], names: Mapping[UUID, str]) -> tuple[Any, ...]:
    return tuple(
        str(names.get(value, value)) for key, value in sorted(row.items()) if key not in MADE_BY_CHANCE
    )


def left(names: Mapping[UUID, str]) -> dict[str, Any]:
    """Everything that the animals left; their ids and those of the farm by name."""
    models = [Animal, AnimalIdentifier, BreedFraction, Parentage, Movement, Stay, GroupMembership]
    found: dict[str, Any] = {
        model.__name__: sorted(plainly(row, names) for row in model.objects.values()) for model in models
    }
    found["events"] = sorted(
        (e.type, e.aggregate, e.schema_version, e.traceparent, e.payload["tag_number"], sorted(e.payload))
        for e in OutboxEvent.objects.filter(type__startswith="animal_")
    )
    # One by one, the breed that an animal shows is a change of its own.
    entries = AuditEntry.objects.filter(model__startswith="animals.").exclude(action="changed")
    told = [(e.action, e.model, e.actor_role, e.reason, sorted(e.changes)) for e in entries]
    found["audit"] = sorted((*one[:4], [name for name in one[4] if name != "breed_id"]) for one in told)
    return found


def test_the_same_rows_as_one_by_one() -> None:
    found = []
    for together in (True, False):
        place = Place()
        with unit_of_work(place.owner.tenant_id):
            wanted = place.three()
            if together:
                made = create_animals(place.owner, wanted)
                assert [getattr(one, "id", one) for one in made] == [one["id"] for one in wanted]
            else:
                place.one_by_one(wanted)
            names = {one["id"]: one["tag_number"] for one in wanted}
            names |= {place.farm: "farm", place.paddock: "paddock", place.group: "group"}
            told = left(names)
        found.append(told)
    assert found[0] == found[1]


def test_each_refusal_costs_its_animal_only() -> None:
    place = Place()
    tomorrow = timezone.localdate() + timedelta(days=2)
    nobody, bad_dam = uuid7(), uuid7()
    cases: list[tuple[dict[str, Any], type[Exception]]] = [
        (place.wanted("B 1", farm_id=uuid7()), NotFound),
        (place.wanted("B 2", paddock_id=place.far_paddock), RuleBroken),
        (place.wanted("B 3", paddock_id=uuid7()), NotFound),
        (place.wanted("B 4", id=bad_dam, birth_date=tomorrow), ValidationError),
        (place.wanted("B 5", parents={ParentRole.DAM: nobody}), NotFound),
        (place.wanted("B 6", parents={ParentRole.DAM: bad_dam}), NotFound),
        (place.wanted("B 7", breeds=[{"code": "NONE", "parts": 1}]), NotFound),
        (place.wanted("B 8", identifiers=[{"kind": "Eid", "value": "12"}]), RuleBroken),
        (place.wanted("---"), RuleBroken),
        (place.wanted("B 9", farm_id=place.other, group_ids=[place.group]), RuleBroken),
        (place.wanted("B 10", is_reference=False, arrived_at=timezone.now() + timedelta(days=1)), RuleBroken),
    ]
    good = [place.wanted("G 1", id=uuid7(), sex="Male"), place.wanted("G 2")]
    own_sire = place.wanted("B 11", parents={ParentRole.DAM: good[0]["id"]})
    with unit_of_work(place.owner.tenant_id):
        made = create_animals(place.owner, [good[0], *(case for case, _ in cases), own_sire, good[1]])
        assert [type(one) for one in made] == [Animal, *(kind for _, kind in cases), RuleBroken, Animal]
        assert sorted(Animal.objects.values_list("tag_number", flat=True)) == ["G 1", "G 2"]
        assert Movement.objects.count() == Stay.objects.count() == AnimalIdentifier.objects.count() == 2


def test_an_identifier_in_use_undoes_all() -> None:
    place = Place()
    with unit_of_work(place.owner.tenant_id):
        create_animals(place.owner, [place.wanted("AT 0012")])
        with pytest.raises(IntegrityError, match="identifiers_in_use_differ"), transaction.atomic():
            create_animals(place.owner, [place.wanted("AT 13"), place.wanted("at-12")])
        assert Animal.objects.count() == 1


def test_ten_times_as_many_cost_no_more_statements() -> None:
    place = Place()
    with unit_of_work(place.owner.tenant_id):
        counts = []
        for start, end in ((0, 4), (100, 140)):
            with CaptureQueriesContext(connection) as queries:
                create_animals(place.owner, [place.wanted(f"AT {number}") for number in range(start, end)])
            counts.append(len(queries))
    assert counts[0] == counts[1] <= 20


def test_another_farms_are_not_found() -> None:
    place = Place()
    far = Actor(
        place.owner.id,
        place.owner.tenant_id,
        place.owner.role,
        place.owner.rights,
        frozenset({place.other}),
    )
    with unit_of_work(place.owner.tenant_id):
        made = create_animals(far, [place.wanted("AT 1"), place.wanted("AT 2", farm_id=place.other)])
        assert [type(one) for one in made] == [NotFound, Animal]
