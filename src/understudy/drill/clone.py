"""The clone: two servers of our own that hold the data of the configured cluster.

They are filled from the newest dump that was verified, which proves it once more; where there is none, from a dump of
the primary that is made for it. `understudy setup` makes them a pair, as it would in earnest. What belongs to
production alone stays there: passwords, publications, subscriptions, slots, credentials for foreign servers.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from understudy.backup import logical, restore, roles, staging, verify
from understudy.backup.keys import Keys
from understudy.backup.logical import ARCHIVE
from understudy.backup.manifest import Kind, Manifest, Verdict, Verification
from understudy.backup.seal import SealError, WrongKey
from understudy.backup.shelf import Shelf
from understudy.backup.source import BackupAborted, BackupError, BackupRefused, clean, connect, primary_of
from understudy.backup.store import Missing, Store, open_store
from understudy.backup.stream import PartError
from understudy.config import Config
from understudy.config_backup import Destination
from understudy.demo.lab import DATABASE, MANUAL, NODES, Lab
from understudy.drill.definition import Setting
from understudy.drill.stage import Aborted, Stage
from understudy.embedded import EmbeddedPostgreSQL
from understudy.model import Cluster, Rpo

ROOM: Final = 5
"""Room that a clone needs, in sizes of the opened dump: itself, and two databases with indexes and log."""
_ADMIN: Final = "understudy"
_OURS: Final = ("postgres", _ADMIN, "app")
"""Roles of the servers that we made, each with a password of its own."""

_OWNERS: Final = """
SELECT DISTINCT r.rolname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.oid = c.relowner
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT pg_has_role(%s, c.relowner, 'USAGE')
"""
_MAPPINGS: Final = "SELECT srvname::text, nullif(umuser, 0)::regrole::text FROM pg_user_mappings"
_KINDS: Final = ("subscriptions", "publications", "slots", "user mappings", "passwords of other roles")
_LEFT: Final = """
SELECT (SELECT count(*) FROM pg_subscription), (SELECT count(*) FROM pg_publication),
    (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_user_mapping),
    (SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname <> ALL (%s))
"""
"""How many there are of each of `_KINDS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What a clone is made of: a dump, where it is, and what opens it."""

    manifest: Manifest
    store: Store
    keys: Keys | None

    @property
    def size(self) -> int:
        """Bytes of the opened dump."""
        return self.manifest.part(ARCHIVE).raw_bytes


def newest_proven(backups: Sequence[Manifest], verifications: Sequence[Verification]) -> Manifest | None:
    """The newest dump of everything whose newest verdict, the inconclusive ones left out, is PASS. Pure.

    Args:
        backups, verifications: oldest first.
    """
    verdicts = {v.backup: v.verdict for v in verifications if v.verdict is not Verdict.INCONCLUSIVE}
    fit = [b for b in backups if b.kind is Kind.LOGICAL and b.whole and verdicts.get(b.id) is Verdict.PASS]
    return fit[-1] if fit else None


def find(stage: Stage, setting: Setting, place: Path) -> Original:
    """What the clone is made of. Refuses one that is too large, or has no room at ``place``, before anything is made.

    Raises `Aborted`, what `Shelf` raises, and what a dump of the primary raises.
    """
    if setting.config is None:
        raise Aborted("a clone needs a configuration, and none was found; --no-clone does without")
    config, cluster = setting.config, setting.config.cluster(setting.cluster)
    if config.backup is not None:
        shelf = Shelf(config, cluster)
        known = shelf.catalog.backups(cluster.name)
        proven = newest_proven(known, shelf.catalog.verifications(cluster.name))
        if proven is not None:
            original = Original(manifest=proven, store=shelf.place(proven), keys=shelf.keys)
            _require(place, original.size, setting.clone_limit, f"the opened dump {proven.id}")
            stage.backup, stage.backup_sha256 = proven.id, proven.part(ARCHIVE).sha256
            return original
        stage.skipped.append(
            "that a backup restores: none of everything was verified; the primary was dumped instead"
        )
    return _dumped(stage, config, cluster, place, setting.clone_limit)


def _require(place: Path, size: int, limit: int, what: str) -> None:
    if size > limit:
        raise Aborted(
            f"{what} has {size / 1e6:,.0f} MB, a clone is made up to {limit / 1e6:,.0f} MB: raise the limit"
            " (--clone-limit), or drill with small tables (--no-clone)"
        )
    try:
        staging.require_space(place, ROOM * size, "a clone")
    except BackupRefused as refusal:
        raise Aborted(str(refusal)) from None


def _dumped(stage: Stage, config: Config, cluster: Cluster, place: Path, limit: int) -> Original:
    """A dump of the primary (the standby's sequences are behind), in a folder that goes with the clone."""
    source = primary_of(config, cluster)
    try:
        with connect(source.dsn, f"{cluster.name}/size") as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    except psycopg.Error as error:
        raise Aborted(f"{source.node}: {clean(error, source.dsn)}") from None
    _require(place, int(row[0]) if row is not None else 0, limit, f"the database of {source.node}")
    folder = place / "dump"
    folder.mkdir(mode=0o700)
    store = open_store(Destination(name="clone", folder=folder))
    with stage.activity(f"dump the primary {source.node}") as told:
        manifest = logical.create(config, cluster, (store,), None, tell=stage.say)
        told.append(f"epoch {manifest.epoch}: {manifest.part(ARCHIVE).raw_bytes:,} bytes")
    return Original(manifest=manifest, store=store, keys=None)


class CloneLab(Lab):
    """A laboratory with the data of a dump in place of TPC-B's tables.

    Args:
        place: a private folder, which the caller removes.
    """

    def __init__(self, stage: Stage, original: Original, place: Path, mode: Rpo) -> None:
        super().__init__(mode=mode, policy=MANUAL, folder=place / "lab", say=stage.say)
        self._stage, self._original, self._place = stage, original, place
        self.extensions = original.manifest.extensions
        self._staged: restore.Staged | None = None
        self._notes: list[str] = []

    def prepare(self, server: EmbeddedPostgreSQL) -> None:
        """The dump's roles without passwords, a database that sorts as its own did, and our roles."""
        manifest = self._original.manifest
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            staged = self._opened(connection)
            _, problems = roles.make_missing(connection, staged.roles)
            if problems:
                raise Aborted(f"{manifest.id}: not every role could be made: {'; '.join(problems[:5])}")
            notes = restore.make_database(connection, manifest, DATABASE)
            self._notes = [f"{note.what}: {note.detail}" for note in notes]
            super().prepare(server)
            connection.execute(f"ALTER DATABASE {DATABASE} OWNER TO {_ADMIN}")
            connection.execute(f"ALTER ROLE {_ADMIN} BYPASSRLS")

    def _opened(self, connection: psycopg.Connection) -> restore.Staged:
        """The dump, fetched for the first server, once it is known that the servers can take it."""
        if self._staged is None:
            original, stage = self._original, self._stage
            if lacking := restore.missing_extensions(connection, original.manifest):
                evidence = (
                    f"they lack {', '.join(lacking)}; install PostgreSQL with them on this host, or drill with small"
                    " tables (--no-clone)"
                )
                stage.check("our servers have every extension of the data", None, evidence)
                raise Aborted(f"not begun: our servers do not have every extension of the data: {evidence}")
            stage.versions["postgresql"] = original.manifest.server_version
            with stage.activity("fetch, open and check the dump"), _judged(stage, original.manifest):
                self._staged = restore.stage(
                    original.manifest, original.store, original.keys, self._place, tell=stage.say
                )
        return self._staged

    def fill(self) -> None:
        """Restore everything into `a` and compare it with the manifest; on `b` the schema only."""
        assert self._staged is not None, "both servers were prepared"
        manifest, stage, staged = self._original.manifest, self._stage, self._staged
        first, second = (self.servers[node].dsn(dbname=DATABASE) for node in NODES)
        stage.skipped += self._notes
        with stage.activity("restore it into a, its schema into b"), _judged(stage, manifest, self._notes):
            restore.run_restore(manifest, staged, first)
            restore.run_restore(manifest, staged, second, rows=False)
        with stage.activity("compare every table, sequence and foreign key with the manifest"):
            findings = restore.compare(manifest, first, staged.divided)
        wrong = [f"{f.what}: {f.detail}" for f in findings if f.verdict is not Verdict.PASS]
        evidence = "; ".join(wrong) or f"{len(manifest.tables)} tables of {manifest.id}"
        held = {Verdict.PASS: True, Verdict.FAIL: False}.get(verify.verdict(findings))
        if not stage.check("the clone holds what the dump's manifest says", held, evidence):
            raise Aborted(f"the clone is none: {evidence}")
        self._cut_off()
        shutil.rmtree(staged.archive.parent)
        self._say(f"{manifest.id}: {len(manifest.tables)} tables restored and compared")

    def make_pair(self) -> None:
        """As any laboratory does, as a line of the timeline."""
        with self._stage.activity("make them a pair: copy every row from a to b, and compare"):
            super().make_pair()

    def _cut_off(self) -> None:
        """Let nothing lead to production. Raises `Aborted` where something still does."""
        left = [
            f"{count} {name} on {node}"
            for node in NODES
            for name, count in zip(_KINDS, _alone(self.servers[node].dsn(dbname=DATABASE)), strict=True)
            if count
        ]
        evidence = ", ".join(left) or f"none on {' and '.join(NODES)}: {', '.join(_KINDS)}"
        if not self._stage.check("nothing of the clone leads to production", not left, evidence):
            raise Aborted(evidence)


@contextlib.contextmanager
def _judged(stage: Stage, manifest: Manifest, notes: Sequence[str] = ()) -> Iterator[None]:
    """What is wrong with the dump is a failure that was found; what is wrong with this machine is none.

    ``notes``: how the database differs from the original. Without its locale, rows may rightly be refused.
    """
    try:
        yield
    except (WrongKey, BackupRefused, BackupAborted):
        raise
    except (SealError, PartError, Missing, BackupError) as error:
        ours = isinstance(error, BackupError) and (notes or verify.whose(str(error)) is Verdict.INCONCLUSIVE)
        stage.check(f"{manifest.id} restores", None if ours else False, str(error))
        raise Aborted(str(error)) from None


def _alone(dsn: str) -> list[int]:
    """Cut a restored database off from others, and let our role act for every owner. Returns what is left, counted."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for (name,) in connection.execute("SELECT pubname::text FROM pg_publication").fetchall():
            connection.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(name)))
        for server, user in connection.execute(_MAPPINGS).fetchall():
            whom = sql.SQL(user or "PUBLIC")  # regrole's text is quoted already
            statement = sql.SQL("DROP USER MAPPING FOR {} SERVER {}")
            connection.execute(statement.format(whom, sql.Identifier(server)))
        for (owner,) in connection.execute(_OWNERS, (_ADMIN,)).fetchall():
            statement = sql.SQL("GRANT {} TO {} WITH INHERIT TRUE, SET TRUE")
            connection.execute(statement.format(sql.Identifier(owner), sql.Identifier(_ADMIN)))
        connection.execute("ANALYZE")
        row = connection.execute(_LEFT, (list(_OURS),)).fetchone()
    assert row is not None, "counts always come"
    return [int(count) for count in row]
