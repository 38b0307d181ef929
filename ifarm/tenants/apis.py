"""Routes of a tenant, and of a person before they are in one: where do I work, a new tenant, an invitation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from ifarm.api.views import TenantView, operation
from ifarm.core.errors import NotFound
from ifarm.core.secrets import parse_secret
from ifarm.core.versions import Seen
from ifarm.permissions.authentication import WebSession
from ifarm.permissions.selectors import tenants_of
from ifarm.permissions.services import accept_invitation
from ifarm.tenants.models import Tenant
from ifarm.tenants.policies import TENANTS
from ifarm.tenants.serializers import (
    AcceptInput,
    JoinedOutput,
    PlaceOutput,
    TenantChange,
    TenantInput,
    TenantOutput,
)
from ifarm.tenants.services import create_tenant, update_tenant


class TenantsApi(APIView):
    """Where the user works."""

    authentication_classes = [WebSession]

    @extend_schema(responses=PlaceOutput(many=True))
    def get(self, request: Any) -> Response:
        """All tenants of the user. Not in pages: people work in a few."""
        return Response(PlaceOutput(tenants_of(request.user.id), many=True).data)

    @extend_schema(request=TenantInput, responses={201: TenantOutput})
    def post(self, request: Any) -> Response:
        """A new tenant; the user becomes its owner."""
        data = TenantInput(data=request.data)
        data.is_valid(raise_exception=True)
        tenant, _ = create_tenant(request.user, **data.validated_data)
        return Response(TenantOutput(tenant).data, 201)


class TenantApi(TenantView):
    """The tenant itself."""

    @operation(TENANTS, "view", output=TenantOutput)
    def get(self) -> Tenant:
        """Look at it."""
        return TENANTS.access(self.actor, self.actor.tenant_id)

    @operation(TENANTS, "change", input=TenantChange, output=TenantOutput, versioned=True)
    def patch(self, data: Mapping[str, Any], seen: Seen) -> Tenant:
        """Change its name, time zone or currency."""
        return update_tenant(self.actor, data, seen)


class AcceptInvitationApi(APIView):
    """Join a tenant."""

    authentication_classes = [WebSession]

    @extend_schema(request=AcceptInput, responses={201: JoinedOutput})
    def post(self, request: Any) -> Response:
        """Accept an invitation that was sent to the user's address."""
        data = AcceptInput(data=request.data)
        data.is_valid(raise_exception=True)
        secret = parse_secret("invite", data.validated_data["secret"])
        if secret is None:
            raise NotFound("the invitation was not found. Ask for a new one.")
        membership = accept_invitation(request.user, secret)
        return Response(JoinedOutput(membership).data, 201)
