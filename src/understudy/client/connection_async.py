"""Connections that know when a commit is in doubt, and that never commit on a node that lost its role.

They are psycopg connections in every other respect: same methods, same exceptions.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen

from understudy.client.admission_async import admit
from understudy.client.guard import Guard


class AsyncConnection(Guard, psycopg.AsyncConnection[Any]):
    """A psycopg connection to the node that was primary at its epoch.

    Additional attributes: ``epoch`` (int) and ``node`` (name). Additional errors: `CommitInDoubt` where the
    connection is lost while something may have been committed, `PrimaryLost` where COMMIT was not sent
    because the node lost its role.
    """

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> RV:
        """Run one operation of the driver (every one of them comes through here)."""
        if self.gated and self.in_flight is None and (host := self._begin(gen)) is not None:
            self.in_flight = await admit(host, self)
            self._compared = True
        try:
            if timeout is None:  # psycopg has this argument since 3.3.6 only
                result = await psycopg.AsyncConnection.wait(self, gen, interval)
            else:
                result = await psycopg.AsyncConnection.wait(self, gen, interval, timeout)
        except psycopg.Error as error:
            self._failed(error)
            raise
        except BaseException:  # cancelled, or Ctrl-C: psycopg has ended what was under way, or the connection
            self._interrupted()
            raise
        finally:
            if self.gated:
                self._compared = False
                self._count_down()
        self._heard = monotonic()
        if self._stake or self._sync_cancelled:
            self._settle()
        return result

    async def close(self) -> None:
        """Close the connection."""
        await super().close()
        if self.closed:
            self._let_go()
            self._count_down()
