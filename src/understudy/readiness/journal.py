"""The journal of a drill: what was expected, what was done, what was measured, and the evidence for it.

A journal is one JSON file, `ID.json`, in a folder of its own. Its outer shape is the Chaos Toolkit's (version 1.19,
https://chaostoolkit.org/reference/api/journal/), so that tools for those can read it; all of ours lies under the key
`understudy`, and only that is read back. Journals are chained: each holds the SHA-256 of the file that was written
before it, so one that was changed, slipped in, or taken out of the middle, is noticed. Drills may overlap: what was
written last is not always what began last.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from understudy import strict_json
from understudy.errors import UnderstudyError

FORMAT: Final = 1
"""Version of the journal's layout; a reader refuses others."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""A journal that is larger is not read."""
REMEMBERED: Final = 64 * 1024 * 1024
"""Bytes of files whose journals one `Journals` keeps in memory: thousands of drills."""
_FIRST: Final = "0" * 64
_STATUS: Final = {"pass": "completed", "fail": "failed", "inconclusive": "aborted"}


class JournalError(UnderstudyError):
    """A journal cannot be read, or the chain is broken; says which file and where."""


class Outcome(StrEnum):
    """INCONCLUSIVE: it could not be measured (aborted, a part was missing). That is neither good nor bad."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Radius(StrEnum):
    """What a drill may touch: servers of its own, the same with a clone of one's data, the cluster that people use."""

    SANDBOX = "sandbox"
    CLONE = "clone"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: ``what`` (a statement that should be true) and the evidence found."""

    what: str
    outcome: Outcome
    evidence: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One line of the timeline.

    Args:
        offset: seconds since the drill began, on a monotonic clock. seconds: how long it took (0: a moment).
    """

    name: str
    offset: float
    seconds: float
    outcome: Outcome
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Time to recover, in seconds: until the fault was seen, until it was decided, until writes went on, until the
    result was proven. ``writes``: the longest time without an acknowledged write, from the canaries' own ledgers; 0: it
    was not measured (a restore beside what runs).
    """

    detect: float
    decide: float
    act: float
    verify: float
    writes: float

    @property
    def total(self) -> float:
        """From the fault to the proof."""
        return self.detect + self.decide + self.act + self.verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What was lost: acknowledged writes, how many of them are neither in the database nor in a rescue folder
    afterwards, and the time between the oldest lost one and the fault, in seconds.
    """

    acknowledged: int
    lost: int
    rescued: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """One drill.

    Args:
        id: ``20261121T074500Z-failover-crash-1f2e3d``; sorts by time.
        must_fail: it was broken on purpose; it passes where the system noticed.
        versions: of the tool, the servers and the programs used. config: SHA-256 of the configuration.
        before, after: the steady-state hypothesis. evidence: everything else that was checked.
        skipped: what was not checked, each with its reason. cleanup: that nothing was left behind.
        rto, rpo: targets in seconds.
        backup, backup_sha256: what was restored, or empty.
        previous: SHA-256 of the file before it in the folder; zeros for the first.
    """

    id: str
    scenario: str
    cluster: str
    hypothesis: str
    abort_rule: str
    radius: Radius
    operator: str
    must_fail: bool
    started: str
    finished: str
    seconds: float
    versions: Mapping[str, str]
    config: str
    before: tuple[Check, ...]
    timeline: tuple[Activity, ...]
    after: tuple[Check, ...]
    evidence: tuple[Check, ...]
    skipped: tuple[str, ...]
    cleanup: tuple[Check, ...]
    recovery: Recovery | None
    loss: Loss | None
    rto: float
    rpo: float
    backup: str
    backup_sha256: str
    outcome: Outcome
    summary: str
    previous: str = _FIRST


def digest(journal: Journal) -> str:
    """SHA-256 of everything in it, hexadecimal."""
    text = json.dumps(asdict(journal), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, journal: Journal) -> Path:
    """Add a journal to the chain of its folder, which is made where it is not there. Returns its file.

    Raises OSError; then nothing of it is left there.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    file = folder / f"{journal.id}.json"
    unfinished = file.with_suffix(".unfinished")
    with _one_writer(folder):
        linked = _as_read(replace(journal, previous=_end_of_chain(folder)))
        try:
            with unfinished.open("w") as stream:
                stream.write(json.dumps(_outer(linked), indent=1))
                stream.flush()
                os.fsync(stream.fileno())
            unfinished.rename(file)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
    return file


@contextlib.contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Two drills that end at the same moment are chained one after the other."""
    with (folder / "chain.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for as long as one small file is written
        yield


def _end_of_chain(folder: Path) -> str:
    """The hash of the journal that no other one follows; zeros where there is none."""
    hashes = [_hash(file) for file in _files(folder)]
    followed = {_previous(file) for file in _files(folder)}
    return next((found for found in reversed(hashes) if found not in followed), _FIRST)


def _previous(file: Path) -> str:
    try:
        return read(file).previous
    except JournalError:  # a damaged one does not stop the next drill; `all_of` tells of it
        return ""


def read(file: Path) -> Journal:
    """The journal in a file. Raises JournalError: what is wrong with it."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise JournalError(f"{file}: expected a readable journal, found: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise JournalError(f"{file}: expected at most {MAX_BYTES} bytes, found more; it is not one of ours")
    try:
        journal = strict_json.decode(Journal, text, layout=FORMAT, key="understudy", what=str(file))
    except strict_json.RecordError as error:
        raise JournalError(str(error)) from None
    if json.loads(text).get("sha256") != digest(journal):
        raise JournalError(
            f"{file}: its SHA-256 does not fit its contents: it was changed after it was written"
        )
    return journal


def all_of(folder: Path) -> tuple[list[Journal], list[str]]:
    """All journals of a folder, oldest first, and what is wrong with it, one sentence each (empty: nothing)."""
    return Journals(folder).all()


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was read: the journal, or what is wrong with it. ``stamp``: changes when the file does."""

    stamp: tuple[int, int, int, int]
    sha256: str
    found: Journal | str


class Journals:
    """The journals of one folder, for whoever looks again and again: a file is read anew only where it changed.

    What is remembered is bounded (`REMEMBERED`, the newest files); the rest is read at each look. One thread at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, _Known] = {}

    def all(self) -> tuple[list[Journal], list[str]]:
        """As `all_of`. Raises OSError where a file cannot be read at all."""
        files = {file: known for file in _files(self._folder) if (known := self._look(file)) is not None}
        self._known, left = {}, REMEMBERED
        for file, known in reversed(files.items()):
            if (left := left - known.stamp[-1]) < 0:
                break
            self._known[file] = known
        return _chained(files)

    def _look(self, file: Path) -> _Known | None:
        """None: it was taken away just now."""
        try:
            found = file.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
            before = self._known.get(file)
            return before if before is not None and before.stamp == stamp else _read_known(file, stamp)
        except FileNotFoundError:
            return None


def _read_known(file: Path, stamp: tuple[int, int, int, int]) -> _Known:
    sha256 = _hash(file)
    try:
        return _Known(stamp, sha256, read(file))
    except JournalError as error:
        return _Known(stamp, sha256, str(error))


def _chained(files: Mapping[Path, _Known]) -> tuple[list[Journal], list[str]]:
    """The journals, and whether each follows one that is there. ``files``: oldest first."""
    journals: list[Journal] = []
    wrong: list[str] = []
    hashes = {known.sha256 for known in files.values()}
    followed: set[str] = set()
    begun = False  # what lies before the oldest may have been tidied away; nothing else
    for file, known in files.items():
        if isinstance(known.found, str):
            wrong.append(known.found)
            begun = True
            continue
        journals.append(known.found)
        previous = known.found.previous
        if previous in followed or (begun and previous not in hashes):
            wrong.append(f"{file}: the journal before it is not here as it was when this one was written")
        followed.add(previous)
        begun = begun or previous not in hashes
    return journals, wrong


def _as_read(journal: Journal) -> Journal:
    """The same as a reader will have it: 3600 given for a float becomes 3600.0, which has another hash."""
    text = strict_json.encode(journal, layout=FORMAT, key="understudy")
    return strict_json.decode(Journal, text, layout=FORMAT, key="understudy", what=journal.id)


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


def _outer(journal: Journal) -> dict[str, Any]:
    """The file: the Chaos Toolkit's journal around ours."""
    ours = json.loads(strict_json.encode(journal, layout=FORMAT, key="understudy"))
    steady = {"before": journal.before, "after": journal.after}
    return {
        "chaoslib-version": "1.44",
        "platform": journal.versions.get("platform", ""),
        "node": journal.versions.get("host", ""),
        "experiment": {
            "title": journal.scenario,
            "description": journal.hypothesis,
            "tags": [journal.cluster, journal.radius.value],
            "steady-state-hypothesis": {"title": journal.hypothesis, "probes": []},
            "method": [{"type": "action", "name": activity.name} for activity in journal.timeline],
            "rollbacks": [{"type": "action", "name": check.what} for check in journal.cleanup],
        },
        "start": _plain_time(journal.started),
        "status": _STATUS[journal.outcome.value],
        "deviated": any(check.outcome is not Outcome.PASS for check in journal.after),
        "steady_states": {when: _steady(checks) for when, checks in steady.items()} | {"during": []},
        "run": [_run(activity) for activity in journal.timeline],
        "rollbacks": [
            {
                "activity": {"type": "action", "name": check.what},
                "status": _ran(check.outcome),
                "output": check.evidence,
            }
            for check in journal.cleanup
        ],
        "end": _plain_time(journal.finished),
        "duration": journal.seconds,
        "sha256": digest(journal),
        **ours,
    }


def _steady(checks: Sequence[Check]) -> dict[str, Any]:
    return {
        "steady_state_met": all(check.outcome is Outcome.PASS for check in checks),
        "probes": [
            {
                "activity": {"type": "probe", "name": check.what},
                "status": _ran(check.outcome),
                "output": check.evidence,
                "duration": check.seconds,
            }
            for check in checks
        ],
    }


def _run(activity: Activity) -> dict[str, Any]:
    return {
        "activity": {"type": "action", "name": activity.name},
        "status": _ran(activity.outcome),
        "output": activity.output,
        "duration": activity.seconds,
    }


def _ran(outcome: Outcome) -> str:
    return {"pass": "succeeded", "fail": "failed", "inconclusive": "aborted"}[outcome.value]


def _plain_time(text: str) -> str:
    """The Chaos Toolkit writes times without a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat()
