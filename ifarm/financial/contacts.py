"""Changes of contacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ifarm.audit import writes
from ifarm.core.actors import Actor
from ifarm.core.context import unit_of_work
from ifarm.core.errors import RuleBroken
from ifarm.core.versions import Seen
from ifarm.financial.models import Contact
from ifarm.financial.policies import access_contact
from ifarm.financial.words import ContactKind


def create_contact(actor: Actor, **fields: Any) -> Contact:
    """A new contact. Raises IntegrityError for a name that is taken."""
    with unit_of_work():
        return writes.insert(actor, Contact(**fields))


def update_contact(actor: Actor, contact_id: UUID, changes: Mapping[str, Any], seen: Seen) -> Contact:
    """Change a contact; invoices keep what they said. Raises `StaleVersion`."""
    with unit_of_work():
        contact = access_contact(actor, contact_id, lock=True)
        seen.require(contact)
        return writes.update(actor, contact, changes)


def contact_of(actor: Actor, contact_id: UUID, *kinds: ContactKind) -> Contact:
    """A contact to do business with. Raises `NotFound`, `RuleBroken` for another kind and for one out of use."""
    contact = access_contact(actor, contact_id)
    if contact.kind not in kinds or not contact.is_active:
        wanted = " or ".join(kinds)
        state = contact.kind if contact.is_active else f"{contact.kind} that is out of use"
        raise RuleBroken(f"expected a {wanted}, found a {state}: {contact.name}.")
    return contact
