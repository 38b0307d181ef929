"""Rights on health, medicines and treatments."""

from __future__ import annotations

from uuid import UUID

from ifarm.core.actors import CARERS, LEADERS, Actor, Role
from ifarm.core.policies import Policy
from ifarm.health.models import (
    HealthCheck,
    Medicine,
    MedicineBatch,
    MedicinePurchase,
    StockMove,
    Treatment,
    TreatmentDose,
    Withdrawal,
)

PRESCRIBERS = LEADERS | {Role.VET}

HEALTH_CHECKS = Policy(HealthCheck, farm="animal__farm_id", add=CARERS, delete=LEADERS)
MEDICINES = Policy(Medicine, farm=None, add=PRESCRIBERS, change=PRESCRIBERS)
BATCHES = Policy(MedicineBatch, farm="farm_id")
PURCHASES = Policy(MedicinePurchase, farm="batch__farm_id", add=CARERS)
STOCK_MOVES = Policy(StockMove, farm="batch__farm_id", add=LEADERS)
TREATMENTS = Policy(Treatment, farm="animal__farm_id", add=CARERS, change=CARERS)
DOSES = Policy(TreatmentDose, farm="treatment__animal__farm_id", add=CARERS, change=CARERS)
WITHDRAWALS = Policy(Withdrawal, farm="animal__farm_id", override=PRESCRIBERS)


def access_medicine(actor: Actor, medicine_id: UUID, *, lock: bool = False) -> Medicine:
    """One medicine. Raises `NotFound`."""
    return MEDICINES.access(actor, medicine_id, lock=lock)


def access_batch(actor: Actor, batch_id: UUID, *, lock: bool = False) -> MedicineBatch:
    """One batch. Raises `NotFound`."""
    return BATCHES.access(actor, batch_id, lock=lock)


def access_treatment(actor: Actor, treatment_id: UUID, *, lock: bool = False) -> Treatment:
    """One treatment. Raises `NotFound`."""
    return TREATMENTS.access(actor, treatment_id, lock=lock)
