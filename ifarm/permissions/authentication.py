"""Devices: `Authorization: Bearer ifarm_…`."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed

from ifarm.core.context import unit_of_work
from ifarm.core.secrets import Secret, parse_secret
from ifarm.permissions.models import ApiToken
from ifarm.users.models import User


def bearer(request: Any) -> Secret | None:
    """The token of a request, not looked up yet; None where there is none. Raises AuthenticationFailed."""
    words = get_authorization_header(request).decode("latin-1").split()
    if not words or words[0].lower() != "bearer":
        return None
    secret = parse_secret("ifarm", words[1]) if len(words) == 2 else None
    if secret is None:
        raise AuthenticationFailed("The token is not one of ours.")
    return secret


class WebSession(SessionAuthentication):
    """A person in a browser. Says 401, not 403, to somebody who is not logged in."""

    def authenticate_header(self, request: Any) -> str:
        """What to do."""
        return 'Session realm="iFarm"'


class TokenAuthentication(BaseAuthentication):
    """Looks a token up inside the tenant that it names."""

    def authenticate(self, request: Any) -> tuple[User, ApiToken] | None:
        """The user and the token, with its membership and tenant. Raises AuthenticationFailed."""
        secret = bearer(request)
        if secret is None:
            return None
        with unit_of_work(secret.tenant_id):
            token = (
                ApiToken.objects.select_related("membership__user", "membership__tenant")
                .filter(
                    Q(expires_at=None) | Q(expires_at__gt=timezone.now()),
                    digest=secret.digest,
                    revoked_at=None,
                )
                .first()
            )
        if token is None or not token.membership.user.is_active:
            raise AuthenticationFailed("The token is not known, has ended or was revoked.")
        return token.membership.user, token

    def authenticate_header(self, request: Any) -> str:
        """What a client without a token is told, with 401."""
        return "Bearer"
