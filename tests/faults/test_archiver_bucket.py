"""The archive of the log in a bucket that has bad days, by an archiver that is killed: no gap, exact to the row."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.backup.pitr_world import (
    Archive,
    archive_of_a_pair,
    archive_until_killed,
    covered,
    receivers,
    until,
)
from tests.integration.backup.s3 import BUCKET, SERVERS, MoodyProxy, S3Server, bucket_store

from understudy.backup.manifest import Manifest
from understudy.backup.pitr import Latest, Lsn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SEGMENT = r"wal/\d+/[0-9A-F]{24}"
PATIENT_S = 120.0
"""As a real destination has it: two minutes without progress."""


@dataclass
class Bucket:
    """The archive of a pair whose only destination is a bucket behind the proxy."""

    archive: Archive
    server: S3Server
    proxy: MoodyProxy

    def noise(self, number: int) -> None:
        """More than a part of log that does not compress, one row that is looked for, and the segment's end."""
        self.archive.backed.sql(
            "INSERT INTO noise SELECT gen_random_uuid()::text || gen_random_uuid() || gen_random_uuid()"
            " FROM generate_series(1, 80000)"
        )
        self.archive.insert(number, number)
        self.archive.switch()

    def exact(self, base: Manifest, rows: int, position: int, at_position: int) -> None:
        """All of it, and a position in its middle, through a bad day of reading."""
        assert covered(self.archive, base, base.system_identifier).whole
        for target, wanted in ((Latest(), rows), (Lsn(position), at_position)):
            self.proxy.answer(503, "SlowDown", 2, "GET")
            self.proxy.cut(3, f"GET.*({SEGMENT}|base)")
            with self.archive.restored(base, target) as restored:
                assert self.archive.rows(restored) == set(range(1, wanted + 1))
        self.proxy.calm()

    def position(self) -> int:
        ((found,),) = self.archive.backed.sql("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        return int(found)


@pytest.fixture(params=SERVERS)
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    with S3Server(request.param) as server, MoodyProxy(server.port) as proxy, archive_of_a_pair() as archive:
        archive.backed.store = bucket_store(proxy.endpoint, PATIENT_S)
        archive.backed.sql("CREATE TABLE noise (text text)")
        archive.backed.sql("ALTER TABLE noise REPLICA IDENTITY FULL")
        yield Bucket(archive, server, proxy)


def test_errors_lost_answers_and_cut_bodies_leave_no_gap(bucket: Bucket) -> None:
    archive, proxy = bucket.archive, bucket.proxy
    archive.start()
    base = archive.base()
    proxy.answer(503, "SlowDown", 3, f"P(UT|OST).*{SEGMENT}")
    bucket.noise(1)
    proxy.answer(500, "InternalError", 2, f"PUT.*{SEGMENT}.*partNumber=2")
    proxy.answer(403, "RequestTimeTooSkewed", 1, f"PUT.*{SEGMENT}.*partNumber=1")
    bucket.noise(2)
    position = bucket.position()
    proxy.lose(2, f"PUT.*{SEGMENT}")  # of a part, of a whole object: it is there, and nobody knows
    proxy.lose(
        1, f"POST.*{SEGMENT}.*uploadId"
    )  # of the end of an upload: what is sent again is there already
    bucket.noise(3)
    proxy.answer(503, "SlowDown", 2, "DELETE|delete")
    bucket.noise(4)
    archive.await_shipped()
    archive.stop()
    assert any("partNumber=2" in line for line in proxy.asked)
    proxy.calm()
    bucket.exact(base, 4, position, 2)


def test_an_archiver_killed_in_the_middle_of_an_upload_leaves_no_gap(bucket: Bucket) -> None:
    """Held at the beginning of an upload, at its second part and at its end; and killed at moments of no note."""
    archive, proxy, dice = bucket.archive, bucket.proxy, random.Random(7)
    archive.start()
    base = archive.base()
    archive.stop()
    held = (f"POST.*{SEGMENT}.*uploads", f"PUT.*{SEGMENT}.*partNumber=2", f"POST.*{SEGMENT}.*uploadId")
    for number, matching in enumerate((*held, "", "", ""), 1):
        process = multiprocessing.get_context("fork").Process(
            target=archive_until_killed,
            args=(archive, lambda: bucket_store(proxy.endpoint, PATIENT_S)),
            daemon=True,
        )
        if matching:
            proxy.hold(matching)
        process.start()
        bucket.noise(number)
        if matching:
            assert proxy.holding.wait(60), matching
        else:
            time.sleep(dice.uniform(0.2, 2.5))  # a moment that nothing announces
        process.kill()
        process.join()
        proxy.calm()
        if number == 3:
            position = bucket.position()
    until(lambda: not receivers(archive), "the receivers to end with their archivers")
    archive.start()
    archive.await_shipped()
    archive.stop()
    bucket.exact(base, 6, position, 3)
    later = datetime.now(UTC) + timedelta(days=3)  # what the dead had begun is invisible, and swept
    archive.backed.store.sweep("", later, confirm=True)
    assert "Uploads" not in bucket.server.client().list_multipart_uploads(Bucket=BUCKET)
