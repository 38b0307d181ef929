from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from ifarm.analytics.selectors import Herd, herd, herds_by_farm, recent_activities, recent_sales, together
from ifarm.animals.growth import record_weight
from ifarm.animals.movements import move_animal
from ifarm.animals.services import delete_animal
from ifarm.animals.tests.examples import make_animal
from ifarm.animals.words import MovementKind
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.errors import NotAllowed
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.farms.services import create_farm
from ifarm.financial.tests.examples import make_contact, make_sale
from ifarm.financial.words import ContactKind

pytestmark = pytest.mark.django_db
TODAY = date(2024, 3, 1)


def farm_of(actor: Actor, name: str) -> UUID:
    with unit_of_work(actor.tenant_id):
        return create_farm(actor, name=name).id


def seen_by(actor: Actor, work: Any) -> Any:
    with unit_of_work(actor.tenant_id):
        return work(actor)


def worth(amount: str, currency: str) -> dict[str, Any]:
    return {"estimated_value": Decimal(amount), "value_currency": currency}


def test_a_herd_in_numbers(django_assert_num_queries: Any) -> None:
    owner = make_owner()
    hill, vale = farm_of(owner, "Hill"), farm_of(owner, "Vale")
    make_animal(owner, hill, "AT 1", birth_date=TODAY - timedelta(days=100), **worth("100.50", "EUR"))
    make_animal(owner, hill, "AT 2", birth_date=TODAY - timedelta(days=300), **worth("200.00", "CHF"))
    make_animal(owner, vale, "AT 3", birth_date=None, **worth("50.00", "EUR"))
    make_animal(owner, vale, "AT 4", is_reference=True, **worth("9.00", "EUR"))
    gone = make_animal(owner, vale, "AT 5", **worth("7.00", "EUR"))
    mistake = make_animal(owner, vale, "AT 6", **worth("5.00", "EUR"))
    with unit_of_work(owner.tenant_id):
        died: dict[str, Any] = {
            "kind": MovementKind.DEATH,
            "reason": "Disease",
            "moved_at": datetime(2024, 2, 1, tzinfo=UTC),
        }
        move_animal(owner, gone, **died)
        delete_animal(owner, mistake)
        with django_assert_num_queries(2):
            by_farm = herds_by_farm(owner, TODAY)
    assert by_farm == {
        hill: Herd(
            total=2,
            active=2,
            aged=2,
            age_days=400,
            youngest=TODAY - timedelta(days=100),
            oldest=TODAY - timedelta(days=300),
            values={"EUR": (Decimal("100.50"), 1), "CHF": (Decimal("200.00"), 1)},
        ),
        vale: Herd(total=2, active=1, dead=1, values={"EUR": (Decimal("50.00"), 1)}),
    }
    whole = seen_by(owner, lambda actor: herd(actor, TODAY))
    assert whole == together(by_farm.values())
    assert whole.values == {"EUR": (Decimal("150.50"), 2), "CHF": (Decimal("200.00"), 1)}
    assert whole.average_age_months == Decimal("6.6")  # 200 days
    assert by_farm[vale].average_age_months is None
    worker = make_member(owner, Role.WORKER, [vale])
    assert seen_by(worker, lambda actor: herds_by_farm(actor, TODAY)) == {vale: by_farm[vale]}
    assert seen_by(make_owner("Other"), lambda actor: herd(actor, TODAY)) == Herd()


def test_what_was_recorded_last_comes_first() -> None:
    owner = make_owner()
    hill, vale = farm_of(owner, "Hill"), farm_of(owner, "Vale")
    animal, other = make_animal(owner, hill, "AT 1"), make_animal(owner, vale, "AT 2")
    with unit_of_work(owner.tenant_id):
        for day in (5, 3):
            record_weight(owner, animal, weighed_on=date(2024, 2, day), weight_kg=Decimal(60))
        found = recent_activities(owner, limit=3)
        assert [(one.kind, one.tag_number) for one in found] == [
            ("Weight", "AT 1"),
            ("Weight", "AT 1"),
            ("Movement", "AT 2"),
        ]
        assert [one.at for one in found[:2]] == [date(2024, 2, 3), date(2024, 2, 5)]
    worker = make_member(owner, Role.WORKER, [vale])
    assert {one.animal_id for one in seen_by(worker, recent_activities)} == {other}
    assert seen_by(make_owner("Other"), recent_activities) == []


def test_the_last_sales() -> None:
    owner = make_owner()
    hill = farm_of(owner, "Hill")
    buyer = make_contact(owner, ContactKind.BUYER, "Dairy")
    made = [make_sale(owner, hill, buyer, f"AT {number}") for number in range(3)]
    found = seen_by(owner, lambda actor: list(recent_sales(actor, 2)))
    assert [sale.id for sale in found] == [made[2], made[1]]
    assert found[0].buyer.name == "Dairy"
    with pytest.raises(NotAllowed):
        seen_by(make_member(owner, Role.VET), recent_sales)
