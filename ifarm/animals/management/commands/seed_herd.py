"""`manage.py seed_herd`: a tenant with one farm and a small herd, to look around in."""

from __future__ import annotations

import os
import random
from argparse import ArgumentParser
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from django.core.management.base import BaseCommand
from django.utils import timezone

from ifarm.animals.groups import create_group, join_group
from ifarm.animals.growth import record_condition, record_weight
from ifarm.animals.models import Animal
from ifarm.animals.services import create_animal, set_parent
from ifarm.animals.words import GroupKind, ParentRole, Purpose, Sex, Species, WeightMethod
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.farms.services import create_farm, create_paddock
from ifarm.permissions.services import create_token, membership_of
from ifarm.tenants.models import TenantStatus
from ifarm.tenants.services import create_tenant
from ifarm.users.models import User

PASSWORD_VARIABLE = "IFARM_DEMO_PASSWORD"  # noqa: S105
CALVING_EVERY = 390  # days; between Irish (388) and Holstein (404) means, see the specification, section 6


class Command(BaseCommand):
    """One tenant, one login, one herd. The password comes from the environment, never from the command line."""

    help = f"Make a tenant with a small herd. The password of the login is in {PASSWORD_VARIABLE}."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What can be chosen."""
        parser.add_argument("--email", default="farmer@example.org")
        parser.add_argument("--cows", type=int, default=24)
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args: Any, email: str, cows: int, seed: int, **options: Any) -> None:
        """Make it; prints the tenant's id and a device's token, one a line."""
        user = User.objects.create_user(email, os.environ[PASSWORD_VARIABLE], name="Demo Farmer")
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
        tenant, actor = create_tenant(user, name="Hill Farm", status=TenantStatus.ACTIVE)
        with unit_of_work(tenant.id):
            _, secret = create_token(actor, membership_id=membership_of(actor).id, name="demo")
            herd(actor, cows, random.Random(seed))  # noqa: S311
        self.stdout.write(f"{tenant.id}\n{secret.text}")


def herd(actor: Actor, cows: int, chance: random.Random) -> None:
    """A dairy farm: cows, their calves, weights and scores. Part of the caller's unit of work."""
    farm = create_farm(actor, name="Hill", timezone="Europe/Vienna")
    west = create_paddock(actor, farm_id=farm.id, name="West", area_ha=Decimal("4.20"))
    milking = create_group(actor, farm_id=farm.id, name="Milking cows", kind=GroupKind.MILKING)
    today, number = timezone.localdate(), 0

    def animal(born: date, sex: Sex, **fields: Any) -> Animal:
        nonlocal number
        number += 1
        return create_animal(
            actor,
            farm_id=farm.id,
            tag_number=f"AT {number:04} 123",
            identifiers=[{"kind": "Eid", "value": f"040{number:012}"}],
            animal_type=Species.CATTLE.value,
            sex=sex.value,
            birth_date=born,
            purpose=Purpose.MILK.value,
            breeds=[{"code": "SIM", "parts": 1}],
            **fields,
        )

    for _ in range(cows):
        age = chance.randrange(3 * 365, 8 * 365)
        cow = animal(today - timedelta(days=age), Sex.FEMALE, paddock_id=west.id)
        join_group(actor, milking.id, animal_id=cow.id, starts_on=cow.birth_date + timedelta(days=800))
        record_condition(actor, cow.id, scored_on=today, score=Decimal(chance.randrange(10, 15)) / 4)
        calf = animal(
            today - timedelta(days=chance.randrange(10, CALVING_EVERY)),
            chance.choice([Sex.FEMALE, Sex.MALE]),
        )
        set_parent(actor, calf.id, parent_id=cow.id, role=ParentRole.DAM)
        for back in (8, 1):
            grown = max((today - calf.birth_date).days - back, 0)
            weight = Decimal(chance.gauss(43 + 0.85 * grown, 2)).quantize(Decimal("0.5"))
            day = max(today - timedelta(days=back), calf.birth_date)
            record_weight(
                actor, calf.id, weighed_on=day, weight_kg=weight, method=WeightMethod.LOAD_CELL.value
            )
