"""The witness of one host: a SQLite file in WAL mode, durable at every write.

Sources: SQLite "Write-Ahead Logging" and PRAGMA synchronous (FULL in WAL mode syncs the log at each commit).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from understudy.errors import StaleVersion, WitnessError
from understudy.model import ClusterState
from understudy.witness.base import Entry, Event
from understudy.witness.codec import decode, encode
from understudy.witness.holder import freed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (cluster TEXT PRIMARY KEY, version INTEGER NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS agent (cluster TEXT PRIMARY KEY, id TEXT NOT NULL, heard REAL NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, wall REAL NOT NULL, cluster TEXT NOT NULL, agent TEXT NOT NULL,
    epoch INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, took REAL, boot REAL);
CREATE INDEX IF NOT EXISTS event_cluster ON event (cluster, id);
"""
_BUSY_SECONDS = 2.0
_EVENTS_KEPT = 100_000


class SqliteWitness:
    """Implements `understudy.witness.base.Witness` on a local file. Safe to use from several threads.

    Args:
        path: the file; it and its folder are made when missing, unless ``create`` is False.

    Raises:
        WitnessError: the file cannot be opened, is no database, or the disk is full.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._errors("open"):
            if create:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
            self._db = _opened(path, "rwc" if create else "rw")
            if create:
                self._db.executescript(_SCHEMA)
            self._file = _identity(path)

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (
            sqlite3.Error,
            OSError,
            UnicodeError,
        ) as error:  # UnicodeError: a damaged text of SQLite's own
            locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            why = freed(self.path) if locked else ""
            raise WitnessError(
                f"witness {self.path}: could not {doing}: {error}; "
                f"{why or 'check that the folder exists, is writable for this user, and that its disk is not full'}"
            ) from error

    def _follow_file(self) -> None:
        """A file that was removed can still be written to, but nobody else reads it: it is the witness no longer.

        Where another one has taken its place (a copy that was restored), go on with that one.
        """
        found = _identity(self.path)
        if found == self._file:
            return
        if found is None:
            raise WitnessError(
                f"witness {self.path}: it has been removed; put it back, "
                "or stop the agent and let `understudy setup --adopt` make it anew from the databases"
            )
        opened = _opened(self.path, "rw")
        self._db.close()
        self._db, self._file = opened, found

    @contextlib.contextmanager
    def _transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        """One immediate transaction: the write lock is taken at its start, so a read inside it is current."""
        with self._errors(doing), self._lock:
            self._follow_file()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back: that is what is to be told
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def read(self, cluster: str) -> ClusterState | None:
        with self._errors("read"), self._lock:
            self._follow_file()
            row = self._db.execute(
                "SELECT record, version FROM state WHERE cluster = ?", (cluster,)
            ).fetchone()
        if row is None:
            return None
        record, version = row
        if not isinstance(record, str) or type(version) is not int:
            raise WitnessError(
                f"witness {self.path}: expected a text and a whole number, found {type(record).__name__} and "
                f"{type(version).__name__}; `understudy setup --adopt` makes it anew from the databases"
            )
        return replace(decode(record), version=version)

    def write(self, state: ClusterState, *, expected: int, entry: Entry | None = None) -> ClusterState:
        following = replace(state, version=max(expected, state.version) + 1)
        with self._transaction("write") as db:
            row = db.execute("SELECT version FROM state WHERE cluster = ?", (state.cluster,)).fetchone()
            found = row[0] if row is not None else 0
            if found != expected:
                raise StaleVersion(f"cluster {state.cluster}: expected version {expected}, found {found}")
            db.execute(
                "INSERT INTO state (cluster, version, record) VALUES (?, ?, ?) ON CONFLICT (cluster) "
                "DO UPDATE SET version = excluded.version, record = excluded.record",
                (state.cluster, following.version, encode(following)),
            )
            if entry is not None:
                _insert(db, state.cluster, state.epoch, entry)
        return following

    def take_agent(self, cluster: str, agent: str, now: float, takeover: float) -> tuple[bool, str, float]:
        with self._transaction("take the agent's place") as db:
            row = db.execute("SELECT id, heard FROM agent WHERE cluster = ?", (cluster,)).fetchone()
            # A time ahead of this host's boot clock was written before a reboot: that agent is gone.
            silent = now - row[1] if row is not None and row[1] <= now else float("inf")
            if row is not None and row[0] != agent and silent < takeover:
                return False, str(row[0]), silent
            db.execute(
                "INSERT INTO agent (cluster, id, heard) VALUES (?, ?, ?) ON CONFLICT (cluster) "
                "DO UPDATE SET id = excluded.id, heard = excluded.heard",
                (cluster, agent, now),
            )
        return True, agent, 0.0

    def agent(self, cluster: str) -> tuple[str, float] | None:
        with self._errors("read the acting agent"), self._lock:
            self._follow_file()
            row = self._db.execute("SELECT id, heard FROM agent WHERE cluster = ?", (cluster,)).fetchone()
        return None if row is None else (str(row[0]), float(row[1]))

    def release_agent(self, cluster: str, agent: str) -> None:
        with self._transaction("release the agent's place") as db:
            db.execute("DELETE FROM agent WHERE cluster = ? AND id = ?", (cluster, agent))

    def log(self, cluster: str, *, epoch: int, entry: Entry) -> None:
        with self._transaction("log") as db:
            _insert(db, cluster, epoch, entry)

    def events(self, cluster: str, *, limit: int, after: int = 0) -> Sequence[Event]:
        with self._errors("read events"), self._lock:
            self._follow_file()
            rows = self._db.execute(
                "SELECT id, wall, cluster, agent, epoch, kind, message, took, boot FROM event "
                "WHERE cluster = ? AND id > ? ORDER BY id DESC LIMIT ?",
                (cluster, after, limit),
            ).fetchall()
        return [
            Event(
                id=r[0],
                wall=r[1],
                cluster=r[2],
                agent=r[3],
                epoch=r[4],
                kind=r[5],
                message=r[6],
                took=r[7],
                boot=r[8],
            )
            for r in reversed(rows)
        ]

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    columns = [row[1] for row in db.execute("PRAGMA table_info(event)")]
    if columns and "boot" not in columns:  # a file of an earlier version
        with contextlib.suppress(sqlite3.OperationalError):  # another process was faster
            db.execute("ALTER TABLE event ADD COLUMN boot REAL")
    return db


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at this path, if any."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _insert(db: sqlite3.Connection, cluster: str, epoch: int, entry: Entry) -> None:
    """Add a line of history and forget the oldest ones past the limit."""
    cursor = db.execute(
        "INSERT INTO event (wall, boot, cluster, agent, epoch, kind, message, took) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            time.time(),
            time.clock_gettime(time.CLOCK_BOOTTIME),
            cluster,
            entry.agent,
            epoch,
            entry.kind,
            entry.message,
            entry.took,
        ),
    )
    db.execute("DELETE FROM event WHERE id <= ?", ((cursor.lastrowid or 0) - _EVENTS_KEPT,))
