"""An application that writes through the ORM while its primary changes: what it was told is what is there."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from tests.integration.django.conftest import change, manage

from understudy.demo.lab import Lab
from understudy.model import Rpo

WRITERS = 3


@dataclass
class Writer(threading.Thread):
    """One worker: requests in turn, autocommit and `atomic`, each acknowledgement in its own ledger."""

    number: int
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        from django.db import OperationalError, close_old_connections, connections

        from understudy.integrations.django.errors import CommitInDoubt

        turn = 0
        try:
            while not self.stop.is_set():
                turn += 1
                name = f"{self.number}-{turn}"
                close_old_connections()
                try:
                    self.write(name, in_block=turn % 2 == 0)
                except CommitInDoubt:
                    self.in_doubt.append(name)
                except OperationalError as error:
                    self.errors.append(error)
                else:
                    self.acknowledged.append(name)
        finally:
            connections.close_all()

    @staticmethod
    def write(name: str, *, in_block: bool) -> None:
        from django.db import transaction
        from tests.integration.django.farm.models import Animal, Herd

        if not in_block:
            Herd.objects.create(name=name)
            return
        with transaction.atomic():
            herd = Herd.objects.create(name=name)
            with transaction.atomic():
                Animal.objects.create(herd=herd, name=name)
            Herd.objects.select_for_update().get(pk=herd.pk)


@dataclass
class Load:
    """All writers, and what they know."""

    writers: list[Writer]
    stop: threading.Event

    def count(self) -> int:
        return min(len(writer.acknowledged) for writer in self.writers)

    def more(self, lab: Lab, rows: int = 20) -> None:
        """Every writer has got further."""
        goal = self.count() + rows
        lab.await_true(lambda: self.count() >= goal, 60, f"{goal} acknowledgements for each writer")

    def end(self) -> None:
        self.stop.set()
        for writer in self.writers:
            writer.join(60)
            assert not writer.is_alive()

    def check(self, *, planned: bool) -> None:
        """Nothing acknowledged is lost, nothing is there twice or in halves."""
        from tests.integration.django.farm.models import Animal, Herd

        there = Counter(Herd.objects.values_list("name", flat=True))
        for writer in self.writers:
            lost = [name for name in writer.acknowledged if not there[name]]
            assert lost == []
            unknown = set(writer.acknowledged) | set(writer.in_doubt)
            assert {n for n in there if n.startswith(f"{writer.number}-")} <= unknown
            if planned:
                assert (writer.errors, writer.in_doubt) == ([], [])
        assert max(there.values()) == 1
        whole = {n for n in there if int(n.partition("-")[2]) % 2 == 0}
        assert set(Animal.objects.values_list("name", flat=True)) == whole


@pytest.fixture
def load() -> Iterator[Callable[[], Load]]:
    started: list[Load] = []

    def start() -> Load:
        stop = threading.Event()
        load = Load([Writer(number, stop) for number in range(WRITERS)], stop)
        started.append(load)
        for writer in load.writers:
            writer.start()
        return load

    yield start
    for load in started:
        load.end()


def test_a_switchover_and_back_loses_and_fails_nothing(clean: Lab, load: Callable[[], Load]) -> None:
    running = load()
    running.more(clean)
    for _ in range(2):
        change(clean)
        running.more(clean)
    running.end()
    running.check(planned=True)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_many_switchovers_lose_and_fail_nothing(clean: Lab, load: Callable[[], Load]) -> None:
    running = load()
    for _ in range(20):
        running.more(clean)
        change(clean)
    running.more(clean)
    running.end()
    running.check(planned=True)


@pytest.fixture
def hurt(farm: Lab) -> Iterator[Lab]:
    """A laboratory in `zero` that may be hurt; the aliases of this process lead there meanwhile."""
    from django.db import connections

    from understudy.integrations.django import target

    def lead(config_file: str | None) -> None:
        connections.close_all()
        for alias, settings in connections.settings.items():
            settings["OPTIONS"].pop("config", None)
            if config_file:
                settings["OPTIONS"]["config"] = config_file
            settings.update(dict.fromkeys(("NAME", "USER", "HOST", "PORT"), ""))
            if hasattr(connections._connections, alias):
                del connections[alias]
        target.load.cache_clear()

    with Lab(mode=Rpo.ZERO, scale=1) as lab:
        manage(lab.config_file)("migrate")
        lead(str(lab.config_file))
        try:
            yield lab
        finally:
            lead(None)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_9_of_the_primary_loses_nothing_that_was_acknowledged(
    hurt: Lab, load: Callable[[], Load]
) -> None:
    hurt.await_settled()
    running = load()
    running.more(hurt, 50)
    hurt.servers["a"].kill()
    running.more(hurt, 50)
    assert hurt.state.primary == "b"
    running.end()
    running.check(planned=False)
    hurt.servers["a"].start()
    hurt.await_settled()
    assert hurt.verify().equal
