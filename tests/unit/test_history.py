"""The checker of histories: it finds each anomaly, and never one where there is none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.equipment.history import (
    Anomaly,
    Append,
    Kind,
    Outcome,
    Read,
    Transaction,
    Transfer,
    check_bank,
    check_lists,
)

COMMITTED, ABORTED, UNKNOWN = Outcome.COMMITTED, Outcome.ABORTED, Outcome.UNKNOWN
_clock = itertools.count(1)


def t(
    *ops: Append | Read,
    session: int = 1,
    epoch: int = 1,
    outcome: Outcome = COMMITTED,
    snapshot: bool = False,
) -> Transaction:
    """A transaction after all those made before it."""
    began, committing, ended = (next(_clock) for _ in range(3))
    return Transaction(
        session=session,
        epoch=epoch,
        outcome=outcome,
        ops=ops,
        began=began,
        committing=committing,
        ended=ended,
        snapshot=snapshot,
    )


def append(value: int, key: int = 0) -> Append:
    return Append(key, value)


def read(*values: int, key: int = 0) -> Read:
    return Read(key, values)


def kinds(found: Sequence[Anomaly]) -> set[Kind]:
    return {anomaly.kind for anomaly in found}


def check(*history: Transaction, final: tuple[int, ...], rescued: frozenset[int] = frozenset()) -> set[Kind]:
    return kinds(check_lists(history, {0: final}, {0: rescued}))


# --- one anomaly each ---------------------------------------------------------------------------------------


def test_a_right_history() -> None:
    assert not check(
        t(append(1)),
        t(read(1), append(2), read(1, 2), session=2),
        t(append(3), outcome=ABORTED),
        t(append(4), outcome=UNKNOWN),
        t(append(5), outcome=UNKNOWN),
        t(read(1, 2, 4), snapshot=True),
        final=(1, 2, 4),
    )


def test_a_lost_append() -> None:
    assert check(t(append(1)), t(append(2)), final=(1,)) == {Kind.LOST}


def test_a_duplicated_append() -> None:
    assert check(t(append(1)), final=(1, 1)) == {Kind.DUPLICATE}
    assert Kind.DUPLICATE in check(t(append(1)), t(read(1, 1)), final=(1,))


def test_a_value_nobody_wrote() -> None:
    assert check(t(append(1)), final=(1, 7)) == {Kind.UNWRITTEN}


def test_an_aborted_read() -> None:
    aborted = t(append(2), outcome=ABORTED)
    assert Kind.ABORTED_READ in check(t(append(1)), aborted, t(read(1, 2)), final=(1,))
    assert check(t(append(1)), aborted, final=(1, 2)) == {Kind.ABORTED_READ}


def test_a_dirty_read_before_the_commit() -> None:
    writer, reader = t(append(1)), t(read(1), session=2)
    writer = replace(writer, committing=reader.ended + 1, ended=reader.ended + 2)
    assert check(writer, reader, final=(1,)) == {Kind.DIRTY_READ}


def test_a_dirty_read_of_what_never_stayed() -> None:
    doubtful = t(append(2), outcome=UNKNOWN)
    assert check(t(append(1)), doubtful, t(read(1, 2), session=2), final=(1,)) == {Kind.DIRTY_READ}


def test_an_intermediate_read() -> None:
    first = replace(t(append(1), append(2)), ended=10**9)
    assert check(first, t(read(1), session=2), final=(1, 2)) == {Kind.INTERMEDIATE_READ}


def test_a_transaction_that_misses_its_own_append() -> None:
    assert Kind.INTERNAL in check(t(append(1), read()), final=(1,))


def test_a_snapshot_that_moves() -> None:
    writer, reader = t(append(1)), t(read(), read(1), session=2, snapshot=True)
    assert check(replace(writer, ended=reader.began + 1), reader, final=(1,)) == {Kind.INTERNAL}


def test_reads_that_contradict_each_other() -> None:
    first, second = t(append(1)), t(append(2), session=2)
    assert check(first, second, t(read(2, 1), session=3), final=(1, 2)) == {Kind.WRONG_ORDER}


@pytest.mark.parametrize("before", [read(1, 2), append(2)], ids=["saw", "wrote"])
def test_a_session_that_moves_backwards(before: Append | Read) -> None:
    slow = replace(t(append(2), session=2), ended=10**9)  # so that it is no stale read too
    writers = [t(append(1))] + ([slow] if isinstance(before, Read) else [])
    found = check(*writers, replace(t(before, session=3), ended=10**9), t(read(1), session=3), final=(1, 2))
    assert found == {Kind.BACKWARD_READ}


def test_a_stale_read() -> None:
    assert check(t(append(1), session=1), t(read(), session=2), final=(1,)) == {Kind.STALE_READ}


# --- what was rescued ---------------------------------------------------------------------------------------


def tail() -> list[Transaction]:
    """2 is on the former primary alone, and session 1 has seen it; then comes epoch 2."""
    return [t(append(1)), t(append(2), session=2), t(read(1, 2))]


def test_what_was_rescued_may_be_missing_after_the_change() -> None:
    history = tail()
    history += [t(read(1), epoch=2), t(append(3), epoch=2), t(read(1, 3), session=2, epoch=2)]
    assert not check(*history, final=(1, 3), rescued=frozenset({2}))
    found = check(*history, final=(1, 3))
    assert found == {Kind.LOST, Kind.BACKWARD_READ, Kind.STALE_READ, Kind.WRONG_ORDER}


def test_what_was_rescued_may_not_be_missing_before_the_change() -> None:
    found = check(*tail(), t(read(1)), final=(1,), rescued=frozenset({2}))
    assert found == {Kind.BACKWARD_READ, Kind.STALE_READ}


def test_what_was_rescued_may_not_come_back() -> None:
    found = check(*tail(), t(read(1, 2), epoch=2, session=3), final=(1,), rescued=frozenset({2}))
    assert found == {Kind.REVIVED}


def test_nothing_that_stays_follows_what_was_rescued() -> None:
    assert Kind.WRONG_ORDER in check(
        *tail(), t(append(3)), t(read(1, 2, 3)), final=(1, 3), rescued=frozenset({2})
    )


# --- the bank -----------------------------------------------------------------------------------------------

A = Transfer(name="a", source=0, target=1, amount=5, outcome=COMMITTED)
B = Transfer(name="b", source=1, target=0, amount=3, outcome=UNKNOWN)
FAILED = Transfer(name="f", source=1, target=0, amount=1, outcome=ABORTED)


def test_a_right_bank() -> None:
    transfers = [A, B, FAILED]
    assert not check_bank((10, 10), transfers, [(10, 10), (5, 15)], (5, 15), ["a"])
    assert not check_bank((10, 10), transfers, [(5, 15)], (8, 12), ["a", "b"])
    assert not check_bank((10, 10), transfers, [(5, 15)], (10, 10), [], frozenset({"a"}))


@pytest.mark.parametrize(
    ("reads", "final", "present", "kind"),
    [
        ([(5, 10)], (5, 15), ["a"], Kind.WRONG_TOTAL),
        ([], (5, 16), ["a"], Kind.WRONG_TOTAL),
        ([], (10, 10), ["a"], Kind.WRONG_BALANCE),
        ([], (10, 10), [], Kind.LOST),
        ([], (0, 20), ["a", "a"], Kind.DUPLICATE),
        ([], (6, 14), ["a", "f"], Kind.ABORTED_READ),
        ([], (5, 15), ["a", "x"], Kind.UNWRITTEN),
    ],
)
def test_each_anomaly_of_a_bank(
    reads: list[tuple[int, int]], final: tuple[int, int], present: list[str], kind: Kind
) -> None:
    assert kind in kinds(check_bank((10, 10), [A, B, FAILED], reads, final, present))


# --- no false alarm -----------------------------------------------------------------------------------------


@dataclass
class Serial:
    """A database that does one transaction after another, and loses its tail where it is told to."""

    lists: dict[int, tuple[int, ...]] = field(default_factory=dict)
    replica: dict[int, tuple[int, ...]] = field(default_factory=dict)
    rescued: dict[int, frozenset[int]] = field(default_factory=dict)
    history: list[Transaction] = field(default_factory=list)
    epoch: int = 1
    values: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, session: int, plan: list[tuple[bool, int]], outcome: Outcome, stays: bool) -> None:
        lists, ops = dict(self.lists), list[Append | Read]()
        for appends, key in plan:
            if appends:
                ops.append(Append(key, next(self.values)))
                lists[key] = (*lists.get(key, ()), ops[-1].value)
            else:
                ops.append(Read(key, lists.get(key, ())))
        if outcome is COMMITTED or (outcome is UNKNOWN and stays):
            self.lists = lists
        snapshot = bool(session % 2)
        self.history.append(t(*ops, session=session, epoch=self.epoch, outcome=outcome, snapshot=snapshot))

    def replicate(self) -> None:
        self.replica = dict(self.lists)

    def fail_over(self) -> None:
        """What was never passed on is rescued."""
        self.epoch += 1
        for key, values in self.lists.items():
            tail = set(values) - set(self.replica.get(key, ()))
            self.rescued[key] = self.rescued.get(key, frozenset()) | tail
        self.lists = dict(self.replica)


plans = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.integers(1, 3), plans, st.sampled_from(Outcome), st.booleans()),
    st.sampled_from(["replicate", "fail_over"]),
)


def play(script: list[object], *, synchronous: bool) -> Serial:
    database = Serial()
    for step in script:
        if isinstance(step, tuple):
            database.run(*step)
        if step == "replicate" or synchronous:
            database.replicate()
        if step == "fail_over":
            database.fail_over()
    return database


@given(st.lists(steps, max_size=30), st.booleans())
def test_a_serial_history_raises_no_alarm(script: list[object], synchronous: bool) -> None:
    database = play(script, synchronous=synchronous)
    assert not check_lists(database.history, database.lists, database.rescued)
    assert not (synchronous and any(database.rescued.values()))


@given(st.lists(steps, max_size=30), st.booleans(), st.data())
def test_taking_one_acknowledged_value_away_is_noticed(
    script: list[object], synchronous: bool, data: st.DataObject
) -> None:
    """From the end, or from the rescue files."""
    database = play(script, synchronous=synchronous)
    acknowledged = [
        op
        for transaction in database.history
        if transaction.outcome is COMMITTED
        for op in transaction.appends
    ]
    if not acknowledged:
        return
    op = data.draw(st.sampled_from(acknowledged))
    final = {
        key: tuple(v for v in values if (key, v) != (op.key, op.value))
        for key, values in database.lists.items()
    }
    rescued = {
        key: frozenset(v for v in values if (key, v) != (op.key, op.value))
        for key, values in database.rescued.items()
    }
    assert Kind.LOST in kinds(check_lists(database.history, final, rescued))


moves = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 3), st.integers(1, 9), st.sampled_from(Outcome), st.booleans()
    ),
    max_size=20,
)


@given(moves)
def test_a_serial_bank_raises_no_alarm(script: list[tuple[int, int, int, Outcome, bool]]) -> None:
    balances, present, transfers, reads = [100] * 4, [], [], []
    for number, (source, target, amount, outcome, stays) in enumerate(script):
        transfers.append(
            Transfer(name=str(number), source=source, target=target, amount=amount, outcome=outcome)
        )
        if outcome is COMMITTED or (outcome is UNKNOWN and stays):
            balances[source] -= amount
            balances[target] += amount
            present.append(str(number))
        reads.append(tuple(balances))
    assert not check_bank([100] * 4, transfers, reads, balances, present)
