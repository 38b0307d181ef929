"""Rights on the subscription: owners decide, whoever keeps the books sees."""

from __future__ import annotations

from ifarm.core.actors import BOOKKEEPERS, Role
from ifarm.core.policies import Policy
from ifarm.subscriptions.models import Subscription, SubscriptionInvoice, UsageMetric

SUBSCRIPTIONS = Policy(Subscription, farm=None, view=BOOKKEEPERS, change={Role.OWNER}, delete={Role.OWNER})
SUBSCRIPTION_INVOICES = Policy(SubscriptionInvoice, farm=None, view=BOOKKEEPERS)
USAGE = Policy(UsageMetric, farm=None, view=BOOKKEEPERS)
