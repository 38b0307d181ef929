"""Two phones and the office, in any order, with answers that get lost: they come to agree, and no word is lost.

Everybody adds words to the name of an animal, as to a note. A server that lets the last writer win in silence
(farmOS #166) loses some; one that does a thing twice when it is sent twice (farmOS field-kit #199) has some twice.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ifarm.animals.policies import access_animal
from ifarm.animals.services import update_animal
from ifarm.animals.tests.examples import make_animal
from ifarm.core.actors import Role
from ifarm.core.context import unit_of_work
from ifarm.core.tests.factories import make_member, make_owner
from ifarm.core.versions import Seen
from ifarm.sync.tests.device import Device, operation, plainly, truth
from ifarm.sync.tests.test_journal import make_farm

Entry = dict[str, Any]
WORDS = [f"{letter}{digit}" for letter in "abcdefgh" for digit in range(8)]


class Phone(Device):
    """A device with a queue, and a person who resolves conflicts by keeping both."""

    queue: list[Entry]
    told: list[str]

    def begin(self, animal: str) -> None:
        self.animal, self.queue, self.told = animal, [], []
        self.pull()

    def add(self, word: str) -> None:
        """Add a word to the name: to what is on the phone, or to what is in its queue."""
        before = [entry for entry in self.queue if entry["word"]]
        self.queue.append({"word": word, "op": self.renaming(word, before[-1]["op"] if before else None)})

    def renaming(self, word: str, after: Entry | None, theirs: Entry | None = None) -> Entry:
        seen = theirs or self.copy["animal", self.animal]
        name = seen["name"] if after is None else after["data"]["name"]
        base = {"base_version": seen["version"]} if after is None else {"base_operation": after["id"]}
        return operation("animal", "update", {"name": f"{name} {word}".strip()}, of=self.animal, **base)

    def weigh(self, kg: int) -> None:
        data = {"animal_id": self.animal, "weighed_on": "2024-05-01", "weight_kg": f"{kg}.00"}
        self.queue.append({"word": "", "op": operation("weight", "create", data)})

    def unweigh(self, number: int) -> None:
        known = sorted(key for kind, key in self.copy if kind == "weight")
        if known:
            key = known[number % len(known)]
            self.queue.append({"word": "", "op": operation("weight", "delete", of=key, base_version=1)})

    def send(self, *, heard: bool = True, most: int = 100) -> None:
        entries = self.queue[:most]
        if entries:
            results = self.push(*(entry["op"] for entry in entries))
            if heard:
                self.hear(entries, results)

    def hear(self, entries: list[Entry], results: list[Entry]) -> None:
        behind, last = self.queue[len(entries) :], None
        for entry, result in zip(entries, results, strict=True):
            match result["outcome"]:
                case "conflict" if entry["word"]:
                    assert result["yours"] == entry["op"]["data"]
                    entry["op"] = last = self.renaming(entry["word"], None, result["theirs"])
                case "skipped":
                    entry["op"] = last = self.renaming(entry["word"], last)
                case outcome:
                    assert outcome in ("done", "refused", "conflict")
                    self.queue.remove(entry)
                    if outcome != "done":
                        self.told.append(entry["op"]["id"])
        for entry in behind:
            if entry["word"] and last is not None:
                entry["op"] = last = self.renaming(entry["word"], last)


class Farm(RuleBasedStateMachine):
    """A tenant of its own for each history."""

    def __init__(self) -> None:
        super().__init__()
        owner = self.owner = make_owner()
        farm = make_farm(owner)
        self.animal = make_animal(owner, farm, "AT 1")
        self.phones = [Phone(owner), Phone(make_member(owner, Role.MANAGER, [farm]))]
        for phone in self.phones:
            phone.begin(str(self.animal))
        self.words: list[str] = []
        self.kilograms: list[int] = []

    def word(self) -> str:
        self.words.append(WORDS[len(self.words)])
        return self.words[-1]

    @rule(who=st.integers(0, 1))
    def somebody_writes(self, who: int) -> None:
        if len(self.words) < 20:  # a name has 80 characters
            self.phones[who].add(self.word())

    @rule()
    def the_office_writes(self) -> None:
        if len(self.words) < 20:
            with unit_of_work(self.owner.tenant_id):
                row = access_animal(self.owner, self.animal, lock=True)
                update_animal(self.owner, row.id, {"name": f"{row.name} {self.word()}"}, Seen(row.version))

    @rule(who=st.integers(0, 1))
    def somebody_weighs(self, who: int) -> None:
        self.kilograms.append(100 + len(self.kilograms))
        self.phones[who].weigh(self.kilograms[-1])

    @rule(who=st.integers(0, 1), number=st.integers(0, 3))
    def somebody_takes_a_weight_back(self, who: int, number: int) -> None:
        self.phones[who].unweigh(number)

    @rule(who=st.integers(0, 1), heard=st.booleans(), most=st.sampled_from([1, 2, 100]))
    def a_phone_sends(self, who: int, heard: bool, most: int) -> None:
        self.phones[who].send(heard=heard, most=most)

    @rule(who=st.integers(0, 1), limit=st.sampled_from([1, 3, 500]))
    def a_phone_pulls_a_page(self, who: int, limit: int) -> None:
        self.phones[who].page(limit=limit)

    def teardown(self) -> None:
        """Everybody is online again."""
        for phone in self.phones:
            phone.pull()
        for _ in range(50):
            for phone in self.phones:
                phone.send()
                phone.pull()
            if not any(phone.queue for phone in self.phones):
                break
        else:
            raise AssertionError("the phones do not come to rest")
        for phone in self.phones:
            phone.pull()
            assert not phone.restarts
            assert plainly(phone.copy) == plainly(truth(phone.actor))
        name = self.phones[0].copy["animal", str(self.animal)]["name"]
        assert sorted(name.split()) == sorted(self.words)
        weights = [row["weight_kg"] for (kind, _), row in self.phones[0].copy.items() if kind == "weight"]
        assert len(set(weights)) == len(weights)
        super().teardown()


@pytest.mark.parametrize(
    "histories", [5, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_they_come_to_agree_and_no_word_is_lost(committed: psycopg.Connection[Any], histories: int) -> None:
    run_state_machine_as_test(
        Farm,
        settings=settings(
            max_examples=histories,
            stateful_step_count=15,
            deadline=None,
            derandomize=histories < 10,
            database=None,
            phases=(Phase.generate,),  # a shorter history is not worth minutes of servers
            suppress_health_check=list(HealthCheck),
        ),
    )
