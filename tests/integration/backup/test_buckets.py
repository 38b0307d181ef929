"""Buckets of two servers that lie differently, with good and bad days in between."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.backup.s3 import BUCKET, SERVERS, MoodyProxy, S3Server, bucket_store
from tests.unit.backup_records import manifest

from understudy.backup.bucket import protection
from understudy.backup.catalog import Catalog
from understudy.backup.keys import Key, Keys
from understudy.backup.prune import prune
from understudy.backup.retention import decide
from understudy.backup.store import AlreadyThere, Locked, Missing, Refused, StoreError, Unreachable
from understudy.backup.store_folder import FolderStore
from understudy.backup.store_s3 import BucketStore
from understudy.backup.stream import Progress, read_part, write_part
from understudy.config_backup import MIB, Retention
from understudy.embedded.fault_proxy import FaultProxy

NOW = datetime.now(UTC)
BIG = os.urandom(6 * MIB + 17)
"""Two parts: one of 5 MiB and the rest."""
KEYS = Keys(Key.new())


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with S3Server(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: S3Server) -> Iterator[MoodyProxy]:
    with MoodyProxy(server.port) as running:
        yield running


@pytest.fixture
def store(proxy: MoodyProxy, request: pytest.FixtureRequest) -> Iterator[BucketStore]:
    """A store with a prefix of the test's own."""
    proxy.calm()
    yield bucket_store(proxy.endpoint, prefix=f"test/{abs(hash(request.node.name))}")
    proxy.calm()


def pieces(data: bytes, size: int = MIB) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def unfinished(server: S3Server) -> list[str]:
    return [u["Key"] for u in server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


@pytest.mark.parametrize("size", [0, 5 * MIB, 5 * MIB + 1])
def test_what_goes_in_comes_out(store: BucketStore, server: S3Server, size: int) -> None:
    stored = store.put("a/b", pieces(BIG[:size]))
    assert stored.bytes == size
    assert b"".join(store.get("a/b")) == BIG[:size]
    assert b"".join(store.get("a/b", start=size // 2)) == BIG[size // 2 : size]
    assert b"".join(store.get("a/b", start=size + 10)) == b""
    assert store.exists("a/b")
    assert [(i.key, i.bytes) for i in store.list("")] == [("a/b", size)]
    assert unfinished(server) == []


def test_nothing_is_replaced_unless_asked(store: BucketStore) -> None:
    store.put("small", [b"one"])
    assert store.put("small", [b"one"]).bytes == 3
    with pytest.raises(AlreadyThere):
        store.put("small", [b"two"])
    store.put("big", pieces(BIG))
    with pytest.raises(AlreadyThere):
        store.put("big", pieces(BIG))
    store.put("small", [b"two"], replace=True)
    assert store.read("small") == b"two"


def test_of_many_who_commit_one_wins(store: BucketStore, server: S3Server) -> None:
    if server.kind == "moto":
        pytest.skip("moto looks and writes in two steps, so that sometimes two win; S3 decides in one")
    outcomes: list[str] = []

    def commit(number: int) -> None:
        try:
            store.put("manifest.json", [b"%d" % number])
            outcomes.append(f"won {number}")
        except AlreadyThere:
            outcomes.append("lost")

    threads = [threading.Thread(target=commit, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[:7] == ["lost"] * 7
    assert outcomes.count("lost") == 7
    assert f"won {store.read('manifest.json').decode()}" in outcomes


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (403, "RequestTimeTooSkewed"),
        pytest.param(500, "InternalError", marks=pytest.mark.slow),
        pytest.param(400, "RequestTimeout", marks=pytest.mark.slow),
        pytest.param(429, "TooManyRequests", marks=pytest.mark.slow),
        pytest.param(400, "BadDigest", marks=pytest.mark.slow),
    ],
)
def test_errors_that_pass_are_tried_again(
    store: BucketStore, proxy: MoodyProxy, status: int, code: str
) -> None:
    def each(matching: str) -> None:
        proxy.calm()
        proxy.answer(status, code, 1, matching)

    each("^PUT")
    store.put("small", [b"small"])
    each("partNumber=2")
    store.put("big", pieces(BIG))
    each("^POST.*uploadId")
    store.put("big2", pieces(BIG))
    each("^GET")
    assert b"".join(store.get("big")) == BIG
    each("^GET")
    assert store.exists("small")
    each("^GET.*list-type")
    assert len(list(store.list(""))) == 3
    each("^POST.*delete")
    store.delete(["small"])
    assert not store.exists("small")


def test_a_body_that_is_cut_again_and_again_is_read_to_its_end(store: BucketStore, proxy: MoodyProxy) -> None:
    store.put("big", pieces(BIG))
    proxy.cut(4, "^GET.*big")
    assert b"".join(store.get("big")) == BIG
    proxy.cut(2, "^GET.*big")
    assert b"".join(store.get("big", start=7)) == BIG[7:]


def test_an_object_that_changes_while_it_is_read_is_no_mixture(store: BucketStore, proxy: MoodyProxy) -> None:
    store.put("big", pieces(BIG))
    proxy.cut(1, "^GET.*big")
    reading = store.get("big")
    next(reading)
    store.put("big", pieces(BIG[::-1]), replace=True)
    with pytest.raises(StoreError):
        list(reading)


def test_errors_that_stay_are_told_in_time(store: BucketStore, proxy: MoodyProxy) -> None:
    proxy.answer(503, "SlowDown", 1000)
    impatient = bucket_store(proxy.endpoint, retry_seconds=0.5)
    with pytest.raises(Unreachable, match=r"no good answer in 0.5 s \(SlowDown\); try again later"):
        impatient.put("x", [b"x"])


def test_an_answer_that_was_lost_is_not_a_failure(
    store: BucketStore, proxy: MoodyProxy, server: S3Server
) -> None:
    proxy.lose(1, "^PUT.*small")
    assert store.put("small", [b"small"]).bytes == 5
    proxy.lose(1, "^POST.*big.*uploadId")
    assert store.put("big", pieces(BIG)).bytes == len(BIG)
    assert b"".join(store.get("big")) == BIG
    assert unfinished(server) == []


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied"])
def test_credentials_that_are_wrong_are_told_at_once(
    store: BucketStore, proxy: MoodyProxy, code: str
) -> None:
    calls = (
        lambda: store.put("x", [b"x"]), lambda: store.exists("x"), lambda: store.read("x"),
        lambda: list(store.list("")), lambda: store.folders(""), lambda: store.delete(["x"]),
    )  # fmt: skip
    for call in calls:
        proxy.calm()
        proxy.asked.clear()
        proxy.answer(403, code, 5)
        with pytest.raises(Refused, match=rf"access denied \({code}\); check the credentials") as caught:
            call()
        assert len(proxy.asked) == 1
        assert "secret" not in str(caught.value).lower()


def test_a_server_that_knows_us_not() -> None:
    with S3Server("ministack", strict=True) as server:
        store = bucket_store(server.endpoint, prefix="a/b=c")
        store.put("main/+x:y", [b"small"])
        store.put("big", pieces(BIG))
        assert b"".join(store.get("big", start=5)) == BIG[5:]
        assert {item.key for item in store.list("")} == {"main/+x:y", "big"}
        store.delete(["big", "main/+x:y"])
        assert store.folders("") == ()
        refused = bucket_store(server.endpoint, access_key="nobody", secret_key="not-the-secret")
        for call in (
            lambda: refused.put("x", [b"x"]),
            lambda: refused.exists("x"),
            lambda: refused.read("x"),
        ):
            with pytest.raises(Refused, match="access denied") as caught:
                call()
            assert "not-the-secret" not in str(caught.value)


def test_a_clock_that_stays_wrong_is_told(store: BucketStore, proxy: MoodyProxy) -> None:
    proxy.answer(403, "RequestTimeTooSkewed", 1000)
    impatient = bucket_store(proxy.endpoint, retry_seconds=0.5)
    with pytest.raises(Refused, match="the clock of this host differs"):
        impatient.put("x", [b"x"])


def test_no_bucket_and_no_server_are_told(server: S3Server) -> None:
    with pytest.raises(Refused, match="there is no such bucket; create it"):
        bucket_store(server.endpoint, bucket="nowhere").put("x", [b"x"])
    with FaultProxy("127.0.0.1", server.port) as network:
        network.refuse()
        lost = bucket_store(f"http://127.0.0.1:{network.port}", retry_seconds=0.5)
        with pytest.raises(Unreachable, match="EndpointConnectionError"):
            lost.exists("x")


def test_the_network_breaks_in_the_middle_of_an_upload(server: S3Server) -> None:
    with FaultProxy("127.0.0.1", server.port) as network:
        store = bucket_store(f"http://127.0.0.1:{network.port}", prefix="cut")
        network.reset_after(3 * MIB, "to_server")
        store.put("up", pieces(BIG))
        network.pass_through()
        network.cut_after(3 * MIB, "to_client")
        assert b"".join(store.get("up")) == BIG


def test_a_source_that_breaks_leaves_neither_object_nor_upload(store: BucketStore, server: S3Server) -> None:
    def source() -> Iterator[bytes]:
        yield from pieces(BIG)
        raise ValueError("pg_dump died")

    with pytest.raises(ValueError, match="pg_dump died"):
        store.put("x", source())
    assert list(store.list("")) == []
    assert unfinished(server) == []


def test_an_upload_that_fails_for_good_leaves_nothing(
    store: BucketStore, proxy: MoodyProxy, server: S3Server
) -> None:
    proxy.answer(403, "AccessDenied", 1, "partNumber=2")
    with pytest.raises(Refused):
        store.put("x", pieces(BIG))
    assert list(store.list("")) == []
    assert unfinished(server) == []


def test_what_a_killed_process_left_is_swept_once_it_is_old(store: BucketStore, server: S3Server) -> None:
    store.ask("main/1/archive", store.client.create_multipart_upload)
    assert (
        store.sweep("main/", datetime(2000, 1, 1, tzinfo=UTC), confirm=True) == []
    )  # moto says 2010 of each
    later = NOW + timedelta(days=3)
    assert store.sweep("other/", later, confirm=True) == []
    assert len(store.sweep("main/", later, confirm=False)) == 1
    assert len(store.sweep("main/", later, confirm=True)) == 1
    assert unfinished(server) == []


@pytest.mark.slow
def test_more_keys_than_a_page_holds(store: BucketStore) -> None:
    count = 1234
    keys = [f"main/wal/7000/{number:024X}" for number in range(count)]
    todo = iter(keys)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                key = next(todo, None)
            if key is None:
                return
            store.put(key, [b"x"])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.put("main/other/x", [b"x"])
    assert {item.key for item in store.list("main/wal")} == set(keys)
    assert store.folders("main/") == ("other", "wal")
    store.delete(keys)
    assert [item.key for item in store.list("")] == ["main/other/x"]


class Slow(FolderStore):
    """Takes its time; a slow file server."""

    def put(self, key: str, chunks: Iterable[bytes], *, replace: bool = False):
        def slowly() -> Iterator[bytes]:
            for chunk in chunks:
                threading.Event().wait(0.02)
                yield chunk

        return super().put(key, slowly(), replace=replace)


def test_several_destinations_one_slow_one_failing(
    store: BucketStore, proxy: MoodyProxy, tmp_path: Path
) -> None:
    for name in ("slow", "nas"):
        (tmp_path / name).mkdir()
    refused = bucket_store(proxy.endpoint, name="refused", prefix="refused")
    proxy.answer(403, "AccessDenied", 1000, "refused")
    stores = [refused, store, Slow("slow", tmp_path / "slow"), FolderStore("nas", tmp_path / "nas")]
    backup = "20261121T074500Z-logical-1f2e3d"
    progress = Progress(f"{backup} archive")
    part = write_part(io.BytesIO(BIG), stores, f"main/{backup}/archive", "archive", KEYS, progress)
    made = manifest(backup, NOW, parts=(part,), recipients=KEYS.recipients)
    assert len(progress.problems) == 1
    assert Catalog(stores).commit(made) == ("cloud", "slow", "nas")
    survey = Catalog(stores).survey("main")
    assert survey.backups == (made,)
    assert "refused" in survey.problems[0]
    for one in stores[1:]:
        assert b"".join(read_part(one, made, "archive", KEYS)) == BIG


# --- Object Lock and versions -------------------------------------------------------------------------------


@pytest.fixture
def guarded(server: S3Server, proxy: MoodyProxy, request: pytest.FixtureRequest) -> BucketStore:
    """A bucket whose objects cannot be deleted for ten days."""
    name = f"guarded-{abs(hash(request.node.name)) % 10**8}"
    client = server.client()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 10}}
    client.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return bucket_store(proxy.endpoint, bucket=name)


def test_with_object_lock_a_delete_hides_and_the_data_stays(guarded: BucketStore, server: S3Server) -> None:
    guarded.put("main/x", [b"data"])
    guarded.put("big", pieces(BIG))
    guarded.delete(["main/x"])
    assert not guarded.exists("main/x")
    versions = server.client().list_object_versions(Bucket=guarded.bucket, Prefix="main/x")["Versions"]
    found = server.client().get_object(
        Bucket=guarded.bucket, Key="main/x", VersionId=versions[0]["VersionId"]
    )
    assert found["Body"].read() == b"data"


def test_a_delete_that_is_refused_is_told_and_the_others_are_done(
    store: BucketStore, proxy: MoodyProxy
) -> None:
    for key in ("a", "b"):
        store.put(key, [b"x"])
    proxy.refuse_delete("a$")
    with pytest.raises(Locked, match=r"a: not deleted \(AccessDenied\); Object Lock"):
        store.delete(["a", "b"])
    assert [i.key for i in store.list("")] == ["a"]


def test_pruning_past_a_lock_is_no_failure(store: BucketStore, proxy: MoodyProxy) -> None:
    ids = [f"2026112{n}T074500Z-logical-1f2e3{n}" for n in range(3)]
    catalog = Catalog([store])
    for number, backup in enumerate(ids):
        part = write_part(
            io.BytesIO(b"x"), [store], f"main/{backup}/archive", "archive", None, Progress(backup)
        )
        catalog.commit(manifest(backup, NOW - timedelta(days=3 - number), parts=(part,)))
    proxy.refuse_delete(f"{ids[0]}/manifest.json$")
    plan = decide(catalog.backups("main"), [], Retention(last=1), NOW)
    done = prune(catalog, "main", plan, NOW, confirm=True)
    assert (len(done.locked), done.failed, done.backups) == (1, [], [f"cloud: {ids[1]}"])
    assert [b.id for b in catalog.backups("main")] == [ids[0], ids[2]]


def test_how_a_bucket_protects_is_told(guarded: BucketStore, store: BucketStore, server: S3Server) -> None:
    found = protection(guarded)
    assert (found.versions, found.lock_mode, found.lock_days) == (True, "COMPLIANCE", 10)
    assert any("unfinished uploads" in note for note in found.notes)
    plain = protection(store)
    assert (plain.versions, plain.lock_mode, plain.lock_days) == (False, "", 0)
    assert any("whoever has these credentials can delete every backup" in note for note in plain.notes)
    every = {"Status": "Enabled", "Filter": {"Prefix": ""}}
    rules = [
        {"ID": "uploads", **every, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}},
        {"ID": "versions", **every, "NoncurrentVersionExpiration": {"NoncurrentDays": 30}},
    ]
    server.client().put_bucket_lifecycle_configuration(
        Bucket=guarded.bucket, LifecycleConfiguration={"Rules": rules}
    )
    told = protection(guarded)
    assert told.notes == ()
    assert (told.uploads_days, told.versions_days) == (3, 30)


def test_missing_is_missing(store: BucketStore) -> None:
    assert not store.exists("nothing")
    with pytest.raises(Missing):
        store.read("nothing")
    store.delete(["nothing"])
    assert store.folders("nothing/") == ()
