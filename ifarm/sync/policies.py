"""Who may take the data along, and who may send changes. What is in them asks its own policies."""

from __future__ import annotations

from ifarm.core.actors import CARERS
from ifarm.core.policies import Policy
from ifarm.sync.models import PushedOperation

SYNC = Policy(PushedOperation, farm=None, push=CARERS)
