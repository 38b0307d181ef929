"""``manage.py createcachetable`` on a cluster: both nodes, and the table is replicated."""

from __future__ import annotations

import io

from django.core.management.base import CommandError, OutputWrapper
from django.core.management.commands import createcachetable
from django.db import connections

from understudy.errors import UnderstudyError
from understudy.integrations.django.postgresql.base import DatabaseWrapper
from understudy.integrations.schema_change import publish_new_tables


class Command(createcachetable.Command):
    """Django's own runs its statements by a cursor, which would change the primary alone."""

    def create_table(self, database: str, tablename: str, dry_run: bool) -> None:
        """Make one table. Raises CommandError."""
        connection = connections[database]
        if dry_run or not isinstance(connection, DatabaseWrapper) or connection.direct:
            super().create_table(database, tablename, dry_run)
            return
        script = self._script(database, tablename)
        if not script.startswith("CREATE "):  # "already exists", or nothing where a router keeps it away
            self.stdout.write(script, ending="")
            return
        try:
            with connection.schema_editor() as editor:
                editor.execute(script, None)
            publish_new_tables(connection.target.cluster, lambda _: None)
        except UnderstudyError as error:
            raise CommandError(f"Cache table {tablename!r}: {error}") from error

    def _script(self, database: str, tablename: str) -> str:
        """What Django's command prints instead of making the table."""
        printed, stdout = io.StringIO(), self.stdout
        self.stdout = OutputWrapper(printed)
        try:
            super().create_table(database, tablename, True)
        finally:
            self.stdout = stdout
        return printed.getvalue()
