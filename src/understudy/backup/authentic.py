"""Who wrote a manifest, or a line of the ledger: a keyed hash (HMAC-SHA-256) under a key derived from ours is with it.

    {"format": 1, "backup": {...}, "mac": {"key": "k0123456789abcdef", "hmac": "..."}}
    {"format": 1, "verification": {...}, "mac": {...}}

Whoever can write into a destination and has no key of ours can then neither change what a manifest says (rows,
fingerprints, hashes of parts), nor put one backup in another's place, nor say of a backup that it was proven, or is
bad: cluster and id are within what is hashed. A recipient of age proves nothing about a writer, so with recipients
alone there is no such hash.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Final

from understudy import strict_json
from understudy.backup import manifest as records
from understudy.backup.keys import Keys
from understudy.backup.manifest import Manifest, Verification

LINE: Final = "verification"
"""Where a line of the ledger stands in its object."""
_BACKUP: Final = "backup"
_PURPOSE: Final = b"understudy backup manifest\0"
_LINE_PURPOSE: Final = b"understudy backup verification\0"


class Written(StrEnum):
    """By whom: US, a holder of a key that is here. SOMEBODY: changed, or forged. ANYBODY: it has no hash (made before
    there were any, or taken off). ELSEWHERE: by a key that is not here. UNKEYED: we have no key to tell by.
    """

    US = "us"
    SOMEBODY = "somebody"
    ANYBODY = "anybody"
    ELSEWHERE = "elsewhere"
    UNKEYED = "unkeyed"


SAID: Final = {
    Written.US: "authentic: written with a key of ours",
    Written.SOMEBODY: "was changed by somebody without our key; take the backup from another destination, and find out"
    " who can write into this one",
    Written.ANYBODY: "has no proof of who wrote it: made before there was one, or it was taken off; make a new backup",
    Written.ELSEWHERE: "was written with a key that is not here; give that key to tell whether it is authentic",
    Written.UNKEYED: "who wrote it cannot be told without a key of ours",
}
"""For people, after the name of the object."""


def encode(manifest: Manifest, keys: Keys | None) -> bytes:
    """The manifest as an object, with its hash where there is a key of ours."""
    return _signed(records.encode(manifest), keys, _PURPOSE, _BACKUP)


def encode_line(line: Verification, cluster: str, keys: Keys | None) -> bytes:
    """A line of a cluster's ledger as an object, with its hash where there is a key of ours."""
    text = strict_json.encode(line, layout=records.FORMAT, key=LINE, indent=1).encode()
    return _signed(text, keys, _of_line(cluster), LINE)


def written(text: bytes, keys: Keys | None) -> Written:
    """By whom an object was written that `manifest.decode` accepts."""
    return _writer(text, keys, _PURPOSE, _BACKUP)


def written_line(text: bytes, cluster: str, keys: Keys | None) -> Written:
    """By whom a line of that cluster's ledger was written."""
    return _writer(text, keys, _of_line(cluster), LINE)


def _signed(text: bytes, keys: Keys | None, purpose: bytes, key: str) -> bytes:
    body: dict[str, Any] = json.loads(text)
    made = None if keys is None else keys.authenticate(_message(purpose, body[key]))
    if made is None:
        return text
    body["mac"] = {"key": made[0], "hmac": made[1]}
    return json.dumps(body, indent=1).encode()


def _writer(text: bytes, keys: Keys | None, purpose: bytes, key: str) -> Written:
    if keys is None or not keys.ours:
        return Written.UNKEYED
    body = json.loads(text)
    mac = body.get("mac")
    if (
        not isinstance(mac, dict)
        or not isinstance(mac.get("key"), str)
        or not isinstance(mac.get("hmac"), str)
    ):
        return Written.ANYBODY
    fits = keys.authentic(mac["key"], mac["hmac"], _message(purpose, body[key]))
    if fits is None:
        return Written.ELSEWHERE
    return Written.US if fits else Written.SOMEBODY


def _of_line(cluster: str) -> bytes:
    """A line names its backup, and not the cluster."""
    return _LINE_PURPOSE + cluster.encode() + b"\0"


def _message(purpose: bytes, record: dict[str, Any]) -> bytes:
    """What is hashed: the record itself, whatever its spaces and its order."""
    return purpose + json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
