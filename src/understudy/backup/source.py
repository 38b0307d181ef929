"""Whom a backup is taken from: the present primary, and only as long as it is.

The witness says who is primary at which epoch. Before a backup's manifest is written, `still` asks the witness and the
node again: a copy of a former primary may hold commits that the cluster has left behind, and is never kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy.backup.manifest import Kind
from understudy.config import Config, mask
from understudy.decide.plans import CHANGES
from understudy.errors import UnderstudyError, WitnessError
from understudy.model import Cluster, ClusterState
from understudy.witness import SqliteWitness

APPLICATION: Final = "understudy-backup"
"""Sessions of backups are called so, and not ``understudy/...``: a fence ends them with the application's."""
CONNECT_S: Final = 10
_WITNESS_PATIENCE: Final = 30.0
_LOOK_EVERY: Final = 1.0

_NODE = """
    SELECT f.epoch, f.primary_node, EXISTS (
        SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0
          AND 'default_transaction_read_only=on' = ANY (s.setconfig))
    FROM understudy.fence f
"""


class BackupError(UnderstudyError):
    """A backup, restore or verification failed; the text says where, why and what to do."""


class BackupRefused(BackupError):
    """It was refused beforehand; nothing was changed."""


class BackupAborted(BackupError):
    """It was given up on the way: the primary changed, it was cancelled, or it took too long. Nothing was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The primary at one epoch. ``dsn``: how the agent connects to it. ``witness``: the file that said so."""

    cluster: str
    node: str
    epoch: int
    dsn: str = field(repr=False)
    witness: Path


def primary_of(config: Config, cluster: Cluster) -> Source:
    """The present primary, as the witness of this host says.

    Raises `BackupRefused` while the primary is being changed or the cluster is not set up, and `WitnessError`.
    """
    path = config.directory / "witness.db"
    if not path.exists():
        raise BackupRefused(f"witness {path}: there is none; run `understudy setup` first, on this host")
    state = _read(path, cluster.name)
    if state.plan is not None and state.plan.kind in CHANGES:
        raise BackupRefused(
            f"{cluster.name}: a {state.plan.kind} is under way; try again when it is over (`understudy status`)"
        )
    node = cluster.node(state.primary)
    return Source(cluster=cluster.name, node=node.name, epoch=state.epoch, dsn=node.admin_dsn, witness=path)


def still(source: Source) -> None:
    """Return where the source is primary at the same epoch, by the witness and by the node itself.

    Raises `BackupAborted` where it is not, or where that cannot be told within half a minute.
    """
    deadline = time.monotonic() + _WITNESS_PATIENCE
    while True:
        try:
            require(source, _read(source.witness, source.cluster))
            break
        except WitnessError as error:
            if time.monotonic() > deadline:
                raise BackupAborted(
                    f"{source.node}: nobody can say that it is still primary: {error}"
                ) from None
            time.sleep(0.5)  # another process may hold the file for a moment; it tells nobody when it lets go
    try:
        with connect(source.dsn, f"{source.cluster}/epoch") as connection:
            row = connection.execute(_NODE).fetchone()
    except psycopg.Error as error:
        raise BackupAborted(
            f"{source.node}: does not answer whether it is still primary: {clean(error, source.dsn)}"
        ) from None
    if row is None or row[0] != source.epoch or row[1] != source.node:
        found = f"epoch {row[0]} with primary {row[1]}" if row is not None else "no epoch"
        raise BackupAborted(
            f"{source.node}: expected to be primary at epoch {source.epoch}, its fence row says {found}; nothing"
            " was kept, make the backup again"
        )
    if row[2]:
        raise BackupAborted(f"{source.node}: was fenced (read-only); nothing was kept, make the backup again")


def require(source: Source, state: ClusterState) -> None:
    """Raise `BackupAborted` unless the state names the source as primary at its epoch."""
    if (state.epoch, state.primary) != (source.epoch, source.node):
        raise BackupAborted(
            f"{source.cluster}: the primary changed from {source.node} (epoch {source.epoch}) to {state.primary}"
            f" (epoch {state.epoch}) during the backup; nothing was kept, make the backup again"
        )


def _read(path: Path, cluster: str) -> ClusterState:
    with contextlib.closing(SqliteWitness(path, create=False)) as witness:
        state = witness.read(cluster)
    if state is None:
        raise BackupRefused(f"{cluster}: is not set up; run `understudy setup` first")
    return state


class Guard:
    """Looks after a running backup: gives it up when the primary changes, when it is cancelled, or after ``timeout`` s.

    Giving up means calling every function that was given to `on_abort`, which ends what is waited for; `check` then
    raises the reason. A witness that cannot be read for a while is left to `still` in the end.
    """

    def __init__(self, source: Source, *, cancel: threading.Event, timeout: float) -> None:
        self._source, self._cancel = source, cancel
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._ended = threading.Event()
        self._reason: UnderstudyError | None = None
        self._stops: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="backup guard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def on_abort(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` when the backup is given up; at once where it has been."""
        with self._lock:
            self._stops.append(stop)
            late = self._reason is not None
        if late:
            stop()

    def give_up(self, reason: UnderstudyError) -> None:
        """Give the backup up, from any thread; the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason, stops = reason, list(self._stops)
        for stop in stops:
            stop()

    def check(self) -> None:
        """Raise the reason where the backup has been given up."""
        if self._reason is not None:
            raise self._reason

    def reason(self, error: Exception) -> Exception:
        """Why a backup that ended with ``error`` failed. A change of primary ends our sessions, so it is asked anew."""
        return self._look() or self._reason or error

    def _run(self) -> None:
        while not self._ended.is_set():
            if (reason := self._look()) is not None:
                self.give_up(reason)
                return
            if self._cancel.wait(_LOOK_EVERY / 4):
                continue
            self._ended.wait(_LOOK_EVERY * 3 / 4)

    def _look(self) -> BackupAborted | None:
        if self._cancel.is_set():
            return BackupAborted(f"{self._source.cluster}: the backup was cancelled; nothing was kept")
        if time.monotonic() > self._deadline:
            return BackupAborted(
                f"{self._source.cluster}: the backup was given up after {self._timeout:g} s; nothing was kept:"
                " look for locks and for a slow destination"
            )
        try:
            require(self._source, _read(self._source.witness, self._source.cluster))
        except BackupAborted as reason:
            return reason
        except (WitnessError, BackupRefused):
            return None  # `still` has the last word
        return None


# --- shared by every kind of backup -------------------------------------------------------------------------


def new_id(kind: Kind) -> str:
    """A fresh id of a backup that begins now: ``20261121T074500.123456Z-logical-1f2e3d``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{kind}-{secrets.token_hex(3)}"


def now_text() -> str:
    """Now, as manifests write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@contextlib.contextmanager
def alone(directory: Path, what: str) -> Iterator[None]:
    """Only one process of this host is in here at a time, for this ``what`` (``backup-main``).

    Raises `BackupRefused` where another one is. The lock goes with the process, however it ends.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o770)
    path = directory / f"{what}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise BackupRefused(
                f"{path}: process {holder or 'unknown'} is at it already; wait for its end"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def connect(dsn: str, purpose: str, **settings: str) -> psycopg.Connection:
    """A session of a backup. ``settings``: of the server, from its first moment. Raises psycopg's errors."""
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given = conninfo_to_dict(dsn)
    kept = str(given.get("options") or "")
    ours: dict[str, str | int] = {
        "options": f"{kept} {options}".strip(),
        "application_name": f"{APPLICATION}/{purpose}"[:63],
        "connect_timeout": CONNECT_S,
        "client_encoding": "UTF8",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    return psycopg.connect(make_conninfo("", **{**dict(given), **ours}), autocommit=True)


def clean(error: BaseException | str, dsn: str) -> str:
    """An error's text in one line, without the password of that DSN."""
    text = mask(str(error))
    with suppress(psycopg.Error):
        password = conninfo_to_dict(dsn).get("password")
        text = text.replace(str(password), "****") if password else text
    return " ".join(text.split())
