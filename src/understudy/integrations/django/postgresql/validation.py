"""What `manage.py check --database` finds about one alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.backends.base import validation
from django.db.utils import DatabaseError

from understudy.errors import LeaseError, UnderstudyError

if TYPE_CHECKING:
    from understudy.integrations.django.postgresql.base import DatabaseWrapper


class DatabaseValidation(validation.BaseDatabaseValidation):
    """Django's own, and whether an agent serves this host."""

    connection: DatabaseWrapper

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """All findings. Test databases need no agent."""
        found: list[checks.CheckMessage] = list(super().check(**kwargs))
        if not self.connection.direct:
            found += self._agent()
        return found

    def _agent(self) -> list[checks.CheckMessage]:
        target, alias = self.connection.target, self.connection.alias
        where = f"DATABASES[{alias!r}]"
        if not (target.directory / f"{target.cluster.name}.lease").exists():
            return [
                checks.Error(
                    f"{where}: no agent ever ran on this host for cluster {target.cluster.name!r}: "
                    "there is no lease in "
                    f"{target.directory}.",
                    hint="Run `understudy setup` once, then keep `understudy run` running on this host.",
                    id="understudy.E002",
                )
            ]
        try:
            host = self.connection.host
            host.start()
            lease = host.lease()
        except (DatabaseError, LeaseError, UnderstudyError) as error:
            return [checks.Error(f"{where}: {error}", id="understudy.E003")]
        if host.usable(lease):
            return []
        return [
            checks.Warning(
                f"{where}: nothing can be written at the moment: {host.why(lease)}.",
                hint="`understudy status` shows what the agent sees.",
                id="understudy.W001",
            )
        ]
