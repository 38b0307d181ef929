"""``manage.py migrate`` on a cluster: both nodes, and new tables are replicated at its end."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from understudy.errors import UnderstudyError
from understudy.integrations.django.postgresql.base import DatabaseWrapper
from understudy.integrations.schema_change import SchemaDrift, publish_new_tables


class Command(migrate.Command):
    """Django's own. The schema editor of the backend changes both nodes; this adds new tables to replication."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        """Migrate. Raises CommandError where the nodes differ, or a new table cannot be replicated."""
        connection = connections[options["database"]]
        ours = isinstance(connection, DatabaseWrapper) and not connection.direct
        if ours and connection.target.readonly:
            raise CommandError(
                f"{options['database']!r} is for reading: migrate 'default', which changes both nodes."
            )
        try:
            done = super().handle(*args, **options)
        except SchemaDrift as error:
            raise CommandError(str(error)) from error
        if ours and not (options["plan"] or options["check_unapplied"]):
            try:
                publish_new_tables(
                    connection.target.cluster, lambda text: self._say(text, options["verbosity"])
                )
            except UnderstudyError as error:
                raise CommandError(
                    f"migrated, but new tables are not replicated yet: {error}; then `understudy setup`"
                ) from error
        return done

    def _say(self, text: str, verbosity: int) -> None:
        if verbosity >= 2:
            self.stdout.write(f"  {text}")
