"""Search in the audit, its months, and the archive of old ones."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import zstandard
from django.core.management import call_command
from django.db import connection

from ifarm.api.tests.test_requests import Api, problem
from ifarm.audit import archive, partitions, writes
from ifarm.audit.filters import EntryFilters
from ifarm.audit.models import AuditArchive, AuditEntry
from ifarm.audit.partitions import make_partitions, present, table_of
from ifarm.audit.services import AuditService
from ifarm.core.actors import Actor, Role
from ifarm.core.context import unit_of_work
from ifarm.core.ids import first_uuid7, uuid7
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.tests.roles import as_owner
from ifarm.core.tests.threads import in_thread
from ifarm.farms.services import create_farm
from ifarm.media.store import StoreAway, TenantFiles
from ifarm.media.tests.standin import StandIn, standing_in

OLD = datetime(2024, 3, 10, tzinfo=UTC)
MARCH = date(2024, 3, 1)
OVER = datetime(2025, 4, 2, tzinfo=UTC)
"""More than 365 days after the end of that March."""


@pytest.mark.django_db
def test_entries_are_found_by_who_what_which_and_when() -> None:
    owner = make_owner()
    boss, manager = Api(owner), Api(make_member(owner, Role.MANAGER))
    farm = boss("POST", "farms/", {"name": "Hill"}).json()["id"]
    middle = datetime.now(UTC)
    manager("PATCH", f"farms/{farm}/", {"name": "Mount"}, If_Match='"1"')

    def found(query: str) -> list[Any]:
        answer = boss("GET", f"audit/?model=farms.farm&{query}")
        return [(one["action"], one["changes"]["name"]) for one in answer.json()["results"]]

    made, changed = ("created", [None, "Hill"]), ("changed", ["Hill", "Mount"])
    assert found(f"object_id={farm}") == [made, changed]
    assert found("sort=-id") == [changed, made]
    assert found(f"actor_id={manager.actor.id}") == [changed]
    assert found("action=created") == [made]
    when = middle.isoformat().replace("+00:00", "Z")
    assert found(f"until={when}") == [made]
    assert found(f"since={when}") == [changed]
    assert problem(boss("GET", "audit/?since=yesterday")) == (400, "invalid")


@pytest.mark.django_db
def test_who_does_not_see_every_farm_does_not_see_the_audit() -> None:
    owner = make_owner()
    with unit_of_work(owner.tenant_id):
        farm = create_farm(owner, name="Hill")
    manager = Api(make_member(owner, Role.MANAGER, [farm.id]))
    assert problem(manager("GET", "audit/")) == (403, "not-allowed")
    assert problem(manager("GET", "audit/archives/")) == (403, "not-allowed")


@pytest.mark.django_db
def test_digests_of_secrets_are_not_in_the_audit() -> None:
    api = Api(make_owner())
    entries = api("GET", "audit/?model=permissions.apitoken").json()["results"]
    assert entries
    assert "digest" not in json.dumps(entries)


@pytest.mark.django_db
def test_a_month_is_read_alone_and_has_the_wall_of_the_whole() -> None:
    owner, other = make_owner(), make_owner("Other")
    now = datetime.now(UTC)
    with unit_of_work(other.tenant_id):
        create_farm(other, name="Theirs")
    with unit_of_work(owner.tenant_id):
        create_farm(owner, name="Mine")
        first = partitions.begins(partitions.month_of(now))
        until = partitions.begins(partitions.following(partitions.month_of(now)))
        chosen = EntryFilters(
            {"since": first.isoformat(), "until": until.isoformat()}, queryset=AuditEntry.objects.all()
        )
        plan = chosen.qs.order_by("-id")[:50].explain()
        assert set(re.findall(r"audit_auditentry_(\d+_\d+|other)", plan)) == {f"{first:%Y_%m}"}
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT tenant_id FROM {table_of(first.date())}")
            assert cursor.fetchall() == [(owner.tenant_id,)]
            cursor.execute(f"DELETE FROM {table_of(first.date())} RETURNING id")
            assert cursor.fetchall() == []


@pytest.fixture
def old(
    committed: psycopg.Connection[Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[Actor], StandIn]]:
    """Two tenants with entries of March 2024; everything as the owner."""
    actors = [make_owner(), make_owner("Other")]
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '30s'")
    with standing_in() as server, as_owner():
        settings.IFARM_STORE = server.store
        before = present()
        made = make_partitions(OLD)
        assert MARCH in made.months
        for actor in actors:
            for number in range(3):
                put_entry(actor, OLD + timedelta(minutes=number))
        yield actors, server
        for month in set(present()) - set(before):
            committed.execute(f"DROP TABLE {table_of(month)}".encode())


def put_entry(actor: Actor, at: datetime) -> None:
    with unit_of_work(actor.tenant_id):
        key = UUID(int=first_uuid7(at).int + uuid7().int % 2**60)
        names = {"actor_id": actor.id, "actor_role": "owner", "action": "created", "model": "farms.farm"}
        AuditEntry(id=key, created_at=at, object_id=key, changes={"name": [None, "Süd"]}, **names).save(
            force_insert=True
        )


def filed(actor: Actor) -> list[AuditArchive]:
    with unit_of_work(actor.tenant_id):
        return list(AuditArchive.objects.all())


def test_old_months_leave_for_a_file_of_each_tenant(old: tuple[list[Actor], StandIn]) -> None:
    actors, server = old
    assert AuditService.archive_old_logs(OVER - timedelta(days=2)) == []
    assert AuditService.archive_old_logs(OVER) == [MARCH]
    assert MARCH not in present()
    for actor in actors:
        (one,) = filed(actor)
        body, kind = server.objects[f"audit-archive/{one.path}"]
        assert (kind, len(body), hashlib.sha256(body).hexdigest()) == (
            "application/zstd",
            one.size_bytes,
            one.sha256,
        )
        lines = zstandard.ZstdDecompressor().decompressobj().decompress(body).decode().splitlines()
        entries = [json.loads(line) for line in lines]
        assert len(entries) == one.entries == 3
        assert {entry["tenant_id"] for entry in entries} == {str(actor.tenant_id)}
        assert [entry["created_at"] for entry in entries] == sorted(entry["created_at"] for entry in entries)
        assert entries[0]["changes"] == {"name": [None, "Süd"]}
        api = Api(actor)
        assert api("GET", "audit/?until=2025-01-01T00:00:00Z").json()["results"] == []
        url = api("GET", f"audit/archives/{one.id}/download/").json()["url"]
        assert httpx.get(url, timeout=60).content == body
    assert AuditService.archive_old_logs(OVER) == []


def test_an_archive_that_was_interrupted_goes_on(
    old: tuple[list[Actor], StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    actors, server = old
    server.broken = True
    with pytest.raises(StoreAway):
        AuditService.archive_old_logs(OVER)
    server.broken = False
    assert MARCH in present()
    with monkeypatch.context() as patched:
        real, calls = writes.insert, []

        def second_time(*args: Any, **rest: Any) -> Any:
            calls.append(args)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(*args, **rest)

        patched.setattr(writes, "insert", second_time)
        with pytest.raises(KeyboardInterrupt):
            AuditService.archive_old_logs(OVER)
    assert sorted(len(filed(actor)) for actor in actors) == [0, 1]
    assert AuditService.archive_old_logs(OVER) == [MARCH]
    assert [len(filed(actor)) for actor in actors] == [1, 1]
    assert len(server.objects) == 2


def test_a_damaged_file_drops_nothing(
    old: tuple[list[Actor], StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TenantFiles, "read", lambda *_: iter([b"something else"]))
    with pytest.raises(RuntimeError, match="SHA-256"):
        AuditService.archive_old_logs(OVER)
    assert MARCH in present()
    assert filed(old[0][0]) == []


def test_an_entry_that_came_after_its_archive_is_kept(old: tuple[list[Actor], StandIn]) -> None:
    (actor, _), _ = old
    archive._archive(actor.tenant_id, MARCH)
    put_entry(actor, OLD + timedelta(hours=1))
    with pytest.raises(RuntimeError, match="found 7"):
        AuditService.archive_old_logs(OVER)
    assert MARCH in present()


def test_two_archivers_at_once(old: tuple[list[Actor], StandIn]) -> None:
    actors, _ = old
    waits = [in_thread(lambda: AuditService.archive_old_logs(OVER)) for _ in range(2)]
    assert all(wait() in ([MARCH], []) for wait in waits)
    assert [len(filed(actor)) for actor in actors] == [1, 1]
    assert MARCH not in present()


def test_months_are_made_once_and_strays_are_told(old: tuple[list[Actor], StandIn]) -> None:
    assert make_partitions(OLD) == partitions.Made([], [])
    (actor, _), _ = old
    put_entry(actor, datetime(2019, 5, 5, tzinfo=UTC))  # a clock that was far off: kept all the same
    made = make_partitions(datetime(2019, 4, 1, tzinfo=UTC))
    assert (len(made.months), made.blocked) == (12, [date(2019, 5, 1)])


def test_the_weekly_command(old: tuple[list[Actor], StandIn], capsys: pytest.CaptureFixture[str]) -> None:
    call_command("keep_audit")
    told = capsys.readouterr().out.split("\n")
    if told[0].startswith("made"):  # the month has changed since the tests began
        told.pop(0)
    assert told[:2] == ["archived 2024-03", "archived 2024-04"]
    call_command("keep_audit")
    assert capsys.readouterr().out == ""
    (actor, _), _ = old
    assert [one.entries for one in filed(actor)] == [3]
