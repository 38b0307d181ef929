"""Who wrote a manifest: whoever has no key of ours can neither change what it says nor put it in another's place."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
from tests.unit.backup_records import manifest

from understudy.backup import authentic
from understudy.backup import manifest as records
from understudy.backup.authentic import Written
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Part
from understudy.backup.store_folder import FolderStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key.new()
KEYS = Keys(KEY)
FIRST, SECOND = "20261121T020000Z-logical-aaaaaa", "20261122T020000Z-logical-bbbbbb"
MADE = manifest(FIRST, NOW, recipients=KEYS.recipients)


def changed(text: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    body = json.loads(text)
    change(body)
    return json.dumps(body).encode()


def test_what_we_wrote_is_ours_however_it_is_set() -> None:
    text = authentic.encode(MADE, KEYS)
    assert records.decode(text, "x") == MADE
    assert authentic.written(text, KEYS) is Written.US
    assert authentic.written(changed(text, lambda _: None), KEYS) is Written.US
    shuffled = changed(text, lambda body: body.update(backup=dict(reversed(body["backup"].items()))))
    assert authentic.written(shuffled, KEYS) is Written.US
    assert KEY.text not in text.decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["backup"].update(epoch=4),
        lambda body: body["backup"].update(id=SECOND),
        lambda body: body["backup"].update(cluster="other"),
        lambda body: body["backup"].update(scope=["schema-only"]),
        lambda body: body["backup"].update(recipients=[]),
        lambda body: body["backup"].update(new_field=1),
        lambda body: body["backup"]["tables"].append({"schema": "public", "name": "x", "rows": 1, "fingerprint": "0"}),
        lambda body: body["mac"].update(hmac="0" * 64),
        lambda body: body["mac"].update(hmac=""),
        lambda body: body["mac"].update(hmac=Key.new().mac(b"x")),
    ],
)  # fmt: skip
def test_whatever_is_changed_is_noticed(change: Callable[[dict[str, Any]], object]) -> None:
    assert authentic.written(changed(authentic.encode(MADE, KEYS), change), KEYS) is Written.SOMEBODY


@pytest.mark.parametrize("mac", [None, [], {}, {"key": 1, "hmac": "x"}, {"key": "k"}])
def test_without_its_hash_nobody_can_say(mac: object) -> None:
    text = changed(authentic.encode(MADE, KEYS), lambda body: body.update(mac=mac))
    assert authentic.written(text, KEYS) is Written.ANYBODY
    assert authentic.written(records.encode(MADE), KEYS) is Written.ANYBODY  # made before there were any


def test_keys_that_are_replaced_and_keys_that_are_elsewhere() -> None:
    text = authentic.encode(MADE, KEYS)
    newer = Key.new()
    assert authentic.written(text, Keys(newer, [newer, KEY])) is Written.US
    assert authentic.written(text, Keys(newer)) is Written.ELSEWHERE
    renamed = changed(text, lambda body: body["mac"].update(key=newer.id))
    assert authentic.written(renamed, Keys(newer)) is Written.SOMEBODY


def test_a_recipient_proves_nothing_about_a_writer() -> None:
    public = str(pyrage.x25519.Identity.generate().to_public())
    assert "mac" not in json.loads(authentic.encode(MADE, Keys(recipients=[public])))
    assert "mac" not in json.loads(authentic.encode(MADE, None))
    assert authentic.written(records.encode(MADE), Keys(recipients=[public])) is Written.UNKEYED
    both = authentic.encode(MADE, Keys(KEY, recipients=[public]))
    assert authentic.written(both, KEYS) is Written.US


def test_a_changed_manifest_is_no_backup_and_the_good_copy_is_used(tmp_path: Path) -> None:
    stores = []
    for name in ("nas", "disk"):
        (tmp_path / name).mkdir()
        stores.append(FolderStore(name, tmp_path / name))
    catalog = Catalog(stores, KEYS)
    for store in stores:
        store.put(f"main/{FIRST}/archive", [b"x"])
    made = manifest(FIRST, NOW, parts=(Part(name="archive", raw_bytes=1, stored_bytes=1, sha256="ab"),))
    assert catalog.commit(made) == ("nas", "disk")
    assert catalog.backups("main") == [made]
    file = tmp_path / "nas" / "main" / FIRST / "manifest.json"
    file.write_bytes(changed(file.read_bytes(), lambda body: body["backup"].update(epoch=4)))
    survey = catalog.survey("main")
    assert (survey.backups, survey.places) == ((made,), {FIRST: ("disk",)})
    (problem,) = survey.problems
    assert "nas: main/" in problem
    assert "changed by somebody without our key" in problem
    away = tmp_path / "disk" / "main" / SECOND  # an old one in the place of a new one
    away.mkdir()
    (away / "manifest.json").write_bytes((tmp_path / "disk" / "main" / FIRST / "manifest.json").read_bytes())
    assert [found.id for found in catalog.backups("main")] == [FIRST]
