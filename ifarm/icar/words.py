"""Our words and those of ICAR ADE 1.5 (`enums/*.json` of adewg/ICAR), as tables; tests see that none is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from ifarm.animals.words import (
    ArrivalReason,
    DeathReason,
    DepartureReason,
    IdentifierKind,
    MovementKind,
    Purpose,
    Relation,
    Sex,
    Species,
    Status,
    WeightMethod,
)
from ifarm.breeding.words import (
    BirthStatus,
    CalvingEase,
    CheckMethod,
    CheckResult,
    EventKind,
    HeatDetection,
    ServiceMethod,
)
from ifarm.core.errors import RuleBroken
from ifarm.health.words import Product, TreatmentKind, Unit
from ifarm.production.words import EggUse, MilkUse, ProductionType, Session

Reasons = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """One enumeration.

    Args:
        icar: its words there, by spaces.
        other: of ours, where ICAR spells it otherwise.
        untold: ours that ICAR does not have, each with the reason.
        also: ICAR's that are understood, and never told: an older spelling.
        refused: ICAR's that we do not have, each with the reason.
    """

    name: str
    ours: type[StrEnum]
    icar: str
    other: Mapping[str, str] = field(default_factory=dict)
    untold: Reasons = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    refused: Reasons = field(default_factory=dict)

    @property
    def pairs(self) -> dict[str, str]:
        """Ours to ICAR's."""
        told = (word.value for word in self.ours if word.value not in self.untold)
        return {word: self.other.get(word, word) for word in told}

    def tell(self, word: str) -> str | None:
        """ICAR's word for one of ours; None where there is none."""
        return self.pairs.get(word)

    def understand(self, word: str) -> str:
        """Our word for one of ICAR's. Raises `RuleBroken`."""
        known = {theirs: ours for ours, theirs in self.pairs.items()} | dict(self.also)
        if word in known:
            return known[word]
        reason = self.refused.get(word, f"expected one of {', '.join(sorted(known))}")
        raise RuleBroken(f"{self.name} {word!r}: {reason}.")


_LATER: Final = "who dies after birth has a death that says so"
_NOT_KEPT: Final = "such a product is not kept here"
_NO_UNIT: Final = "medicines are not kept in this unit here"

SPECIES: Final = Table(
    "icarAnimalSpecieType",
    Species,
    "Buffalo Cattle Deer Elk Goat Horse Pig Sheep",
    untold={Species.CHICKEN: "ADE has no poultry: such animals are left out"},
)
SEX: Final = Table(
    "icarAnimalGenderType",
    Sex,
    "Female FemaleNeuter Freemartin Male MaleCryptorchid MaleNeuter Unknown",
)
PURPOSE: Final = Table(
    "icarProductionPurposeType",
    Purpose,
    "Meat Milk Wool Suckler Breeding Research Pet",
    untold={Purpose.EGGS: "ADE has no poultry"},
)
STATUS: Final = Table("icarAnimalStatusType", Status, "Alive Dead OffFarm Unknown")
RELATION: Final = Table("icarAnimalRelationType", Relation, "Genetic Recipient Adoptive")
ARRIVAL: Final = Table(
    "icarArrivalReasonType",
    ArrivalReason,
    "Purchase InternalTransfer Imported StudService StudServiceReturn Slaughter Agistment AgistmentReturn Show"
    " ShowReturn Sale SaleReturn Other",
)
DEPARTURE: Final = Table(
    "icarDepartureReasonType",
    DepartureReason,
    "Age Superfluous Slaughter Sale Newborn LegOrClaw Nutrition Parturition Mastitis Fertility Health Production"
    " MilkingAbility BadType Behaviour Other Unknown Metabolic MaternalAbility ReproductiveFailure BreedingIndex"
    " BodyCondition Oral Accident",
)
DEATH: Final = Table(
    "icarDeathReasonType",
    DeathReason,
    "Missing Parturition Disease Accident Consumption Culled Other Unknown",
)
WEIGHT_METHOD: Final = Table(
    "icarWeightMethodType",
    WeightMethod,
    "LoadCell Girth Assessed WalkOver Predicted Imaged FrontEndCorrelated GroupAverage Loadcell frontEndCorrelated",
    also={  # as ADE 1.4 spells them
        "Loadcell": WeightMethod.LOAD_CELL.value,
        "frontEndCorrelated": WeightMethod.FRONT_END_CORRELATED.value,
    },
)
HEAT: Final = Table(
    "icarReproHeatDetectionMethodType",
    HeatDetection,
    "Chemical Visual Pedometer Collar EarTag Bolus Other",
)
INSEMINATION: Final = Table(
    "icarReproInseminationType", ServiceMethod, "NaturalService RunWithBull Insemination Implantation"
)
CHECK_METHOD: Final = Table(
    "icarReproPregnancyMethodType", CheckMethod, "Ecography Palpation Blood Milk Visual Other"
)
CHECK_RESULT: Final = Table("icarReproPregnancyResultType", CheckResult, "Empty Pregnant Multiple Unknown")
EASE: Final = Table(
    "icarReproCalvingEaseType",
    CalvingEase,
    "EasyUnassisted EasyAssisted DifficultExtraAssistance DifficultVeterinaryCare CaesareanOrSurgery",
)
BIRTH: Final = Table(
    "icarParturitionBirthStatusType",
    BirthStatus,
    "Alive Stillborn Aborted DiedBeforeOfficialRegistrationDate DiedAfterOfficialRegistrationDate SlaughteredAtBirth"
    " EuthanisedAtBirth",
    refused={
        "Aborted": "an abortion is an event of its own",
        "DiedBeforeOfficialRegistrationDate": _LATER,
        "DiedAfterOfficialRegistrationDate": _LATER,
        "SlaughteredAtBirth": _LATER,
        "EuthanisedAtBirth": _LATER,
    },
)
PRODUCT: Final = Table(
    "icarWithdrawalProductType",
    Product,
    "Meat Milk Eggs Honey Velvet Fibre Other",
    refused=dict.fromkeys(("Honey", "Velvet", "Fibre", "Other"), _NOT_KEPT),
)
UNIT: Final = Table(
    "uncefactDoseUnitsType",
    Unit,
    "MLT LTR MGM GRM XTU TU EA XVI XAR XCQ GJ GL GRN L19 NA SYR WW",
    refused=dict.fromkeys(("TU", "XAR", "XCQ", "GJ", "GL", "GRN", "L19", "NA", "WW"), _NO_UNIT),
)
TABLES: Final = (
    SPECIES,
    SEX,
    PURPOSE,
    STATUS,
    RELATION,
    ARRIVAL,
    DEPARTURE,
    DEATH,
    WEIGHT_METHOD,
    HEAT,
    INSEMINATION,
    CHECK_METHOD,
    CHECK_RESULT,
    EASE,
    BIRTH,
    PRODUCT,
    UNIT,
)

MASS_KG: Final = {
    "KGM": Decimal(1),
    "GRM": Decimal("0.001"),
    "LBR": Decimal("0.45359237"),
    "TNE": Decimal(1000),
    "MGM": Decimal("0.000001"),
    "MC": Decimal("0.000000001"),
}
"""uncefactMassUnitsType in kilograms; we tell kilograms."""

SCHEMES: Final = {
    IdentifierKind.EAR_TAG: "ifarm.ear-tag",
    IdentifierKind.EID: "ifarm.eid",
    IdentifierKind.TATTOO: "ifarm.tattoo",
    IdentifierKind.BRAND: "ifarm.brand",
    IdentifierKind.LEG_BAND: "ifarm.leg-band",
    IdentifierKind.MANAGEMENT: "ifarm.management",
}
"""Schemes of animals, by what they are known by. They are ours: who issues a tag differs from country to country."""
LOCATION: Final = "ifarm.farm"
"""The scheme of locations: the id is a farm's."""
BREED: Final = "ifarm.breed"
"""The scheme of breeds: the id is a code of `breeds/`."""
REGISTRATION: Final = "ifarm.medicine-registration"
"""The scheme of medicines: the id is the registration number, as the tenant has written it."""

SHIFTS: Final = {
    Session.MORNING: (1, 6),
    Session.MIDDAY: (2, 12),
    Session.EVENING: (3, 18),
    Session.NIGHT: (4, 22),
}
"""The number of a milking in its day, and the hour that stands for it where only the milking is known."""

MOVEMENTS: Final[Mapping[MovementKind, tuple[str, ...]]] = {
    MovementKind.BIRTH: ("births",),
    MovementKind.ARRIVAL: ("arrivals",),
    MovementKind.TRANSFER: ("arrivals", "departures"),
    MovementKind.DEPARTURE: ("departures",),
    MovementKind.DEATH: ("deaths",),
}
"""In which collections a movement is told. A transfer inside a farm is in none: ADE knows locations, not paddocks."""
EVENTS: Final[Mapping[EventKind, str]] = {
    EventKind.HEAT: "heats",
    EventKind.SERVICE: "inseminations",
    EventKind.CHECK: "pregnancy-checks",
    EventKind.CALVING: "parturitions",
    EventKind.ABORTION: "abortions",
}
MILK: Final[Mapping[Session, str]] = {
    Session.MORNING: "milking-visits",
    Session.MIDDAY: "milking-visits",
    Session.EVENING: "milking-visits",
    Session.NIGHT: "milking-visits",
    Session.WHOLE_DAY: "test-day-results",
}
PRODUCTION: Final[Mapping[ProductionType, str]] = {ProductionType.MILK: "milking-visits"}
"""What animals give, as far as it is told; the rest has its reason in `UNTOLD`."""
VACCINATION: Final = "Vaccination"
"""Of icarTreatmentCommonProcedureType: the procedure of a vaccination."""
UNTOLD: Final[Reasons] = {
    ProductionType.EGGS: "ADE has no poultry",
    ProductionType.WOOL: "ADE has no event for fleeces",
    ProductionType.MEAT: "carcasses are told by the abattoir, not by the farm",
    TreatmentKind.TREATMENT: "a treatment with a medicine is one",
    TreatmentKind.VACCINATION: "is its procedure",
    TreatmentKind.PROCEDURE: "a treatment without a medicine is one",
    MilkUse.TANK: "a milking visit does not say where the milk went",
    MilkUse.CALVES: "a milking visit does not say where the milk went",
    MilkUse.DISCARDED: "a milking visit does not say where the milk went; nor is there one for eggs",
    EggUse.TABLE: "ADE has no poultry",
    EggUse.HATCHING: "ADE has no poultry",
}
"""Our words without one of ICAR's that are in no table above."""
