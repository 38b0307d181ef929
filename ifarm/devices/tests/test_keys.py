"""A key with a part of its membership's rights has that part on every route, and on none more."""

from __future__ import annotations

from typing import Any

import pytest

from ifarm.api.tests.test_every_route import CASES, World, contents, world  # noqa: F401 - a fixture
from ifarm.core.context import unit_of_work
from ifarm.devices.policies import READINGS
from ifarm.permissions.services import create_token, membership_of
from ifarm.tenants.models import Tenant, TenantStatus

pytestmark = pytest.mark.django_db


def key(world: World, *rights: str) -> str:  # noqa: F811
    with unit_of_work(world.tenant):
        mine = membership_of(world.owner).id
        return f"Bearer {create_token(world.owner, membership_id=mine, name='k', rights=rights)[1].text}"


def test_a_key_without_rights_can_do_nothing_anywhere(world: World) -> None:  # noqa: F811
    world.tokens["key"] = key(world)
    before = contents()
    allowed = [str(case) for case in CASES if world.send(case, "key").status_code != 403]
    assert (allowed, contents()) == ([], before)


def test_a_devices_key_of_an_owner_sends_readings_only(world: World) -> None:  # noqa: F811
    world.tokens["key"] = key(world, READINGS.right("add"))
    allowed = [str(case) for case in CASES if world.send(case, "key").status_code != 403]
    assert allowed == ["POST device-readings"]


def test_nor_can_it_open_a_closed_tenant(world: World) -> None:  # noqa: F811
    world.tokens["key"] = key(world)
    with unit_of_work(world.tenant):
        Tenant.objects.update(status=TenantStatus.SUSPENDED)
    told: list[Any] = [
        world.send(case, "key").status_code for case in CASES if case.route.startswith("subscription")
    ]
    assert set(told) == {403}
