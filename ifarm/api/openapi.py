"""The OpenAPI 3.1 document, from the operations of the views."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import django_filters
from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from ifarm.api.filters import YesNoFilter
from ifarm.api.pages import LARGEST, SIZE
from ifarm.api.views import Operation, TenantView

_FILTERS: Final = {
    django_filters.UUIDFilter: OpenApiTypes.UUID,
    YesNoFilter: OpenApiTypes.BOOL,
    django_filters.DateFilter: OpenApiTypes.DATE,
    django_filters.IsoDateTimeFilter: OpenApiTypes.DATETIME,
}
_TEXT: Final = {"type": "string", "minLength": 1}
"""No parameter is empty."""
_ERRORS: Final = {
    400: "a field, a parameter or a header is not valid",
    401: "not authenticated",
    403: "the role does not allow it",
    404: "not found",
    422: "a rule says no",
    503: "no primary",
}


class ProblemOutput(serializers.Serializer):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField(required=False)


def canonical_routes(endpoints: list[Any], **_: Any) -> list[Any]:
    """Leave the aliases without a tenant in their path out of the document."""
    return [
        endpoint
        for endpoint in endpoints
        if not issubclass(endpoint[3].cls, TenantView) or "{tenant_id}" in endpoint[0]
    ]


def problems_of_open_routes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The errors of operations outside tenants, whose views say only what they answer when all is well."""
    schema = {"$ref": "#/components/schemas/ProblemOutput"}
    for path in result["paths"].values():
        for method, operation in path.items():
            for status, text in _errors_of(method, takes_body="requestBody" in operation).items():
                answer = {"description": text, "content": {"application/problem+json": {"schema": schema}}}
                operation["responses"].setdefault(str(status), answer)
    return result


def _errors_of(method: str, *, takes_body: bool) -> dict[int, str]:
    found = dict(_ERRORS)
    if method.upper() not in ("GET", "HEAD"):
        found |= {409: "contradicts what is there", 413: "too large"}
    if takes_body:
        found |= {415: "not JSON"}
    return found


@cache
def _page_of(output: Any) -> Any:
    """A page of it; one component, however many lists show it."""
    return inline_serializer(
        f"{output.__name__.removesuffix('Output')}Page",
        {"next": serializers.URLField(allow_null=True), "results": output(many=True)},
    )


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Devices."""

    target_class = "ifarm.permissions.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """`Authorization: Bearer ifarm_…`."""
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """People in a browser."""

    target_class = "ifarm.permissions.authentication.WebSession"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The session's cookie; changes need `X-CSRFToken` too."""
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class OperationSchema(AutoSchema):
    """Reads `Operation` instead of guessing from querysets."""

    @property
    def _operation(self) -> Operation | None:
        return getattr(getattr(self.view, self.method.lower(), None), "operation", None)

    def get_operation_id(self) -> str:
        """By its path: animals_list, animals_create, animals_weights_list, …"""
        whole = str(super().get_operation_id())
        if self._operation is None:
            return whole
        name = whole.removeprefix("tenants_")
        return f"{name.removesuffix('_retrieve')}_list" if self._operation.order else name

    def get_tags(self) -> list[str]:
        """The app."""
        return [type(self.view).__module__.split(".")[1]]

    def get_request_serializer(self) -> Any:
        """The input."""
        return self._operation.input if self._operation else super().get_request_serializer()

    def get_response_serializers(self) -> Any:
        """The output, in pages where there are pages, and the errors."""
        declared = self._operation
        if declared is None:
            return super().get_response_serializers()
        problems = {
            (status, "application/problem+json"): OpenApiResponse(ProblemOutput, description=text)
            for status, text in self._errors(declared).items()
        }
        return {
            (declared.status, "application/json") if declared.output else 204: self._output(declared),
            **problems,
        }

    def _errors(self, declared: Operation) -> dict[int, str]:
        found = _errors_of(self.method, takes_body=declared.input is not None)
        if declared.versioned:
            found |= {412: "changed in the meantime", 428: "the version is missing"}
        return found

    def _output(self, declared: Operation) -> Any:
        if declared.output is None or declared.order is None:
            return declared.output
        return _page_of(declared.output)  # type: ignore[arg-type]

    def get_override_parameters(self) -> list[Any]:
        """Headers, pages and filters."""
        declared = self._operation
        if declared is None:
            return []
        found: list[Any] = []
        if self.method not in ("GET", "HEAD"):
            key = {"type": "string", "minLength": 1, "maxLength": 200}
            found.append(OpenApiParameter("Idempotency-Key", key, OpenApiParameter.HEADER))
        if declared.versioned:
            version = {"type": "string", "pattern": r'^"\d{1,9}"$'}
            found.append(OpenApiParameter("If-Match", version, OpenApiParameter.HEADER))
        if declared.order is not None:
            limit = {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": SIZE}
            found += [
                OpenApiParameter("cursor", _TEXT),
                OpenApiParameter("limit", limit),
                OpenApiParameter("sort", str, enum=declared.order.choices, default=declared.order.default),
            ]
        for name, one in declared.filters.base_filters.items() if declared.filters else ():
            words = [word for word, _ in one.extra["choices"]] if "choices" in one.extra else None
            kind = next((told for cls, told in _FILTERS.items() if isinstance(one, cls)), _TEXT)
            found.append(OpenApiParameter(name, OpenApiTypes.STR if words else kind, enum=words))
        if declared.query is not None:
            found.append(declared.query)
        return found

    def _is_list_view(self, serializer: Any = None) -> bool:
        return isinstance(serializer, serializers.ListSerializer)
