"""The words of ICAR ADE 1.x (`enums/*.json` of adewg/ICAR, Apache-2.0), as far as they are kept here, and ours."""

from __future__ import annotations

from enum import StrEnum

from ifarm.animals.words import Species


class HealthStatus(StrEnum):
    """icarAnimalHealthStatusType."""

    HEALTHY = "Healthy"
    SUSPICIOUS = "Suspicious"
    ILL = "Ill"
    IN_TREATMENT = "InTreatment"
    TO_BE_CULLED = "ToBeCulled"


class Unit(StrEnum):
    """uncefactDoseUnitsType, those that are amounts: UN/CEFACT Recommendation 20, with packages of 21 (``X…``)."""

    MILLILITRE = "MLT"
    LITRE = "LTR"
    MILLIGRAM = "MGM"
    GRAM = "GRM"
    EACH = "EA"
    TUBE = "XTU"
    VIAL = "XVI"
    SYRINGE = "SYR"


class Product(StrEnum):
    """icarWithdrawalProductType, those that are produced here. Each has a clock of its own."""

    MEAT = "Meat"
    MILK = "Milk"
    EGGS = "Eggs"


_MEAT = (Product.MEAT,)
_MEAT_AND_MILK = (Product.MEAT, Product.MILK)
PRODUCTS: dict[Species, tuple[Product, ...]] = {
    Species.BUFFALO: _MEAT_AND_MILK,
    Species.CATTLE: _MEAT_AND_MILK,
    Species.DEER: _MEAT,
    Species.ELK: _MEAT,
    Species.GOAT: _MEAT_AND_MILK,
    Species.HORSE: _MEAT_AND_MILK,
    Species.PIG: _MEAT,
    Species.SHEEP: _MEAT_AND_MILK,
    Species.CHICKEN: (Product.MEAT, Product.EGGS),
}
"""What an animal of each species can give to people. Also for males: a clock too many harms nobody."""


class TreatmentKind(StrEnum):
    """What was done: with a medicine against something there is, with a vaccine against what may come, or neither."""

    TREATMENT = "Treatment"
    VACCINATION = "Vaccination"
    PROCEDURE = "Procedure"


class MoveKind(StrEnum):
    """icarInventoryTransactionKindType, those that a medicine cabinet has."""

    RECEIPT = "Receipt"
    USE = "Use"
    DISPOSAL = "Disposal"
    STOCK_TAKE = "StockTake"
