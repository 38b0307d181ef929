"""Which backups there are, where, and what was proven of each: the union over all destinations.

Nothing is guessed: a manifest that cannot be read is a problem with its place, not a backup; a destination that does
not answer is a problem too, and only where none answers is there an error.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from understudy import strict_json
from understudy.backup import authentic
from understudy.backup import manifest as records
from understudy.backup.authentic import Written
from understudy.backup.keys import Keys
from understudy.backup.manifest import Manifest, Verification
from understudy.backup.store import AlreadyThere, Missing, Store, StoreError, Tell
from understudy.strict_json import RecordError

MANIFEST: Final = "manifest.json"
VERIFIED: Final = "verified"
ID: Final = re.compile(r"\d{8}T\d{6}(?:\.\d{6})?Z-[A-Za-z0-9-]{1,60}")
READERS: Final = 8
MAX_SAME_TIME: Final = 20


@dataclass(frozen=True, slots=True)
class Survey:
    """What one look at every destination found.

    Args:
        backups: oldest first. places: by id, the names of the destinations that have it.
        unfinished: by destination, ids without a manifest: being written, or left behind.
        problems: one sentence each.
    """

    backups: tuple[Manifest, ...]
    places: Mapping[str, tuple[str, ...]]
    unfinished: Mapping[str, tuple[str, ...]]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proofs:
    """The ledger.

    Args:
        lines: what counts, oldest first: written by a holder of a key of ours; where we have none, whoever wrote them.
        unvouched: lines of which nobody can say who wrote them (made by an older version, or by a key that is not
            here), oldest first. They prove nothing.
        problems: one sentence for each line that was changed, or is in another's place, or cannot be read.
    """

    lines: tuple[Verification, ...]
    unvouched: tuple[Verification, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as one destination has it."""

    line: Verification
    vouched: bool


class Catalog:
    """The backups of every cluster in these destinations.

    Args:
        keys: with a key of ours manifests say who wrote them, and what somebody without it has changed is no backup.
    """

    def __init__(self, stores: Sequence[Store], keys: Keys | None = None) -> None:
        assert stores
        self.stores, self._keys = tuple(stores), keys

    def store(self, name: str) -> Store:
        """The destination of that name. Raises KeyError."""
        for store in self.stores:
            if store.name == name:
                return store
        raise KeyError(name)

    def backups(self, cluster: str) -> list[Manifest]:
        """Every backup that can be read, newest last. Raises `StoreError` where no destination answers."""
        return list(self.survey(cluster).backups)

    def survey(self, cluster: str) -> Survey:
        """Every backup, where it is, and what could not be read. Raises `StoreError` where no store answers."""
        found: dict[str, dict[str, Manifest]] = {}
        unfinished: dict[str, tuple[str, ...]] = {}
        problems: list[str] = []
        errors: list[StoreError] = []
        for store in self.stores:
            try:
                ids = [name for name in store.folders(f"{cluster}/") if ID.fullmatch(name)]
                with ThreadPoolExecutor(READERS) as pool:
                    read = list(pool.map(lambda i, s=store: _manifest(s, cluster, i, self._keys), ids))
            except StoreError as error:
                errors.append(error)
                problems.append(str(error))
                continue
            for backup, one in zip(ids, read, strict=True):
                if isinstance(one, Manifest):
                    found.setdefault(backup, {})[store.name] = one
                elif isinstance(one, str):
                    problems.append(one)
            unfinished[store.name] = tuple(i for i, one in zip(ids, read, strict=True) if one is None)
        if len(errors) == len(self.stores):
            raise errors[0]
        backups, places = [], {}
        for backup, by_store in found.items():
            first = next(iter(by_store.values()))
            if any(other != first for other in by_store.values()):
                problems.append(f"{backup}: its manifests in {', '.join(by_store)} differ; neither is used")
                continue
            backups.append(first)
            places[backup] = tuple(by_store)
        backups.sort(key=lambda manifest: manifest.order)
        return Survey(tuple(backups), places, unfinished, tuple(problems))

    def places(self, cluster: str, backup: str) -> list[Store]:
        """The destinations that have the backup; those that do not answer are left out."""
        return [store for store in self.stores if _has(store, _key(cluster, backup))]

    def commit(self, manifest: Manifest) -> tuple[str, ...]:
        """Write the manifest wherever every part is whole: from now on the backup exists. The destinations' names.

        Raises `StoreError` where that is nowhere.
        """
        done, errors = [], []
        for store in self.stores:
            try:
                require_whole(store, manifest)
                store.put(_key(manifest.cluster, manifest.id), [authentic.encode(manifest, self._keys)])
                done.append(store.name)
            except StoreError as error:
                errors.append(error)
        if not done:
            raise errors[0]
        return tuple(done)

    def record(self, cluster: str, verification: Verification) -> None:
        """Add a line to the ledger, beside every copy of the backup. Raises `StoreError` where it fits nowhere."""
        body = authentic.encode_line(verification, cluster, self._keys)
        time = re.sub(r"[:\-]", "", verification.at)
        key = f"{cluster}/{verification.backup}/{VERIFIED}/{time}-{verification.level}"
        done, errors = 0, []
        for store in self.stores:
            try:
                if store.exists(_key(cluster, verification.backup)):
                    _add(store, key, body)
                    done += 1
            except StoreError as error:
                errors.append(error)
        if not done:
            raise (
                errors[0]
                if errors
                else StoreError("backups", verification.backup, "no destination has it", "")
            )

    def verifications(self, cluster: str, backup: str | None = None) -> list[Verification]:
        """What counts of the ledger, of one backup or of all, oldest first."""
        return list(self.ledger(cluster, backup).lines)

    def ledger(self, cluster: str, backup: str | None = None) -> Proofs:
        """The ledger of one backup or of all; each line once, however many destinations have it."""
        found: dict[str, _Line] = {}
        problems: list[str] = []
        for store in self.stores:
            for key, line in _ledger(store, cluster, backup, self._keys, problems):
                if line.vouched or key not in found:
                    found[key] = line
        lines = sorted(found.values(), key=lambda one: one.line.moment)
        return Proofs(
            lines=tuple(one.line for one in lines if one.vouched),
            unvouched=tuple(one.line for one in lines if not one.vouched),
            problems=tuple(problems),
        )


def discard(store: Store, cluster: str, backup: str) -> None:
    """Delete all there is of a backup in one destination, the manifest first: what is half deleted is no backup.

    Raises `Locked`, with the copy still whole, and `StoreError`.
    """
    store.delete([_key(cluster, backup)])
    store.delete(sorted(item.key for item in store.list(f"{cluster}/{backup}/")))


def discard_failed(stores: Sequence[Store], cluster: str, backup: str, tell: Tell) -> None:
    """Take away what a failed backup has stored; what stays is told, and swept by a later `prune`."""
    for store in stores:
        try:
            discard(store, cluster, backup)
        except StoreError as error:
            tell(f"{backup}: its remains could not be removed: {error}")


def _key(cluster: str, backup: str) -> str:
    return f"{cluster}/{backup}/{MANIFEST}"


def folder_of(manifest: Manifest) -> str:
    """Where all of a backup lies."""
    return f"{manifest.cluster}/{manifest.id}/"


def read_manifest(store: Store, manifest: Manifest, keys: Keys | None) -> tuple[Manifest, Written]:
    """The manifest of a backup as one destination has it, and by whom it was written there.

    Raises `Missing`, `StoreError`, `RecordError`.
    """
    key = _key(manifest.cluster, manifest.id)
    text = store.read(key)
    return records.decode(text, f"{store.name}: {key}"), authentic.written(text, keys)


def _manifest(store: Store, cluster: str, backup: str, keys: Keys | None) -> Manifest | str | None:
    """The manifest; a sentence where it cannot be read or is not ours; None where there is none."""
    key = _key(cluster, backup)
    try:
        text = store.read(key)
        found = records.decode(text, f"{store.name}: {key}")
        if authentic.written(text, keys) is Written.SOMEBODY:
            return f"{store.name}: {key}: {authentic.SAID[Written.SOMEBODY]}"
    except Missing:
        return None
    except (StoreError, RecordError) as error:
        return str(error)
    if (found.cluster, found.id) != (cluster, backup):
        return f"{store.name}: {key}: expected the manifest of that backup, found that of {found.cluster}/{found.id}"
    return found


def require_whole(store: Store, manifest: Manifest) -> None:
    """Raises `StoreError` where a part is not there in its full length."""
    folder = folder_of(manifest)
    sizes = {item.key.removeprefix(folder): item.bytes for item in store.list(folder)}
    for part in manifest.parts:
        if sizes.get(part.name) != part.stored_bytes:
            found = sizes.get(part.name)
            problem = f"expected {part.stored_bytes} bytes, found {'nothing' if found is None else found}"
            raise store.wrong(folder + part.name, problem, "the backup is not recorded in this destination")


def _add(store: Store, key: str, body: bytes) -> None:
    for number in range(MAX_SAME_TIME):
        try:
            store.put(f"{key}{f'.{number}' if number else ''}.json", [body])
            return
        except AlreadyThere:
            continue
    raise store.wrong(key, f"expected at most {MAX_SAME_TIME} verifications at one time, found more")


def _ledger(
    store: Store, cluster: str, backup: str | None, keys: Keys | None, problems: list[str]
) -> Iterator[tuple[str, _Line]]:
    """The lines of one destination by key. One that does not answer has none: `Catalog.survey` tells it."""
    with contextlib.suppress(StoreError):
        ids = [i for i in store.folders(f"{cluster}/") if ID.fullmatch(i)] if backup is None else [backup]
        for one in ids:
            for item in store.list(f"{cluster}/{one}/{VERIFIED}/"):
                found = _line(store, cluster, one, item.key, keys)
                if isinstance(found, _Line):
                    yield item.key, found
                elif found:
                    problems.append(found)


def _line(store: Store, cluster: str, backup: str, key: str, keys: Keys | None) -> _Line | str:
    """The line; a sentence where it counts for nobody; an empty text where it went away meanwhile."""
    what = f"{store.name}: {key}"
    try:
        text = store.read(key)
        line = strict_json.decode(Verification, text, layout=records.FORMAT, key=authentic.LINE, what=what)
        by = authentic.written_line(text, cluster, keys)
    except Missing:
        return ""
    except (RecordError, StoreError) as error:
        return str(error)
    if by is Written.SOMEBODY:
        return f"{what}: was changed by somebody without our key; it proves nothing, find out who can write there"
    if line.backup != backup:
        return f"{what}: expected a line about {backup}, found one about {line.backup}; it proves nothing"
    return _Line(line, by in (Written.US, Written.UNKEYED))


def _has(store: Store, key: str) -> bool:
    try:
        return store.exists(key)
    except StoreError:
        return False
