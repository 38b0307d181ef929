"""Routes of the subscription, and the door for the payment provider's messages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from ifarm.api.pages import Order
from ifarm.api.views import TenantView, operation
from ifarm.core.actors import Actor, Role
from ifarm.core.errors import Invalid, TooLarge
from ifarm.permissions.models import ApiToken, Membership
from ifarm.permissions.services import rights_of
from ifarm.subscriptions import selectors, services, webhooks
from ifarm.subscriptions.lifecycle import subscription_of_tenant
from ifarm.subscriptions.models import Subscription, SubscriptionInvoice, UsageMetric
from ifarm.subscriptions.plans import PLANS
from ifarm.subscriptions.policies import SUBSCRIPTION_INVOICES, SUBSCRIPTIONS, USAGE
from ifarm.subscriptions.serializers import (
    ActedOutput,
    PlanInput,
    PlanOutput,
    SubscriptionInvoiceOutput,
    SubscriptionOutput,
    UsageOutput,
)
from ifarm.subscriptions.signatures import HEADER, BadSignature, verify
from ifarm.tenants.models import TenantStatus


class SubscriptionApi(TenantView):
    """What the tenant has with iFarm. Also for the owner of a tenant that is closed: else it could never be opened."""

    def _actor(self) -> Actor:
        token = self.request.auth
        if isinstance(token, ApiToken):
            membership: Membership | None = token.membership
        else:
            mine = Membership.objects.select_related("tenant").filter(user_id=self.request.user.id)
            membership = mine.first()
        whole = not isinstance(token, ApiToken) or token.rights is None
        if (
            whole
            and membership is not None
            and membership.is_active
            and membership.role == Role.OWNER
            and membership.tenant.status == TenantStatus.SUSPENDED
        ):
            rights = rights_of(Role.OWNER)
            return Actor(
                membership.user_id, membership.tenant_id, Role.OWNER, rights, frozenset(), membership.id
            )
        return super()._actor()

    @operation(SUBSCRIPTIONS, "view", output=SubscriptionOutput)
    def get(self) -> Subscription:
        """Look at it."""
        return subscription_of_tenant()

    @operation(SUBSCRIPTIONS, "change", input=PlanInput, output=SubscriptionOutput)
    def put(self, data: Mapping[str, Any]) -> Subscription:
        """Choose a plan and a way to pay."""
        return services.choose_plan(self.actor, **data)

    @operation(SUBSCRIPTIONS, "delete")
    def delete(self) -> None:
        """End it, with what is paid."""
        services.cancel_subscription(self.actor)


class SubscriptionInvoicesApi(TenantView):
    """What iFarm billed."""

    @operation(
        SUBSCRIPTION_INVOICES,
        "view",
        output=SubscriptionInvoiceOutput,
        order=Order(SubscriptionInvoice, "issued_on"),
    )
    def get(self) -> QuerySet[SubscriptionInvoice]:
        """All bills."""
        return selectors.list_invoices(self.actor)


class UsageApi(TenantView):
    """What was used."""

    @operation(USAGE, "view", output=UsageOutput, order=Order(UsageMetric, "hour"))
    def get(self) -> QuerySet[UsageMetric]:
        """By the hour."""
        return selectors.list_usage(self.actor)


class PlansApi(APIView):
    """The price list."""

    permission_classes = [AllowAny]

    @extend_schema(responses=PlanOutput(many=True))
    def get(self, request: Any) -> Response:
        """All plans. Not in pages: there are a few."""
        return Response(PlanOutput(PLANS.values(), many=True).data)


class PaymentMessagesApi(APIView):
    """Where the payment provider tells what became of a charge."""

    authentication_classes: ClassVar[list[Any]] = []
    permission_classes = [AllowAny]

    @extend_schema(request=None, responses=ActedOutput)
    def post(self, request: Any) -> Response:
        """Believed by its signature, not by where it comes from. The same message again does nothing."""
        body: bytes = request.body  # Django reads no more than DATA_UPLOAD_MAX_MEMORY_SIZE
        if len(body) > webhooks.LARGEST:
            raise TooLarge(f"expected up to {webhooks.LARGEST} bytes, found {len(body)}.")
        try:
            verify(settings.PAYMENT_SECRETS, request.headers.get(HEADER, ""), body, time.time())
        except BadSignature as error:
            raise Invalid(f"{error}.") from None
        return Response({"acted": webhooks.receive(webhooks.parse(body), timezone.now())})
