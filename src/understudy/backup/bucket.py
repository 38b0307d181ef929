"""How a bucket protects what is in it: versions, Object Lock, rules for what is left over. Looked at, never changed.

With Object Lock nobody can delete a backup before its time, not even with our credentials. Deleting then hides it:
the bytes stay, and cost, until the lock has run out and a lifecycle rule removes what is no longer current.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from understudy.backup.store import StoreError
from understudy.backup.store_s3 import BucketStore


@dataclass(frozen=True, slots=True)
class Protection:
    """What stands between a backup and its deletion.

    Args:
        versions: what is deleted or replaced stays as an older version.
        lock_mode: ``COMPLIANCE`` (nobody may delete), ``GOVERNANCE`` (some may), or empty. lock_days: for how long.
        uploads_days: after so many the bucket itself drops unfinished uploads; 0: never.
        versions_days: after so many it drops versions that are not current; 0: never.
        notes: what to improve, one phrase each.
    """

    versions: bool
    lock_mode: str
    lock_days: int
    uploads_days: int
    versions_days: int
    notes: tuple[str, ...]


def protection(store: BucketStore) -> Protection:
    """Look at the bucket. What the credentials may not see counts as not there, with a note."""
    notes: list[str] = []
    client = store.client
    versions = _seen(store, client.get_bucket_versioning, notes).get("Status") == "Enabled"
    lock = _seen(store, client.get_object_lock_configuration, notes).get("ObjectLockConfiguration", {})
    default = lock.get("Rule", {}).get("DefaultRetention", {})
    days = int(default.get("Days", 0)) or 365 * int(default.get("Years", 0))
    rules = _seen(store, client.get_bucket_lifecycle_configuration, notes).get("Rules", ())
    uploads = _days(rules, "AbortIncompleteMultipartUpload", "DaysAfterInitiation")
    older = _days(rules, "NoncurrentVersionExpiration", "NoncurrentDays")
    if not days:
        notes.append(
            "no Object Lock: whoever has these credentials can delete every backup; "
            "use a bucket with a default retention"
        )
    if not uploads:
        notes.append("no lifecycle rule drops unfinished uploads; only `understudy backup prune` does")
    if versions and not older:
        notes.append("no lifecycle rule drops versions that are not current: they cost for ever")
    return Protection(versions, str(default.get("Mode", "")), days, uploads, older, tuple(notes))


def _seen(store: BucketStore, call: Callable[..., Any], notes: list[str]) -> Mapping[str, Any]:
    """The answer; empty where there is no such configuration, or where it may not be seen."""
    try:
        return dict(store.ask("", call))
    except StoreError as error:
        if not any(
            word in error.problem
            for word in ("NotFound", "NoSuchLifecycleConfiguration", "not found", "cannot do that")
        ):
            notes.append(str(error))
        return {}


def _days(rules: Any, action: str, key: str) -> int:
    found = [int(r[action].get(key, 0)) for r in rules if r.get("Status") == "Enabled" and action in r]
    return min(found, default=0)
