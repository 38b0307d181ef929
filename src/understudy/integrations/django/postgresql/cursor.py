"""Cursors that go over to the next primary between two transactions, and never inside one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import OperationalError
from django.db.backends.postgresql.base import CursorDebugWrapper as DjangoDebugCursor
from django.db.backends.utils import CursorWrapper as DjangoCursor

if TYPE_CHECKING:
    from understudy.integrations.django.postgresql.base import DatabaseWrapper


def _following(send: Callable[..., Any]) -> Callable[..., Any]:
    """A method of Django's cursor. A statement that begins something goes over to another connection, if need be."""

    def send_following(cursor: Any, *args: Any) -> Any:
        db: DatabaseWrapper = cursor.db
        if not db.between_transactions(cursor):
            return send(cursor, *args)
        try:
            return send(cursor, *args)
        except OperationalError as error:
            if not db.follows(error, cursor):
                raise
        return send(cursor, *args)

    return send_following


_executemany = _following(DjangoCursor._executemany)
_callproc = _following(DjangoCursor.callproc)


class Following:
    """Mixed into Django's cursors. The driver's cursor is replaced where its connection is."""

    if TYPE_CHECKING:
        db: DatabaseWrapper

    _execute = _following(DjangoCursor._execute)

    def _executemany(self, sql: Any, params: Any, *ignored: Any) -> Any:
        # A list can be sent again from its beginning.
        return _executemany(self, sql, params if isinstance(params, list | tuple) else list(params), *ignored)

    def callproc(self, procname: Any, params: Any = None, kparams: Any = None) -> Any:
        """As with Django's own cursor (PostgreSQL takes no keyword parameters there)."""
        return _callproc(self, procname, params, kparams)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        """The driver's COPY, a context manager. It is not begun again: its rows may be gone by then."""
        self.db.leave_obsolete(self)
        return super().__getattr__("copy")(*args, **kwargs)  # type: ignore[misc]


class Cursor(Following, DjangoCursor):
    """Django's cursor, which follows."""


class DebugCursor(Following, DjangoDebugCursor):
    """The same, noting every statement (``DEBUG``, ``CaptureQueriesContext``)."""

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """The driver's COPY, noted."""
        with self.debug_sql(statement):
            return super().copy(statement, *args, **kwargs)


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
