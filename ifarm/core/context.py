"""Which tenant this thread works for, in Python and in the database at once. Without one: an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from django.db import connection, transaction

SETTING = "app.tenant_id"
"""The setting that the policies of row-level security read. Set for one transaction only, so pools cannot leak it."""

_tenant: ContextVar[UUID | None] = ContextVar("ifarm_tenant", default=None)


class NoTenant(Exception):
    """Rows of tenants were asked for where no tenant is set. Never answered with all rows."""


def current_tenant() -> UUID:
    """The tenant of the present unit of work. Raises `NoTenant`."""
    tenant = _tenant.get()
    if tenant is None:
        raise NoTenant("expected a tenant, found none. Do this inside `with unit_of_work(tenant_id):`.")
    return tenant


@contextmanager
def unit_of_work(tenant_id: UUID | None = None) -> Iterator[UUID]:
    """One transaction for one tenant. Inside another of the same tenant it is part of that one.

    Services open it without an argument: for a request it is the request's; a task names the tenant itself.
    Raises `NoTenant`, and RuntimeError where another tenant's unit is open.
    """
    present = _tenant.get()
    if present is not None:
        if tenant_id not in (None, present):
            raise RuntimeError(
                f"expected work for tenant {present}, found a unit of work for {tenant_id} inside it. End one first."
            )
        yield present
        return
    if tenant_id is None:
        current_tenant()  # raises
        raise AssertionError
    token = _tenant.set(tenant_id)
    try:
        with transaction.atomic(durable=True):
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, %s, true)", (SETTING, str(tenant_id)))
            yield tenant_id
    finally:
        _tenant.reset(token)
