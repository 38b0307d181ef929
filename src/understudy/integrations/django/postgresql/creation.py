"""Test databases: made and used by an ordinary connection to the preferred node, without agent and lease."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import creation

from understudy.integrations.django.target import DIRECT


class DatabaseCreation(creation.DatabaseCreation):
    """Django's own, with the mark that tells the backend to connect directly."""

    def create_test_db(self, *args: Any, **kwargs: Any) -> str:
        """Make the test database on the preferred node; the alias leads there until it is destroyed."""
        self.connection.settings_dict["TEST"][DIRECT] = True
        return str(super().create_test_db(*args, **kwargs))

    def destroy_test_db(
        self,
        old_database_name: str | None = None,
        verbosity: int = 1,
        keepdb: bool = False,
        suffix: str | None = None,
    ) -> None:
        """Remove the test database; the alias leads to the cluster again (a clone's ``suffix``: not yet)."""
        super().destroy_test_db(old_database_name, verbosity, keepdb, suffix)
        if suffix is None:
            self.connection.settings_dict["TEST"].pop(DIRECT, None)

    def set_as_test_mirror(self, primary_settings_dict: dict[str, Any]) -> None:
        """Lead to the test database of another alias (``TEST: {"MIRROR": ...}``)."""
        self.connection.settings_dict["TEST"][DIRECT] = True
        super().set_as_test_mirror(primary_settings_dict)
