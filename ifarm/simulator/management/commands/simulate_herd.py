"""`manage.py simulate_herd`: tenants with realistic herds, for demonstrations and measurements."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from random import Random
from threading import Lock
from typing import Any

from allauth.account.models import EmailAddress
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ifarm.core.context import unit_of_work
from ifarm.permissions.services import create_token, membership_of
from ifarm.simulator.load import DAYS_PER_YEAR, Period, fill_tenant
from ifarm.tenants.models import TenantStatus
from ifarm.tenants.services import create_tenant
from ifarm.users.models import User

PASSWORD_VARIABLE = "IFARM_DEMO_PASSWORD"  # noqa: S105
AT_ONCE = 3
"""Tenants: the server checks the rows of some while the herds of another are simulated."""
LARGEST_SHARE = 10
"""One tenant has a tenth of all animals, unless `--largest` says otherwise."""


class Command(BaseCommand):
    """Whatever the seed says is the same each time; keys, tenants and tokens are new."""

    help = (
        "Simulate herds of cattle (and hens) and write what their farmers would have recorded. Needs the configuration"
        f" of the tables' owner. Prints each tenant's id and a device's token. {PASSWORD_VARIABLE}: the password of the"
        " login; without, nobody can log in."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What can be chosen."""
        parser.add_argument("--tenants", type=int, default=1)
        parser.add_argument(
            "--animals", type=int, default=400, help="in all, with those that have left (400)"
        )
        parser.add_argument("--largest", type=int, help="animals of the first tenant (a tenth, of several)")
        parser.add_argument("--years", type=float, default=3.0, help="of records, up to yesterday (3)")
        parser.add_argument(
            "--until", type=date.fromisoformat, help="the last day of the records (yesterday)"
        )
        parser.add_argument(
            "--milk-every", type=int, default=7, help="days from one milk weight to the next (7)"
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--email", default="farmer@example.org", help="who owns the tenants")
        parser.add_argument("--add", action="store_true", help="also where there are animals already")

    def handle(
        self,
        *args: Any,
        tenants: int,
        animals: int,
        largest: int | None,
        years: float,
        until: date | None,
        milk_every: int,
        seed: int,
        email: str,
        add: bool,
        **options: Any,
    ) -> None:
        """Make them, one farm after another."""
        if min(tenants, animals, milk_every) < 1 or not 0 < years <= 20:
            raise CommandError("expected 1 or more tenants, animals and days, and up to 20 years of records")
        _require_owner(add)
        last = (until or timezone.localdate() - timedelta(days=1)).toordinal()
        period = Period(last - round(years * DAYS_PER_YEAR) + 1, last, milk_every)
        user = _login(email)
        began = time.monotonic()
        with _bar() as bar, ThreadPoolExecutor(AT_ONCE) as workers:
            written = Written(bar, animals)

            def fill(number: int, size: int) -> str:
                try:
                    return _tenant(user, number, size, period=period, seed=seed, written=written)
                finally:
                    connection.close()  # this thread's

            sizes = enumerate(_sizes(tenants, animals, largest), 1)
            try:
                for line in [workers.submit(fill, number, size) for number, size in sizes]:
                    self.stdout.write(line.result())
            except BaseException:  # also Ctrl-C: each ends after the farm it is at
                written.stopped = True
                raise
        _analyse()
        rows, seconds = written.rows, time.monotonic() - began
        self.stderr.write(f"{rows:,} rows in {seconds:.0f} s, {rows / seconds:,.0f} a second")


class Written:
    """What has been written so far, by all threads.

    Args:
        stopped: no farm is begun any more.
    """

    def __init__(self, bar: Progress, animals: int) -> None:
        self._bar, self._lock = bar, Lock()
        self._task = bar.add_task("animals", total=animals)
        self.rows, self.stopped = 0, False

    def add(self, animals: int, rows: int) -> None:
        """One farm more. Raises CommandError where all are stopped."""
        with self._lock:
            self.rows += rows
            self._bar.update(self._task, advance=animals, description=f"{self.rows:,} rows, animals")
        if self.stopped:
            raise CommandError("stopped, because another tenant could not be written")


def _tenant(user: User, number: int, size: int, *, period: Period, seed: int, written: Written) -> str:
    """One tenant with its herds; the line that is printed of it."""
    written.add(0, 0)
    tenant, actor = create_tenant(
        user, name=f"Cooperative {number}", timezone="Europe/Vienna", status=TenantStatus.ACTIVE
    )
    with unit_of_work(tenant.id):
        _, secret = create_token(actor, membership_id=membership_of(actor).id, name="simulated")
    fill_tenant(actor, size, period, Random(f"{seed} {number}"), written.add)  # noqa: S311
    return f"{tenant.id} {secret.text}"


def _require_owner(add: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        if not cursor.fetchone()[0]:
            raise CommandError(
                "expected the role that owns the tables, found one under row-level security. Use the configuration that"
                " migrates."
            )
        cursor.execute("SELECT EXISTS (SELECT FROM animals_animal)")
        if cursor.fetchone()[0] and not add:
            raise CommandError("expected a database without animals, found some. --add adds tenants to them.")


def _login(email: str) -> User:
    user = User.objects.filter(email=email.strip().lower()).first()
    if user is None:
        user = User.objects.create_user(email, os.environ.get(PASSWORD_VARIABLE), name="Demo Farmer")
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def _sizes(tenants: int, animals: int, largest: int | None) -> list[int]:
    """Animals of each tenant: the first has the most, the others the same."""
    if tenants == 1:
        return [animals]
    first = animals // LARGEST_SHARE if largest is None else largest
    first = max(first, -(-animals // tenants))
    return [first, *[max(1, round((animals - first) / (tenants - 1)))] * (tenants - 1)]


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(file=sys.stderr))


def _analyse() -> None:
    """Fresh statistics: the planner would else guess until autovacuum comes round."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
