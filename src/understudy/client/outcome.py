"""What an error or a statement means for the outcome of a transaction. Pure functions.

Outcomes are success, failure or *neutral*: a constraint violation, a syntax error, a full pool or a cancelled
call says nothing about the server.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import sql
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from understudy.client.errors import CommitInDoubt, NoPrimaryAvailable, PrimaryLost

# The function of the server that waits for the synchronous standby. Its notice says, whatever the language of
# the server, that the commit is on this node but was not confirmed by the standby.
SYNC_WAIT = "SyncRepWaitForLSN"
SHUTTING_DOWN = ("57P01", "57P02", "57P03")
_REPEATABLE = ("40001", "40P01", "25006", *SHUTTING_DOWN)
_OURS = (CommitInDoubt, NoPrimaryAvailable, PrimaryLost, PoolTimeout, PoolClosed, TooManyRequests)
_COMMIT_WORD = re.compile(rb"\b(?:COMMIT|END)\b", re.IGNORECASE)
_COMMIT_FIRST = (b"COMMIT", b"END", b"commit", b"end", b"Commit", b"End")


def may_commit(query: object) -> bool:
    """Whether this statement could commit the transaction it runs in.

    Errs towards yes where a text holds several statements or begins with a comment: a false yes costs a look
    at the lease, and turns "certainly not committed" into "in doubt".
    """
    if isinstance(query, str):
        head = query[:40].lstrip()
        if head[:6].upper() != "COMMIT" and head[:3].upper() != "END" and ";" not in query:
            if head and head[0] not in "-/":
                return False
        text = query.encode(errors="replace")
    elif isinstance(query, bytes):
        text = query
    elif isinstance(query, sql.Composable):
        text = query.as_bytes(None)
    else:
        text = str(query).encode(errors="replace")
    first = text.lstrip()
    if first[:1] not in (b"-", b"/") and b";" not in text.rstrip().rstrip(b";"):
        return _COMMIT_WORD.match(first) is not None
    return _COMMIT_WORD.search(text) is not None


def is_connection_error(error: BaseException) -> bool:
    """Whether this says something about the server or the way to it, and so is worth telling the agent."""
    if not isinstance(error, psycopg.OperationalError) or isinstance(error, _OURS):
        return False
    state = error.sqlstate
    return state is None or state.startswith("08") or state in SHUTTING_DOWN


def certainly_not_committed(error: BaseException) -> bool:
    """Whether a transaction that ended in this error left nothing behind and is worth running again.

    Connection errors count: where a commit may have been under way, the connection raised `CommitInDoubt`
    instead.
    """
    if isinstance(error, CommitInDoubt | NoPrimaryAvailable | PoolTimeout | TooManyRequests | PoolClosed):
        return False
    if isinstance(error, PrimaryLost) or is_connection_error(error):
        return True
    return isinstance(error, psycopg.Error) and error.sqlstate in _REPEATABLE
