"""PgBouncer as a gate: PAUSE and RESUME over its console, its way by its configuration file and RELOAD.

What each command does, and since when: pgbouncer.org/usage.html, and `docs/decisions/0012-gates.md`. PgBouncer 1.18
and newer behave alike here. No version of it can be pointed elsewhere by a console command alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from understudy.config_dsn import mask
from understudy.config_gates import PgBouncer
from understudy.errors import EngineError, Unreachable
from understudy.gates.base import NotRunning
from understudy.model import Cluster

_SECTION = re.compile(r"\s*\[(?P<name>[^\]]+)\]\s*")
_PAIR = re.compile(r"(?P<head>(?P<key>\w+)\s*=\s*)(?P<value>'(?:[^']|'')*'|[^\s']\S*|)")
MAX_FILE_BYTES = 1024 * 1024

_QUIET_AT_ONCE = 0.1
"""Seconds in which what can still end by itself ends, when the primary is lost."""
_LOGIN_RETRY = 0.05
"""Seconds between two tries of PgBouncer to log in to the new primary, until it is looked at the next time."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where PgBouncer leads a database: the three words of its entry that this module writes."""

    host: str
    port: int
    dbname: str


class _Console(AsyncConnection[DictRow]):
    """A connection to the admin console. Left by shutting the socket down: the console answers no cancel request."""

    async def cancel_safe(self, *, timeout: float = 0.0) -> None:  # noqa: ASYNC109 (psycopg's signature)
        """What psycopg calls when the task that waits is cancelled."""
        del timeout
        with suppress(OSError), socket.socket(fileno=os.dup(self.fileno())) as handle:
            handle.shutdown(socket.SHUT_RDWR)


class PgBouncerGate:
    """One database of one PgBouncer. See `Gate`."""

    def __init__(self, config: PgBouncer, cluster: Cluster) -> None:
        self._config = config
        self._ways = {node.name: way_of(node.dsn) for node in cluster.nodes}
        where = conninfo_to_dict(config.dsn)
        self._at = f"{where.get('host', '')}:{where.get('port', 5432)}"
        self._console: _Console | None = None
        self._hurried = False  # server_login_retry is ours until the next RELOAD

    @property
    def name(self) -> str:
        return f"PgBouncer {self._at}, database {self._config.database}"

    async def hold(self) -> None:
        """PAUSE: clients wait, transactions in flight end, then every server connection is closed."""
        await self._run("PAUSE")

    async def sever(self) -> None:
        """PAUSE, and KILL where that does not end at once: on a lost server nothing ends a transaction.

        PAUSE spares the clients that only wait. KILL alone would do, but it crashes PgBouncer now and then while
        clients log in (pgbouncer issue 1401; seen with 1.18), and they do when their primary is lost.
        """
        entry = await self._entry()
        if entry["paused"] and entry["current_connections"] == 0:
            return
        try:
            async with asyncio.timeout(_QUIET_AT_ONCE):
                await self._run("PAUSE")
        except TimeoutError:
            await self._run("KILL")

    async def lead_to(self, node: str, *, anew: bool) -> None:
        """The file first, so that a restart comes back the same way; then RELOAD, then RESUME."""
        way = self._ways[node]
        repoint(self._config.file, self._config.database, way)
        entry = await self._entry()
        if _way_shown(entry) != way:
            await self._ask("RELOAD")
            entry = await self._entry()
            if _way_shown(entry) != way:
                raise EngineError(
                    f"leads to {_way_shown(entry)} after RELOAD, {self._config.file} says {way}; "
                    "does its pgbouncer.ini include that file?"
                )
        elif anew and not entry["paused"]:
            await self._run("RECONNECT")
        elif self._hurried:
            await self._ask("RELOAD")
            self._hurried = False
        if entry["paused"]:
            # Else it would wait server_login_retry (15 s) after the lost server's last refusal, and refuse clients.
            await self._ask(f"SET server_login_retry = '{_LOGIN_RETRY}'")
            self._hurried = True
            await self._run("RESUME")

    async def close(self) -> None:
        if self._console is not None:
            await self._console.close()
            self._console = None

    # --- the console -----------------------------------------------------------------------------------------

    async def _entry(self) -> Mapping[str, Any]:
        """The line of this database in `SHOW DATABASES`."""
        for row in await self._ask("SHOW DATABASES"):
            if row["name"] == self._config.database:
                return row
        raise EngineError(
            f"it knows no database of that name; write a line `{self._config.database} = host=...` under "
            f"[databases] in {self._config.file} and include that file in pgbouncer.ini"
        )

    async def _run(self, command: str) -> None:
        """A command about this database; the name needs no quotes there but is given them."""
        await self._ask(f'{command} "{self._config.database}"')

    async def _ask(self, command: str) -> list[DictRow]:
        """One command; repeated once on a new connection where the kept one turns out to be dead."""
        for kept in (self._console is not None, False):
            console = await self._open()
            try:
                # Without parameters psycopg uses the simple protocol, the only one that every console speaks.
                cursor = await console.execute(command.encode())
                return await cursor.fetchall() if cursor.description else []
            except psycopg.Error as error:
                if not console.closed:
                    raise EngineError(f"{command} was refused: {mask(str(error)).strip()}") from None
                await self.close()
                if not kept:
                    raise Unreachable(f"{command}: the connection was lost") from None
            except asyncio.CancelledError:
                await self.close()  # its socket is shut down: see `_Console`
                raise
        raise AssertionError("the second try returns or raises")

    async def _open(self) -> _Console:
        if self._console is not None and not self._console.closed:
            return self._console
        try:
            self._console = await _Console.connect(
                self._config.dsn,
                autocommit=True,
                prepare_threshold=None,
                application_name="understudy",
                row_factory=dict_row,
            )
        except psycopg.Error as error:
            text = mask(str(error)).strip()
            if "Connection refused" in text or "No such file" in text:
                raise NotRunning(f"nobody listens at {self._at}") from None
            raise Unreachable(f"its console cannot be reached: {text}; see admin_users and dsn") from None
        return self._console


def _way_shown(entry: Mapping[str, Any]) -> Way:
    return Way(str(entry["host"] or ""), int(entry["port"]), str(entry["database"]))


# --- the file -------------------------------------------------------------------------------------------------


def way_of(dsn: str) -> Way:
    """The way to a node, from the DSN that applications connect with."""
    parameters = conninfo_to_dict(dsn)
    host, port = parameters.get("host") or "", parameters.get("port") or 5432
    return Way(str(host), int(port), str(parameters.get("dbname") or ""))


def repoint(file: Path, database: str, way: Way) -> None:
    """Make the file's entry of a database lead that way; nothing to do where it does.

    Only host, port and dbname of that one line change. The file is replaced in one piece and keeps its owner and
    mode; it is not flushed, because the agent looks at it again after any crash. Raises `EngineError`.
    """
    try:
        file = file.resolve()  # a link stays one
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            hint = "put the entries that lead here into a file of their own and %include it"
            raise EngineError(f"{file} holds more than {MAX_FILE_BYTES} bytes; {hint}")
        before = data.decode("utf-8")
        after = repointed(before, database, way)
        if after is None:
            raise EngineError(f"{file} has no line `{database} = ...` under [databases]; write one")
        if after != before:
            _replace(file, after)
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            f"{file} cannot be rewritten: {error}; the agent must be allowed to write in its folder, "
            "and to give the new file the owner of the old one"
        ) from None


def _replace(file: Path, text: str) -> None:
    status = file.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode())
            os.fchmod(descriptor, status.st_mode & 0o7777)
            new = os.fstat(descriptor)
            if (new.st_uid, new.st_gid) != (status.st_uid, status.st_gid):
                os.fchown(descriptor, status.st_uid, status.st_gid)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def repointed(text: str, database: str, way: Way) -> str | None:
    """The text of an ini file in which the database's entry leads that way; None where it has no such entry.

    The grammar is PgBouncer's (pgbouncer.org/config.html, "Section [databases]"): ``name = key=value ...``, values
    with blanks in single quotes, which are doubled inside; ``;`` and ``#`` begin a comment at the start of a line.
    """
    entry = re.compile(rf'(?P<head>\s*"?{re.escape(database)}"?\s*=)(?P<words>.*?)(?P<end>\s*)', re.DOTALL)
    section, found, lines = "", False, text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if opened := _SECTION.fullmatch(line):
            section = opened["name"].strip()
        elif section == "databases" and (match := entry.fullmatch(line)):
            lines[number] = match["head"] + _words(match["words"], way) + match["end"]
            found = True
    return "".join(lines) if found else None


def _words(words: str, way: Way) -> str:
    """The words of one entry with host, port and dbname replaced where they stand, or added in front."""
    missing = {"host": _quoted(way.host), "port": str(way.port), "dbname": _quoted(way.dbname)}
    wanted = dict(missing)

    def word(pair: re.Match[str]) -> str:
        missing.pop(pair["key"], None)
        return pair["head"] + wanted.get(pair["key"], pair["value"])

    words = _PAIR.sub(word, words)  # values are passed over whole: what looks like a word in one is none
    added = " ".join(f"{key}={value}" for key, value in missing.items())
    return f" {added} {words.lstrip()}".rstrip() if added else words


def _quoted(value: str) -> str:
    plain = re.fullmatch(r"[^\s';#]+", value)
    return value if plain else "'" + value.replace("'", "''") + "'"
