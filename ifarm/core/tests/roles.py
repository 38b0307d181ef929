"""To be somebody else in the database; for tests with the fixture `committed`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def as_owner() -> Iterator[None]:
    """The owner of the tables, as jobs across tenants are: here, and in threads that begin inside."""
    options = connection.settings_dict["OPTIONS"]
    role = options.pop("assume_role")
    connection.close()
    try:
        yield
    finally:
        connection.close()
        options["assume_role"] = role
