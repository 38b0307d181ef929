"""What the client adds to the driver's errors. Driver errors themselves pass through unchanged."""

from __future__ import annotations

from uuid import UUID

import psycopg

from understudy.errors import UnderstudyError


class CommitInDoubt(psycopg.OperationalError, UnderstudyError):
    """The connection was lost while a commit was under way: it may have been applied, or not.

    Never repeat the work blindly. ``pool.run(work, exactly_once=True)`` settles it by itself; otherwise look
    in the database (on the present primary) for what the transaction would have left.

    Args:
        node, epoch: where, and under which epoch, the commit was sent.
        token: the exactly-once token of the transaction, where it has one.
    """

    def __init__(self, message: str, *, node: str = "", epoch: int = 0, token: UUID | None = None) -> None:
        super().__init__(message)
        self.node, self.epoch, self.token = node, epoch, token


def unsettled(doubt: CommitInDoubt, error: Exception) -> CommitInDoubt:
    """A doubt that could not be settled, because the attempt to do so ended in ``error``."""
    return CommitInDoubt(
        f"{doubt} The attempt to settle it ended in {type(error).__name__}: {error}",
        node=doubt.node,
        epoch=doubt.epoch,
        token=doubt.token,
    )


class NoPrimaryAvailable(psycopg.OperationalError, UnderstudyError):
    """No node could be written to within the hold time. Nothing was sent: it is safe to try again later."""


class PrimaryLost(psycopg.OperationalError, UnderstudyError):
    """The transaction certainly did not commit: its node lost its role before COMMIT was sent.

    Nothing remains of it. Run it again on a new connection (``pool.run`` does so by itself).
    """
