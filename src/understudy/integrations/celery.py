"""Celery: tasks whose transaction is applied once however often they are delivered, and a beat on several hosts.

    pool = understudy.pool("main")  # before or after the fork, either is fine

    @app.task(base=TransactionTask, pool=pool)
    def book(conn, account, amount):
        conn.execute("UPDATE account SET balance = balance + %s WHERE id = %s", (amount, account))

    book.delay(7, 100)

How to set it up: docs/how-to/celery.md.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID, uuid5

from celery import Task  # type: ignore[import-untyped] # has no types
from celery.beat import PersistentScheduler, ScheduleEntry  # type: ignore[import-untyped] # has no types
from celery.schedules import BaseSchedule, crontab, schedule  # type: ignore[import-untyped] # has no types
from celery.utils.time import get_exponential_backoff_interval  # type: ignore[import-untyped] # has no types
from psycopg.rows import tuple_row
from psycopg_pool import PoolTimeout

from understudy.client import CommitInDoubt, Connection, NoPrimaryAvailable, Pool
from understudy.client.pool import _CLAIM

__all__ = ["Scheduler", "TransactionTask"]

_log = logging.getLogger(__name__)
_NAMESPACE = UUID("4c7f5a4e-8f0a-4a4c-9d0e-2b1f6f3c5d11")
_LONGEST = 300  # seconds between two attempts
_DAYS = 366 * 8 + 1  # 29 February comes back after eight years at the latest


class TransactionTask(Task):  # type: ignore[misc] # Celery has no types
    """A task that is one transaction. Its function gets the connection first, then the arguments of the message.

    The task's id is written in the same transaction: a message that is delivered again (``acks_late``, a worker that
    was killed, two beats) finds it, does nothing and returns None. While there is no primary the task is retried.
    Called directly, ``book(conn, 7, 100)``, it is a plain function.

    Attributes:
        pool: an `understudy.Pool`, given to the decorator.
    """

    abstract = True
    typing = False  # Celery would count the connection among the message's arguments
    acks_late = True  # what a killed worker had not committed is delivered again,
    reject_on_worker_lost = True  # and what it had committed is known by its id
    max_retries = 50  # four hours; ids are kept for a day
    pool: Pool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the transaction. Raises celery's Retry while there is no primary."""
        if self.request.called_directly:
            return self.run(*args, **kwargs)
        token = uuid5(_NAMESPACE, self.request.id)

        def work(conn: Connection) -> Any:
            claim = conn.cursor(row_factory=tuple_row).execute(_CLAIM, (token,))
            if claim.fetchone() == (False,):
                _log.info("task %s[%s] was done by an earlier delivery", self.name, self.request.id)
                return None
            return self.run(conn, *args, **kwargs)

        try:
            return self.pool.run(work, exactly_once=True)
        except (NoPrimaryAvailable, CommitInDoubt, PoolTimeout) as error:
            # In doubt, too: the next attempt sees by the id whether this one was applied.
            pause = get_exponential_backoff_interval(
                factor=1, retries=self.request.retries, maximum=_LONGEST, full_jitter=True
            )
            raise self.retry(exc=error, countdown=pause) from error


class Scheduler(PersistentScheduler):  # type: ignore[misc] # Celery has no types
    """A beat that may run on several hosts: ``celery beat --scheduler understudy.integrations.celery:Scheduler``.

    Each of them sends every task, under an id made of the entry's name and the time it was due. A `TransactionTask`
    runs once for each id; any other kind of task runs once for each beat.
    """

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Send the task of an entry."""
        entry = self.reserve(entry) if advance else entry
        due = due_name(entry.schedule, entry.schedule.now())
        if due is not None:
            entry = copy.copy(entry)
            entry.options = {**entry.options, "task_id": str(uuid5(_NAMESPACE, f"{entry.name} {due}"))}
        return super().apply_async(entry, producer=producer, advance=False, **kwargs)


def due_name(when: BaseSchedule, now: datetime) -> str | None:
    """A name for the time at which a schedule was last due: the same on every host, however late each of them is.

    A crontab: that minute by the clock on the wall. An interval: the number of whole intervals since 1970. None for
    any other kind of schedule.
    """
    if isinstance(when, crontab):
        found = last_due(when, now)
        return None if found is None else found.strftime("%Y-%m-%dT%H:%M")
    if type(when) is schedule:
        return str(int(now.timestamp() // when.run_every.total_seconds()))
    return None


def last_due(when: crontab, now: datetime) -> datetime | None:
    """The last minute, up to now, that a crontab names; None where it names none in eight years."""
    for day in islice(_days_back(now.date()), _DAYS):
        if _names(when, day):
            for hour in sorted(when.hour, reverse=True):
                for minute in sorted(when.minute, reverse=True):
                    found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=now.tzinfo)
                    if found.replace(tzinfo=None) <= now.replace(tzinfo=None):
                        return found
    return None


def _days_back(day: date) -> Iterator[date]:
    while True:
        yield day
        day -= timedelta(days=1)


def _names(when: crontab, day: date) -> bool:
    return (
        day.month in when.month_of_year
        and day.day in when.day_of_month
        and day.isoweekday() % 7 in when.day_of_week
    )
