"""The medicine cabinet: batches, and a ledger of what came and went. What is on hand is the sum of the moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotFound, RuleBroken
from ifarm.core.events import record_event
from ifarm.farms.models import Farm
from ifarm.farms.policies import access_farm
from ifarm.health.models import Medicine, MedicineBatch, MedicinePurchase, StockMove
from ifarm.health.policies import BATCHES, access_batch, access_medicine
from ifarm.health.services import require_past
from ifarm.health.words import MoveKind, Unit

NOTHING: Final = Decimal(0)


def record_purchase(
    actor: Actor,
    *,
    farm_id: UUID,
    medicine_id: UUID,
    unit: Unit,
    batch_number: str,
    expires_on: date,
    quantity: Decimal,
    purchased_on: date,
    **rest: Any,
) -> MedicinePurchase:
    """So much of a batch was acquired; a batch that the farm does not have yet is made.

    Raises `RuleBroken` where unit or expiry contradict what is known.
    """
    with unit_of_work():
        farm, medicine = access_farm(actor, farm_id), access_medicine(actor, medicine_id)
        require_unit(medicine, unit)
        batch = _batch(actor, farm, medicine, batch_number.strip(), expires_on)
        if batch.expires_on != expires_on:
            raise RuleBroken(
                f"batch {batch.batch_number}: expected the expiry it is known by, {batch.expires_on}, found"
                f" {expires_on}."
            )
        purchase = MedicinePurchase(batch=batch, quantity=quantity, purchased_on=purchased_on, **rest)
        writes.insert(actor, purchase)
        _move(actor, batch, MoveKind.RECEIPT, quantity, purchase=purchase)
        _keep(batch)
        return purchase


def _batch(actor: Actor, farm: Farm, medicine: Medicine, number: str, expires_on: date) -> MedicineBatch:
    """The batch, locked. Two who buy the first of it at once get the same."""
    mine = MedicineBatch.objects.filter(farm=farm, medicine=medicine, batch_number__iexact=number)
    found = mine.select_for_update().first()
    if found is not None:
        return found
    try:
        with transaction.atomic():
            batch = MedicineBatch(farm=farm, medicine=medicine, batch_number=number, expires_on=expires_on)
            return writes.insert(actor, batch)
    except IntegrityError:
        return mine.select_for_update().get()


def record_move(
    actor: Actor,
    batch_id: UUID,
    *,
    kind: MoveKind,
    quantity: Decimal,
    unit: Unit,
    reason: str,
    moved_at: datetime | None = None,
) -> StockMove:
    """Somebody threw ``quantity`` away, or counted and found ``quantity``. Raises `RuleBroken`: unit, not so much."""
    if kind not in (MoveKind.DISPOSAL, MoveKind.STOCK_TAKE):
        raise RuleBroken(
            f"expected Disposal or StockTake, found {kind.value}. Record the purchase or the dose."
        )
    with unit_of_work():
        batch = access_batch(actor, batch_id, lock=True)
        require_unit(batch.medicine, unit)
        moment = moved_at or timezone.now()
        require_past(moment)
        change = -quantity if kind is MoveKind.DISPOSAL else quantity - batch.on_hand
        move = _move(actor, batch, kind, change, reason=reason, moved_at=moment)
        _keep(batch)
        return move


def locked_batches(actor: Actor, batch_ids: Iterable[UUID]) -> dict[UUID, MedicineBatch]:
    """Batches in the actor's reach, locked in the order of their ids, whoever else wants them. Raises `NotFound`."""
    wanted = set(batch_ids)
    if not wanted:
        return {}
    rows = BATCHES.instances(actor).filter(id__in=wanted).order_by("id").select_for_update(of=("self",))
    found = {batch.id: batch for batch in rows}
    for missing in wanted - found.keys():
        raise NotFound(f"batch {missing} was not found.")
    return found


def use(
    actor: Actor, batch: MedicineBatch, doses: Sequence[tuple[Any, Decimal]], *, reason: str = ""
) -> None:
    """Doses with what each took (negative: gave back). Part of a unit of work that holds the batch's lock.

    Raises `RuleBroken` where there is not so much.
    """
    for dose, quantity in doses:
        _move(actor, batch, MoveKind.USE, -quantity, dose=dose, reason=reason)
    if doses:
        _keep(batch)


def allocate(quantities: Sequence[Decimal], batches: Sequence[MedicineBatch]) -> list[MedicineBatch | None]:
    """Which batch each dose comes from: bottles are used in the order given, and no dose comes from two.

    None for all where no batch is named (the vet's own medicine). Raises `RuleBroken` where they do not suffice.
    """
    if not batches:
        return [None] * len(quantities)
    left, place = batches[0].on_hand, 0
    found: list[MedicineBatch | None] = []
    for number, quantity in enumerate(quantities, 1):
        while left < quantity:
            place += 1
            if place == len(batches):
                raise RuleBroken(
                    f"expected {_told(sum(quantities, NOTHING))} in the batches named, found"
                    f" {_told(sum((b.on_hand for b in batches), NOTHING))}: dose"
                    f" {number} of {len(quantities)} has none. Name one more batch, or correct the stock."
                )
            left = batches[place].on_hand
        left -= quantity
        found.append(batches[place])
    return found


def require_unit(medicine: Medicine, unit: Unit) -> None:
    """Raises `RuleBroken`: millilitres of what is counted in milligrams must not pass."""
    if medicine.unit != unit.value:
        raise RuleBroken(f"{medicine.name}: expected the unit {medicine.unit}, found {unit.value}.")


def require_usable(batch: MedicineBatch, medicine_id: UUID, day: date) -> None:
    """Raises `RuleBroken` for a batch of another medicine, or one that has expired."""
    if batch.medicine_id != medicine_id:
        raise RuleBroken(f"batch {batch.batch_number}: expected one of this medicine, found one of another.")
    if batch.expires_on < day:
        raise RuleBroken(
            f"batch {batch.batch_number}: expected one that is good on {day}, found one that expired on"
            f" {batch.expires_on}. Name another; dispose of this one."
        )


def _told(quantity: Decimal) -> str:
    return f"{quantity.normalize():f}"


def _move(
    actor: Actor,
    batch: MedicineBatch,
    kind: MoveKind,
    change: Decimal,
    *,
    moved_at: datetime | None = None,
    **what: Any,
) -> StockMove:
    after = batch.on_hand + change
    if after < NOTHING:
        raise RuleBroken(
            f"batch {batch.batch_number}: expected {_told(-change)} on hand, found {_told(batch.on_hand)}. Name another"
            " batch, or correct the stock by a purchase or a stock-take."
        )
    batch.on_hand = after
    move = StockMove(
        batch=batch,
        kind=kind.value,
        change=change,
        on_hand_after=after,
        moved_at=moved_at or timezone.now(),
        **what,
    )
    return writes.insert(actor, move)


def _keep(batch: MedicineBatch) -> None:
    """What is on hand after the moves, once; the moves are its journal, so it has no audit of its own."""
    batch.version += 1
    batch.modified_at = timezone.now()
    batch.save(update_fields=["on_hand", "version", "modified_at"])
    record_event(
        "medicine_stock_changed",
        batch,
        farm_id=batch.farm_id,
        medicine_id=batch.medicine_id,
        on_hand=batch.on_hand,
    )
