"""`make demo`: iFarm's primary dies while devices record through its API, and gets home.

The story is that of `understudy demo`; the application is a real web server with its own clients.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import psycopg
import typer

from ifarm.demo import EmptyLab, prepare, settle, web
from ifarm.demo_clients import SOURCE, Device, Orders, run
from understudy.demo.application import Application, Books, Say
from understudy.demo.audit import Row, rescued_inserts
from understudy.demo.command import Fault
from understudy.demo.group import Group
from understudy.demo.lab import Lab, Policy
from understudy.demo.story import tell
from understudy.model import Rpo

DEVICES: Final = 4
COWS: Final = 6
"""Of each device."""
INTERVAL: Final = 0.04
ANIMALS, YEARS = 60, 1.0
TABLES: Final = ("animals_weight", "production_production", "financial_expense")

_RECORDS = " UNION ALL ".join(
    f"SELECT id, source FROM {table} WHERE source LIKE %(device)s" for table in TABLES
)
_BOOKS = f"""
WITH record AS ({_RECORDS})
SELECT (SELECT count(*) FROM record),
       (SELECT count(*) FROM core_idempotencyrecord WHERE body ->> 'id' IN (SELECT id::text FROM record)),
       (SELECT count(*) FROM audit_auditentry WHERE action = 'created' AND object_id IN (SELECT id FROM record)),
       (SELECT coalesce(sum(milk_kg), 0) FROM production_production),
       (SELECT coalesce(sum(milk_kg), 0) FROM production_dailysummary)
"""


class Farm(Application):
    """iFarm behind gunicorn, and devices that record through its API."""

    title = "iFarm: the primary of a farm's database is lost"
    tells_places = False  # an answer of the API names no node

    def __init__(self) -> None:
        self._password = secrets.token_urlsafe(12)

    def lab(self, mode: Rpo, policy: Policy, say: Say) -> Lab:
        """Two servers without tables."""
        return EmptyLab(mode=mode, policy=policy, say=say)

    @contextmanager
    def clients(self, lab: Lab, say: Say) -> Iterator[Group]:
        """The web, a herd, and devices of one tenant."""
        config = prepare(lab, say)
        _, token = settle(lab, self._password, ANIMALS, YEARS, say)
        with web(lab, config, self._password) as (url, _):
            say(f"gunicorn serves iFarm at {url}: two processes of four threads")
            place = urlsplit(url).netloc
            device = Device(place, token)
            farm_id = _only(device.ask("GET", "farms/"))["results"][0]["id"]
            newest = datetime.now(UTC).date() - timedelta(days=2)  # has come wherever the farm is
            orders: dict[Path, Orders] = {}
            for number in range(1, DEVICES + 1):
                ledger = lab.folder / "ledgers" / f"device-{number}.ledger"
                orders[ledger] = Orders(
                    writer=number,
                    ledger=ledger,
                    interval=INTERVAL,
                    place=place,
                    token=token,
                    farm_id=farm_id,
                    cows=tuple(_cow(device, farm_id, f"{number}{cow:03}") for cow in range(COWS)),
                    newest=newest,
                )
            with Group(run, orders) as group:
                yield group

    def introduced(self, rate: float) -> Sequence[str]:
        """Three sentences."""
        return (
            f"{DEVICES} devices record weights, milk and expenses over HTTP: {rate:.0f} per second",
            "each record has an Idempotency-Key and is sent until it is answered; one transaction holds the record,"
            " its line in the audit, its event and the answer",
            "each device keeps its own ledger of what it was promised; the databases are not asked",
        )

    def rows(self, connection: psycopg.Connection) -> list[Row]:
        """The records by the names that the devices gave them."""
        found = connection.execute(_RECORDS.encode(), {"device": f"{SOURCE}%"}).fetchall()
        return [_named(source) for _, source in found]

    def rescued(self, folder: Path) -> list[Row]:
        """The same in the rescue files."""
        return [
            _named(row["source"])
            for table in TABLES
            for row in rescued_inserts(folder, "public", table)
            if row["source"].startswith(SOURCE)
        ]

    def books(self, lab: Lab) -> Books:
        """Each record has its stored answer and its line in the audit; the sums by day are those of the milkings."""
        sums: list[Any] = []
        for node in lab.servers:
            with lab.connect(node) as connection:
                sums.append(connection.execute(_BOOKS.encode(), {"device": f"{SOURCE}%"}).fetchone())
        records, answers, audited, milk, by_day = sums[0]
        equal = records == answers == audited and milk == by_day and len(set(sums)) == 1
        return Books("records, answers, audit and sums by day", records, equal)

    def stray(self, connection: psycopg.Connection) -> None:
        """Renames the tenants."""
        connection.execute("UPDATE tenants_tenant SET name = 'split brain'")

    def told(self, group: Group) -> list[tuple[str, str]]:
        """How often devices had to ask again."""
        return [("requests sent again", f"{len(group.errors()):,}")]


def _only(answer: tuple[int, Any, bool]) -> Any:
    status, body, _ = answer
    if status not in {200, 201}:
        raise RuntimeError(f"iFarm: expected 200 or 201, found {status}: {body}")
    return body


def _cow(device: Device, farm_id: str, number: str) -> str:
    body = {"animal_type": "Cattle", "sex": "Female", "birth_date": "2020-03-01", "farm_id": farm_id}
    return str(_only(device.ask("POST", "animals/", {**body, "tag_number": f"DV {number}"}))["id"])


def _named(source: str) -> Row:
    writer, _, seq = source.removeprefix(SOURCE).partition("/")
    return int(writer), int(seq)


def demo(
    json: Annotated[
        bool, typer.Option("--json", help="One JSON value on stdout; the story on stderr.")
    ] = False,
    mode: Annotated[Rpo, typer.Option(help="Promise nothing lost (zero), or rescue (bounded).")] = Rpo.ZERO,
    fault: Annotated[Fault, typer.Option(help="What happens to the primary.")] = Fault.KILL,
) -> None:
    """Watch iFarm lose its primary and get home. Leaves nothing; ends with 1 where a promise is broken."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    if not tell(Farm(), mode=mode, faults=[fault.value], json=json):
        raise typer.Exit(1)


def main() -> None:
    """`manage.py demo`."""
    typer.run(demo)
