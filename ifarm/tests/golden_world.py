"""A tenant whose every answer is the same on every day: it is Monday, 16 March 2026, 11 o'clock in Vienna."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from ifarm.animals.growth import record_weight
from ifarm.animals.services import create_animal
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_token
from ifarm.core.versions import Seen
from ifarm.farms.services import create_farm, create_paddock
from ifarm.financial.contacts import create_contact
from ifarm.financial.expenses import create_expense, step_expense
from ifarm.financial.policies import access_expense
from ifarm.financial.trade import record_sale
from ifarm.financial.words import ContactKind, ExpenseStatus
from ifarm.health.medicines import create_medicine
from ifarm.health.services import record_check
from ifarm.health.treatments import GivenDose, record_treatment
from ifarm.health.words import HealthStatus, TreatmentKind, Unit
from ifarm.permissions.services import actor_for, add_member
from ifarm.production.services import record_production
from ifarm.production.words import ProductionType
from ifarm.tenants.services import create_tenant
from ifarm.users.models import User

NOW: Final = datetime(2026, 3, 16, 10, tzinfo=UTC)
TODAY: Final = date(2026, 3, 16)
ZONE: Final = "Europe/Vienna"


class World:
    """A farm with cows, what was recorded of them, and people; ``ids`` are by what the paths call them."""

    def __init__(self) -> None:
        self.anna = User.objects.create_user("anna@example.org", name="Anna")
        tenant, self.owner = create_tenant(self.anna, name="Hill Farm", timezone=ZONE)
        self.ids: dict[str, UUID] = {"tenant_id": tenant.id, "anna_id": self.anna.id}
        self.tokens = {"owner": make_token(self.owner)}
        for role in (Role.MANAGER, Role.READ_ONLY, Role.WORKER):
            self.tokens[role.value] = make_token(self._member(role))
        with unit_of_work(tenant.id):
            self._farm()
            self._animals()
            self._records()
            self._money()
        self.stranger = create_tenant(User.objects.create_user("eve@example.org"), name="Elsewhere")[1]
        with unit_of_work(self.stranger.tenant_id):
            farm = create_farm(self.stranger, name="Vale")
            self.ids["strange_animal_id"] = self._animal(self.stranger, farm.id, "XX 1").id

    def _member(self, role: Role) -> Actor:
        user = User.objects.create_user(f"{role.value}@example.org", name=role.value)
        with unit_of_work(self.owner.tenant_id):
            membership = add_member(self.owner, user=user, role=role, all_farms=True)
            self.ids[f"{role.value}_id"], self.ids[f"{role.value}_user_id"] = membership.id, user.id
            return actor_for(user.id)

    def _farm(self) -> None:
        farm = create_farm(self.owner, name="Hill", holding_number="AT 1234", timezone=ZONE)
        paddock = create_paddock(self.owner, farm_id=farm.id, name="West", area_ha=Decimal("3.20"))
        self.ids |= {"farm_id": farm.id, "paddock_id": paddock.id}
        self.ids["empty_farm_id"] = create_farm(self.owner, name="Unused", timezone=ZONE).id

    def _animal(self, actor: Actor, farm_id: UUID, tag: str, **fields: Any) -> Any:
        given = {"animal_type": "Cattle", "sex": "Female", "birth_date": date(2023, 3, 1), **fields}
        return create_animal(actor, farm_id=farm_id, tag_number=tag, **given)

    def _animals(self) -> None:
        cow = self._animal(
            self.owner,
            self.ids["farm_id"],
            "AT 100",
            name="Elsa",
            purpose="Milk",
            paddock_id=self.ids["paddock_id"],
            identifiers=[{"kind": "Eid", "value": "040000000000100"}],
            breeds=[{"code": "SIM", "parts": 3}, {"code": "HOL", "parts": 1}],
            estimated_value=Decimal("1800.00"),
            value_currency="EUR",
        )
        self.ids["animal_id"] = cow.id
        for name, tag, born in (("heifer_id", "AT 200", 2025), ("for_sale_id", "AT 300", 2024)):
            row = self._animal(self.owner, self.ids["farm_id"], tag, birth_date=date(born, 6, 1))
            self.ids[name] = row.id

    def _records(self) -> None:
        cow = self.ids["animal_id"]
        weight = record_weight(self.owner, cow, weighed_on=date(2026, 2, 1), weight_kg=Decimal("612.50"))
        self.ids["weight_id"] = weight.id
        for day, session, kilograms in (
            (1, "Morning", "14.20"),
            (1, "Evening", "12.10"),
            (0, "Morning", "13.80"),
        ):
            self.ids[f"milk_{day}_{session}_id"] = record_production(
                self.owner,
                production_type=ProductionType.MILK,
                production_date=TODAY - timedelta(days=day),
                animal_id=cow,
                session=session,
                milk_kg=Decimal(kilograms),
                fat_percent=Decimal("4.10"),
            ).id
        self.ids["production_id"] = self.ids["milk_0_Morning_id"]
        self.ids["check_id"] = record_check(
            self.owner,
            cow,
            health_status=HealthStatus.HEALTHY,
            checked_at=NOW - timedelta(days=2),
            temperature_c=Decimal("38.6"),
        ).id
        label = [{"species": "Cattle", "product": product, "hours": 0} for product in ("Meat", "Milk")]
        vaccine = create_medicine(self.owner, name="Vaccine", unit=Unit.MILLILITRE, label=label)
        self.ids["vaccine_id"] = vaccine.id
        self.ids["vaccination_id"] = record_treatment(
            self.owner,
            cow,
            kind=TreatmentKind.VACCINATION,
            medicine_id=vaccine.id,
            unit=Unit.MILLILITRE,
            doses=[GivenDose(Decimal(2), NOW - timedelta(days=3))],
            target="BVD",
        ).id

    def _money(self) -> None:
        manager = actor_for(self.ids["manager_user_id"])
        for name, status in (("expense_id", None), ("approved_id", ExpenseStatus.APPROVED)):
            expense = create_expense(
                manager,
                farm_id=self.ids["farm_id"],
                expense_date=TODAY,
                currency="EUR",
                description="Hay",
                lines=[{"category": "feed", "amount": Decimal("120.50")}],
            )
            self.ids[name] = expense.id
            if status is not None:
                for actor, to in ((manager, ExpenseStatus.SUBMITTED), (self.owner, status)):
                    version = access_expense(actor, expense.id).version
                    step_expense(actor, expense.id, to=to, seen=Seen(version))
        buyer = create_contact(self.owner, kind=ContactKind.BUYER.value, name="Dairy", address="Market 1")
        self.ids["buyer_id"] = buyer.id
        self.ids["sale_id"] = record_sale(
            self.owner,
            farm_id=self.ids["farm_id"],
            buyer_id=buyer.id,
            currency="EUR",
            lots=[{"animal_ids": [self.ids["for_sale_id"]], "price": Decimal("950.00")}],
            sold_at=NOW - timedelta(hours=1),
        ).id
