"""What is on hand is the sum of the moves, and never less than nothing, whoever takes at the same time."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.growth import record_weight
from ifarm.animals.movements import move_animal
from ifarm.animals.tests.examples import make_animal
from ifarm.animals.words import GroupKind, MovementKind
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, Problem, RuleBroken
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.threads import in_thread
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm
from ifarm.health.medicines import update_medicine
from ifarm.health.models import MedicineBatch, StockMove, Treatment, TreatmentDose, Withdrawal
from ifarm.health.stock import allocate, record_move, record_purchase
from ifarm.health.tests.examples import GOOD_UNTIL, make_batch, make_medicine, make_treatment
from ifarm.health.treatments import GivenDose, add_dose, correct_dose, treat_group, void_dose
from ifarm.health.withdrawal import InWithdrawal
from ifarm.health.words import MoveKind, TreatmentKind, Unit

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Cabinet:
    """A farm with one cow, one medicine and one batch of it, 100 ml."""

    def __init__(self) -> None:
        self.owner = make_owner()
        with unit_of_work(self.owner.tenant_id):
            self.farm: UUID = create_farm(self.owner, name="Hill").id
        self.cow = make_animal(self.owner, self.farm, "AT 1")
        self.medicine = make_medicine(self.owner)
        self.batch = make_batch(self.owner, self.farm, self.medicine, quantity=100)

    def treat(self, quantity: int, batch: UUID | None = None, moment: datetime = NOON) -> UUID:
        batch_id = batch or self.batch
        return make_treatment(self.owner, self.cow, self.medicine, (moment, quantity), batch_id=batch_id)

    def dose_of(self, treatment: UUID) -> TreatmentDose:
        with unit_of_work(self.owner.tenant_id):
            dose: TreatmentDose = TreatmentDose.objects.get(treatment=treatment)
            return dose

    def move(self, kind: MoveKind, quantity: int) -> None:
        with unit_of_work(self.owner.tenant_id):
            record_move(
                self.owner,
                self.batch,
                kind=kind,
                quantity=Decimal(quantity),
                unit=Unit.MILLILITRE,
                reason="seen",
            )

    def on_hand(self, batch: UUID | None = None) -> Decimal:
        """What the batch says; the moves say the same, each of them."""
        with unit_of_work(self.owner.tenant_id):
            row = MedicineBatch.objects.get(pk=batch or self.batch)
            after = Decimal(0)
            for move in StockMove.objects.filter(batch=row).order_by("created_at", "id"):
                after += move.change
                assert move.on_hand_after == after >= 0
            assert row.on_hand == after
            return after

    def herd(self, *weights: int) -> UUID:
        """A group with an animal of each weight."""
        with unit_of_work(self.owner.tenant_id):
            group = create_group(self.owner, farm_id=self.farm, name="Calves", kind=GroupKind.MANAGEMENT).id
        for number, weight in enumerate(weights, 2):
            animal = make_animal(self.owner, self.farm, f"AT {number}")
            with unit_of_work(self.owner.tenant_id):
                join_group(self.owner, group, animal_id=animal, starts_on=NOON.date() - timedelta(days=9))
                if weight:
                    day = NOON.date() - timedelta(days=2)
                    record_weight(self.owner, animal, weighed_on=day, weight_kg=Decimal(weight))
        return UUID(str(group))

    def treat_group(self, group: UUID, *batches: UUID, **rest: Any) -> Any:
        with unit_of_work(self.owner.tenant_id):
            return treat_group(
                self.owner,
                group,
                kind=TreatmentKind.TREATMENT,
                medicine_id=self.medicine,
                unit=Unit.MILLILITRE,
                given_at=NOON,
                batch_ids=batches,
                **rest,
            )


@pytest.mark.django_db
def test_purchases_uses_disposals_and_counts_are_moves() -> None:
    cabinet = Cabinet()
    assert make_batch(cabinet.owner, cabinet.farm, cabinet.medicine, " b1 ", 50) == cabinet.batch
    assert cabinet.on_hand() == 150
    cabinet.treat(30)
    assert cabinet.on_hand() == 120
    cabinet.move(MoveKind.DISPOSAL, 20)
    assert cabinet.on_hand() == 100
    cabinet.move(MoveKind.STOCK_TAKE, 97)
    assert cabinet.on_hand() == 97
    with unit_of_work(cabinet.owner.tenant_id):
        kinds = list(StockMove.objects.order_by("created_at").values_list("kind", "change"))
    assert kinds == [("Receipt", 100), ("Receipt", 50), ("Use", -30), ("Disposal", -20), ("StockTake", -3)]


@pytest.mark.django_db
def test_what_cannot_be_is_refused_and_changes_nothing() -> None:
    cabinet = Cabinet()
    other = make_medicine(cabinet.owner, "Other")
    foreign = make_batch(cabinet.owner, cabinet.farm, other, "X")
    old = make_batch(cabinet.owner, cabinet.farm, cabinet.medicine, "OLD", expires_on=date(2024, 4, 30))
    with unit_of_work(cabinet.owner.tenant_id):
        vale = create_farm(cabinet.owner, name="Vale").id
    far = make_batch(cabinet.owner, vale, cabinet.medicine, "FAR")
    for batch, quantity, words in (
        (cabinet.batch, 101, "expected 101 on hand, found 100"),
        (foreign, 1, "expected one of this medicine"),
        (old, 1, "expired on 2024-04-30"),
        (far, 1, "expected one of a farm where the animal was"),
    ):
        with pytest.raises(RuleBroken, match=words):
            cabinet.treat(quantity, batch)
    with pytest.raises(RuleBroken, match="expected 101 on hand"):
        cabinet.move(MoveKind.DISPOSAL, 101)
    with pytest.raises(RuleBroken, match="expected the expiry it is known by"):
        make_batch(cabinet.owner, cabinet.farm, cabinet.medicine, "B1", expires_on=date(2031, 1, 1))
    with unit_of_work(cabinet.owner.tenant_id):
        with pytest.raises(RuleBroken, match="expected the unit MLT, found MGM"):
            record_move(
                cabinet.owner,
                cabinet.batch,
                kind=MoveKind.STOCK_TAKE,
                quantity=Decimal(1),
                unit=Unit.MILLIGRAM,
                reason="",
            )
        assert not Treatment.objects.exists()
    assert cabinet.on_hand() == 100
    stranger = make_member(cabinet.owner, Role.WORKER, [vale])
    with unit_of_work(cabinet.owner.tenant_id), pytest.raises(NotFound):
        add_dose(stranger, UUID(int=0), unit=Unit.MILLILITRE, dose=GivenDose(Decimal(1), NOON, cabinet.batch))


@pytest.mark.django_db
def test_the_database_refuses_less_than_nothing_and_a_change_of_the_ledger() -> None:
    cabinet = Cabinet()
    with unit_of_work(cabinet.owner.tenant_id):
        with pytest.raises(IntegrityError, match="stock_never_below_nothing"), transaction.atomic():
            MedicineBatch.objects.update(on_hand=-1)
        assert StockMove.objects.update(change=5) == 0
        assert StockMove.objects.all().delete()[0] == 0


@pytest.mark.django_db
def test_a_corrected_dose_gives_back_and_takes_anew() -> None:
    cabinet = Cabinet()
    second = make_batch(cabinet.owner, cabinet.farm, cabinet.medicine, "B2", 10)
    dose = cabinet.dose_of(cabinet.treat(100))

    def correct(version: int, **changes: Any) -> None:
        with unit_of_work(cabinet.owner.tenant_id):
            correct_dose(cabinet.owner, dose.id, changes, Seen(version))

    correct(1, quantity=Decimal(60))
    assert cabinet.on_hand() == 40
    with pytest.raises(RuleBroken, match="expected 60 on hand, found 10"):
        correct(2, batch_id=second)
    assert [cabinet.on_hand(), cabinet.on_hand(second)] == [40, 10]
    correct(2, batch_id=second, quantity=Decimal(10))
    assert [cabinet.on_hand(), cabinet.on_hand(second)] == [100, 0]
    correct(3, batch_id=None)  # it was the vet's
    assert cabinet.on_hand(second) == 10
    correct(4, batch_id=cabinet.batch)
    assert cabinet.on_hand() == 90
    with unit_of_work(cabinet.owner.tenant_id):
        void_dose(cabinet.owner, dose.id, reason="never given")
    assert cabinet.on_hand() == 100


@pytest.mark.django_db
def test_a_group_is_dosed_by_weight_from_one_bottle_after_the_other() -> None:
    cabinet = Cabinet()
    second = make_batch(cabinet.owner, cabinet.farm, cabinet.medicine, "B2", 100)
    group = cabinet.herd(300, 450, 333, 500)
    given = cabinet.treat_group(group, cabinet.batch, second, quantity_per_kg=Decimal("0.1"))
    assert given.quantity == Decimal("158.30")
    assert given.unit == "MLT"
    with unit_of_work(cabinet.owner.tenant_id):
        doses = TreatmentDose.objects.order_by("treatment__animal__tag_number")
        assert [dose.quantity for dose in doses] == [30, 45, Decimal("33.3"), 50]
        assert [dose.batch_id for dose in doses] == [cabinet.batch, cabinet.batch, second, second]
        assert Withdrawal.objects.filter(product="Meat", free_on=date(2024, 5, 30)).count() == 4
    assert [cabinet.on_hand(), cabinet.on_hand(second)] == [25, Decimal("16.7")]


@pytest.mark.django_db
def test_a_group_is_treated_whole_or_not_at_all() -> None:
    cabinet = Cabinet()
    group = cabinet.herd(300, 0, 500)
    for rest, words in (
        ({"quantity_per_kg": Decimal("0.1")}, r"found none of AT 3 \(1 of 3 animals\)"),
        ({"quantity": Decimal(40)}, "expected 120 in the batches named, found 100: dose 3 of 3 has none"),
        ({}, "either quantity or quantity_per_kg"),
    ):
        with pytest.raises(RuleBroken, match=words):
            cabinet.treat_group(group, cabinet.batch, **rest)
    with unit_of_work(cabinet.owner.tenant_id):
        assert not Treatment.objects.exists()
    assert cabinet.on_hand() == 100
    with unit_of_work(cabinet.owner.tenant_id):
        vale = create_farm(cabinet.owner, name="Vale").id
        nobody = create_group(cabinet.owner, farm_id=vale, name="Empty", kind=GroupKind.FEEDING).id
    far = make_batch(cabinet.owner, vale, cabinet.medicine, "FAR")
    with pytest.raises(RuleBroken, match="expected one of a farm where the animal was"):
        cabinet.treat_group(group, far, quantity=Decimal(1))
    with pytest.raises(RuleBroken, match="1 to 1000 animals in the group on that day, found 0"):
        cabinet.treat_group(nobody, quantity=Decimal(1))
    assert len(cabinet.treat_group(group, quantity=Decimal(40)).treatments) == 3  # the vet's own


@pytest.mark.parametrize(
    ("stocks", "doses", "found"),
    [
        ([], [5, 5], [None, None]),
        ([10], [5, 5], [0, 0]),
        ([9, 6], [5, 5], [0, 1]),
        ([3, 4, 5], [5], [2]),
        ([5, 0, 5], [5, 5], [0, 2]),
    ],
)
def test_no_dose_comes_from_two_bottles(stocks: list[int], doses: list[int], found: list[Any]) -> None:
    bottles: list[Any] = [MedicineBatch.__new__(MedicineBatch) for _ in stocks]
    for bottle, stock in zip(bottles, stocks, strict=True):
        bottle.__dict__["on_hand"] = Decimal(stock)
    chosen = allocate([Decimal(dose) for dose in doses], bottles)
    assert [
        None if one is None else next(i for i, b in enumerate(bottles) if b is one) for one in chosen
    ] == found


def answers(*work: Any) -> list[Any]:
    """What each gave, or the problem it met; all begin at once."""
    start = threading.Barrier(len(work), timeout=60)

    def one(do: Any) -> Any:
        start.wait()
        try:
            return do()
        except Problem as problem:
            return problem

    waits = [in_thread(partial(one, do)) for do in work]
    return [wait() for wait in waits]


def test_eight_who_take_at_once_never_take_more_than_there_is(committed: psycopg.Connection[Any]) -> None:
    cabinet = Cabinet()
    cows = [make_animal(cabinet.owner, cabinet.farm, f"BE {number}") for number in range(5)]
    treatments = [make_treatment(cabinet.owner, cow, cabinet.medicine, (NOON, 1)) for cow in cows[:4]]

    def dose(treatment: UUID) -> Any:
        with unit_of_work(cabinet.owner.tenant_id):
            given = GivenDose(Decimal(15), NOON, cabinet.batch)
            return add_dose(cabinet.owner, treatment, unit=Unit.MILLILITRE, dose=given)

    found = answers(
        *(partial(dose, treatment) for treatment in treatments),
        *(partial(cabinet.move, MoveKind.DISPOSAL, 15) for _ in range(3)),
        partial(make_treatment, cabinet.owner, cows[4], cabinet.medicine, (NOON, 15), batch_id=cabinet.batch),
    )
    refused = [one for one in found if isinstance(one, RuleBroken)]
    assert len(refused) == 2  # 6 x 15 of 100
    assert cabinet.on_hand() == 10


def test_use_count_and_void_at_once_agree_with_the_ledger(committed: psycopg.Connection[Any]) -> None:
    cabinet = Cabinet()
    doses = [cabinet.dose_of(cabinet.treat(10)).id for _ in range(3)]
    treatment = cabinet.treat(10)

    def void(dose: UUID) -> Any:
        with unit_of_work(cabinet.owner.tenant_id):
            return void_dose(cabinet.owner, dose, reason="twice")

    def more() -> Any:
        with unit_of_work(cabinet.owner.tenant_id):
            dose = GivenDose(Decimal(5), NOON, cabinet.batch)
            return add_dose(cabinet.owner, treatment, unit=Unit.MILLILITRE, dose=dose)

    found = answers(
        *(partial(void, dose) for dose in (*doses, *doses)),
        more,
        more,
        partial(cabinet.move, MoveKind.DISPOSAL, 3),
    )
    assert len([one for one in found if isinstance(one, RuleBroken)]) == 3  # each is voided once
    assert cabinet.on_hand() == 100 - 10 - 5 - 5 - 3


def test_the_first_purchase_of_a_batch_by_two_makes_one(committed: psycopg.Connection[Any]) -> None:
    cabinet = Cabinet()

    def buy() -> UUID:
        with unit_of_work(cabinet.owner.tenant_id):
            purchase = record_purchase(
                cabinet.owner,
                farm_id=cabinet.farm,
                medicine_id=cabinet.medicine,
                unit=Unit.MILLILITRE,
                batch_number="NEW",
                expires_on=GOOD_UNTIL,
                quantity=Decimal(7),
                purchased_on=date(2024, 1, 1),
            )
            return UUID(str(purchase.batch_id))

    found = answers(buy, buy, buy)
    assert len(set(found)) == 1
    assert cabinet.on_hand(found[0]) == 21


def test_two_corrections_across_two_batches_do_not_lock_each_other_out(
    committed: psycopg.Connection[Any],
) -> None:
    cabinet = Cabinet()
    second = make_batch(cabinet.owner, cabinet.farm, cabinet.medicine, "B2", 100)
    other = make_animal(cabinet.owner, cabinet.farm, "AT 2")
    here = cabinet.dose_of(cabinet.treat(10)).id
    there = cabinet.dose_of(
        make_treatment(cabinet.owner, other, cabinet.medicine, (NOON, 20), batch_id=second)
    ).id

    def swap(dose: UUID, batch: UUID, version: int) -> Any:
        with unit_of_work(cabinet.owner.tenant_id):
            return correct_dose(cabinet.owner, dose, {"batch_id": batch}, Seen(version))

    for turn in range(4):
        to_here, to_there = (second, cabinet.batch) if turn % 2 == 0 else (cabinet.batch, second)
        found = answers(
            partial(swap, here, to_here, turn + 1),
            partial(swap, there, to_there, turn + 1),
        )
        assert not [one for one in found if isinstance(one, Problem)]
    assert [cabinet.on_hand(), cabinet.on_hand(second)] == [90, 80]


def test_treated_or_sold_first_never_both_unseen(committed: psycopg.Connection[Any]) -> None:
    """The sale sees the treatment, or the treatment sees the sale and tells."""
    cabinet = Cabinet()
    now = timezone.now()

    def sell() -> Any:
        with unit_of_work(cabinet.owner.tenant_id):
            return move_animal(
                cabinet.owner, cabinet.cow, kind=MovementKind.DEPARTURE, reason="Sale", moved_at=now
            )

    found = answers(lambda: cabinet.treat(10, moment=now - timedelta(hours=1)), sell)
    told = committed.execute(
        "SELECT count(*) FROM core_outboxevent WHERE type = 'animal_left_in_withdrawal'"
    ).fetchone()
    assert told is not None
    assert isinstance(found[1], InWithdrawal) is (told[0] == 0)


def test_a_label_that_grows_while_somebody_treats_reaches_every_clock(
    committed: psycopg.Connection[Any],
) -> None:
    cabinet = Cabinet()
    now = timezone.now()
    cows = [make_animal(cabinet.owner, cabinet.farm, f"BE {number}") for number in range(4)]
    longer = [{"species": "Cattle", "product": "Meat", "hours": 40 * 24}]

    def grow() -> Any:
        with unit_of_work(cabinet.owner.tenant_id):
            return update_medicine(cabinet.owner, cabinet.medicine, {"label": longer}, Seen(1))

    treat = partial(make_treatment, cabinet.owner)
    found = answers(*(partial(treat, cow, cabinet.medicine, (now, 1)) for cow in cows), grow)
    assert not [one for one in found if isinstance(one, Problem)]
    hours = committed.execute("SELECT hours FROM health_withdrawal WHERE product = 'Meat'").fetchall()
    assert hours == [(40 * 24,)] * 4
