"""The cycle of one cow in any order: what is refused changes nothing, what is done leads to what is next."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ifarm.animals.models import Animal
from ifarm.animals.services import create_animal
from ifarm.breeding import services
from ifarm.breeding.models import BreedingEvent, DueEvent
from ifarm.breeding.words import ReproductionStatus as Status
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.tests.factories import make_owner
from ifarm.farms.services import create_farm

BEGIN = date(2010, 1, 1)
LEAST = 224
DUE = {
    Status.OPEN: {"Service"},
    Status.BIRTHED: {"Service"},
    Status.NOT_PREGNANT: {"Service"},
    Status.INSEMINATED: {"HeatRepeat", "PregnancyCheck"},
    Status.PREGNANT: {"Calving", "DryOff"},
}


class OneCow(RuleBasedStateMachine):
    """One cow; the model knows her status, when it began, and who was born."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.owner = make_owner()
        self.stack.enter_context(unit_of_work(self.owner.tenant_id))
        farm = create_farm(self.owner, name="Hill")
        fields: dict[str, Any] = {"animal_type": "Cattle", "sex": "Female", "birth_date": date(2005, 1, 1)}
        self.cow = create_animal(self.owner, farm_id=farm.id, tag_number="AT 1", **fields).id
        self.now, self.status = 0, Status.OPEN
        self.calved: int | None = None
        self.ended: int | None = None
        self.served: int | None = None
        self.conceived: int | None = None
        self.heat: int | None = None
        self.born = self.calvings = self.events = 0

    def teardown(self) -> None:
        self.stack.close()

    def attempt(self, allowed: bool, days: int, service: Any, **given: Any) -> bool:
        day = self.now + days
        try:
            with transaction.atomic():
                service(self.owner, self.cow, happened_on=BEGIN + timedelta(days=day), **given)
        except RuleBroken:
            assert not allowed
            return False
        assert allowed
        self.now, self.events = day, self.events + 1
        return True

    @rule(days=st.integers(1, 40))
    def heat_is_seen(self, days: int) -> None:
        if self.attempt(True, days, services.record_heat, detection="Visual"):
            self.heat = self.now

    @rule(days=st.integers(1, 60))
    def is_served(self, days: int) -> None:
        allowed = self.status is not Status.PREGNANT
        if self.attempt(allowed, days, services.record_service, service_method="NaturalService"):
            self.status, self.served = Status.INSEMINATED, self.now

    @rule(days=st.integers(1, 60), result=st.sampled_from(["Pregnant", "Multiple", "Empty", "Unknown"]))
    def is_examined(self, days: int, result: str) -> None:
        positive = result in ("Pregnant", "Multiple")
        allowed = not positive or self.served is not None
        given = {"check_method": "Palpation", "result": result}
        if not self.attempt(allowed, days, services.record_check, **given):
            return
        if positive and self.status is not Status.PREGNANT:
            self.status, self.conceived = Status.PREGNANT, self.served
        elif result == "Empty":
            self.status, self.conceived = Status.NOT_PREGNANT, None

    @rule(days=st.integers(1, 120))
    def aborts(self, days: int) -> None:
        allowed = self.status in (Status.PREGNANT, Status.INSEMINATED)
        if self.attempt(allowed, days, services.record_abortion):
            self.end(Status.OPEN)

    @rule(days=st.integers(150, 300), alive=st.integers(0, 2), dead=st.integers(0, 1))
    def calves(self, days: int, alive: int, dead: int) -> None:
        day = self.now + days
        since = [one for one in (self.calved, self.conceived) if one is not None]
        allowed = alive + dead > 0 and all(day - one >= LEAST for one in since)
        offspring = [
            {"birth_status": "Alive", "sex": "Female", "tag_number": f"AT 9{day}{number}"}
            for number in range(alive)
        ] + [{"birth_status": "Stillborn", "sex": "Male"}] * dead
        given = {"ease": "EasyUnassisted", "offspring": offspring}
        if self.attempt(allowed, days, services.record_calving, **given):
            self.end(Status.BIRTHED)
            self.calved, self.born, self.calvings = self.now, self.born + alive, self.calvings + 1

    def end(self, status: Status) -> None:
        self.status, self.ended = status, self.now
        self.served = self.conceived = self.heat = None

    @invariant()
    def the_events_say_what_the_model_says(self) -> None:
        animal = Animal.objects.get(id=self.cow)
        state = services.state_of(animal)
        assert state.status is self.status
        assert state.conceived_on == (
            None if self.conceived is None else BEGIN + timedelta(days=self.conceived)
        )
        assert BreedingEvent.objects.count() == self.events
        assert Animal.objects.count() == 1 + self.born
        assert animal.lactations.count() == self.calvings
        assert animal.lactations.filter(ends_on=None).count() == min(self.calvings, 1)

    @invariant()
    def the_next_event_is_due(self) -> None:
        wanted = set(DUE[self.status])
        if self.ended is None:
            wanted.discard("Service")
        if self.status is not Status.PREGNANT and (self.heat is not None or self.served is not None):
            wanted.add("HeatRepeat")
        assert {row.kind for row in DueEvent.objects.all()} == wanted

    @invariant()
    def a_pregnancy_has_one_service_at_most(self) -> None:
        services_ = BreedingEvent.objects.filter(kind="Service").order_by("happened_on")
        told = list(services_.values_list("happened_on", "conceived"))
        if self.status is Status.INSEMINATED:
            assert told[-1][1] is None
        if self.conceived is not None:
            assert (BEGIN + timedelta(days=self.conceived), True) in told
        assert all(conceived is not None for _, conceived in told[:-1])


@pytest.mark.django_db
def test_the_cycle_in_any_order() -> None:
    few = settings(
        max_examples=8, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(OneCow, settings=few)
