"""Doses and stock in any order: clocks are what the doses that hold say, stock is what the moves say."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.versions import Seen
from ifarm.health.models import MedicineBatch, StockMove, TreatmentDose, Withdrawal
from ifarm.health.stock import record_move, record_purchase
from ifarm.health.tests.examples import GOOD_UNTIL, make_batch, make_treatment
from ifarm.health.tests.test_stock import Cabinet
from ifarm.health.treatments import GivenDose, add_dose, correct_dose, void_dose
from ifarm.health.withdrawal import withheld
from ifarm.health.words import MoveKind, Product, Unit

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOURS = {Product.MEAT: 28 * 24, Product.MILK: 36}
AMOUNTS = st.integers(1, 60)


class OneCow(RuleBasedStateMachine):
    """One cow, two batches. The model: the doses that hold of each treatment, and what each batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.cabinet = Cabinet()
        self.owner = self.cabinet.owner
        self.stack.enter_context(unit_of_work(self.owner.tenant_id))
        second = make_batch(self.owner, self.cabinet.farm, self.cabinet.medicine, "B2", 40)
        self.batches: list[UUID | None] = [self.cabinet.batch, second, None]
        self.stock: dict[UUID | None, int] = {self.cabinet.batch: 100, second: 40}
        self.doses: dict[UUID, dict[UUID, tuple[int, int, UUID | None]]] = {}  # hour, quantity, batch
        self.voided: set[UUID] = set()

    def teardown(self) -> None:
        self.stack.close()

    def attempt(self, change: dict[UUID | None, int], work: Any) -> Any:
        """Do it; it goes where no batch goes below nothing, and else changes nothing."""
        after = {key: value + change.get(key, 0) for key, value in self.stock.items()}
        possible = all(value >= 0 for value in after.values())
        try:
            with transaction.atomic():
                found = work()
        except RuleBroken:
            assert not possible
            return None
        assert possible
        self.stock = after
        return found

    @rule(hour=st.integers(0, 400), quantity=AMOUNTS, which=st.integers(0, 2))
    def treat(self, hour: int, quantity: int, which: int) -> None:
        batch, moment = self.batches[which], BEGIN + timedelta(hours=hour)
        key = self.attempt(
            {batch: -quantity},
            lambda: make_treatment(
                self.owner, self.cabinet.cow, self.cabinet.medicine, (moment, quantity), batch_id=batch
            ),
        )
        if key is not None:
            dose = TreatmentDose.objects.get(treatment=key)
            self.doses[key] = {dose.id: (hour, quantity, batch)}

    @precondition(lambda self: self.doses)
    @rule(data=st.data(), hour=st.integers(0, 400), quantity=AMOUNTS, which=st.integers(0, 2))
    def dose_again(self, data: Any, hour: int, quantity: int, which: int) -> None:
        key, batch = data.draw(st.sampled_from(sorted(self.doses))), self.batches[which]
        given = GivenDose(Decimal(quantity), BEGIN + timedelta(hours=hour), batch)
        dose = self.attempt(
            {batch: -quantity}, lambda: add_dose(self.owner, key, unit=Unit.MILLILITRE, dose=given)
        )
        if dose is not None:
            self.doses[key][dose.id] = (hour, quantity, batch)

    def holding(self) -> list[tuple[UUID, UUID]]:
        return sorted((key, dose) for key, doses in self.doses.items() for dose in doses)

    @precondition(lambda self: self.holding())
    @rule(data=st.data(), hour=st.integers(0, 400), quantity=AMOUNTS, which=st.integers(0, 2))
    def correct(self, data: Any, hour: int, quantity: int, which: int) -> None:
        key, dose = data.draw(st.sampled_from(self.holding()))
        _, before, old = self.doses[key][dose]
        new = self.batches[which]
        moved: dict[UUID | None, int] = {}
        for batch, amount in ((old, before), (new, -quantity)):
            moved[batch] = moved.get(batch, 0) + amount
        changes = {
            "given_at": BEGIN + timedelta(hours=hour),
            "quantity": Decimal(quantity),
            "batch_id": new,
        }
        seen = Seen(TreatmentDose.objects.get(pk=dose).version)
        if self.attempt(moved, lambda: correct_dose(self.owner, dose, changes, seen)) is not None:
            self.doses[key][dose] = (hour, quantity, new)

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def void(self, data: Any) -> None:
        key, dose = data.draw(st.sampled_from(self.holding()))
        _, quantity, batch = self.doses[key].pop(dose)
        self.attempt({batch: quantity}, lambda: void_dose(self.owner, dose, reason="never given"))
        self.voided.add(dose)

    @precondition(lambda self: self.voided)
    @rule(data=st.data())
    def what_was_voided_stays_so(self, data: Any) -> None:
        dose = data.draw(st.sampled_from(sorted(self.voided)))
        with pytest.raises(RuleBroken), transaction.atomic():
            void_dose(self.owner, dose, reason="again")

    @rule(quantity=AMOUNTS, which=st.integers(0, 1), kind=st.sampled_from(["buy", "count", "dispose"]))
    def stock_changes(self, quantity: int, which: int, kind: str) -> None:
        batch = self.batches[which]
        assert batch is not None
        if kind == "buy":
            number = MedicineBatch.objects.get(pk=batch).batch_number
            self.attempt({batch: quantity}, lambda: self.buy(number, quantity))
            return
        move = MoveKind.STOCK_TAKE if kind == "count" else MoveKind.DISPOSAL
        change = quantity - self.stock[batch] if kind == "count" else -quantity
        self.attempt({batch: change}, lambda: self.move(batch, move, quantity))

    def buy(self, number: str, quantity: int) -> Any:
        return record_purchase(
            self.owner,
            farm_id=self.cabinet.farm,
            medicine_id=self.cabinet.medicine,
            unit=Unit.MILLILITRE,
            batch_number=number,
            expires_on=GOOD_UNTIL,
            quantity=Decimal(quantity),
            purchased_on=date(2024, 1, 1),
        )

    def move(self, batch: UUID, kind: MoveKind, quantity: int) -> Any:
        return record_move(
            self.owner, batch, kind=kind, quantity=Decimal(quantity), unit=Unit.MILLILITRE, reason="seen"
        )

    @invariant()
    def clocks_run_from_the_last_dose_that_holds(self) -> None:
        wanted: dict[tuple[UUID, str], tuple[date, date] | None] = {}
        for key, doses in self.doses.items():
            days = [(BEGIN + timedelta(hours=hour)).date() for hour, _, _ in doses.values()]
            for product, hours in HOURS.items():
                whole = timedelta(days=-(-hours // 24))
                wanted[key, product.value] = (min(days), max(day + whole for day in days)) if days else None
        found = {
            (row.treatment_id, row.product): None if row.ends_on is None else (row.starts_on, row.ends_on)
            for row in Withdrawal.objects.all()
        }
        assert found == wanted
        ends = [dates[1] for (_, product), dates in wanted.items() if dates is not None and product == "Meat"]
        if ends:
            cow, last = self.cabinet.cow, max(ends)
            assert withheld([cow], Product.MEAT, last) == {cow: last + timedelta(days=1)}
            assert withheld([cow], Product.MEAT, last + timedelta(days=1)) == {}

    @invariant()
    def stock_is_the_sum_of_its_moves(self) -> None:
        for batch, amount in self.stock.items():
            changes = StockMove.objects.filter(batch=batch).values_list("change", flat=True)
            assert MedicineBatch.objects.get(pk=batch).on_hand == sum(changes) == amount >= 0


@pytest.mark.django_db
def test_doses_and_stock_in_any_order() -> None:
    few = settings(
        max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(OneCow, settings=few)
