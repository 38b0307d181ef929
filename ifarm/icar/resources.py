"""Every collection of a location: its rows, how they are told, and how they are received."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Prefetch, Q, QuerySet

from ifarm.animals.growth import delete_weight
from ifarm.animals.models import Animal, BreedFraction, Movement, Parentage, Weight
from ifarm.animals.policies import ANIMALS, MOVEMENTS, WEIGHTS
from ifarm.animals.services import delete_animal
from ifarm.animals.words import MovementKind
from ifarm.api.pages import Order
from ifarm.breeding.models import BreedingEvent, Offspring
from ifarm.breeding.policies import EVENTS
from ifarm.breeding.services import delete_event
from ifarm.breeding.words import EventKind
from ifarm.core.actors import Actor
from ifarm.core.policies import Policy
from ifarm.farms.models import Farm
from ifarm.health.models import Treatment, TreatmentDose
from ifarm.health.policies import TREATMENTS
from ifarm.icar import describe, words
from ifarm.icar import receive_animals as animals
from ifarm.icar import receive_events as events
from ifarm.icar import serializers as shapes
from ifarm.icar.known import Known, Outcome
from ifarm.production.models import Production
from ifarm.production.policies import PRODUCTIONS
from ifarm.production.services import delete_production
from ifarm.production.words import ProductionType, Session


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection.

    Args:
        name: the last part of its address. kind: ICAR's name of its resource, between ``icar`` and ``Resource``.
        rows: those of a location, of the actor's farms, with all that is told of them.
        remove: for a row that comes back as deleted; None: such a row stays.
        pedigree: whether receiving one may say who is a parent of whom.
    """

    name: str
    kind: str
    policy: Policy[Any]
    shape: type[shapes.Resource]
    rows: Callable[[Actor, Farm], QuerySet[Any]]
    describe: Callable[[Any, Farm], dict[str, Any]]
    receive: Callable[[Known, Mapping[str, Any]], Outcome]
    remove: Callable[[Actor, UUID], None] | None = None
    action: str = "add"
    pedigree: bool = False

    @property
    def model(self) -> Any:
        """Of its rows."""
        return self.policy.model

    @property
    def order(self) -> Order:
        """A collection is told by when its rows were changed, so a reader can go on where they were."""
        return Order(self.model, "modified_at")


_SPECIES: Final = sorted(words.SPECIES.pairs)


def _of_animal(where: str = "") -> tuple[Any, ...]:
    """What is told of animals besides their own columns."""
    return (
        f"{where}identifiers",
        f"{where}icar_sources",
        Prefetch(f"{where}breed_fractions", BreedFraction.objects.select_related("breed")),
        Prefetch(f"{where}parents", Parentage.objects.select_related("parent")),
    )


def _animals(actor: Actor, farm: Farm) -> QuerySet[Animal]:
    rows = ANIMALS.instances(actor).filter(farm=farm, animal_type__in=_SPECIES)
    return rows.select_related("breed").prefetch_related(*_of_animal())


def _told(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Rows of animals that ADE has, with their animals."""
    return rows.filter(animal__animal_type__in=_SPECIES, animal__is_deleted=False).select_related("animal")


def _movements(actor: Actor, *kinds: Q) -> QuerySet[Movement]:
    chosen = kinds[0]
    for one in kinds[1:]:
        chosen |= one
    return _told(MOVEMENTS.instances(actor)).filter(chosen).select_related("from_farm", "to_farm")


def _with_details(rows: QuerySet[Movement]) -> QuerySet[Movement]:
    return rows.select_related("animal__breed", "from_farm", "to_farm").prefetch_related(
        *_of_animal("animal__")
    )


_OTHER_FARM: Final = Q(kind=MovementKind.TRANSFER.value) & ~Q(from_farm=F("to_farm"))


def _births(actor: Actor, farm: Farm) -> QuerySet[Movement]:
    return _with_details(_movements(actor, Q(kind=MovementKind.BIRTH.value, to_farm=farm)))


def _arrivals(actor: Actor, farm: Farm) -> QuerySet[Movement]:
    came = Q(kind=MovementKind.ARRIVAL.value, to_farm=farm)
    return _with_details(_movements(actor, came, _OTHER_FARM & Q(to_farm=farm)))


def _departures(actor: Actor, farm: Farm) -> QuerySet[Movement]:
    left = Q(kind=MovementKind.DEPARTURE.value, from_farm=farm)
    return _movements(actor, left, _OTHER_FARM & Q(from_farm=farm))


def _deaths(actor: Actor, farm: Farm) -> QuerySet[Movement]:
    return _movements(actor, Q(kind=MovementKind.DEATH.value, from_farm=farm))


def _weights(actor: Actor, farm: Farm) -> QuerySet[Weight]:
    return _told(WEIGHTS.instances(actor)).filter(animal__farm=farm)


def _milk(actor: Actor, farm: Farm) -> QuerySet[Production]:
    rows = PRODUCTIONS.instances(actor).filter(farm=farm, production_type=ProductionType.MILK.value)
    return _told(rows)


def _visits(actor: Actor, farm: Farm) -> QuerySet[Production]:
    return _milk(actor, farm).exclude(session=Session.WHOLE_DAY.value)


def _test_days(actor: Actor, farm: Farm) -> QuerySet[Production]:
    return _milk(actor, farm).filter(session=Session.WHOLE_DAY.value)


def _treatments(actor: Actor, farm: Farm) -> QuerySet[Treatment]:
    doses = TreatmentDose.objects.select_related("batch")
    rows = _told(TREATMENTS.instances(actor)).filter(animal__farm=farm).select_related("medicine")
    return rows.prefetch_related("withdrawals", Prefetch("doses", doses))


def _events(kind: EventKind) -> Callable[[Actor, Farm], QuerySet[BreedingEvent]]:
    def rows(actor: Actor, farm: Farm) -> QuerySet[BreedingEvent]:
        found = _told(EVENTS.instances(actor)).filter(animal__farm=farm, kind=kind.value)
        if kind is EventKind.CALVING:
            return found.prefetch_related(Prefetch("offspring", Offspring.objects.select_related("animal")))
        return found.select_related("sire")

    return rows


RESOURCES: Final = (
    Resource(
        "animals",
        "AnimalCore",
        ANIMALS,
        shapes.AnimalShape,
        _animals,
        describe.animal,
        animals.receive_animal,
        delete_animal,
        pedigree=True,
    ),
    Resource(
        "births",
        "MovementBirthEvent",
        MOVEMENTS,
        shapes.BirthShape,
        _births,
        describe.birth,
        animals.receive_birth,
        pedigree=True,
    ),
    Resource(
        "arrivals",
        "MovementArrivalEvent",
        MOVEMENTS,
        shapes.ArrivalShape,
        _arrivals,
        describe.arrival,
        animals.receive_arrival,
        pedigree=True,
    ),
    Resource(
        "departures",
        "MovementDepartureEvent",
        MOVEMENTS,
        shapes.DepartureShape,
        _departures,
        describe.departure,
        animals.receive_departure,
    ),
    Resource(
        "deaths",
        "MovementDeathEvent",
        MOVEMENTS,
        shapes.DeathShape,
        _deaths,
        describe.death,
        animals.receive_death,
    ),
    Resource(
        "weights",
        "WeightEvent",
        WEIGHTS,
        shapes.WeightShape,
        _weights,
        describe.weight,
        events.receive_weight,
        delete_weight,
    ),
    Resource(
        "milking-visits",
        "MilkingVisitEvent",
        PRODUCTIONS,
        shapes.MilkingVisitShape,
        _visits,
        describe.milking_visit,
        events.receive_milking_visit,
        delete_production,
    ),
    Resource(
        "test-day-results",
        "TestDayResultEvent",
        PRODUCTIONS,
        shapes.TestDayResultShape,
        _test_days,
        describe.test_day_result,
        events.receive_test_day_result,
        delete_production,
    ),
    Resource(
        "treatments",
        "TreatmentEvent",
        TREATMENTS,
        shapes.TreatmentShape,
        _treatments,
        describe.treatment,
        events.receive_treatment,
    ),
    Resource(
        "heats",
        "ReproHeatEvent",
        EVENTS,
        shapes.HeatShape,
        _events(EventKind.HEAT),
        describe.heat,
        events.receive_heat,
        delete_event,
    ),
    Resource(
        "inseminations",
        "ReproInseminationEvent",
        EVENTS,
        shapes.InseminationShape,
        _events(EventKind.SERVICE),
        describe.insemination,
        events.receive_insemination,
        delete_event,
    ),
    Resource(
        "pregnancy-checks",
        "ReproPregnancyCheckEvent",
        EVENTS,
        shapes.PregnancyCheckShape,
        _events(EventKind.CHECK),
        describe.pregnancy_check,
        events.receive_pregnancy_check,
        delete_event,
    ),
    Resource(
        "abortions",
        "ReproAbortionEvent",
        EVENTS,
        shapes.EventShape,
        _events(EventKind.ABORTION),
        describe.abortion,
        events.receive_abortion,
        delete_event,
    ),
    Resource(
        "parturitions",
        "ReproParturitionEvent",
        EVENTS,
        shapes.ParturitionShape,
        _events(EventKind.CALVING),
        describe.parturition,
        events.receive_parturition,
        delete_event,
        action="calve",
        pedigree=True,
    ),
)
