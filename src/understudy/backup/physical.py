"""Base backups: a copy of a whole server's files, streamed by pg_basebackup into the destinations.

The tar goes from the program's output through `stream.write_part` and is never on a disk of ours. It holds the files,
the log that makes them consistent (so a base backup can be restored by itself), and PostgreSQL's own manifest with a
CRC-32C of every file. What the manifest of the backup says about positions is read from the tar as it passes: from
what was copied, not from what somebody said before or after.

Sources: PostgreSQL 16 manual, pg_basebackup and "Backup Manifest Format"; src/include/catalog/pg_control.h.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

import understudy
from understudy.backup.catalog import Catalog, discard_failed
from understudy.backup.keys import Keys
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.programs import Child, command_line, program, version_of
from understudy.backup.source import (
    CONNECT_S,
    BackupError,
    BackupRefused,
    Guard,
    Source,
    alone,
    clean,
    connect,
    new_id,
    now_text,
    primary_of,
    still,
)
from understudy.backup.store import Store, Tell
from understudy.backup.stream import Progress, write_part
from understudy.backup.wal import SEGMENT_BYTES, parse_lsn
from understudy.config import Config
from understudy.model import Cluster, Node

PART: Final = "base"
"""The name of the only part."""
FORM: Final = "tar"
TIMEOUT_S: Final = 24 * 3600.0
"""Seconds that a base backup may take unless the caller knows better."""
_BLOCK: Final = 512
_LARGEST_LABEL: Final = 64 * 1024
_MANIFEST_TAIL: Final = 64 * 1024
"""The manifest lists every file first; what is read of it, the ranges of the log, stands in its last lines."""
_CLOSED: Final = ("supabase", "neon", "rds", "heroku", "azure", "render", "digitalocean", "timescale")
"""Providers (as `config_dsn` guesses them) that let nobody copy files."""


_FACTS = """
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
           (SELECT system_identifier::text FROM pg_control_system()) AS system,
           current_setting('wal_segment_size') AS segment, pg_is_in_recovery() AS recovering,
           d.datname AS database, pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS locale,
           current_user::text AS role,
           (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may,
           (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database
             WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')) AS bytes,
           ARRAY(SELECT spcname::text FROM pg_tablespace
                 WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1) AS spaces,
           (SELECT jsonb_object_agg(extname, extversion) FROM pg_extension) AS extensions
    FROM pg_database d WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a server says about itself; ``bytes`` of all its databases, ``may``: the role may replicate."""

    version: str
    number: int
    system: str
    segment: str
    recovering: bool
    database: str
    encoding: str
    locale: str
    role: str
    may: bool
    bytes: int
    spaces: list[str]
    extensions: Mapping[str, str]

    @property
    def major(self) -> int:
        """Of the server's version: 16."""
        return self.number // 10000


def obstacles(node: Node) -> tuple[str, ...]:
    """What stands in the way of base backups, and of streaming the log, of this node; each with what mends it.

    Connects twice as the agent does: for SQL, and for replication. Changes nothing.
    """
    if node.provider in _CLOSED:
        return (
            f"{node.name}: {node.provider} lets nobody copy the server's files or stream its log; make logical"
            " backups, and use the provider's own point-in-time recovery",
        )
    try:
        facts = ask(node.admin_dsn)
    except psycopg.Error as error:
        return (f"{node.name}: cannot be asked: {clean(error, node.admin_dsn)}; is it running?",)
    return (*_unfit(node.name, facts), *_closed_to_replication(node, facts))


def _unfit(name: str, facts: Facts) -> Iterator[str]:
    if facts.recovering:
        yield f"{name}: is in recovery; base backups are taken of a primary"
    if facts.spaces:
        yield (
            f"{name}: has tablespaces ({', '.join(facts.spaces)}), which one stream cannot hold; move their tables"
            " (ALTER TABLE … SET TABLESPACE pg_default) and drop them, or make logical backups"
        )
    if facts.segment != f"{SEGMENT_BYTES // 2**20}MB":
        yield f"{name}: its log has segments of {facts.segment}, only 16MB is supported; make logical backups"
    if not facts.may:
        yield (
            f'{name}: role {facts.role} may not replicate; as a superuser: ALTER ROLE "{facts.role}" REPLICATION;'
            " where no superuser is to be had, make logical backups"
        )


def _closed_to_replication(node: Node, facts: Facts) -> Iterator[str]:
    """Whether a connection for physical replication is let in, and to the same server."""
    if not facts.may:
        return
    given = conninfo_to_dict(node.admin_dsn)
    where = make_conninfo("", **{**given, "replication": "true", "connect_timeout": CONNECT_S})
    try:
        with psycopg.connect(where, autocommit=True) as connection:
            row = connection.execute("IDENTIFY_SYSTEM").fetchone()
    except psycopg.Error as error:
        yield (
            f"{node.name}: refuses physical replication: {clean(error, node.admin_dsn)}; add to its pg_hba.conf"
            f" `host replication {facts.role} <address of this host> scram-sha-256`, then SELECT pg_reload_conf();"
        )
        return
    found = row[0] if row is not None else ""
    if (found.decode() if isinstance(found, bytes) else found) != facts.system:
        yield f"{node.name}: another server answers for replication; admin_dsn must lead to one server, past any pooler"


def ask(dsn: str) -> Facts:
    """What the server says about itself. Raises psycopg's errors."""
    with connect(dsn, "facts", statement_timeout="60s") as connection:
        row = connection.cursor(row_factory=dict_row).execute(_FACTS).fetchone()
    assert row is not None, "a session has a database"
    return Facts(**row)


def create(
    config: Config,
    cluster: Cluster,
    stores: Sequence[Store],
    keys: Keys | None,
    *,
    tell: Tell = lambda _: None,
    cancel: threading.Event | None = None,
    timeout: float = TIMEOUT_S,
) -> Manifest:
    """Copy the present primary's server. When this returns, the backup exists wherever its part is whole.

    Args:
        tell: gets a line now and then, and each problem that did not stop the backup.
        cancel: set it, from any thread, to give the backup up. timeout: seconds after which it is given up.

    Raises `BackupRefused` (`obstacles`; nothing was begun), `BackupAborted` (the primary changed, cancelled, too long),
    `BackupError`, StoreError, KeysError. No manifest is written then, and what was stored is removed again.
    """
    source = primary_of(config, cluster)
    if found := obstacles(cluster.node(source.node)):
        raise BackupRefused("\n".join(found))
    identifier = new_id(Kind.PHYSICAL)
    with (
        alone(config.directory, f"backup-{cluster.name}"),
        Guard(source, cancel=cancel or threading.Event(), timeout=timeout) as guard,
    ):
        try:
            manifest = _copy(identifier, source, guard, stores=stores, keys=keys, tell=tell)
            places = Catalog(stores, keys).commit(manifest)
        except BaseException as error:
            discard_failed(stores, cluster.name, identifier, tell)
            guard.check()  # the reason why everything else failed
            if isinstance(error, psycopg.Error):
                raise BackupError(f"{source.node}: {clean(error, source.dsn)}") from None
            raise
    if absent := [store.name for store in stores if store.name not in places]:
        tell(f"{identifier}: NOT in {', '.join(absent)}; it is in {', '.join(places)}")
    return manifest


def _copy(
    identifier: str, source: Source, guard: Guard, *, stores: Sequence[Store], keys: Keys | None, tell: Tell
) -> Manifest:
    started, facts, watch = now_text(), ask(source.dsn), Watch()
    binary = program("pg_basebackup", facts.major)
    progress = Progress(f"{identifier} {PART}", facts.bytes, tell)
    with _log_held(source.dsn), _basebackup(source.dsn, binary, identifier) as child:
        guard.on_abort(child.end)
        key = f"{source.cluster}/{identifier}/{PART}"
        part = write_part(_watched(child, watch), stores, key, PART, keys, progress)
    guard.check()
    finished = _server_time(source.dsn)
    still(source)
    position = watch.position()
    if position.system != facts.system:
        raise BackupError(f"{source.node}: the server was replaced during the backup; make it again")
    return Manifest(
        id=identifier, cluster=source.cluster, engine="postgresql", kind=Kind.PHYSICAL, form=FORM, scope=("all",),
        node=source.node, epoch=source.epoch, started=started, finished=finished, database=facts.database,
        encoding=facts.encoding, locale=facts.locale, server_version=facts.version, client_version=version_of(binary),
        system_identifier=position.system, timeline=position.timeline, start_lsn=position.start_lsn,
        end_lsn=position.end_lsn, extensions=facts.extensions, tables=(), sequences=(), parts=(part,),
        recipients=keys.recipients if keys is not None else (), tool=f"understudy {understudy.__version__}",
    )  # fmt: skip


def _server_time(dsn: str) -> str:
    """Now by the server's clock: a recovery to a time before it, by that clock, needs an older backup."""
    with connect(dsn, "clock", timezone="UTC") as connection:
        row = connection.execute(
            'SELECT to_char(clock_timestamp(), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')'
        ).fetchone()
    assert row is not None
    return str(row[0])


def _basebackup(dsn: str, binary: Path, identifier: str) -> Child:
    line, environment = command_line(dsn, "base")
    arguments = [
        *(str(binary), "--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast"),
        *("--manifest-checksums=CRC32C", f"--label={identifier}", "--no-password", f"--dbname={line}"),
    ]
    return Child(arguments, environment, dsn=dsn)


@contextlib.contextmanager
def _log_held(dsn: str) -> Iterator[None]:
    """Have the server keep its log until we leave: pg_basebackup fetches it at the end, a checkpoint may come before.

    The slot is temporary: it goes with the session, however that ends.
    """
    name = f"understudy_base_{secrets.token_hex(4)}"
    try:
        with connect(dsn, "base log", idle_session_timeout="0") as connection:
            connection.execute("SELECT pg_create_physical_replication_slot(%s, true, true)", (name,))
            yield
    except psycopg.Error as error:
        raise BackupError(
            f"a slot that keeps the log during the backup: {clean(error, dsn)}; is max_replication_slots used up?"
        ) from None


def _watched(child: Child, watch: Watch) -> Iterator[bytes]:
    """The output, which is refused at its end where it is not a whole backup: then nothing is stored."""
    for chunk in child.chunks():
        watch.feed(chunk)
        yield chunk
    watch.position()


# --- the tar as it passes -----------------------------------------------------------------------------------


class Watch:
    """Looks at a tar while it goes by and keeps what tells where the backup stands.

    Constant memory: of the small members that matter everything, of PostgreSQL's manifest the end.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._name = ""
        self._left = 0  # bytes of the present member's body
        self._padding = 0
        self._ended = False
        self.members = 0
        self.kept: dict[str, bytearray] = {
            "backup_label": bytearray(),
            "global/pg_control": bytearray(),
            "backup_manifest": bytearray(),
        }

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `BackupError` where they are no tar."""
        view, at = memoryview(chunk), 0
        while at < len(view):
            if self._left:
                take = min(self._left, len(view) - at)
                self._keep(view[at : at + take])
                self._left -= take
            elif self._padding:
                take = min(self._padding, len(view) - at)
                self._padding -= take
            else:
                take = min(_BLOCK - len(self._header), len(view) - at)
                self._header += view[at : at + take]
                if len(self._header) == _BLOCK:
                    self._begin()
            at += take

    def _begin(self) -> None:
        header = bytes(self._header)
        self._header.clear()
        if not any(header):
            self._ended = True  # the end of a tar is blocks of zeros
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BackupError(
                f"pg_basebackup's output is not a tar after {self.members} files: {error}"
            ) from None
        self.members += 1
        self._name, self._left = member.name.removeprefix("./"), member.size if member.isreg() else 0
        self._padding = -self._left % _BLOCK

    def _keep(self, piece: memoryview) -> None:
        kept = self.kept.get(self._name)
        if kept is None:
            return
        kept += piece
        limit = _MANIFEST_TAIL if self._name == "backup_manifest" else _LARGEST_LABEL
        if len(kept) > limit:
            del kept[:-limit]

    def position(self) -> Position:
        """Where the backup stands, when all of the tar has gone by. Raises `BackupError` where it is not whole."""
        if not self._ended or self._left or self._header or not all(self.kept.values()):
            raise BackupError("pg_basebackup's output ends early; see the server's log, and try again")
        return _position(bytes(self.kept["global/pg_control"]), bytes(self.kept["backup_manifest"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Which server, and which part of its log makes the copy consistent (bytes)."""

    system: str
    timeline: int
    start_lsn: int
    end_lsn: int


def _position(control: bytes, manifest: bytes) -> Position:
    """From pg_control, whose first eight bytes are the system identifier, and the end of backup_manifest."""
    match = re.search(rb'"WAL-Ranges":\s*(\[[^\]]*\])', manifest)
    ranges = json.loads(match[1]) if match is not None else []
    if len(ranges) != 1:
        raise BackupError(
            f"backup_manifest has {len(ranges)} ranges of log, expected one; a timeline ended meanwhile: try again"
        )
    return Position(
        system=str(int.from_bytes(control[:8], "little")),
        timeline=int(ranges[0]["Timeline"]),
        start_lsn=parse_lsn(ranges[0]["Start-LSN"]),
        end_lsn=parse_lsn(ranges[0]["End-LSN"]),
    )
