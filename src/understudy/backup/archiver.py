"""Streams the present primary's write-ahead log into the destinations, all the time.

pg_receivewal writes it into a *spool*, a folder of this host, and tells the primary what is safe there; a slot on the
primary keeps what has not come yet. One thread per destination ships each finished segment, and the newest unfinished
one every so often. A file leaves the spool when every destination has it.

    spool/SYSTEM.BEGUN/000000010000000000000007           one folder per server and slot
    spool/SYSTEM.BEGUN/000000010000000000000008.partial

What can stop, and what then keeps the log: a destination (the spool), this process (the slot), the spool's disk (the
slot). The slot is bounded too, because a primary whose disk is full is an outage: past ``slot_limit`` it is dropped,
after warnings from half of that on. Then there is a gap, `wal.coverage` says so, and a new base backup is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential
from tenacity.nap import sleep_using_event

from understudy.backup import wal
from understudy.backup.keys import Keys
from understudy.backup.programs import Child, command_line, program
from understudy.backup.source import APPLICATION, BackupError, BackupRefused, Source, alone, clean
from understudy.backup.store import Locked, Store
from understudy.config_backup import Physical
from understudy.errors import UnderstudyError
from understudy.model import Cluster

_log = structlog.get_logger()

LOOK_S: Final = 1.0
"""Seconds between two looks at the primary and at the spool."""
PATIENCE_S: Final = 5.0
"""Seconds that a session of ours may take to connect or to answer."""
TIDY_S: Final = 60.0
"""Seconds between two attempts to drop our slot on nodes that are not primary."""
SHIPPING_PAUSE_S: Final = 60.0
"""Between two attempts to reach a destination, at most."""
RECEIVING_PAUSE_S: Final = 5.0
"""Between two starts of pg_receivewal, at most: commits may be waiting for it (`synchronous_standby_names`)."""
HEALTHY_S: Final = 60.0
"""A receiver that ran so long is restarted at once, without the pauses of earlier failures."""
FAREWELL_S: Final = 10.0
"""Seconds that the shippers get to end."""
MARKS: Final = 3600
"""Remembered positions of the primary, one per look."""
FULL: Final = 0.05
"""Share of the spool's disk that stays free."""

_LOOK = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
           current_setting('server_version_num')::int / 10000 AS major,
           (pg_current_wal_flush_lsn() - '0/0')::bigint AS position, s.slot_name IS NOT NULL AS slot,
           (s.restart_lsn - '0/0')::bigint AS flushed, coalesce(s.wal_status, '') AS status
    FROM (SELECT) one LEFT JOIN pg_replication_slots s ON s.slot_name = %s AND s.slot_type = 'physical'
"""


class _Ended(Exception):
    """pg_receivewal ended, or a destination failed: to be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """How far one destination is.

    Args:
        last: the newest complete segment that it has got from this process; empty: none yet.
        until: everything that was committed before this moment is there (seconds since 1970); None: not known.
        waiting: finished files that it has not got yet.
        error: why it does not get on; empty: it does.
    """

    destination: str
    last: str = ""
    until: float | None = None
    waiting: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the archiving of one cluster stands.

    Args:
        node, system: the server whose log is streamed; empty before the first look.
        receiving: pg_receivewal runs.
        trouble: what is wrong with receiving and what to do; empty: nothing.
        retained: bytes of log that the primary keeps for us; None: not known.
        spool: bytes in the spool.
    """

    node: str = ""
    system: str = ""
    receiving: bool = False
    trouble: str = ""
    retained: int | None = None
    spool: int = 0
    destinations: tuple[Shipped, ...] = ()


@dataclass(slots=True)
class _Chain:
    """One server's log since its slot was made."""

    node: str
    dsn: str = field(repr=False)
    system: str
    major: int
    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    child: Child | None = None
    error: str = ""

    @property
    def receiving(self) -> bool:
        """pg_receivewal runs."""
        return self.child is not None

    @property
    def trouble(self) -> str:
        """Why it does not run; empty: it does, or was not to."""
        return "" if self.receiving else self.error


@dataclass(frozen=True, slots=True)
class _Look:
    system: str
    major: int
    position: int
    slot: bool
    flushed: int | None
    status: str


def slot_name(policy: Physical, cluster: str) -> str:
    """The slot of a cluster: the configured beginning and the cluster's name; at most 63 bytes."""
    return f"{policy.slot}_{cluster.replace('-', '_')}"[:63]


class Archiver:
    """Keeps the log of a cluster's present primary flowing. `run` blocks; `status` may be asked from any thread.

    Args:
        stores: every destination gets everything.
        spool: a folder of this host that belongs to this archiver alone (a second process waits for the first).
        primary: who is primary now; may raise UnderstudyError, then the last answer holds.
    """

    def __init__(
        self,
        cluster: Cluster,
        stores: Sequence[Store],
        keys: Keys | None,
        *,
        spool: Path,
        policy: Physical,
        primary: Callable[[], Source],
    ) -> None:
        self._cluster, self._stores, self._keys = cluster, tuple(stores), keys
        self._spool, self._policy, self._primary = spool, policy, primary
        self._slot = slot_name(policy, cluster.name)
        self._lock = threading.Lock()
        self._chain: _Chain | None = None
        self._full = ""  # why nothing more may go into the spool
        self._warning = ""  # about what the primary keeps for us
        self._trouble = ""
        self._retained: int | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS)
        self._flushed = 0
        self._shipped: dict[Path, set[str]] = {}
        self._progress = {store.name: Shipped(destination=store.name) for store in stores}
        self._tidied = float("-inf")

    # --- for others -----------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        """How it stands."""
        with self._lock:
            chain, progress = self._chain, tuple(self._progress.values())
        return Status(
            node=chain.node if chain else "",
            system=chain.system if chain else "",
            receiving=chain is not None and chain.receiving,
            trouble=self._trouble or self._warning or self._full or (chain.trouble if chain else ""),
            retained=self._retained,
            spool=sum(size for _, size in self._files()),
            destinations=progress,
        )

    def run(self, stop: threading.Event) -> None:
        """Archive until the event is set. Raises OSError where the spool cannot be made."""
        while not stop.is_set():
            try:
                with alone(self._spool, "spool"):
                    self._run(stop)
            except BackupRefused as error:  # a process that is just ending, or a second agent: our turn comes
                self._say(str(error))
                stop.wait(LOOK_S)

    def _run(self, stop: threading.Event) -> None:
        shippers = [
            threading.Thread(
                target=self._keep_shipping, args=(store, stop), name=f"wal to {store.name}", daemon=True
            )
            for store in self._stores
        ]
        for shipper in shippers:
            shipper.start()
        try:
            while not stop.is_set():
                self._turn()
                stop.wait(LOOK_S)
        finally:
            self._stop_receiving()
            end = time.monotonic() + FAREWELL_S
            for shipper in shippers:
                shipper.join(max(0.0, end - time.monotonic()))

    # --- the primary ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """One look, and what follows from it."""
        try:
            source = self._primary()
            look = self._look(source.dsn)
            self._follow(source, look)
            self._watch(source, look)
            self._leave_former(source)
            self._trouble = ""
        except UnderstudyError as error:
            self._say(str(error))
        except psycopg.Error as error:
            self._say(
                f"{self._cluster.name}: the primary's log cannot be looked at: {clean(error, source.dsn)}"
            )
        except OSError as error:
            self._say(f"{self._spool}: {error.strerror or error}; free space or correct its mode")

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("wal_trouble", cluster=self._cluster.name, message=trouble)
        self._trouble = trouble

    def _look(self, dsn: str) -> _Look:
        (row,) = _ask(dsn, _LOOK, self._slot)
        return _Look(*row)

    def _follow(self, source: Source, look: _Look) -> None:
        """Begin to stream from this server, unless that is what we do."""
        chain = self._chain
        same = chain is not None and (chain.node, chain.system) == (source.node, look.system)
        if same and look.slot and look.status != "lost":
            return
        if chain is not None:
            why = "the primary changed" if not same else f"slot {self._slot} is {look.status or 'gone'}"
            _log.warning("wal_chain_ended", cluster=self._cluster.name, node=chain.node, message=why)
            self._stop_receiving()
            with self._lock:
                self._chain = None
            self._tidied = float("-inf")
        if self._full:
            return  # with no room for it, no slot: it would fill the primary's disk
        if look.status == "lost":
            self._drop_slot(source.dsn)
            look = replace(look, slot=False)
        self._begin(source, look)

    def _begin(self, source: Source, look: _Look) -> None:
        folder = self._folder(look.system) if look.slot else None
        if folder is None:
            # Before the slot: whoever finds a slot finds its own folder, never an older one of the same server.
            folder = self._spool / f"{look.system}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            folder.mkdir(mode=0o700)
        if not look.slot:
            _ask(source.dsn, "SELECT pg_create_physical_replication_slot(%s, true)", self._slot)
        chain = _Chain(node=source.node, dsn=source.dsn, system=look.system, major=look.major, folder=folder)
        self._marks.clear()
        self._flushed = 0
        with self._lock:
            self._chain = chain
        self._start_receiving(chain)
        _log.info("wal_chain_begun", cluster=self._cluster.name, node=source.node, system=look.system)

    def _folder(self, system: str) -> Path | None:
        """The newest folder of this server."""
        return max(self._spool.glob(f"{system}.*"), default=None)

    def _watch(self, source: Source, look: _Look) -> None:
        """Keep the spool and the slot within their bounds, and remember where the primary is."""
        self._marks.append((time.time(), look.position))
        self._flushed = look.flushed or 0
        self._retained = look.position - look.flushed if look.flushed is not None else None
        chain, full = self._chain, self._no_room()
        if full and not self._full:
            _log.error("wal_spool_full", cluster=self._cluster.name, message=full)
            self._stop_receiving()
        if self._full and not full and chain is not None:
            self._start_receiving(chain)
        self._full = full
        self._warning = ""
        if look.slot and (self._retained or 0) > self._policy.slot_limit / 2:
            self._bound(source, self._retained or 0)

    def _no_room(self) -> str:
        """Why nothing more may go into the spool; empty: it may. Once closed it opens with a fifth of slack."""
        slack = 0.8 if self._full else 1.0
        held = sum(size for _, size in self._files())
        disk = shutil.disk_usage(self._spool)
        if held > self._policy.spool_limit * slack:
            why = f"holds {_mib(held)} (spool_limit {_mib(self._policy.spool_limit)})"
        elif disk.free < disk.total * FULL * (2 - slack):
            why = f"has {_mib(disk.free)} left on its disk"
        else:
            return ""
        down = ", ".join(p.destination for p in self._progress.values() if p.error) or "none"
        return (
            f"the spool {self._spool} {why}: receiving is stopped and the primary keeps its log for us;"
            f" mend the destinations (failing: {down}) or free space"
        )

    def _bound(self, source: Source, kept: int) -> None:
        """Warn, and at last let the slot go, when the primary keeps too much for us."""
        limit = self._policy.slot_limit
        if kept <= limit:
            self._warning = (
                f"{source.node} keeps {_mib(kept)} of log for us;"
                f" past {_mib(limit)} (slot_limit) its slot is dropped"
            )
            return
        self._stop_receiving()
        self._drop_slot(source.dsn)
        _log.error(
            "wal_slot_dropped",
            cluster=self._cluster.name,
            message=f"{source.node} kept {_mib(kept)} of log (slot_limit {_mib(limit)}): slot {self._slot} is dropped"
            " so that its disk does not fill; what it kept goes with the next checkpoint, make a new base backup",
        )

    def _drop_slot(self, dsn: str) -> None:
        """Drop our slot where it is; whoever streams from it is ended first."""
        ours = "FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'"
        _ask(dsn, f"SELECT pg_terminate_backend(active_pid, 2000) {ours} AND active", self._slot)
        _ask(dsn, f"SELECT pg_drop_replication_slot(slot_name) {ours} AND NOT active", self._slot)

    def _leave_former(self, source: Source) -> None:
        """Drop our slot on nodes that are not primary: nobody streams from them, and it would fill their disks."""
        if time.monotonic() - self._tidied < TIDY_S:
            return
        self._tidied = time.monotonic()
        for node in self._cluster.nodes:
            if node.name != source.node:
                with contextlib.suppress(
                    psycopg.Error
                ):  # not reachable: again in a minute, or when it returns
                    self._drop_slot(node.admin_dsn)

    # --- receiving ------------------------------------------------------------------------------------------

    def _start_receiving(self, chain: _Chain) -> None:
        chain.stop = threading.Event()
        # A thread of its own that lives as long as the child: the child ends with the thread that started it.
        chain.thread = threading.Thread(
            target=_persist,
            args=(lambda: self._receive(chain), chain.stop, RECEIVING_PAUSE_S),
            name="wal-receiver",
            daemon=True,
        )
        chain.thread.start()

    def _stop_receiving(self) -> None:
        chain = self._chain
        if chain is not None and chain.thread is not None:
            chain.stop.set()
            if (child := chain.child) is not None:
                child.end()  # politely first: it flushes what it has
            chain.thread.join()
            chain.thread = None

    def _receive(self, chain: _Chain) -> None:
        """Run pg_receivewal to its end. Returns when it was told to stop, or ran long; raises `_Ended`."""
        began = time.monotonic()
        _remove_unpadded(chain.folder)
        try:
            line, environment = command_line(chain.dsn, "wal", application_name=self._slot)
            arguments = [
                *(str(program("pg_receivewal", chain.major)), f"--directory={chain.folder}"),
                *(f"--slot={self._slot}", "--synchronous", "--no-loop", "--no-password", f"--dbname={line}"),
            ]
            with Child(arguments, environment, dsn=chain.dsn, output=False) as child:
                chain.child = child
                if chain.stop.is_set():  # it was, before anybody could see the child
                    child.end()
                child.finish()
            why = "pg_receivewal ended"
        except BackupError as error:
            why = str(error)
        finally:
            chain.child = None
        if chain.stop.is_set():
            return
        told, chain.error = chain.error, f"{chain.node}: {why}"
        if chain.error != told:  # once, however often it is tried
            _log.warning("wal_receiver_ended", cluster=self._cluster.name, message=chain.error)
        if time.monotonic() - began < HEALTHY_S:
            raise _Ended

    # --- shipping -------------------------------------------------------------------------------------------

    def _files(self) -> list[tuple[Path, int]]:
        """Every file of the log in the spool with its size, in the order in which they are to be shipped."""
        found = []
        for path in sorted(self._spool.glob("*.*/*")):
            if wal.is_segment(path.name.removesuffix(wal.PARTIAL)) or wal.is_history(path.name):
                with contextlib.suppress(FileNotFoundError):  # renamed or removed meanwhile
                    found.append((path, path.stat().st_blocks * 512))
        return found

    def _keep_shipping(self, store: Store, stop: threading.Event) -> None:
        seen: dict[Path, int] = {}
        due = 0.0

        def once() -> None:
            nonlocal due
            try:
                self._ship(store, stop)
                if time.monotonic() >= due and self._ship_unfinished(store, seen):
                    due = time.monotonic() + self._policy.partial_every
            except Exception as error:  # told, and tried again: nobody would notice a shipper that ended
                self._note(store, error=str(error) or type(error).__name__)
                raise _Ended from error
            stop.wait(LOOK_S)

        _persist(once, stop, SHIPPING_PAUSE_S)

    def _ship(self, store: Store, stop: threading.Event) -> None:
        """Bring every finished file to one destination. Raises StoreError, WalError, SealError, OSError."""
        files = [path for path, _ in self._files() if path.suffix != wal.PARTIAL]
        left = [path for path in files if store.name not in self._shipped.get(path, ())]
        for number, path in enumerate(left):
            self._note(store, waiting=len(left) - number)
            if stop.is_set():
                return
            key = self._key(path)
            wal.put(store, key, path, self._keys)
            if wal.is_segment(path.name):
                self._note(store, last=path.name)
                with contextlib.suppress(Locked):  # where nothing may be deleted it stays, and is passed over
                    store.delete([key + wal.PARTIAL])
            self._done(path, store)
        self._note(store, waiting=0, error="")

    def _ship_unfinished(self, store: Store, seen: dict[Path, int]) -> bool:
        """Bring what is not finished too, where it has changed since it was ``seen``; whether all is there now."""
        flushed, files = self._flushed, [path for path, _ in self._files()]
        if any(p.suffix != wal.PARTIAL and store.name not in self._shipped.get(p, ()) for p in files):
            return False  # a segment was finished a moment ago: it goes out first
        for path in (p for p in files if p.suffix == wal.PARTIAL):
            try:
                found = path.stat()
                changed, begun = found.st_mtime_ns, found.st_size == wal.SEGMENT_BYTES  # it is padded first
                if begun and seen.get(path) != changed:
                    wal.put(store, self._key(path), path, self._keys)
            except FileNotFoundError:
                return False
            seen[path] = changed
            chain = self._chain
            if chain is not None and path.parent != chain.folder:
                self._done(path, store)  # of a former primary: it will not grow any more
        for gone in set(seen) - set(files):
            del seen[gone]
        self._note(store, until=self._moment(flushed), error="")
        return True

    def _key(self, path: Path) -> str:
        return wal.prefix(self._cluster.name, path.parent.name.partition(".")[0]) + path.name

    def _done(self, path: Path, store: Store) -> None:
        """One destination has it; the last one removes it."""
        with self._lock:
            have = self._shipped.setdefault(path, set())
            have.add(store.name)
            everywhere = len(have) == len(self._stores)
            if everywhere:
                del self._shipped[path]
        if everywhere:
            path.unlink(missing_ok=True)
            self._remove_left(path.parent)

    def _remove_left(self, folder: Path) -> None:
        """Remove the folder of a former chain once nothing of the log is in it."""
        chain = self._chain
        if chain is None or folder == chain.folder or any(p.parent == folder for p, _ in self._files()):
            return
        shutil.rmtree(folder, ignore_errors=True)

    def _note(self, store: Store, **changes: object) -> None:
        with self._lock:
            before = self._progress[store.name]
            after = replace(before, **changes)  # type: ignore[arg-type]
            self._progress[store.name] = after
        if after.error and after.error != before.error:
            _log.warning("wal_shipping_failed", cluster=self._cluster.name, message=after.error)

    def _moment(self, position: int) -> float | None:
        """The last moment at which the primary was not past a position."""
        return next((at for at, where in reversed(tuple(self._marks)) if where <= position), None)


# --- how ----------------------------------------------------------------------------------------------------


def _remove_unpadded(folder: Path) -> None:
    """Remove a new segment that was not filled with zeros to its full size: the disk was full, or we were killed.

    Nothing of the log is in it, and pg_receivewal refuses to go on with it for ever.
    """
    for path in folder.glob(f"*{wal.PARTIAL}"):
        if path.stat().st_size not in (0, wal.SEGMENT_BYTES):
            path.unlink()


def _persist(work: Callable[[], None], stop: threading.Event, longest: float) -> None:
    """Do something again and again until the event is set; after failures (`_Ended`) with growing pauses (s)."""
    retrying = Retrying(
        retry=retry_if_exception_type(_Ended),
        wait=wait_random_exponential(multiplier=0.5, max=longest),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        reraise=True,
    )
    while not stop.is_set():
        with contextlib.suppress(_Ended):  # only when it is to stop
            retrying(work)


def _ask(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """The rows of one statement in a session of its own, within `PATIENCE_S` on a frozen server too.

    (The server's own limits, and libpq's, do not hold there.) Raises psycopg's errors.
    """
    where = make_conninfo("", **{**conninfo_to_dict(dsn), "application_name": f"{APPLICATION}/wal"})

    async def ask() -> list[tuple[Any, ...]]:
        async with asyncio.timeout(PATIENCE_S):
            connection = await psycopg.AsyncConnection.connect(where, autocommit=True, prepare_threshold=None)
            try:
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchall()
            except asyncio.CancelledError:
                connection.pgconn.finish()  # no cancel request: a frozen server would hold us up
                raise
            finally:
                await connection.close()

    try:
        return asyncio.run(ask())
    except TimeoutError:
        raise psycopg.OperationalError(f"no answer within {PATIENCE_S:g} s") from None


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
