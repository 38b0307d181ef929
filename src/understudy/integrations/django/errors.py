"""The client's errors as Django's: each is a `django.db.OperationalError` and still what the client raised."""

from __future__ import annotations

from django.db import OperationalError

from understudy.client import errors as client


class CommitInDoubt(OperationalError, client.CommitInDoubt):
    """The connection was lost while a commit was under way: it may have been applied, or not.

    In autocommit every statement is a commit, a SELECT too. ``node``, ``epoch`` and ``token`` are the client's.
    """


class PrimaryLost(OperationalError, client.PrimaryLost):
    """The transaction certainly did not commit. Run it again from its beginning."""


class NoPrimaryAvailable(OperationalError, client.NoPrimaryAvailable):
    """No node could be written to within the hold time. Nothing was sent."""


def as_django(error: BaseException) -> OperationalError | None:
    """The error of this module for one of the client's; None for every other error."""
    if isinstance(error, client.CommitInDoubt):
        return CommitInDoubt(str(error), node=error.node, epoch=error.epoch, token=error.token)
    if isinstance(error, client.PrimaryLost):
        return PrimaryLost(str(error))
    if isinstance(error, client.NoPrimaryAvailable):
        return NoPrimaryAvailable(str(error))
    return None
