"""The view of everything that belongs to a tenant: one unit of work per request, one operation per method.

Order: which tenant? (path, token, or the only one of the session's user) → the transaction, under row-level security →
who is it? → may they? → the input → the handler → the output → commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from ifarm.api.idempotency import once
from ifarm.api.pages import Order, page
from ifarm.api.parameters import checked, given, narrowed
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import AmbiguousTenant, NotFound, StaleVersion
from ifarm.core.policies import Policy
from ifarm.core.versions import seen
from ifarm.permissions.authentication import bearer
from ifarm.permissions.models import ApiToken
from ifarm.permissions.selectors import tenants_of
from ifarm.permissions.services import actor_for, actor_of

_SAFE = ("GET", "HEAD", "OPTIONS")
Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of a view is: right, input, output. The tests of all routes and the OpenAPI document read it too.

    Args:
        input: a serializer; the handler gets its validated ``data``. With PATCH every field is optional.
        output: a serializer for what the handler returns; None answers 204.
        query: a serializer of the address's parameters; the handler gets them as ``asked``.
        order: the handler returns a queryset, which is answered in pages.
        filters: a django-filter FilterSet for that queryset.
        versioned: the handler gets ``seen``, the version the editor has seen.
    """

    policy: Policy[Any]
    action: str
    input: type[Serializer] | None = None
    output: type[Serializer] | None = None
    query: type[Serializer] | None = None
    order: Order | None = None
    filters: Any = None
    versioned: bool = False
    status: int = 200


def operation(policy: Policy[Any], action: str, **rest: Any) -> Callable[[Handler], Handler]:
    """Say what a handler is; the words are those of `Operation`."""
    declared = Operation(policy, action, **rest)
    policy.right(action)  # a KeyError here, not on the first request

    def mark(handler: Handler) -> Handler:
        handler.operation = declared  # type: ignore[attr-defined]
        return handler

    return mark


class TenantView(APIView):
    """Base of all views of tenants' data. Handlers are marked with `operation` and find the actor in ``self.actor``.

    ``parameters``: those of the address, of which none is empty.
    """

    actor: Actor
    parameters: dict[str, str]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """As DRF's, with everything from the question who it is to the commit in one unit of work."""
        self.args, self.kwargs = args, kwargs
        self.request = request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            if request.method not in _SAFE:
                _ = request.body  # kept for the fingerprint of `Idempotency-Key`
            named = kwargs.pop("tenant_id", None)
            with unit_of_work(self._tenant(named)):
                self.initial(request, *args, **kwargs)
                self.actor = self._actor()
                response = self._answer(kwargs)
        except Exception as error:  # noqa: BLE001 - the handler raises again what it does not know
            response = self.handle_exception(error)
        self.response = self.finalize_response(request, response, *args, **kwargs)
        return self.response

    def _tenant(self, named: UUID | None) -> UUID:
        token = bearer(self.request)
        if token is not None:
            if named not in (None, token.tenant_id):
                raise NotFound(f"tenant {named} was not found.")
            return token.tenant_id
        user = self.request.user
        if user is None or not user.is_authenticated:
            raise exceptions.NotAuthenticated
        if named is not None:
            return named
        places = tenants_of(user.id)
        if len(places) != 1:
            raise AmbiguousTenant(
                f"expected one tenant, found {len(places)}. Use /api/v1/tenants/{{tenant_id}}/…",
                tenants=[{"id": str(place.id), "name": place.name} for place in places],
            )
        return places[0].id

    def _actor(self) -> Actor:
        token = self.request.auth
        if isinstance(token, ApiToken):
            return actor_of(token.membership, token)
        return actor_for(self.request.user.id)

    def _answer(self, kwargs: Mapping[str, Any]) -> Response:
        request = self.request
        if request.method.lower() not in self.http_method_names or not hasattr(self, request.method.lower()):
            return self.http_method_not_allowed(request)
        handler = getattr(self, request.method.lower())
        if request.method == "OPTIONS":
            return handler(request)
        declared: Operation = handler.operation
        declared.policy.require(self.actor, declared.action)
        self.parameters = given(request.query_params)
        if request.method in _SAFE:
            return self._carry_out(handler, declared, kwargs)
        return once(self.actor, request, lambda: self._carry_out(handler, declared, kwargs))

    def _carry_out(
        self, handler: Callable[..., Any], declared: Operation, kwargs: Mapping[str, Any]
    ) -> Response:
        taken: dict[str, Any] = dict(kwargs)
        if declared.query is not None:
            taken["asked"] = checked(self.parameters, declared.query)
        if declared.versioned:
            taken["seen"] = seen(self.request.headers.get("If-Match"), self.request.data)
        if declared.input is not None:
            incoming = declared.input(data=self.request.data, partial=self.request.method == "PATCH")
            incoming.is_valid(raise_exception=True)
            taken["data"] = incoming.validated_data
        try:
            found = handler(**taken)
        except StaleVersion as stale:
            if declared.output is not None:
                stale.extra["current"] = declared.output(stale.current).data
                stale.extra["submitted"] = self.request.data
            raise
        return self._told(declared, found)

    def _told(self, declared: Operation, found: Any) -> Response:
        if declared.output is None:
            return Response(status=204)
        if declared.order is None:
            version = getattr(found, "version", None)
            headers = {"ETag": f'"{version}"'} if version is not None else {}
            return Response(declared.output(found).data, declared.status, headers=headers)
        if declared.filters is not None:
            found = narrowed(self.parameters, declared.filters, found).qs
        one = page(found, declared.order, self.parameters)
        following = f"{self.request.build_absolute_uri(self.request.path)}?{one.next}" if one.next else None
        return Response({"next": following, "results": declared.output(one.rows, many=True).data})
