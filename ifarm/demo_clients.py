"""The farm's devices in `make demo`: they record weights, milk and expenses through the API, and remember the answers.

A device sends each record with an `Idempotency-Key`, and the same again until it is told that it is recorded. It knows
nothing of databases; what it was promised is in its ledger.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from understudy.demo.group import Tell, live
from understudy.demo.ledger import Entry, Status

SOURCE: Final = "device "
"""What a record says of where it comes from: this, and `<writer>/<seq>`."""
AGAIN: Final = 0.1
"""Seconds until a request without an answer is sent again. (The API asks for more, to be spared by thousands.)"""
ANSWER: Final = 60.0
"""Seconds that an answer may take: longer than a request is held while the primary changes."""
GIVEN_UP: Final = 120.0
"""Seconds after which a record that nobody has taken counts as failed."""
SESSIONS: Final = ("Morning", "Midday", "Evening", "Night")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one device is to do.

    Args:
        place: host and port of the web.
        cows: ids of animals that are milked and weighed by nobody else.
        newest: the day of weights and expenses; milk is recorded from it back, one milking after another. The demo
            may run across midnight, so it is not asked for again: days would be recorded twice.
    """

    writer: int
    ledger: Path
    interval: float
    place: str
    token: str
    farm_id: str
    cows: tuple[str, ...]
    newest: date


class Device:
    """One connection to the web, opened again where it was lost."""

    def __init__(self, place: str, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection(place, timeout=ANSWER)

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any, bool]:
        """Status, answer, and whether it asks to come back. Raises OSError or HTTPException for no answer."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        try:
            self._connection.request(
                method, f"/api/v1/{path}", None if body is None else json.dumps(body), headers
            )
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        come_back = answer.status in {409, 503} and answer.getheader("Retry-After") is not None
        return answer.status, json.loads(text or b"null"), come_back


def record(orders: Orders, seq: int) -> tuple[str, dict[str, Any]]:
    """Where the record of this number is sent, and what it is: a weight, a milking or an expense, in turn."""
    kind, number = seq % 3, seq // 3
    cow = orders.cows[number % len(orders.cows)]
    source = f"{SOURCE}{orders.writer}/{seq}"
    if kind == 0:
        weight = {"weighed_on": str(orders.newest), "weight_kg": f"{600 + seq % 90}.50"}
        return f"animals/{cow}/weights/", {"source": source, **weight}
    if kind == 1:
        turn, session = divmod(number // len(orders.cows), len(SESSIONS))
        milk = {"production_type": "milk", "animal_id": cow, "milk_kg": f"{8 + seq % 7}.25"}
        day = {"production_date": str(orders.newest - timedelta(days=turn)), "session": SESSIONS[session]}
        return "production/", {"source": source, **milk, **day}
    line = {"category": "feed", "amount": f"{1 + seq % 50}.00"}
    day = {"expense_date": str(orders.newest), "description": f"Hay, load {seq}"}
    return "expenses/", {
        "source": source,
        "farm_id": orders.farm_id,
        "currency": "EUR",
        **day,
        "lines": [line],
    }


def run(orders: Orders, stop: Event) -> None:
    """The life of one device."""
    device = Device(orders.place, orders.token)
    live(orders.ledger, orders.interval, stop, lambda seq, tell: _one(device, orders, seq, tell))


def _one(device: Device, orders: Orders, seq: int, tell: Tell) -> Entry:
    path, body = record(orders, seq)
    key = f"{orders.writer}/{seq}"
    asked = time.monotonic_ns()
    taken = persist(lambda: device.ask("POST", path, body, key), lambda kind, text: tell(seq, kind, text))
    status = Status.ACKED if taken else Status.FAILED
    return Entry(orders.writer, seq, status, 0, 0, asked, time.monotonic_ns())


def persist(ask: Callable[[], tuple[int, Any, bool]], tell: Callable[[str, str], None]) -> bool:
    """Send until it is recorded (201); whether it was. What came instead is told."""
    end = time.monotonic() + GIVEN_UP
    while time.monotonic() < end:
        try:
            status, answer, come_back = ask()
        except (OSError, http.client.HTTPException) as error:
            tell("no answer", f"{type(error).__name__}: {error}")
        else:
            if status == 201:
                return True
            tell(str(status), str(answer))
            if not come_back:
                return False
        time.sleep(AGAIN)
    return False
