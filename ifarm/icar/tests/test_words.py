"""Each of our words has one of ICAR's and back, or a reason why not."""

from __future__ import annotations

from enum import StrEnum

import pytest

from ifarm.animals import words as animals
from ifarm.breeding import words as breeding
from ifarm.core.errors import RuleBroken
from ifarm.health import words as health
from ifarm.icar import words
from ifarm.icar.words import TABLES, Table
from ifarm.production import words as production

ELSEWHERE = {
    animals.IdentifierKind: "words.SCHEMES",
    animals.MovementKind: "words.MOVEMENTS",
    animals.ParentRole: "the gender of a parent",
    animals.GroupKind: "sets of animals are not exchanged",
    breeding.EventKind: "words.EVENTS",
    breeding.DueKind: "derived from events",
    breeding.ReproductionStatus: "derived from events",
    health.HealthStatus: "health checks are not exchanged",
    health.MoveKind: "the medicine cabinet is not exchanged",
    health.TreatmentKind: "words.UNTOLD",
    production.ProductionType: "words.PRODUCTION and words.UNTOLD",
    production.Session: "words.MILK",
    production.MilkUse: "words.UNTOLD",
    production.EggUse: "words.UNTOLD",
    production.LactationEnd: "lactations follow from parturitions",
}
"""Enumerations that no table is of, and where they went."""

every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


@every_table
def test_every_word_of_ours_is_told_or_has_a_reason(table: Table) -> None:
    ours = {word.value for word in table.ours}
    assert set(table.pairs) | set(table.untold) == ours
    assert not set(table.pairs) & set(table.untold)
    assert set(table.other) <= set(table.pairs)
    assert all(table.untold.values())


@every_table
def test_every_word_of_icar_is_understood_or_has_a_reason(table: Table) -> None:
    theirs = table.icar.split()
    assert len(set(theirs)) == len(theirs)
    parts = [set(table.pairs.values()), set(table.also), set(table.refused)]
    assert sorted(word for part in parts for word in part) == sorted(theirs)  # in one of them each
    assert all(table.refused.values())


@every_table
def test_there_and_back(table: Table) -> None:
    assert len(set(table.pairs.values())) == len(table.pairs)
    for word, told in table.pairs.items():
        assert table.tell(word) == told
        assert table.understand(told) == word
    for told, word in table.also.items():
        assert table.understand(told) == word
    for told, reason in {**table.refused, "Gibberish": "expected one of"}.items():
        with pytest.raises(RuleBroken, match=table.name) as refused:
            table.understand(told)
        assert reason in refused.value.detail


def test_no_enumeration_is_forgotten() -> None:
    every = {
        word
        for module in (animals, breeding, health, production)
        for word in vars(module).values()
        if isinstance(word, type) and issubclass(word, StrEnum) and word is not StrEnum
    }
    assert every == {table.ours for table in TABLES} | set(ELSEWHERE)


def test_the_other_tables_are_whole() -> None:
    assert set(words.SCHEMES) == set(animals.IdentifierKind)
    assert len(set(words.SCHEMES.values())) == len(words.SCHEMES)
    assert set(words.MOVEMENTS) == set(animals.MovementKind)
    assert set(words.EVENTS) == set(breeding.EventKind)
    assert set(words.MILK) == set(production.Session)
    assert set(words.SHIFTS) == set(production.Session) - {production.Session.WHOLE_DAY}
    assert set(words.PRODUCTION) | set(words.UNTOLD) >= set(production.ProductionType)
    assert set(health.TreatmentKind) | set(production.MilkUse) | set(production.EggUse) <= set(words.UNTOLD)
