"""Animals sold and bought: the money and the movements in one unit of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from ifarm.animals.models import Movement
from ifarm.animals.movements import move_animal
from ifarm.animals.policies import access_animal
from ifarm.animals.services import create_animal
from ifarm.animals.words import ArrivalReason, DepartureReason, MovementKind
from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.events import record_event
from ifarm.farms.policies import access_farm
from ifarm.financial.contacts import contact_of
from ifarm.financial.models import Purchase, PurchaseLine, Sale, SaleLine
from ifarm.financial.money import Money, divided
from ifarm.financial.words import ContactKind

Lots = Sequence[Mapping[str, Any]]
"""Each {animal_ids, price, weight_kg: of one animal}: a price for one animal, or for several together."""
Bought = Sequence[Mapping[str, Any]]
"""Each {price, animal_id} for an animal that was here before, or {price, animal: what `create_animal` takes}."""

SOLD_FOR = frozenset({DepartureReason.SALE, DepartureReason.SLAUGHTER})


def record_sale(
    actor: Actor,
    *,
    farm_id: UUID,
    buyer_id: UUID,
    currency: str,
    lots: Lots,
    sold_at: datetime | None = None,
    reason: DepartureReason = DepartureReason.SALE,
    override_reason: str = "",
    **fields: Any,
) -> Sale:
    """Animals leave the farm to a buyer; the price of a lot is divided among its animals to the last minor unit.

    Animals are locked in the order of their ids, so two sales with the same animals wait for each other, and the second
    is refused. Raises `NotFound`, `RuleBroken` (an animal that is away or of another farm, a time before its last
    movement), `InWithdrawal` for one that must not be eaten yet where there is no ``override_reason``; then nothing of
    the sale remains.
    """
    with unit_of_work():
        farm = access_farm(actor, farm_id)
        buyer = contact_of(actor, buyer_id, ContactKind.BUYER)
        if reason not in SOLD_FOR:
            raise RuleBroken(f"expected a reason of {', '.join(sorted(SOLD_FOR))}, found {reason}.")
        prices = _prices(lots, currency)
        moment = sold_at or timezone.now()
        sale = Sale(
            farm=farm,
            buyer=buyer,
            sale_date=farm.day_of(moment),
            amount=sum((price for price, _ in prices.values()), Decimal(0)),
            currency=currency,
            **fields,
        )
        writes.insert(actor, sale)
        for animal_id in sorted(prices):
            animal = access_animal(actor, animal_id, lock=True)
            if animal.farm_id != farm.id:
                raise RuleBroken(f"expected an animal of {farm.name}, found {animal.tag_number} of another.")
            movement = move_animal(
                actor,
                animal_id,
                kind=MovementKind.DEPARTURE,
                reason=reason.value,
                moved_at=moment,
                counterpart=buyer.name,
                override_reason=override_reason,  # `require_out_of_withdrawal` is asked there
            )
            amount, weight_kg = prices[animal_id]
            line = SaleLine(sale=sale, animal=animal, movement=movement, amount=amount, weight_kg=weight_kg)
            writes.insert(actor, line)
            money = {"amount": amount, "currency": currency}
            record_event("animal_sold", animal, sale_id=sale.id, farm_id=farm.id, **money)
        return sale


def _prices(lots: Lots, currency: str) -> dict[UUID, tuple[Decimal, Decimal | None]]:
    """Price and weight of each animal."""
    prices: dict[UUID, tuple[Decimal, Decimal | None]] = {}
    for number, lot in enumerate(lots, 1):
        ids: Sequence[UUID] = lot["animal_ids"]
        twice = len(set(ids)) != len(ids) or not prices.keys().isdisjoint(ids)
        if not ids or twice:
            raise RuleBroken(
                f"lot {number}: expected animals that are in no other lot, found {'one twice' if twice else 'none'}."
            )
        weight_kg = lot.get("weight_kg")
        if weight_kg is not None and len(ids) != 1:
            raise RuleBroken(f"lot {number}: expected a weight for one animal, found {len(ids)} animals.")
        parts = divided(Money(lot["price"], currency), len(ids))
        prices |= {animal_id: (part, weight_kg) for animal_id, part in zip(ids, parts, strict=True)}
    if not prices:
        raise RuleBroken("expected an animal or more, found none.")
    return prices


def record_purchase(
    actor: Actor,
    *,
    farm_id: UUID,
    supplier_id: UUID,
    currency: str,
    animals: Bought,
    bought_at: datetime | None = None,
    **fields: Any,
) -> Purchase:
    """Animals come to the farm from a supplier: new ones are recorded, known ones return.

    Raises `NotFound`, `RuleBroken`, and IntegrityError for a tag in use; then nothing of the purchase remains.
    """
    with unit_of_work():
        farm = access_farm(actor, farm_id)
        supplier = contact_of(actor, supplier_id, ContactKind.SUPPLIER)
        moment = bought_at or timezone.now()
        if not animals:
            raise RuleBroken("expected an animal or more, found none.")
        purchase = Purchase(
            farm=farm,
            supplier=supplier,
            purchase_date=farm.day_of(moment),
            amount=sum((Money(one["price"], currency).amount for one in animals), Decimal(0)),
            currency=currency,
            **fields,
        )
        writes.insert(actor, purchase)
        for one in sorted(animals, key=lambda one: str(one.get("animal_id") or "")):
            movement = _arrival(actor, one, farm.id, moment, supplier.name)
            line = PurchaseLine(
                purchase=purchase, animal=movement.animal, movement=movement, amount=one["price"]
            )
            writes.insert(actor, line)
            money = {"amount": one["price"], "currency": currency}
            record_event("animal_bought", movement.animal, purchase_id=purchase.id, farm_id=farm.id, **money)
        return purchase


def _arrival(
    actor: Actor, one: Mapping[str, Any], farm_id: UUID, moment: datetime, counterpart: str
) -> Movement:
    known, new = one.get("animal_id"), one.get("animal")
    if (known is None) is (new is None):
        raise RuleBroken("expected an animal that was here before, or what describes a new one; not both.")
    if known is not None:
        return move_animal(
            actor,
            known,
            kind=MovementKind.ARRIVAL,
            reason=ArrivalReason.PURCHASE.value,
            moved_at=moment,
            farm_id=farm_id,
            counterpart=counterpart,
        )
    assert new is not None
    animal = create_animal(
        actor, farm_id=farm_id, arrived_at=moment, arrival_reason=ArrivalReason.PURCHASE, **new
    )
    movement: Movement = animal.movements.get()
    return writes.update(actor, movement, {"counterpart": counterpart})
