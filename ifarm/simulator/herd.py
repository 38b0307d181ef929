"""What happens in one herd, day by day. Events drive everything: each one schedules the next.

A herd begins with a burn-in, so that ages, lactations and pregnancies are in balance when the records begin. Nothing in
here knows tables or dates: days are numbers (`date.toordinal`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from ifarm.animals.words import DeathReason, DepartureReason, MovementKind
from ifarm.simulator import rates
from ifarm.simulator.curves import drawn, lognormal
from ifarm.simulator.rates import Breed, Rates

BURN_IN: Final = 730
SPRINGER: Final = 21
"""Days before her first calving at which a heifer joins the herd or is sold."""
SHORT: Final = 0.95
"""A herd with less than this share of its cows buys heifers; looked at every `LOOKS` days."""
LOOKS: Final = 30
BOUGHT_BEFORE: Final = (40, 80)
"""Days before calving at which bought heifers come; an assumption."""


@dataclass(slots=True)
class Calving:
    """``number`` is the lactation that begins; ``calf`` is None for a stillbirth."""

    day: int
    number: int
    gestation: int
    male: bool
    calf: Animal | None
    dry_on: int | None = None
    next_on: int | None = None


@dataclass(slots=True)
class Conception:
    """A pregnancy from its service on; ``lost_on`` where it did not last, ``calved_on`` where it did."""

    day: int
    lost_on: int | None = None
    calved_on: int | None = None


@dataclass(slots=True)
class Animal:
    """One animal and all that is known of it."""

    born: int
    male: bool
    breed: Breed
    dam: Animal | None
    yields: float
    size: float
    came: tuple[int, MovementKind, str]
    left: tuple[int, MovementKind, str] | None = None
    parity: int = 0
    pregnant: Conception | None = None
    turn: int = 0
    calvings: list[Calving] = field(default_factory=list)
    services: list[int] = field(default_factory=list)
    conceptions: list[Conception] = field(default_factory=list)
    checks: list[tuple[int, int | None]] = field(default_factory=list)
    """Days, and since when she was found pregnant."""
    illnesses: list[tuple[int, str]] = field(default_factory=list)


Act = Callable[[int, Animal], None]


class Herd:
    """A herd of so many cows, kept at that number by its own heifers.

    Args:
        first: the day the records begin; ``last``: the last day.
    """

    def __init__(self, known: Rates, cows: int, chance: Random, first: int, last: int) -> None:
        self.known, self.cows, self.chance = known, cows, chance
        self.first, self.last = first, last
        self.animals: list[Animal] = []
        self.milking = 0
        """Females that have calved, or are about to, and are here."""
        self.due = 0
        """Pregnant heifers."""
        self._begin = first - BURN_IN
        self._today = self._begin - 1
        self._agenda: list[list[tuple[Act, Animal, int | None]]] = [[] for _ in range(last - self._begin + 1)]

    def run(self) -> list[Animal]:
        """Every animal that was here from the first day of the records on, in the order of its birth or arrival."""
        self._populate()
        for day, planned in enumerate(self._agenda, self._begin):
            self._today = day
            for act, animal, turn in planned:
                if animal.left is None and turn in (None, animal.turn):
                    act(day, animal)
            planned.clear()
            if (day - self._begin) % LOOKS == 0:
                self._look(day)
        return [one for one in self.animals if one.left is None or one.left[0] >= self.first]

    def _on(self, day: int, act: Act, animal: Animal, *, whatever: bool = False) -> None:
        """Plan something. It is dropped if the animal's turn has passed by then, unless it comes ``whatever`` was."""
        if day <= self.last:
            self._agenda[day - self._begin].append((act, animal, None if whatever else animal.turn))

    # --- the beginning ----------------------------------------------------------------------------------

    def _populate(self) -> None:
        today = self._begin
        for number in range(self.cows):
            share = (number + 0.5) / self.cows
            parity = 1 + sum(share > limit for limit in (rates.PARITY_MIX[0], sum(rates.PARITY_MIX[:2])))
            if parity == 3:
                parity += min(int(self.chance.expovariate(0.7)), 4)
            since, open_days = self._reproductive(self.known.cows)
            born = today - since - 760 - (parity - 1) * rates.CALVING_INTERVAL
            cow = self._animal(born, male=False, dam=None)
            cow.parity = parity
            self.milking += 1
            cow.calvings.append(Calving(today - since, parity, 0, male=False, calf=None))
            self._continue(cow, today, today - since, open_days)
            self._exits(cow, today - since)
        for _ in range(
            round(0.79 * self.cows)
        ):  # births of females that live, for the years until they calve
            heifer = self._animal(today, male=False, dam=None)
            since, open_days = self._reproductive(self.known.heifers)
            heifer.born = today - since
            heifer.came = (heifer.born, MovementKind.BIRTH, "")
            self._continue(heifer, today, heifer.born, open_days)

    def _reproductive(self, how: rates.Breeding) -> tuple[int, int]:
        """Days since calving (or birth), evenly, and the days on which she gets pregnant, after that."""
        longest = how.starts + 700
        while True:
            since, open_days = self.chance.randrange(longest), how.starts + self.chance.randrange(21)
            while self.chance.random() > how.detection * how.conception and open_days < how.ends:
                open_days += 21
            if since < open_days + 276:
                return since, open_days

    def _continue(self, animal: Animal, today: int, began: int, open_days: int) -> None:
        if began + open_days < today:
            self._conceive(began + open_days, animal, sure=True)
        else:
            self._on(began + open_days, self._heat, animal)

    def _animal(self, day: int, *, male: bool, dam: Animal | None) -> Animal:
        chance = self.chance
        breed = dam.breed if dam is not None else chance.choice(self.known.breeds)
        animal = Animal(
            born=day,
            male=male,
            breed=breed,
            dam=dam,
            yields=lognormal(chance, rates.COW_VARIATION),
            size=max(0.6, chance.gauss(1, rates.WEIGHT_VARIATION)),
            came=(day, MovementKind.BIRTH, ""),
        )
        self.animals.append(animal)
        return animal

    # --- pregnancies ------------------------------------------------------------------------------------

    def _heat(self, day: int, female: Animal) -> None:
        how = self.known.cows if female.parity else self.known.heifers
        since = female.calvings[-1].day if female.parity else female.born
        if day - since > how.ends:
            self._leave(day, female, MovementKind.DEPARTURE, DepartureReason.FERTILITY)
            return
        if self.chance.random() < how.detection:
            female.services.append(day)
            if self.chance.random() < how.conception:
                self._conceive(day, female)
                return
        self._on(day + self._cycle(), self._heat, female)

    def _cycle(self) -> int:
        return max(15, round(self.chance.gauss(*rates.CYCLE)))

    def _conceive(self, day: int, female: Animal, *, sure: bool = False) -> None:
        female.turn += 1
        female.pregnant = Conception(day)
        female.conceptions.append(female.pregnant)
        self._count_due(female, 1)
        for share, earliest, latest in () if sure else rates.LOSSES:
            if self.chance.random() < share:
                self._plan(day + self.chance.randint(earliest, latest), self._lose, female)
                break
        else:
            gestation = max(250, round(self.chance.gauss(female.breed.gestation, rates.GESTATION_SD)))
            if female.parity:
                self._plan(day + rates.DRY_OFF, self._dry, female)
            else:
                self._plan(day + gestation - SPRINGER, self._join, female)
            self._plan(day + gestation, self._calve, female)
        for after in rates.PREGNANCY_CHECKS:
            self._plan(day + after, self._check, female)

    def _plan(self, day: int, act: Act, female: Animal) -> None:
        """Something of a pregnancy that may have begun elsewhere: then what is past is not known, or comes tomorrow."""
        if day > self._today:
            self._on(day, act, female)
        elif act in (self._join, self._calve):
            self._on(self._today + 1, act, female)

    def _count_due(self, female: Animal, change: int) -> None:
        if not female.parity:
            self.due += change

    def _check(self, day: int, female: Animal) -> None:
        female.checks.append((day, female.pregnant.day if female.pregnant else None))

    def _lose(self, day: int, female: Animal) -> None:
        female.turn += 1
        if female.pregnant is None:
            raise AssertionError("expected a pregnant female")
        female.pregnant.lost_on = day
        heat = day + self._cycle()
        first, second = (female.pregnant.day + after for after in rates.PREGNANCY_CHECKS)
        if first < day < second:
            self._on(second, self._check, female)
            heat = max(heat, second + 1)  # until then everybody believes her pregnant
        self._count_due(female, -1)
        female.pregnant = None
        self._on(heat, self._heat, female)

    def _dry(self, day: int, cow: Animal) -> None:
        cow.calvings[-1].dry_on = day

    def _join(self, day: int, heifer: Animal) -> None:
        """A heifer about to calve takes a free place, or is sold."""
        if self.milking >= self.cows:
            self._leave(day, heifer, MovementKind.DEPARTURE, DepartureReason.SALE)
        else:
            self.milking += 1
            self.due -= 1

    def _calve(self, day: int, cow: Animal) -> None:
        pregnancy = cow.pregnant
        if pregnancy is None:
            raise AssertionError("expected a pregnant cow")
        if cow.calvings:
            cow.calvings[-1].next_on = day
        cow.turn += 1
        cow.parity += 1
        cow.pregnant = None
        pregnancy.calved_on = day
        male = self.chance.random() < rates.MALES
        calf = None
        if self.chance.random() >= rates.STILLBIRTH:
            calf = self._animal(day, male=male, dam=cow)
            self._raise(day, calf)
        cow.calvings.append(Calving(day, cow.parity, day - pregnancy.day, male, calf))
        self._on(day + self.known.cows.starts + self.chance.randrange(21), self._heat, cow)
        self._exits(cow, day)
        if self.known.lactations:
            self._fall_ill(day, cow)

    # --- calves, illness and the end --------------------------------------------------------------------

    def _raise(self, day: int, calf: Animal) -> None:
        chance, known = self.chance, self.known
        sold = day + chance.randint(*known.sold)
        if chance.random() < known.calf_death:
            self._on(day + chance.randint(0, rates.WEANED), self._die_young, calf)
        if calf.male or chance.random() < known.females_sold:
            self._on(sold, self._sell, calf)
        else:
            self._on(day + known.heifers.starts + chance.randrange(21), self._heat, calf)

    def _die_young(self, day: int, calf: Animal) -> None:
        self._leave(day, calf, MovementKind.DEATH, DeathReason.DISEASE)

    def _sell(self, day: int, calf: Animal) -> None:
        self._leave(day, calf, MovementKind.DEPARTURE, DepartureReason.SALE)

    def _exits(self, cow: Animal, calved: int) -> None:
        """Whether and when this lactation is her last; a cow that calves before that day has escaped it."""
        chance, at = self.chance, min(cow.parity, len(self.known.cull)) - 1
        fate, number = chance.random(), cow.parity
        kind, reason = MovementKind.DEATH, DeathReason.UNKNOWN.value
        shares: tuple[float, ...] = rates.DEATH_BY_DAY
        if fate >= self.known.death[at] + self.known.cull[at]:
            return
        if fate >= self.known.death[at]:
            words = list(rates.CULLS)
            why = chance.choices(words, [rates.CULLS[word][0] for word in words])[0]
            kind, reason, shares = MovementKind.DEPARTURE, why.value, rates.CULLS[why][1]
        day = calved + drawn(chance, rates.EXIT_DAYS, shares)

        def end(today: int, animal: Animal) -> None:
            if animal.parity == number:
                self._leave(today, animal, kind, reason)

        if day > self._today:
            self._on(day, end, cow, whatever=True)

    def _fall_ill(self, day: int, cow: Animal) -> None:
        for illness in rates.ILLNESSES:
            if self.chance.random() < illness.incidence:
                name, span = illness.name, illness.last - illness.first
                self._on(
                    day + illness.first + round(span * self.chance.random() ** 2),
                    lambda today, animal, name=name: animal.illnesses.append((today, name)),  # type: ignore[misc]
                    cow,
                    whatever=True,
                )

    def _leave(self, day: int, animal: Animal, kind: MovementKind, reason: str) -> None:
        animal.left = (day, kind, str(reason))
        if animal.parity:
            self.milking -= 1
        elif animal.pregnant is not None:
            self.due -= 1

    def _look(self, day: int) -> None:
        """Buy heifers in calf where too many cows have gone and too few heifers follow."""
        while self.milking + self.due < SHORT * self.cows:
            ahead = self.chance.randint(*BOUGHT_BEFORE)
            conceived = day + ahead - 276
            heifer = self._animal(
                conceived - self.known.heifers.starts - self.chance.randrange(60), male=False, dam=None
            )
            heifer.came = (day, MovementKind.ARRIVAL, "Purchase")
            self._conceive(conceived, heifer, sure=True)
