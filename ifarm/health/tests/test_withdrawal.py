"""When meat, milk and eggs are free again, and who may say that they go all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from ifarm.animals.movements import move_animal
from ifarm.animals.policies import access_animal
from ifarm.animals.tests.examples import make_animal
from ifarm.animals.words import MovementKind, Species
from ifarm.audit.models import AuditEntry
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotAllowed, RuleBroken
from ifarm.core.models import OutboxEvent
from ifarm.core.tests.factories import make_member, make_owner, make_token
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm
from ifarm.health.medicines import update_medicine
from ifarm.health.models import TreatmentDose, Withdrawal
from ifarm.health.selectors import condition_of, list_withdrawals
from ifarm.health.tests.examples import make_medicine, make_treatment
from ifarm.health.treatments import GivenDose, add_dose, correct_dose, void_dose
from ifarm.health.withdrawal import (
    InWithdrawal,
    days_of,
    free_day,
    period_hours,
    require_out_of_withdrawal,
    withheld,
)
from ifarm.health.words import Product, Unit

pytestmark = pytest.mark.django_db
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DAY = date(2024, 5, 1)


class Hill:
    """A farm with one cow and one medicine: 28 days for meat, 36 hours for milk."""

    def __init__(self, zone: str = "UTC") -> None:
        self.owner = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm: UUID = create_farm(self.owner, name="Hill", timezone=zone).id
        self.cow = make_animal(self.owner, self.farm, "AT 1")
        self.medicine = make_medicine(self.owner)

    def treat(self, *moments: datetime, animal: UUID | None = None, **rest: Any) -> UUID:
        doses = [(moment, 10) for moment in moments]
        return make_treatment(self.owner, animal or self.cow, self.medicine, *doses, **rest)

    def days(self, animal: UUID | None = None) -> dict[str, tuple[date, date]]:
        with unit_of_work(self.owner.tenant_id):
            rows = Withdrawal.objects.filter(animal=animal or self.cow)
            return {row.product: (row.starts_on, row.free_on) for row in rows}

    def leave(self, who: Actor, moment: datetime, **rest: Any) -> None:
        with unit_of_work(self.owner.tenant_id):
            move_animal(
                who,
                self.cow,
                **{"kind": MovementKind.DEPARTURE, "reason": "Sale", "moved_at": moment, **rest},
            )

    def events(self, name: str) -> list[Any]:
        with unit_of_work(self.owner.tenant_id):
            return [event.payload for event in OutboxEvent.objects.filter(type=name)]


@pytest.mark.parametrize(
    ("hours", "days"), [(0, 0), (1, 1), (24, 1), (25, 2), (36, 2), (48, 2), (84, 4), (672, 28)]
)
def test_a_begun_day_counts(hours: int, days: int) -> None:
    assert days_of(hours) == days


@pytest.mark.parametrize("hours", [1, 12, 24, 36, 96])
def test_no_hour_of_the_period_is_on_a_free_day(hours: int) -> None:
    for given in (datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, 23, 59, tzinfo=UTC)):
        over = given + timedelta(hours=hours)
        assert over <= datetime.combine(free_day(DAY, hours), datetime.min.time(), UTC)


def test_nothing_is_withheld_for_a_period_of_nothing() -> None:
    assert free_day(DAY, 0) == DAY


@pytest.mark.parametrize(
    ("species", "product", "hours"),
    [
        (Species.CATTLE, Product.MEAT, 240),  # what the label says
        (Species.SHEEP, Product.MEAT, 360),  # one and a half times the longest
        (Species.CATTLE, Product.MILK, 0),
        (Species.GOAT, Product.MILK, 24),  # a day at least
        (Species.CHICKEN, Product.EGGS, 14 * 24),  # for no animal that lays
    ],
)
def test_off_label_is_never_shorter(species: Species, product: Product, hours: int) -> None:
    label = {
        (Species.CATTLE, Product.MEAT): 240,
        (Species.PIG, Product.MEAT): 96,
        (Species.CATTLE, Product.MILK): 0,
    }
    assert period_hours(label, species, product) == hours


def test_a_medicine_without_a_label_keeps_meat_for_28_days_and_milk_for_7() -> None:
    hill = Hill()
    hill.medicine = make_medicine(hill.owner, "Unknown", [])
    hill.treat(NOON)
    assert hill.days() == {
        "Meat": (DAY, DAY + timedelta(days=29)),
        "Milk": (DAY, DAY + timedelta(days=8)),
    }


def test_each_product_has_its_clock_from_the_last_dose() -> None:
    hill = Hill()
    hill.treat(NOON + timedelta(days=2), NOON, NOON + timedelta(days=1))
    last = DAY + timedelta(days=2)
    assert hill.days() == {
        "Meat": (DAY, last + timedelta(days=29)),
        "Milk": (DAY, last + timedelta(days=3)),
    }


def test_the_day_is_the_farms() -> None:
    hill = Hill("Pacific/Auckland")
    hill.treat(NOON)  # midnight of 2 May there
    assert hill.days()["Milk"] == (date(2024, 5, 2), date(2024, 5, 5))


def test_the_vet_may_say_more_and_not_less() -> None:
    hill = Hill()
    with pytest.raises(RuleBroken, match="672 hours or more, found 24"):
        hill.treat(NOON, withdrawals=[{"product": "Meat", "hours": 24}])
    with pytest.raises(RuleBroken, match="expected withdrawals of Meat, Milk, found Eggs"):
        hill.treat(NOON, withdrawals=[{"product": "Eggs", "hours": 700}])
    hill.treat(NOON, withdrawals=[{"product": "Meat", "hours": 700}])
    assert hill.days()["Meat"] == (DAY, DAY + timedelta(days=31))


def test_a_further_a_corrected_and_a_voided_dose_move_the_clocks() -> None:
    hill = Hill()
    treatment = hill.treat(NOON)
    with unit_of_work(hill.owner.tenant_id):
        later = GivenDose(Decimal(10), NOON + timedelta(days=5))
        dose = add_dose(hill.owner, treatment, unit=Unit.MILLILITRE, dose=later)
    assert hill.days()["Meat"] == (DAY, DAY + timedelta(days=5 + 29))
    with unit_of_work(hill.owner.tenant_id):
        dose = correct_dose(hill.owner, dose.id, {"given_at": NOON + timedelta(days=3)}, Seen(1))
    assert hill.days()["Meat"] == (DAY, DAY + timedelta(days=3 + 29))
    with unit_of_work(hill.owner.tenant_id):
        void_dose(hill.owner, dose.id, reason="another cow")
    assert hill.days()["Meat"] == (DAY, DAY + timedelta(days=29))
    with unit_of_work(hill.owner.tenant_id):
        first = TreatmentDose.objects.get(treatment=treatment, voided_at=None)
        void_dose(hill.owner, first.id, reason="another cow")
        with pytest.raises(RuleBroken, match="found one that was voided"):
            void_dose(hill.owner, first.id, reason="again")
    starts_on, free_on = hill.days()["Meat"]
    assert starts_on == free_on
    hill.leave(hill.owner, NOON + timedelta(hours=1))


def test_a_longer_label_lengthens_what_runs_and_a_shorter_one_does_not_shorten_it() -> None:
    hill = Hill()
    now = timezone.now()
    hill.treat(now - timedelta(days=3))
    before = hill.days()
    with unit_of_work(hill.owner.tenant_id):
        shorter = [{"species": "Cattle", "product": product, "hours": 24} for product in ("Meat", "Milk")]
        update_medicine(hill.owner, hill.medicine, {"label": shorter}, Seen(1))
    assert hill.days() == before
    with unit_of_work(hill.owner.tenant_id):
        longer = [{"species": "Cattle", "product": "Meat", "hours": 40 * 24}, {**shorter[1], "hours": 97}]
        update_medicine(hill.owner, hill.medicine, {"label": longer}, Seen(1))
    last = (now - timedelta(days=3)).date()
    assert hill.days() == {
        "Meat": (last, last + timedelta(days=41)),
        "Milk": (last, last + timedelta(days=6)),
    }


def test_a_dose_of_an_old_course_counts_by_the_label_of_today() -> None:
    hill = Hill()
    now = timezone.now()
    course = hill.treat(now - timedelta(days=300))
    with unit_of_work(hill.owner.tenant_id):
        longer = [{"species": "Cattle", "product": "Meat", "hours": 40 * 24}]
        update_medicine(hill.owner, hill.medicine, {"label": longer}, Seen(1))
        dose = GivenDose(Decimal(10), now)
        add_dose(hill.owner, course, unit=Unit.MILLILITRE, dose=dose)
    assert hill.days()["Meat"][1] == now.date() + timedelta(days=41)


def test_who_leaves_in_withdrawal_needs_a_reason_by_somebody_who_may() -> None:
    hill = Hill()
    hill.treat(NOON)
    worker = make_member(hill.owner, Role.WORKER)
    day = NOON + timedelta(days=28)
    for reason in ("", "  "):
        with pytest.raises(InWithdrawal, match=r"from 2024-05-30 on, found 2024-05-29") as found:
            hill.leave(hill.owner, day, override_reason=reason)
        assert found.value.extra["free_on"] == "2024-05-30"
    with pytest.raises(InWithdrawal):
        hill.leave(hill.owner, day, kind=MovementKind.DEATH, reason="Consumption")
    with pytest.raises(NotAllowed):
        hill.leave(worker, day, override_reason="the buyer knows")
    hill.leave(hill.owner, day, override_reason="the buyer knows")
    with unit_of_work(hill.owner.tenant_id):
        entry = AuditEntry.objects.get(action="withdrawal_overridden")
        assert (entry.object_id, entry.actor_id) == (hill.cow, hill.owner.id)
        assert entry.reason == "the buyer knows"
    assert [event["reason"] for event in hill.events("animal_withdrawal_overridden")] == ["the buyer knows"]


@pytest.mark.parametrize(
    ("days", "move"),
    [
        (29, {}),
        (1, {"kind": MovementKind.DEATH, "reason": "Disease"}),
        (1, {"kind": MovementKind.TRANSFER, "reason": ""}),
        (-1, {}),  # before the treatment
    ],
)
def test_who_is_free_or_is_not_eaten_leaves(days: int, move: dict[str, Any]) -> None:
    hill = Hill()
    hill.treat(NOON)
    hill.leave(hill.owner, NOON + timedelta(days=days), **move)
    assert hill.events("animal_withdrawal_overridden") == []


def test_a_dose_recorded_late_tells_that_the_animal_left_too_early() -> None:
    hill = Hill()
    hill.leave(hill.owner, NOON)
    hill.treat(NOON - timedelta(days=40))
    assert hill.events("animal_left_in_withdrawal") == []
    hill.treat(NOON - timedelta(days=3))
    assert [event["left_on"] for event in hill.events("animal_left_in_withdrawal")] == ["2024-05-01"]


def test_a_reason_is_not_a_novel() -> None:
    hill = Hill()
    hill.treat(NOON)
    with pytest.raises(RuleBroken, match="500 characters or fewer, found 501"):
        hill.leave(hill.owner, NOON + timedelta(days=1), override_reason="x" * 501)
    hill.leave(hill.owner, NOON + timedelta(days=1), override_reason="x" * 500)


def test_a_period_of_a_label_is_whole() -> None:
    hill = Hill()
    headers = {"Authorization": make_token(hill.owner), "If-Match": '"1"'}
    address = f"/api/v1/tenants/{hill.owner.tenant_id}/medicines/{hill.medicine}/"
    body = json.dumps({"label": [{"species": "Cattle", "product": "Meat"}]})
    answer = Client().patch(address, body, "application/json", headers=headers)
    assert answer.status_code == 400
    assert "hours" in answer.content.decode()


def test_milk_of_a_group_is_asked_for_at_once() -> None:
    hill = Hill()
    other = make_animal(hill.owner, hill.farm, "AT 2")
    hill.treat(NOON)
    with unit_of_work(hill.owner.tenant_id):
        cows = [hill.cow, other]
        assert withheld(cows, Product.MILK, DAY + timedelta(days=2)) == {hill.cow: date(2024, 5, 4)}
        assert withheld(cows, Product.MILK, DAY + timedelta(days=3)) == {}
        cow = access_animal(hill.owner, hill.cow, lock=True)
        assert require_out_of_withdrawal(hill.owner, cow, Product.MILK, DAY + timedelta(days=3)) == []
        with pytest.raises(InWithdrawal):
            require_out_of_withdrawal(hill.owner, cow, Product.MILK, DAY + timedelta(days=2))
        assert require_out_of_withdrawal(hill.owner, cow, Product.MILK, DAY, "poured away")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_badge_and_the_lists_show_what_runs_today_at_the_farm(
    zone: str, clock: Callable[[datetime], None]
) -> None:
    now = datetime(2024, 2, 28, 10, 30, tzinfo=UTC)  # the 28th, the 29th, the 27th
    clock(now)
    hill = Hill(zone)
    hill.treat(now)
    old = make_animal(hill.owner, hill.farm, "AT 2")
    hill.treat(now - timedelta(days=4), animal=old)  # milk is free
    with unit_of_work(hill.owner.tenant_id):
        badge = condition_of(hill.owner, hill.cow)
        assert [(c.product, c.days_left) for c in badge.in_withdrawal] == [("Meat", 29), ("Milk", 3)]
        rows = list_withdrawals(hill.owner).values_list("animal_id", "product")
        assert set(rows) == {(hill.cow, "Meat"), (hill.cow, "Milk"), (old, "Meat")}
    headers = {"Authorization": make_token(hill.owner)}
    for product, found in (("Milk", {str(hill.cow)}), ("Meat", {str(hill.cow), str(old)}), ("Eggs", set())):
        address = f"/api/v1/tenants/{hill.owner.tenant_id}/animals/?in_withdrawal={product}"
        answer = Client().get(address, headers=headers).json()
        assert {row["id"] for row in answer["results"]} == found


def test_the_answer_says_what_is_withheld_and_how_it_goes_on() -> None:
    hill = Hill()
    treatment = hill.treat(NOON)
    headers = {"Authorization": make_token(hill.owner)}
    address = f"/api/v1/tenants/{hill.owner.tenant_id}/animals/{hill.cow}/movements/"
    body = {"kind": "Departure", "reason": "Sale", "moved_at": (NOON + timedelta(days=1)).isoformat()}

    def send(**more: str) -> Any:
        return Client().post(address, json.dumps({**body, **more}), "application/json", headers=headers)

    refused = send()
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"].endswith("in-withdrawal")
    assert (problem["product"], problem["free_on"]) == ("Meat", "2024-05-30")
    assert problem["treatment_ids"] == [str(treatment)]
    assert send(override_reason="sold as store cattle, buyer told").status_code == 201
