"""The cycle of reproduction: its constants with their sources, and what a row of events says. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Final
from uuid import UUID

from ifarm.animals.words import Species
from ifarm.breeding.words import POSITIVE, CheckResult, DueKind, EventKind, ReproductionStatus
from ifarm.core.errors import RuleBroken


@dataclass(frozen=True, slots=True)
class Plan:
    """The days of one species; a tenant may change the last three (`BreedingPlan`).

    Args:
        repeat_from: days from a heat or service to the first day on which the next heat is looked for.
        repeat_until: the last such day.
        gestation: days from conception to birth.
        wait: days after a birth in which the animal is not served (voluntary waiting period); None: bred by season.
        check: days from a service to the pregnancy check.
        dry: days before the expected birth on which milking ends; None: not planned.
    """

    repeat_from: int
    repeat_until: int
    gestation: int
    wait: int | None
    check: int
    dry: int | None


PLANS: Final[dict[Species, Plan]] = {
    Species.CATTLE: Plan(20, 22, 280, 50, 32, 60),
    Species.BUFFALO: Plan(20, 22, 310, 50, 32, 60),
    Species.SHEEP: Plan(16, 18, 147, None, 45, None),
    Species.GOAT: Plan(20, 22, 150, None, 45, 60),
    Species.PIG: Plan(20, 22, 114, None, 28, None),
    Species.HORSE: Plan(20, 22, 340, 9, 16, None),
}
"""Sources, by column.

repeat: cattle 20 to 22 days (InterHerd, Herdwatch Watchboard; specification, section 2); the others a day to each side
    of the mean in the Merck Veterinary Manual, "Features of the Reproductive Cycle" (sheep 17, goat, pig, horse 21).
gestation: cattle between Holstein 276 (RuFaS), Angus 281 and Hereford 285 (BIF); buffalo 305 to 320 (Banglapedia,
    "Gestation"); sheep, goat 145 to 155 (there); pig 111 to 120, horse 326 to 354.
wait: cattle 50 (RuFaS; profitable from 42 to 70, Progressive Dairy 60166), buffalo as cattle; horse 9, the foal heat
    (Merck, 4 to 14). Sheep and goats wait for their season (Merck), sows for weaning.
check: cattle 30 to 36 days by ultrasound (Hoard's Dairyman 20572); the others are common practice, and may be changed.
dry: RuFaS dries off at 218 of 276 days.
"""

SERVICE_WINDOW: Final = 21
"""Days in which a service is due: one cycle, the period of the pregnancy rate."""
CHECK_WINDOW: Final = 14
"""Days in which a check is due: visits of the veterinarian are one or two weeks apart."""
BIRTH_SPREAD: Final = 7
"""Days to each side of the expected birth (276 ± 6: RuFaS)."""
NEAR: Final = 7
"""A conception dated by a check belongs to a service at most this many days apart: dating has its error."""
BIRTH_RANGE: Final = 21
"""A birth without a check belongs to a service whose expected birth is at most this many days apart."""
VIABLE: Final = 0.8
"""A birth before this part of gestation is recorded as an abortion (cattle 224 days). Our choice, not a source's."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as far as the cycle needs it."""

    id: UUID
    kind: EventKind
    on: date
    result: str = ""
    days_pregnant: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What all events so far say.

    Args:
        since: the day of the event that made the status.
        opened_on: the last calving or abortion.
        services: those since then.
        conceived_on: the day of conception of the present pregnancy; None unless `Pregnant`.
        conceived_by: the service that led to the present pregnancy, or to the last birth.
        outcomes: whether each service led to a pregnancy, by its id; None while nobody knows.
    """

    status: ReproductionStatus = ReproductionStatus.OPEN
    since: date | None = None
    calved_on: date | None = None
    opened_on: date | None = None
    heat_on: date | None = None
    services: tuple[Event, ...] = ()
    conceived_on: date | None = None
    conceived_by: Event | None = None
    outcomes: dict[UUID, bool | None] = field(default_factory=dict)

    @property
    def served_on(self) -> date | None:
        """The last service since the last birth."""
        return self.services[-1].on if self.services else None


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done next, from a day to a day (both included), counted from ``anchor_on``."""

    kind: DueKind
    anchor_on: date
    due_from: date
    due_until: date


def replay(events: Iterable[Event], plan: Plan) -> State:
    """What the events say, in their order. Raises `RuleBroken` for one that cannot follow those before it."""
    state = State()
    for event in events:
        state = step(state, event, plan)
    return state


def step(state: State, event: Event, plan: Plan) -> State:
    """The state after one more event. Raises `RuleBroken`."""
    if event.kind is EventKind.HEAT:
        return replace(state, heat_on=event.on)
    if event.kind is EventKind.SERVICE:
        return _served(state, event)
    if event.kind is EventKind.CHECK:
        return _checked(state, event)
    if event.kind is EventKind.CALVING:
        return _calved(state, event, plan)
    return _aborted(state, event)


def _served(state: State, event: Event) -> State:
    if state.status is ReproductionStatus.PREGNANT:
        raise RuleBroken(
            f"expected an animal that is not pregnant on {event.on}, found one that is."
            " Record the abortion or the check that found it empty first."
        )
    outcomes = {key: bool(value) for key, value in state.outcomes.items()}  # the earlier ones did not take
    return replace(
        state,
        status=ReproductionStatus.INSEMINATED,
        since=event.on,
        services=(*state.services, event),
        outcomes={**outcomes, event.id: None},
    )


def _checked(state: State, event: Event) -> State:
    positive = event.result in POSITIVE
    if event.days_pregnant is not None and not positive:
        raise RuleBroken("expected days_pregnant of a pregnant animal only, found it with another result.")
    if event.result == CheckResult.UNKNOWN:
        return state
    if not positive:
        outcomes: dict[UUID, bool | None] = {key: bool(value) for key, value in state.outcomes.items()}
        return replace(
            state,
            status=ReproductionStatus.NOT_PREGNANT,
            since=event.on,
            conceived_on=None,
            conceived_by=None,
            outcomes=outcomes,
        )
    conceived_on, by = _conception(state, event)
    if conceived_on is None:
        raise RuleBroken("expected a service before the check, or days_pregnant, found neither.")
    if state.opened_on is not None and conceived_on <= state.opened_on:
        raise RuleBroken(
            f"expected a conception after the last birth or abortion ({state.opened_on}), found {conceived_on}."
        )
    return replace(
        state,
        status=ReproductionStatus.PREGNANT,
        since=event.on,
        conceived_on=conceived_on,
        conceived_by=by,
        outcomes=_credited(state, by),
    )


def _conception(state: State, event: Event) -> tuple[date | None, Event | None]:
    """When the pregnancy that a check found began, and by which service."""
    if event.days_pregnant is not None:
        day = event.on - timedelta(days=event.days_pregnant)
        return day, _nearest(state.services, day, NEAR)
    if state.status is ReproductionStatus.PREGNANT:
        return state.conceived_on, state.conceived_by
    last = state.services[-1] if state.services else None
    return (None, None) if last is None else (last.on, last)


def _nearest(services: tuple[Event, ...], day: date, within: int) -> Event | None:
    near = [one for one in services if abs((one.on - day).days) <= within]
    return min(near, key=lambda one: abs((one.on - day).days), default=None)


def _credited(state: State, by: Event | None) -> dict[UUID, bool | None]:
    """The outcomes of the services of this cycle, when one of them (or none) led to a pregnancy."""
    mine = {one.id for one in state.services}
    return {
        key: (by is not None and key == by.id) if key in mine else value
        for key, value in state.outcomes.items()
    }


def _calved(state: State, event: Event, plan: Plan) -> State:
    least = round(plan.gestation * VIABLE)
    for word, day in (("birth", state.calved_on), ("conception", state.conceived_on)):
        if day is not None and (event.on - day).days < least:
            raise RuleBroken(
                f"expected a birth {least} days or more after the {word} ({day}), found {event.on}."
                " An earlier one is an abortion."
            )
    by = state.conceived_by
    if state.status is not ReproductionStatus.PREGNANT:
        by = _nearest(state.services, event.on - timedelta(days=plan.gestation), BIRTH_RANGE)
    return State(
        status=ReproductionStatus.BIRTHED,
        since=event.on,
        calved_on=event.on,
        opened_on=event.on,
        conceived_by=by,
        outcomes=_credited(state, by),
    )


def _aborted(state: State, event: Event) -> State:
    if state.status not in (ReproductionStatus.PREGNANT, ReproductionStatus.INSEMINATED):
        raise RuleBroken(f"expected an animal that was served or is pregnant, found {state.status}.")
    by = state.conceived_by if state.status is ReproductionStatus.PREGNANT else state.services[-1]
    return State(since=event.on, calved_on=state.calved_on, opened_on=event.on, outcomes=_credited(state, by))


def offsets(kind: DueKind, plan: Plan) -> tuple[int, int] | None:
    """First and last day of what is due, counted from its anchor; None where the plan has none of it."""
    if kind is DueKind.SERVICE:
        return None if plan.wait is None else (plan.wait, plan.wait + SERVICE_WINDOW)
    if kind is DueKind.HEAT_REPEAT:
        return plan.repeat_from, plan.repeat_until
    if kind is DueKind.CHECK:
        return plan.check, plan.check + CHECK_WINDOW
    if kind is DueKind.CALVING:
        return plan.gestation - BIRTH_SPREAD, plan.gestation + BIRTH_SPREAD
    return None if plan.dry is None else (plan.gestation - plan.dry,) * 2


def dues(state: State, plan: Plan) -> Iterator[Due]:
    """What is to be done next: each confirmed event leads to the one after it."""
    for kind, anchor in _anchors(state):
        days = offsets(kind, plan)
        if days is not None:
            yield Due(kind, anchor, anchor + timedelta(days=days[0]), anchor + timedelta(days=days[1]))


def _anchors(state: State) -> Iterator[tuple[DueKind, date]]:
    if state.status is ReproductionStatus.PREGNANT:
        assert state.conceived_on is not None
        yield DueKind.DRY_OFF, state.conceived_on
        yield DueKind.CALVING, state.conceived_on
        return
    if state.status is ReproductionStatus.INSEMINATED and state.served_on is not None:
        yield DueKind.CHECK, state.served_on
    elif state.opened_on is not None:
        yield DueKind.SERVICE, state.opened_on
    seen = [day for day in (state.heat_on, state.served_on) if day is not None]
    if seen:
        yield DueKind.HEAT_REPEAT, max(seen)
