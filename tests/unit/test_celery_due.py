"""What two beats call the same moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from celery.schedules import BaseSchedule, crontab, schedule
from hypothesis import given
from hypothesis import strategies as st

from understudy.integrations.celery import due_name, last_due

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("when", "now", "expected"),
    [
        (crontab(), NOON.replace(second=59), NOON),
        (crontab(minute=0), NOON + timedelta(minutes=7), NOON),
        (crontab(minute=0), NOON - timedelta(seconds=1), NOON.replace(hour=11)),
        (crontab(minute=30, hour=2), NOON, NOON.replace(hour=2, minute=30)),
        (crontab(minute=30, hour=23), NOON, datetime(2026, 11, 20, 23, 30, tzinfo=UTC)),
        (crontab(0, 0, day_of_week="sun"), NOON, datetime(2026, 11, 15, tzinfo=UTC)),
        (crontab(0, 0, day_of_month=1, month_of_year=2), NOON, datetime(2026, 2, 1, tzinfo=UTC)),
        (crontab(0, 0, day_of_month=29, month_of_year=2), NOON, datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_the_last_minute_that_a_crontab_names(when: crontab, now: datetime, expected: datetime) -> None:
    assert last_due(when, now) == expected


@given(late=st.integers(0, 3599), skew=st.integers(0, 3599))
def test_however_late_two_beats_are_they_name_the_same_hour(late: int, skew: int) -> None:
    names = {due_name(crontab(minute=0), NOON + timedelta(seconds=s)) for s in (late, skew)}
    assert names == {"2026-11-21T12:00"}
    assert len({due_name(schedule(3600), NOON + timedelta(seconds=s)) for s in (late, skew)}) == 1


def test_the_next_time_has_another_name() -> None:
    for when in (crontab(minute="*/5"), schedule(timedelta(minutes=5))):
        assert len({due_name(when, NOON + timedelta(minutes=m)) for m in range(60)}) == 12


def test_other_kinds_of_schedule_have_none() -> None:
    assert due_name(BaseSchedule(), NOON) is None
