"""The traffic light: worst item wins, and what was not measured is never green."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_agent_leasing import STATE
from tests.unit.test_journal import drill
from tests.unit.test_renewal import CLUSTER

from understudy.backup.manifest import Kind, Level, Manifest, Verdict, Verification
from understudy.config import Config
from understudy.readiness.gather import look
from understudy.readiness.journal import Loss, Outcome, Recovery
from understudy.readiness.light import DAY, NAMES, Facts, Item, Light, Wanted, judge
from understudy.witness import SqliteWitness

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WANTED = Wanted(backup_every=DAY, verify_every=7 * DAY, drill_every=31 * DAY, wal=60.0)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def backup(age: float) -> Manifest:
    return Manifest(
        id="20261121T020000Z-logical-1f2e3d",
        cluster="main",
        engine="postgresql",
        kind=Kind.LOGICAL,
        form="custom",
        scope=("all",),
        node="a",
        epoch=3,
        started=ago(age + 60),
        finished=ago(age),
        database="farm",
        encoding="UTF8",
        locale="C",
        server_version="16.14",
        client_version="16.14",
        system_identifier="7",
        timeline=1,
        start_lsn=0,
        end_lsn=0,
        extensions={},
        tables=(),
        sequences=(),
        parts=(),
        recipients=(),
        tool="understudy 0.1",
    )


def verification(age: float, verdict: Verdict = Verdict.PASS, level: Level = Level.RESTORE) -> Verification:
    return Verification(
        backup="20261121T020000Z-logical-1f2e3d",
        level=level,
        verdict=verdict,
        destination="disk",
        at=ago(age),
        seconds=20.0,
        restore_seconds=12.0,
        sha256={},
        checks=(),
        where="oak",
    )


GOOD = Facts(
    backups=(backup(3600),),
    verifications=(verification(7200),),
    journals=(replace(drill(), started=ago(DAY + 40), finished=ago(DAY)),),
    unstored=5.0,
    in_sync=True,
    lag=0.2,
    key="",
    storage={"disk": "", "s3": ""},
)


def item(facts: Facts, name: str, wanted: Wanted = WANTED) -> Item:
    readiness = judge("main", facts, wanted, NOW.timestamp())
    assert tuple(found.name for found in readiness.items) == NAMES
    return next(found for found in readiness.items if found.name == name)


def test_all_that_was_promised_was_measured_and_is_good() -> None:
    assert judge("main", GOOD, WANTED, NOW.timestamp()).light is Light.GREEN


def test_nothing_known_is_never_green() -> None:
    readiness = judge("main", Facts(), WANTED, NOW.timestamp())
    assert readiness.light is Light.RED
    assert all(found.light is not Light.GREEN for found in readiness.items)


def test_what_is_not_configured_is_off() -> None:
    lights = {found.name: found.light for found in judge("main", Facts(), Wanted(), NOW.timestamp()).items}
    assert lights.pop("standby") is Light.AMBER
    assert set(lights.values()) == {Light.OFF}


def test_a_log_that_another_tool_stores_is_not_judged() -> None:
    found = item(GOOD, "wal", replace(WANTED, wal=None, archiver="pgBackRest"))
    assert found.light is Light.OFF
    assert found.detail.startswith("pgBackRest stores the log")


def test_without_backups_nothing_is_green_and_the_reason_says_so() -> None:
    facts = Facts(in_sync=True, journals=GOOD.journals)
    readiness = judge("main", facts, Wanted(), NOW.timestamp())
    assert readiness.light is Light.OFF
    assert "no backup is configured" in item(facts, "backup", Wanted()).detail
    broken = judge("main", replace(facts, in_sync=False), Wanted(), NOW.timestamp())
    assert broken.light is Light.RED


@pytest.mark.parametrize("scope", [("schema-only",), ("animal", "farm.weighing"), ("animal", "-vault")])
def test_a_dump_of_a_part_is_no_backup_of_the_database(scope: tuple[str, ...]) -> None:
    part = replace(backup(10), id="20261121T100000Z-logical-000000", scope=scope)
    assert item(replace(GOOD, backups=(part,)), "backup").light is Light.RED
    both = replace(GOOD, backups=(backup(1.5 * DAY), part))
    assert item(both, "backup").light is Light.AMBER
    assert (
        item(replace(both, backups=(replace(backup(10), scope=("all", "-vault")),)), "backup").light
        is Light.GREEN
    )
    proof = replace(verification(60), backup=part.id)
    assert item(replace(both, verifications=(proof,)), "verification").light is Light.RED
    assert (
        item(replace(both, verifications=(verification(8 * DAY), proof)), "verification").light is Light.AMBER
    )


old = replace(GOOD.journals[0], finished=ago(60 * DAY))
lossy = replace(GOOD.journals[0], loss=Loss(acknowledged=9, lost=1, rescued=0, seconds=301.0))
slow = replace(GOOD.journals[0], recovery=Recovery(detect=0, decide=0, act=3000, verify=700, writes=3000))
failed = replace(GOOD.journals[0], outcome=Outcome.FAIL)
aborted = replace(GOOD.journals[0], outcome=Outcome.INCONCLUSIVE)
broken_on_purpose = replace(failed, must_fail=True)


@pytest.mark.parametrize(
    ("change", "name", "light"),
    [
        ({"backups": ()}, "backup", Light.RED),
        ({"backups": (backup(1.5 * DAY),)}, "backup", Light.AMBER),
        ({"backups": (backup(2.5 * DAY), backup(2.1 * DAY))}, "backup", Light.RED),
        ({"backups": (backup(2.5 * DAY), backup(10))}, "backup", Light.GREEN),
        ({"verifications": ()}, "verification", Light.RED),
        ({"verifications": (verification(60, level=Level.BYTES),)}, "verification", Light.RED),
        ({"verifications": (verification(60, Verdict.INCONCLUSIVE),)}, "verification", Light.RED),
        ({"verifications": (verification(60, Verdict.FAIL), verification(90))}, "verification", Light.RED),
        ({"verifications": (verification(8 * DAY),)}, "verification", Light.AMBER),
        ({"unstored": None}, "wal", Light.AMBER),
        ({"unstored": 90.0}, "wal", Light.AMBER),
        ({"unstored": 600.0}, "wal", Light.RED),
        ({"gap": "segment 5 is missing"}, "wal", Light.RED),
        ({"in_sync": False}, "standby", Light.RED),
        ({"in_sync": None}, "standby", Light.AMBER),
        ({"journals": ()}, "recovery_time", Light.AMBER),
        ({"journals": (old,)}, "recovery_time", Light.AMBER),
        ({"journals": (slow,)}, "recovery_time", Light.RED),
        ({"journals": (failed,)}, "recovery_time", Light.RED),
        ({"journals": (aborted,)}, "recovery_time", Light.AMBER),
        ({"journals": (lossy,)}, "data_loss", Light.RED),
        ({"journals": (lossy,)}, "recovery_time", Light.GREEN),
        ({"journals": (GOOD.journals[0], broken_on_purpose)}, "recovery_time", Light.GREEN),
        ({"key": "no key opens it"}, "key", Light.RED),
        ({"storage": {"disk": "", "s3": "503"}}, "storage", Light.AMBER),
        ({"storage": {"disk": "full", "s3": "503"}}, "storage", Light.RED),
    ],
)
def test_each_reason(change: dict[str, object], name: str, light: Light) -> None:
    assert item(replace(GOOD, **change), name).light is light


@given(st.lists(st.floats(0, 100 * DAY), max_size=5))
def test_older_is_never_better(ages: list[float]) -> None:
    order = list(Light)
    lights = [
        order.index(item(replace(GOOD, backups=(backup(age),)), "backup").light) for age in sorted(ages)
    ]
    assert lights == sorted(lights)


def test_what_lies_in_destinations_that_do_not_answer_is_not_known() -> None:
    facts = Facts(in_sync=True, storage={"nas": "nas: no such folder", "cloud": "cloud: 503"})
    found = {item.name: item.light for item in judge("main", facts, WANTED, NOW.timestamp()).items}
    assert found["backup"] is found["verification"] is Light.AMBER
    assert found["storage"] is Light.RED


def test_a_look_makes_no_lease(tmp_path: Path) -> None:
    """Whoever looks first may be another user than the agent, who could not open such a file afterwards."""
    with contextlib.closing(SqliteWitness(tmp_path / "witness.db")) as witness:
        witness.write(STATE, expected=0)
    found = look(Config((CLUSTER,), tmp_path, "test", ()), CLUSTER)
    assert found.cluster == CLUSTER.name
    assert [file.name for file in tmp_path.glob("*.lease")] == []
