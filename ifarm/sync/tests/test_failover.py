"""A cursor across changes of primary of two independent databases: planned, and one that loses the last commits."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from ifarm import demo
from ifarm.sync.tests.device import Device, operation
from understudy.demo.lab import Lab
from understudy.model import Rpo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE = 120.0
"""Seconds that a phone sends again what was answered by 503 or by nothing."""
WRITERS = 3


@dataclass
class Remote(Device):
    """A phone that reaches the web by its address."""

    url: str = ""

    def call(self, method: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        path = f"{self.url}/api/v1/tenants/{self.actor.tenant_id}/sync/changes"
        headers = {"Authorization": f"Bearer {self.token}"}
        for _ in range(int(PATIENCE)):
            try:
                answer = httpx.request(method, path, params=query, json=body, headers=headers, timeout=60)
            except httpx.TransportError:
                threading.Event().wait(1)
                continue
            if answer.status_code != 503:
                return answer
            threading.Event().wait(1)  # as `Retry-After` says
        raise AssertionError(f"no answer within {PATIENCE} s")


class World:
    """Two servers, an agent, the web, and an animal that everybody weighs."""

    def __init__(self, lab: Lab, url: str, tenant: str, token: str) -> None:
        self.lab, self.url, self.token = lab, url, token
        self.actor: Any = SimpleNamespace(tenant_id=tenant)
        first = self.phone()
        first.pull(limit=500)
        self.animals = [key for kind, key in first.copy if kind == "animal"][:WRITERS]

    def phone(self) -> Remote:
        return Remote(self.actor, self.token, url=self.url)

    def weight(self, number: int) -> dict[str, Any]:
        data = {
            "weighed_on": "2026-11-01",
            "weight_kg": "400.00",
            "animal_id": self.animals[number % WRITERS],
        }
        return operation("weight", "create", data)

    def require_equal(self, *phones: Remote) -> None:
        """Each phone holds what one that begins now is told."""
        fresh = self.phone()
        fresh.pull(limit=500)
        for phone in phones:
            phone.pull(limit=500)
            assert phone.copy == fresh.copy


@contextmanager
def _world(mode: Rpo, **policy: Any) -> Iterator[World]:
    password = secrets.token_urlsafe(12)
    with Lab(mode=mode, scale=1, policy={"failback": "manual", **policy}) as lab:
        config = demo.prepare(lab, lambda _: None)
        tenant, token = demo.settle(lab, password, 20, 1, lambda _: None)
        with demo.web(lab, config, password) as (url, _):
            yield World(lab, url, tenant, token)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with _world(Rpo.BOUNDED, max_lag_seconds=600) as world:
        yield world


@contextmanager
def _load(world: World, reader: Remote) -> Iterator[list[dict[str, Any]]]:
    """Phones that send and one that reads, until the block ends; gives what was answered with done, as it grows."""
    stop, sent = threading.Event(), list[dict[str, Any]]()

    def write(number: int) -> None:
        phone = world.phone()
        while not stop.is_set():
            batch = [world.weight(number), world.weight(number + 1)]
            assert [one["outcome"] for one in phone.push(*batch)] == ["done", "done"]
            sent.extend(batch)

    def read() -> None:
        while not stop.is_set():
            reader.page(limit=3)

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        running = [pool.submit(write, number) for number in range(WRITERS)] + [pool.submit(read)]
        try:
            yield sent
        finally:
            stop.set()
        for one in running:
            one.result(timeout=180)


def _require_kept(world: World, reader: Remote, sent: list[dict[str, Any]]) -> None:
    """Everything that was answered is there, and the reader never had to begin anew."""
    world.require_equal(reader)
    assert reader.restarts == []
    assert {("weight", one["object_id"]) for one in sent} <= reader.copy.keys()


def test_a_planned_change_under_load(world: World) -> None:
    reader = world.phone()
    reader.pull(limit=500)
    with _load(world, reader) as sent:
        world.lab.await_true(lambda: len(sent) > 20, 120, "weights before the change")
        world.lab.switchover("b", timeout=120)
        before = len(sent)
        world.lab.await_true(lambda: len(sent) > before + 20, 120, "weights after the change")
    _require_kept(world, reader, sent)


def test_a_failover_with_zero_loses_nothing_that_a_phone_had_seen_or_was_told() -> None:
    """The primary dies under load: who reads goes on with its cursor, and who sends hears of everything once."""
    with _world(Rpo.ZERO) as world:
        lab, reader = world.lab, world.phone()
        lab.await_settled()
        old, new = lab.state.primary, lab.state.other
        reader.pull(limit=500)
        with _load(world, reader) as sent:
            lab.await_true(lambda: len(sent) > 20, 120, "weights before the failover")
            lab.servers[old].kill()
            lab.await_state(lambda s: s.primary == new and s.plan is None, 120, "a failover")
            before = len(sent)
            lab.await_true(lambda: len(sent) > before + 20, 120, "weights after the failover")
        _require_kept(world, reader, sent)
        lab.servers[old].start()
        lab.await_settled(180)
        assert lab.verify().equal
        _require_kept(world, reader, sent)


def test_a_failover_that_loses_what_phones_had_seen(world: World) -> None:
    """Three phones: one saw only what is still there, one saw what is lost, one was told that it is done."""
    lab = world.lab
    lab.await_settled()
    old, new = lab.state.primary, lab.state.other
    before, ahead, sender = world.phone(), world.phone(), world.phone()
    for phone in (before, ahead, sender):
        phone.pull(limit=500)
    link = lab.state.link
    assert link is not None
    reached = _position(lab, old)
    lab.await_true(lambda: _has(lab, old, link.name, reached), 60, "the standby to have what they saw")
    with lab.connect(old, "postgres") as superuser:
        query = "SELECT pid FROM pg_stat_replication WHERE application_name = %s"
        os.kill(superuser.execute(query, (link.name,)).fetchall()[0][0], signal.SIGSTOP)
    lost = [world.weight(number) for number in range(3)]
    assert [one["outcome"] for one in sender.push(*lost)] == ["done"] * 3
    ahead.pull()
    assert {("weight", one["object_id"]) for one in lost} <= ahead.copy.keys()
    lab.servers[old].kill()
    lab.await_state(lambda s: s.primary == new and s.plan is None, 120, "a failover")
    for number in range(5):  # their numbers are given again
        assert world.phone().push(world.weight(number))[0]["outcome"] == "done"
    world.require_equal(before, ahead)
    assert (before.restarts, ahead.restarts) == ([], ["history"])
    assert not {("weight", one["object_id"]) for one in lost} & ahead.copy.keys()
    # What was answered and is not shown by a whole pull was lost: it is sent again.
    sender.pull()
    shown = {row["operation_id"] for (kind, _), row in sender.copy.items() if kind == "operation"}
    assert not shown & {one["id"] for one in lost}
    assert [one["outcome"] for one in sender.push(*lost)] == ["done"] * 3
    world.require_equal(before, ahead, sender)
    assert {("weight", one["object_id"]) for one in lost} <= before.copy.keys()
    lab.servers[old].start()
    lab.await_settled(180)
    assert lab.verify().equal
    world.require_equal(before, ahead, sender)
    assert (before.restarts, ahead.restarts, sender.restarts) == ([], ["history"], [])


def _position(lab: Lab, node: str) -> str:
    with lab.connect(node, "postgres") as superuser:
        return str(superuser.execute("SELECT pg_current_wal_insert_lsn()").fetchall()[0][0])


def _has(lab: Lab, node: str, link: str, position: str) -> bool:
    query = "SELECT replay_lsn >= %s::pg_lsn FROM pg_stat_replication WHERE application_name = %s"
    with lab.connect(node, "postgres") as superuser:
        return superuser.execute(query, (position, link)).fetchall() == [(True,)]
