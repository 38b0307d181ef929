"""The words of ICAR ADE 1.x for reproduction (`enums/*.json` of adewg/ICAR, Apache-2.0), and the few that we add."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """What happened to a female."""

    HEAT = "Heat"
    SERVICE = "Service"
    CHECK = "PregnancyCheck"
    CALVING = "Calving"
    ABORTION = "Abortion"


class HeatDetection(StrEnum):
    """icarReproHeatDetectionMethodType."""

    CHEMICAL = "Chemical"
    VISUAL = "Visual"
    PEDOMETER = "Pedometer"
    COLLAR = "Collar"
    EAR_TAG = "EarTag"
    BOLUS = "Bolus"
    OTHER = "Other"


class ServiceMethod(StrEnum):
    """icarReproInseminationType."""

    NATURAL_SERVICE = "NaturalService"
    RUN_WITH_BULL = "RunWithBull"
    INSEMINATION = "Insemination"
    IMPLANTATION = "Implantation"


class CheckMethod(StrEnum):
    """icarReproPregnancyMethodType."""

    ECOGRAPHY = "Ecography"
    PALPATION = "Palpation"
    BLOOD = "Blood"
    MILK = "Milk"
    VISUAL = "Visual"
    OTHER = "Other"


class CheckResult(StrEnum):
    """icarReproPregnancyResultType."""

    EMPTY = "Empty"
    PREGNANT = "Pregnant"
    MULTIPLE = "Multiple"
    UNKNOWN = "Unknown"


class CalvingEase(StrEnum):
    """icarReproCalvingEaseType; in this order the INTERBEEF codes 1 to 5."""

    EASY_UNASSISTED = "EasyUnassisted"
    EASY_ASSISTED = "EasyAssisted"
    DIFFICULT_EXTRA_ASSISTANCE = "DifficultExtraAssistance"
    DIFFICULT_VETERINARY_CARE = "DifficultVeterinaryCare"
    CAESAREAN_OR_SURGERY = "CaesareanOrSurgery"


class BirthStatus(StrEnum):
    """icarParturitionBirthStatusType, as far as it is known at birth: who dies later has a movement that says so."""

    ALIVE = "Alive"
    STILLBORN = "Stillborn"


class ReproductionStatus(StrEnum):
    """icarAnimalReproductionStatusType."""

    OPEN = "Open"
    INSEMINATED = "Inseminated"
    PREGNANT = "Pregnant"
    NOT_PREGNANT = "NotPregnant"
    BIRTHED = "Birthed"


class DueKind(StrEnum):
    """What is to be done next."""

    SERVICE = "Service"
    HEAT_REPEAT = "HeatRepeat"
    CHECK = "PregnancyCheck"
    DRY_OFF = "DryOff"
    CALVING = "Calving"


POSITIVE = frozenset({CheckResult.PREGNANT.value, CheckResult.MULTIPLE.value})
