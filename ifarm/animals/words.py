"""The words of ICAR ADE 1.x (`enums/*.json` of adewg/ICAR, Apache-2.0), and the few that we add."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Species(StrEnum):
    """icarAnimalSpecieType, and poultry, which ICAR does not have."""

    BUFFALO = "Buffalo"
    CATTLE = "Cattle"
    DEER = "Deer"
    ELK = "Elk"
    GOAT = "Goat"
    HORSE = "Horse"
    PIG = "Pig"
    SHEEP = "Sheep"
    CHICKEN = "Chicken"


class Sex(StrEnum):
    """icarAnimalGenderType."""

    FEMALE = "Female"
    FEMALE_NEUTER = "FemaleNeuter"
    FREEMARTIN = "Freemartin"
    MALE = "Male"
    MALE_CRYPTORCHID = "MaleCryptorchid"
    MALE_NEUTER = "MaleNeuter"
    UNKNOWN = "Unknown"


class Purpose(StrEnum):
    """icarProductionPurposeType, and eggs."""

    MEAT = "Meat"
    MILK = "Milk"
    WOOL = "Wool"
    SUCKLER = "Suckler"
    BREEDING = "Breeding"
    RESEARCH = "Research"
    PET = "Pet"
    EGGS = "Eggs"


class Status(StrEnum):
    """icarAnimalStatusType."""

    ALIVE = "Alive"
    DEAD = "Dead"
    OFF_FARM = "OffFarm"
    UNKNOWN = "Unknown"


class IdentifierKind(StrEnum):
    """What an animal is known by."""

    EAR_TAG = "EarTag"
    EID = "Eid"
    TATTOO = "Tattoo"
    BRAND = "Brand"
    LEG_BAND = "LegBand"
    MANAGEMENT = "Management"


class ParentRole(StrEnum):
    """Which parent."""

    DAM = "Dam"
    SIRE = "Sire"


class Relation(StrEnum):
    """icarAnimalRelationType."""

    GENETIC = "Genetic"
    RECIPIENT = "Recipient"
    ADOPTIVE = "Adoptive"


class MovementKind(StrEnum):
    """What a movement does."""

    BIRTH = "Birth"
    ARRIVAL = "Arrival"
    TRANSFER = "Transfer"
    DEPARTURE = "Departure"
    DEATH = "Death"


class ArrivalReason(StrEnum):
    """icarArrivalReasonType."""

    PURCHASE = "Purchase"
    INTERNAL_TRANSFER = "InternalTransfer"
    IMPORTED = "Imported"
    STUD_SERVICE = "StudService"
    STUD_SERVICE_RETURN = "StudServiceReturn"
    SLAUGHTER = "Slaughter"
    AGISTMENT = "Agistment"
    AGISTMENT_RETURN = "AgistmentReturn"
    SHOW = "Show"
    SHOW_RETURN = "ShowReturn"
    SALE = "Sale"
    SALE_RETURN = "SaleReturn"
    OTHER = "Other"


class DepartureReason(StrEnum):
    """icarDepartureReasonType."""

    AGE = "Age"
    SUPERFLUOUS = "Superfluous"
    SLAUGHTER = "Slaughter"
    SALE = "Sale"
    NEWBORN = "Newborn"
    LEG_OR_CLAW = "LegOrClaw"
    NUTRITION = "Nutrition"
    PARTURITION = "Parturition"
    MASTITIS = "Mastitis"
    FERTILITY = "Fertility"
    HEALTH = "Health"
    PRODUCTION = "Production"
    MILKING_ABILITY = "MilkingAbility"
    BAD_TYPE = "BadType"
    BEHAVIOUR = "Behaviour"
    OTHER = "Other"
    UNKNOWN = "Unknown"
    METABOLIC = "Metabolic"
    MATERNAL_ABILITY = "MaternalAbility"
    REPRODUCTIVE_FAILURE = "ReproductiveFailure"
    BREEDING_INDEX = "BreedingIndex"
    BODY_CONDITION = "BodyCondition"
    ORAL = "Oral"
    ACCIDENT = "Accident"


class DeathReason(StrEnum):
    """icarDeathReasonType."""

    MISSING = "Missing"
    PARTURITION = "Parturition"
    DISEASE = "Disease"
    ACCIDENT = "Accident"
    CONSUMPTION = "Consumption"
    CULLED = "Culled"
    OTHER = "Other"
    UNKNOWN = "Unknown"


REASONS: dict[MovementKind, frozenset[str]] = {
    MovementKind.BIRTH: frozenset({""}),
    MovementKind.ARRIVAL: frozenset(reason.value for reason in ArrivalReason),
    MovementKind.TRANSFER: frozenset({"", ArrivalReason.INTERNAL_TRANSFER.value}),
    MovementKind.DEPARTURE: frozenset(reason.value for reason in DepartureReason),
    MovementKind.DEATH: frozenset(reason.value for reason in DeathReason),
}
"""The reasons that each kind of movement can have."""


class WeightMethod(StrEnum):
    """icarWeightMethodType."""

    LOAD_CELL = "LoadCell"
    GIRTH = "Girth"
    ASSESSED = "Assessed"
    WALK_OVER = "WalkOver"
    PREDICTED = "Predicted"
    IMAGED = "Imaged"
    FRONT_END_CORRELATED = "FrontEndCorrelated"
    GROUP_AVERAGE = "GroupAverage"


class GroupKind(StrEnum):
    """What a group is for. An animal is in one group of each kind at a time."""

    MANAGEMENT = "Management"
    MILKING = "Milking"
    BREEDING = "Breeding"
    FEEDING = "Feeding"
    FINISHING = "Finishing"


BREED_CODE: Final = r"^[A-Z]{2,3}\Z"
"""The form of ICAR's breed codes: three letters, given by the Interbull Centre, or two, given by ICAR's working group
on artificial insemination (wiki.interbull.org, "breed codes"). Our codes of other species have this form too."""
