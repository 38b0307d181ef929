"""A tenant with one farm and one cow, in its unit of work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ifarm.animals.models import Animal
from ifarm.breeding.tests.test_breeding import beast
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_owner
from ifarm.farms.models import Farm
from ifarm.farms.services import create_farm


@pytest.fixture
def owner(db: None) -> Iterator[Actor]:
    actor = make_owner()
    with unit_of_work(actor.tenant_id):
        yield actor


@pytest.fixture
def farm(owner: Actor) -> Farm:
    return create_farm(owner, name="Hill", timezone="Europe/Vienna")


@pytest.fixture
def cow(owner: Actor, farm: Farm) -> Animal:
    return beast(owner, farm)
