"""Keeping Understudy's own tables small."""

from __future__ import annotations

from understudy.engines.postgresql.sessions import Sessions

# A client asks about a token moments after the connection broke; a person may ask hours later.
_KEEP = "1 day"

# Deletions are replicated: many small transactions, so that nothing waits behind a large one.
_BATCH = 5000

_NOT_FENCED = """
    NOT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                WHERE d.datname = current_database() AND s.setrole = 0
                  AND 'default_transaction_read_only=on' = ANY (s.setconfig))
"""


async def sweep(sessions: Sessions, primary: str) -> None:
    """Delete markers and commit tokens older than a day. Does nothing on a fenced node: a standby gets the
    deletions from its primary, and a write of its own would part them."""
    async with sessions.control(primary, doing="sweep its tables of Understudy") as connection:
        for table in ("marker", "commit_token"):
            deleted = _BATCH
            while deleted == _BATCH:
                cursor = await connection.execute(
                    f"DELETE FROM understudy.{table} WHERE ctid = ANY (ARRAY(SELECT ctid"
                    f" FROM understudy.{table} WHERE at < now() - interval '{_KEEP}' LIMIT {_BATCH}))"
                    f" AND {_NOT_FENCED}"
                )
                deleted = cursor.rowcount
