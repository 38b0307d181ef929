"""What a calving leads to, and how that is undone: who was born stays, what was said of it by the calving goes."""

from __future__ import annotations

from datetime import date

from ifarm.animals.models import Animal, Parentage
from ifarm.animals.words import ParentRole, Relation
from ifarm.audit import writes
from ifarm.breeding.models import BreedingEvent
from ifarm.core.actors import Actor
from ifarm.core.errors import RuleBroken
from ifarm.production.lactations import move_lactation, take_back_lactation


def undo(actor: Actor, dam: Animal, calving: BreedingEvent, service: BreedingEvent | None) -> None:
    """Take back what a calving said: the lactation that it began, and whose offspring it was.

    The offspring stay animals of the herd, without this dam and without the sire of ``service``, which led here:
    another calving can name them, and one that never was is deleted by itself. Part of a unit of work that holds the
    locks of the pedigree and of the dam. Raises `RuleBroken` where a later lactation rests on the calving.
    """
    take_back_lactation(actor, dam, starts_on=calving.happened_on)
    sire_id = None if service is None else service.sire_id
    for born in calving.offspring.select_for_update().order_by("id"):
        if born.animal_id is not None:
            _orphan(actor, born.animal_id, dam, sire_id)
        writes.delete(actor, born, reason="calving taken back")


def _orphan(actor: Actor, calf_id: object, dam: Animal, sire_id: object) -> None:
    """A parent that somebody named instead, and an adoptive dam, stay."""
    of_birth = (Relation.GENETIC.value, Relation.RECIPIENT.value)
    for row in (
        Parentage.objects.select_for_update().filter(child=calf_id, relation__in=of_birth).order_by("id")
    ):
        by_birth = row.parent_id == (dam.id if row.role == ParentRole.DAM else sire_id)
        if by_birth:
            writes.delete(actor, row, reason="calving taken back")


def move(actor: Actor, dam: Animal, calving: BreedingEvent, to: date) -> None:
    """The calving was on another day: its lactation begins then. Raises `RuleBroken` for offspring born on another day.

    Part of a unit of work that holds the dam's lock.
    """
    for born in calving.offspring.select_related("animal").order_by("id"):
        calf = born.animal
        if calf is not None and not calf.is_deleted and calf.birth_date != to:
            raise RuleBroken(
                f"{calf.tag_number}: expected an animal born on {to}, found {calf.birth_date}. Correct its birth date"
                " first."
            )
    move_lactation(actor, dam, starts_on=calving.happened_on, to=to)
