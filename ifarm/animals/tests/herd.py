"""A tenant with one farm and one cow, in its unit of work: fixtures for the conftest of an app; and other animals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from ifarm.animals.models import Animal
from ifarm.animals.services import create_animal
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm

BORN = date(2019, 1, 1)


def beast(owner: Actor, farm: Farm, tag: str = "AT 1", **fields: Any) -> Animal:
    """A cow, unless something else is said."""
    given = {"animal_type": "Cattle", "sex": "Female", "birth_date": BORN, **fields}
    return create_animal(owner, farm_id=farm.id, tag_number=tag, **given)


@pytest.fixture
def owner(db: None) -> Iterator[Actor]:
    """Everything of a test happens in one unit of work of this tenant."""
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        yield actor


@pytest.fixture
def farm(owner: Actor) -> Farm:
    return create_farm(owner, name="Hill", timezone="Europe/Vienna")


@pytest.fixture
def cow(owner: Actor, farm: Farm) -> Animal:
    return beast(owner, farm)
