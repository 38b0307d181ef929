"""Movements in any order: what is refused changes nothing, what is done leaves an animal in one place or in none."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ifarm.animals.movements import move_animal
from ifarm.animals.policies import access_animal
from ifarm.animals.services import create_animal
from ifarm.animals.words import ArrivalReason, MovementKind, Status
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.tests.factories import make_owner
from ifarm.farms.services import create_farm, create_paddock

BEGIN = datetime(2023, 1, 1, tzinfo=UTC)
COMES = (MovementKind.ARRIVAL, MovementKind.TRANSFER)


class OneAnimal(RuleBasedStateMachine):
    """One animal, two farms, three paddocks; the model knows where it is and since when."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.owner = make_owner()
        self.stack.enter_context(unit_of_work(self.owner.tenant_id))
        self.farms = [create_farm(self.owner, name=name) for name in ("Hill", "Vale")]
        self.places: list[tuple[Any, Any]] = [(farm.id, None) for farm in self.farms]
        for farm, name in zip([*self.farms, self.farms[0]], ("1", "2", "3"), strict=True):
            self.places.append((farm.id, create_paddock(self.owner, farm_id=farm.id, name=name).id))
        fields: dict[str, Any] = {"animal_type": "Cattle", "sex": "Female", "arrived_at": BEGIN}
        animal = create_animal(
            self.owner,
            farm_id=self.farms[0].id,
            tag_number="AT 1",
            arrival_reason=ArrivalReason.PURCHASE,
            **fields,
        )
        self.id, self.now, self.status = animal.id, 0, Status.ALIVE
        self.place: tuple[Any, Any] | None = self.places[0]
        self.stays = 1

    def teardown(self) -> None:
        self.stack.close()

    @rule(
        kind=st.sampled_from(list(MovementKind)),
        reason=st.sampled_from(["", "Sale", "Purchase", "Accident", "InternalTransfer", "Other"]),
        hour=st.integers(-2, 5),
        place=st.integers(0, 4),
    )
    def move(self, kind: MovementKind, reason: str, hour: int, place: int) -> None:
        farm_id, paddock_id = self.places[place]
        moment = BEGIN + timedelta(hours=self.now + hour)
        try:
            with transaction.atomic():
                move_animal(
                    self.owner,
                    self.id,
                    kind=kind,
                    reason=reason,
                    moved_at=moment,
                    farm_id=farm_id,
                    paddock_id=paddock_id,
                )
        except RuleBroken:
            away = self.status is Status.OFF_FARM
            fits = away if kind is MovementKind.ARRIVAL else self.status is Status.ALIVE
            assert not fits or hour <= 0 or kind is MovementKind.BIRTH or not self.has(kind, reason)
            return
        assert hour > 0
        assert self.has(kind, reason)
        self.now += hour
        gone = {MovementKind.DEPARTURE: Status.OFF_FARM, MovementKind.DEATH: Status.DEAD}
        self.status = gone.get(kind, Status.ALIVE)
        self.place = self.places[place] if kind in COMES else None
        self.stays += kind in COMES

    @staticmethod
    def has(kind: MovementKind, reason: str) -> bool:
        known = {
            MovementKind.ARRIVAL: {"Sale", "Purchase", "InternalTransfer", "Other"},
            MovementKind.TRANSFER: {"", "InternalTransfer"},
            MovementKind.DEPARTURE: {"Sale", "Accident", "Other"},
            MovementKind.DEATH: {"Accident", "Other"},
        }
        return reason in known.get(kind, set())

    @invariant()
    def the_row_and_the_stays_agree(self) -> None:
        animal = access_animal(self.owner, self.id)
        assert animal.status == self.status
        stays = list(animal.stays.order_by("starts_at"))
        assert len(stays) == self.stays
        for one, following in pairwise(stays):
            assert one.ends_at is not None
            assert one.starts_at < one.ends_at <= following.starts_at
        here = [(stay.farm_id, stay.paddock_id) for stay in stays if stay.ends_at is None]
        assert here == ([] if self.place is None else [self.place])
        if self.place is not None:
            assert (animal.farm_id, animal.paddock_id) == self.place


@pytest.mark.django_db
def test_movements_in_any_order() -> None:
    few = settings(
        max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(OneAnimal, settings=few)
