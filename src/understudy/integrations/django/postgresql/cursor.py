"""Cursors that go over to the next primary between two transactions, and never inside one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import OperationalError
from django.db.backends.postgresql.base import CursorDebugWrapper as DjangoDebugCursor
from django.db.backends.utils import CursorWrapper as DjangoCursor

if TYPE_CHECKING:
    from understudy.integrations.django.postgresql.base import DatabaseWrapper


class Following:
    """Mixed into Django's cursors. The driver's cursor is replaced where its connection is."""

    if TYPE_CHECKING:
        db: DatabaseWrapper
        cursor: Any

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        # Written out, and not through `_start`: this runs for every statement of an application.
        if not self.db.between_transactions(self):
            return super()._execute(sql, params, *ignored)  # type: ignore[misc]
        try:
            return super()._execute(sql, params, *ignored)  # type: ignore[misc]
        except OperationalError as error:
            if not self.db.follows(error, self):
                raise
        except BaseException:
            self.db.withdraw()
            raise
        return super()._execute(sql, params, *ignored)  # type: ignore[misc]

    def _executemany(self, sql: Any, params: Any, *ignored: Any) -> Any:
        rows = (
            params if isinstance(params, list | tuple) else list(params)
        )  # to be sent again from its beginning
        return self._start(super()._executemany, sql, rows, *ignored)  # type: ignore[misc]

    def callproc(self, *args: Any) -> Any:
        """As with Django's own cursor (PostgreSQL takes no keyword parameters there)."""
        return self._start(super().callproc, *args)  # type: ignore[misc]

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        """The driver's COPY, a context manager. It is not begun again: its rows may be gone by then."""
        self.db.leave_obsolete(self)
        return super().__getattr__("copy")(*args, **kwargs)  # type: ignore[misc]

    def _start(self, what: Callable[..., Any], *args: Any) -> Any:
        if not self.db.between_transactions(self):
            return what(*args)
        try:
            return what(*args)
        except OperationalError as error:
            if not self.db.follows(error, self):
                raise
        except BaseException:
            self.db.withdraw()
            raise
        return what(*args)


class Cursor(Following, DjangoCursor):
    """Django's cursor, which follows."""


class DebugCursor(Following, DjangoDebugCursor):
    """The same, noting every statement (``DEBUG``, ``CaptureQueriesContext``)."""


class HeldCursor(Cursor):
    """A server-side cursor outside a transaction (``iterator()``): the server keeps its rows with the session.

    It counts as work in flight until it is closed, as a transaction does, so that a planned change waits for it.
    """

    _counted = False

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        result = super()._execute(sql, params, *ignored)
        if not self._counted:
            self._counted = self.db.hold_open()
        return result

    def close(self) -> None:
        """Close it; a planned change of primary may go on."""
        try:
            self.cursor.close()
        finally:
            if self._counted:
                self._counted = False
                self.db.let_go()
