"""Secrets that name their tenant, so that row-level security holds while they are looked up."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from uuid import UUID

_FORM = re.compile(r"(?P<kind>[a-z]+)_(?P<tenant>[0-9a-f]{32})_(?P<secret>[A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Secret:
    """``text`` goes to its owner once; ``digest`` is kept. 256 random bits need no slow hash."""

    tenant_id: UUID
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_secret(kind: str, tenant_id: UUID) -> Secret:
    """A secret of a kind ("ifarm", "invite")."""
    return Secret(tenant_id, f"{kind}_{tenant_id.hex}_{secrets.token_urlsafe(32)}")


def parse_secret(kind: str, text: str) -> Secret | None:
    """What was presented, or None where it cannot be one of this kind."""
    match = _FORM.fullmatch(text)
    if match is None or match["kind"] != kind:
        return None
    return Secret(UUID(match["tenant"]), text)
