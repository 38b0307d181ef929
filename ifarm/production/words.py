"""What animals give, and which fields say so: each kind has its own, with its unit in its name."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from ifarm.animals.words import Species
from ifarm.health.words import Product


class ProductionType(StrEnum):
    """What was produced."""

    MILK = "milk"
    EGGS = "eggs"
    WOOL = "wool"
    MEAT = "meat"


class Session(StrEnum):
    """Which milking of the day a weight is of; `WholeDay` is all of them in one weight."""

    MORNING = "Morning"
    MIDDAY = "Midday"
    EVENING = "Evening"
    NIGHT = "Night"
    WHOLE_DAY = "WholeDay"


class MilkUse(StrEnum):
    """Where a milking's milk went. What goes into the tank is for people: it must be out of withdrawal."""

    TANK = "Tank"
    CALVES = "Calves"
    DISCARDED = "Discarded"


class EggUse(StrEnum):
    """Where a day's eggs went. Table eggs are for people: they must be out of withdrawal."""

    TABLE = "Table"
    HATCHING = "Hatching"
    DISCARDED = "Discarded"


class LactationEnd(StrEnum):
    """Why a lactation ended."""

    DRY_OFF = "DryOff"
    CALVING = "Calving"


REQUIRED: Final[dict[ProductionType, tuple[str, ...]]] = {
    ProductionType.MILK: ("milk_kg", "session"),
    ProductionType.EGGS: ("eggs_count",),
    ProductionType.WOOL: ("wool_kg",),
    ProductionType.MEAT: ("carcass_kg",),
}
"""What a record of each kind must say."""

OPTIONAL: Final[dict[ProductionType, tuple[str, ...]]] = {
    ProductionType.MILK: ("fat_percent", "protein_percent", "somatic_cells_per_ml", "milk_use"),
    ProductionType.EGGS: ("eggs_broken_count", "egg_use"),
    ProductionType.WOOL: ("fibre_diameter_um",),
    ProductionType.MEAT: ("carcass_class",),
}
"""What it can say besides."""

TEXTS: Final = frozenset({"session", "milk_use", "egg_use", "carcass_class"})
"""Those of the fields that are empty texts where they do not apply; the others are null."""

FOR_PEOPLE: Final[dict[ProductionType, tuple[str, str, Product]]] = {
    ProductionType.MILK: ("milk_use", MilkUse.TANK.value, Product.MILK),
    ProductionType.EGGS: ("egg_use", EggUse.TABLE.value, Product.EGGS),
}
"""What people get unless the record says otherwise: the field that says it, its word for people, the product's clock.
"""

BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "milk_kg": (0.01, 150),
    "fat_percent": (0.1, 25),
    "protein_percent": (0.1, 20),
    "wool_kg": (0.01, 500),
    "fibre_diameter_um": (5, 60),
    "carcass_kg": (0.01, 1500),
}
"""What an amount can be, from and to; more or less is a slip of the pen or of the device."""

SPECIES: Final[dict[ProductionType, frozenset[str]]] = {
    ProductionType.MILK: frozenset(set(Species) - {Species.CHICKEN}),
    ProductionType.EGGS: frozenset({Species.CHICKEN}),
    ProductionType.WOOL: frozenset({Species.SHEEP, Species.GOAT}),
    ProductionType.MEAT: frozenset(Species),
}
"""Which animals give it."""


def fields_of(kind: ProductionType) -> tuple[str, ...]:
    """All fields that a record of this kind can have."""
    return REQUIRED[kind] + OPTIONAL[kind]
