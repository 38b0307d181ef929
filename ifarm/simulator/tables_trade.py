"""Rows of trade: animals sold and bought, by day, with the movements by which they went and came."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from ifarm.animals.words import ArrivalReason, DepartureReason
from ifarm.financial.models import Contact, Purchase, PurchaseLine, Sale, SaleLine
from ifarm.financial.words import ContactKind
from ifarm.simulator import prices
from ifarm.simulator.curves import weight
from ifarm.simulator.herd import Animal
from ifarm.simulator.sheets import day
from ifarm.simulator.tables import DEALER, Book

Lot = tuple[str, str, Decimal, str]
"""An animal, its movement, its price and its weight in kilograms."""


def write_contacts(book: Book) -> tuple[str, str]:
    """The dealer as a buyer and as a supplier."""
    sheet = book.sheet(Contact, "kind", "name")
    return (
        sheet.add(book.first, ContactKind.BUYER.value, DEALER),
        sheet.add(book.first, ContactKind.SUPPLIER.value, DEALER),
    )


def write_trade(book: Book, herd: list[Animal], contacts: tuple[str, str]) -> None:
    """One sale and one purchase a day, of the animals that went or came; each at what its carcass is worth."""
    buyer, supplier = contacts
    sold: dict[int, list[Lot]] = defaultdict(list)
    bought: dict[int, list[Lot]] = defaultdict(list)
    for animal in herd:
        came, left = animal.came, animal.left
        if came[2] == ArrivalReason.PURCHASE and book.within(came[0]):
            bought[came[0]].append(_lot(book, animal, came[0], book.arrivals[id(animal)]))
        if left is not None and left[2] == DepartureReason.SALE:
            sold[left[0]].append(_lot(book, animal, left[0], book.departures[id(animal)]))
    sales = book.sheet(Sale, "farm_id", "buyer_id", "sale_date", "amount", "currency")
    sale_lines = book.sheet(SaleLine, "sale_id", "animal_id", "movement_id", "amount", "weight_kg")
    for on, lots in sorted(sold.items()):
        key = sales.add(on, book.place.farm_id, buyer, day(on), _total(lots), prices.CURRENCY)
        for animal_id, movement_id, price, kg in lots:
            sale_lines.add(on, key, animal_id, movement_id, price, kg)
    purchases = book.sheet(Purchase, "farm_id", "supplier_id", "purchase_date", "amount", "currency")
    purchase_lines = book.sheet(PurchaseLine, "purchase_id", "animal_id", "movement_id", "amount")
    for on, lots in sorted(bought.items()):
        key = purchases.add(on, book.place.farm_id, supplier, day(on), _total(lots), prices.CURRENCY)
        for animal_id, movement_id, price, _ in lots:
            purchase_lines.add(on, key, animal_id, movement_id, price)


def _lot(book: Book, animal: Animal, on: int, movement_id: str) -> Lot:
    kg = weight(animal.breed, animal.size, on - animal.born)
    what = "young bull R3" if animal.male else "heifer R3"
    return book.ids[id(animal)], movement_id, prices.live(kg, what), f"{kg:.1f}"


def _total(lots: list[Lot]) -> Decimal:
    return sum((lot[2] for lot in lots), Decimal(0))
