"""What is known of herds, in numbers with their sources. What is assumed says so.

RuFaS: the default inputs of the Ruminant Farm Systems model, Cornell (`input/data/animal/default_animal.json` and
`LACTATION_CURVE_ADJUSTMENT_INPUTS.json`), facts only. Days and kilograms, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ifarm.animals.words import DepartureReason

Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""Days and the share that has happened by each."""


@dataclass(frozen=True, slots=True)
class Wood:
    """A lactation, y = a·t^b·e^(-c·t) kilograms on day t (Wood 1967, Nature 216:164)."""

    a: float
    b: float
    c: float


@dataclass(frozen=True, slots=True)
class Breeding:
    """How females get pregnant: from ``starts`` (days after calving, or of age) in each heat, until ``ends``."""

    starts: int
    ends: int
    detection: float
    conception: float


@dataclass(frozen=True, slots=True)
class Breed:
    """Of one breed: its code in the catalogue, gestation and weights.

    ``growth`` is k of Brody's curve, W = A - (A - B)·e^(-k·days) (Brody 1945).
    """

    code: str
    gestation: float
    birth_kg: float
    mature_kg: float
    growth: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one kind of herd.

    Args:
        lactations: by parity, the last for all later ones; none: nobody is milked.
        sold: days of age at which calves go, males and (of the females) a share of ``females_sold``.
    """

    breeds: tuple[Breed, ...]
    lactations: tuple[Wood, ...]
    cows: Breeding
    heifers: Breeding
    cull: tuple[float, ...]
    death: tuple[float, ...]
    calf_death: float
    sold: tuple[int, int]
    females_sold: float


GESTATION_SD: Final = 6.0
"""RuFaS; Simmental 5.5 (BIF)."""
CYCLE: Final = (21.0, 4.0)
"""From heat to heat, mean and deviation; RuFaS."""
PREGNANCY_CHECKS: Final = (32, 60)
"""Days after conception; RuFaS."""
LOSSES: Final = ((0.02, 5, 31), (0.096, 33, 59), (0.017, 61, 199))
"""Of the pregnancies that reach it, the share that is lost from the first to the second day; RuFaS."""
DRY_OFF: Final = 218
"""Days pregnant; RuFaS."""
STILLBIRTH: Final = 0.065
"""RuFaS."""
MALES: Final = 0.53
"""RuFaS, conventional semen."""
PARITY_MIX: Final = (0.386, 0.281, 0.333)
"""First, second, third and later lactations; RuFaS."""
CALVING_INTERVAL: Final = 400
"""RuFaS; Penn State on JDS 89:365: Holstein 404, Jersey 390; Ireland 388 (ICBF)."""
WEANED: Final = 60
"""RuFaS, dairy calves. Beef calves are weaned when they are sold."""

EXIT_DAYS: Final = (0.0, 5, 15, 45, 90, 135, 180, 225, 270, 330, 380, 430, 480, 530)
DEATH_BY_DAY: Final = (0.0, 0.18, 0.32, 0.42, 0.48, 0.54, 0.60, 0.65, 0.70, 0.77, 0.83, 0.89, 0.95, 1.0)
"""The share of a lactation's deaths that has happened by each of `EXIT_DAYS` in milk; RuFaS."""
CULLS: Final[dict[DepartureReason, tuple[float, tuple[float, ...]]]] = {
    DepartureReason.ACCIDENT: (
        0.2883,
        (0.0, 0.08, 0.18, 0.28, 0.38, 0.47, 0.56, 0.64, 0.71, 0.78, 0.85, 0.90, 0.95, 1.0),
    ),
    DepartureReason.MASTITIS: (
        0.2439,
        (0.0, 0.06, 0.12, 0.19, 0.30, 0.43, 0.56, 0.68, 0.78, 0.85, 0.90, 0.94, 0.97, 1.0),
    ),
    DepartureReason.LEG_OR_CLAW: (
        0.1633,
        (0.0, 0.03, 0.08, 0.16, 0.25, 0.36, 0.48, 0.59, 0.69, 0.78, 0.85, 0.90, 0.95, 1.0),
    ),
    DepartureReason.HEALTH: (
        0.1391,
        (0.0, 0.04, 0.12, 0.24, 0.34, 0.42, 0.50, 0.57, 0.64, 0.72, 0.81, 0.89, 0.95, 1.0),
    ),
    DepartureReason.UNKNOWN: (
        0.1009,
        (0.0, 0.05, 0.11, 0.18, 0.27, 0.37, 0.45, 0.54, 0.62, 0.70, 0.77, 0.84, 0.92, 1.0),
    ),
    DepartureReason.MILKING_ABILITY: (
        0.0645,
        (0.0, 0.12, 0.24, 0.33, 0.41, 0.48, 0.55, 0.62, 0.68, 0.76, 0.82, 0.89, 0.95, 1.0),
    ),
}
"""Why cows are culled: the share of all culls, and by when in milk; RuFaS (injury, mastitis, feet, disease, unknown,
udder)."""


@dataclass(frozen=True, slots=True)
class Illness:
    """One disease of cows: the share of lactations that has it, and from and to which day in milk."""

    name: str
    incidence: float
    first: int
    last: int


ILLNESSES: Final = (
    Illness("mastitis", 0.189, 1, 305),
    Illness("metritis", 0.080, 1, 21),
    Illness("retained placenta", 0.052, 1, 2),
)
"""Lactational incidence in 57,301 cows, doi 10.1007/s11259-011-9479-5. When in the lactation: metritis within 21 days
by its definition (Sheldon et al. 2006, Theriogenology 65:1516); that half of each comes in its first quarter is an
assumption."""

COW_VARIATION: Final = 0.15
"""Coefficient of variation between cows of one parity (lognormal); an assumption."""
DAY_VARIATION: Final = (0.06, 0.8)
"""Of one cow's days around her curve: deviation and correlation with the day before (AR(1)); an assumption."""
WEIGHT_VARIATION: Final = 0.10
"""Of mature weights; RuFaS: 740 ± 74."""
FAT: Final = (4.0, 0.5)
PROTEIN: Final = (3.2, 0.25)
"""Percent; the means are RuFaS's, the deviations an assumption."""
CELLS: Final = (100_000, 0.8)
"""Somatic cells per ml: median and logarithmic deviation, an assumption; healthy udders are below 200,000 (NMC)."""
DRESSING: Final = 0.50
"""Carcass of live weight; an assumption (cull cows are around one half)."""

_EARLY, _LATE = 50, 300
DAIRY: Final = Rates(
    breeds=(Breed("HOL", 276, 43.9, 740, 0.0022),),
    lactations=(Wood(15.72, 0.2433, 0.002445), Wood(22.06, 0.2350, 0.003642), Wood(21.92, 0.2627, 0.004041)),
    cows=Breeding(_EARLY, _LATE, 0.6, 0.5),
    heifers=Breeding(440, 660, 0.9, 0.6),
    cull=(0.169, 0.233, 0.301, 0.408),
    death=(0.039, 0.056, 0.085, 0.117),
    calf_death=0.05,
    sold=(14, 28),
    females_sold=0.0,
)
"""RuFaS (curves are its base with the shifts of each parity; culls and deaths by parity). First calving at 24 to 28
months asks for breeding from 440 days on; cows that are open after 300 days go (assumption). 5 % of heifer calves die
before weaning (Urie et al. 2018, JDS 101:9229). Growth: 82 % of mature weight at the first calving (NRC 2001)."""

BEEF: Final = Rates(
    breeds=(
        Breed("AAN", 281, 36, 600, 0.0027),
        Breed("HER", 285, 39, 620, 0.0027),
        Breed("SIM", 284, 41, 680, 0.0027),
    ),
    lactations=(),
    cows=Breeding(60, 300, 0.95, 0.6),
    heifers=Breeding(440, 660, 0.95, 0.6),
    cull=(0.10, 0.10, 0.12, 0.18),
    death=(0.015, 0.015, 0.015, 0.02),
    calf_death=0.04,
    sold=(190, 220),
    females_sold=0.5,
)
"""Suckler cows with a bull. Gestation: BIF; mature weight 594 to 746 kg, 257 to 314 kg at weaning, k about
0.003: USMARC (WCGALP 2018:689); birth weights, culls, deaths and the bull's success are assumptions."""

LAYER_BREED: Final = "LOH"
LAYING_STARTS: Final = 126
"""Days of age at which a flock is housed; 18 weeks, as breeders advise."""
LAYING_PEAK: Final = 0.95
LAYING_HALF: Final = 14
"""Days after housing at which half of the peak is reached."""
LAYING_PERSISTS: Final = 200
"""Days at the peak; the rate goes down evenly after it (shape: Grossman and Koops 2001, Poultry Science 80:1509)."""
LAYING_DECLINE: Final = 0.0008
LAYING_ENDS: Final = 420
HEN_DEATH: Final = 0.00015
EGGS_BROKEN: Final = 0.02
"""Of laying, per day or of all eggs: what a breeder's guide shows, to about one digit; assumptions."""
