"""Checks of what several clients saw against what one database may show. Pure: no clock, no database.

Two workloads, each recorded by the clients themselves:

*Lists* (after Elle, Kingsbury & Alvaro, VLDB 2020): each transaction reads lists and appends values that nobody else
ever writes. A list shows in which order its writers committed, so every read has one right answer: the lists at the
end, cut somewhere.

*Bank*: each transaction moves an amount between two accounts and leaves a row that names it; readers read all
balances in one snapshot.

The rule for `bounded`: after an unplanned change of primary, what the former primary had not passed on is gone from
the lists and lies in the rescue files. Exactly these values, no others, may be missing at the end although they were
acknowledged, and may have been seen before the change and not after it. They must have been the *end* of the list
when they were seen (replication passes commits on in order, so nothing that stayed follows something that was
rescued), and a client of a newer epoch than their writer's must never see one. In `zero` nothing is rescued, so
nothing is excused.

Reads count where the transaction that made them was acknowledged: a client that was told that its transaction failed
must not act on what it read in it.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Values = tuple[int, ...]


class Outcome(StrEnum):
    """What the client was told. ABORTED: certainly not committed. UNKNOWN: `CommitInDoubt`."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What is wrong with a history."""

    LOST = "an acknowledged append is neither there nor rescued"
    DUPLICATE = "an append is there twice"
    UNWRITTEN = "a value that nobody appended"
    ABORTED_READ = "a value of a transaction that was reported as certainly not committed"
    DIRTY_READ = "a value was seen before its commit was sent, or was seen and never stayed"
    INTERMEDIATE_READ = "a part of another transaction was seen"
    INTERNAL = "a transaction does not see its own appends, or something moved in its snapshot"
    WRONG_ORDER = "a read that is not the beginning of the list as it became"
    BACKWARD_READ = "a session does not see any more what it saw or wrote before"
    STALE_READ = "an append was acknowledged before the transaction began that does not see it"
    REVIVED = "a rescued value was seen at a newer epoch"
    WRONG_TOTAL = "the total of the bank is another one"
    WRONG_BALANCE = "the balances are not what the transfers make them"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that no right database shows."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Append:
    key: int
    value: int


@dataclass(frozen=True, slots=True)
class Read:
    key: int
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One transaction as its client saw it.

    Args:
        session: the client; its transactions follow one another.
        epoch: that of the connection; a change of primary makes it higher.
        began, committing, ended: of one clock: before the first statement, before COMMIT, after the answer.
        snapshot: all its reads were made in one snapshot (REPEATABLE READ).
    """

    session: int
    epoch: int
    outcome: Outcome
    ops: tuple[Append | Read, ...]
    began: int
    committing: int
    ended: int
    snapshot: bool = False

    @property
    def appends(self) -> list[Append]:
        return [op for op in self.ops if isinstance(op, Append)]

    @property
    def reads(self) -> list[Read]:
        return [op for op in self.ops if isinstance(op, Read)]


@dataclass(frozen=True)
class _Lists:
    """A history of lists with what is asked of it again and again."""

    history: Sequence[Transaction]
    final: Mapping[int, Values]
    rescued: Mapping[int, frozenset[int]]
    writers: dict[tuple[int, int], Transaction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for transaction in self.history:
            for op in transaction.appends:
                self.writers[op.key, op.value] = transaction

    @property
    def acknowledged(self) -> list[Transaction]:
        return [t for t in self.history if t.outcome is Outcome.COMMITTED]

    def gone(self, key: int) -> frozenset[int]:
        """What was rescued and is not in the list at the end."""
        return self.rescued.get(key, frozenset()) - frozenset(self.final.get(key, ()))


def check_lists(
    history: Sequence[Transaction],
    final: Mapping[int, Values],
    rescued: Mapping[int, frozenset[int]] | None = None,
) -> list[Anomaly]:
    """Everything that is wrong with a history of lists; empty: nothing.

    Args:
        history: all transactions of all sessions, in any order. No value is appended twice to a key.
        final: the lists at the end, on the present primary.
        rescued: values in the rescue files, by key. See the rule above.
    """
    lists = _Lists(sorted(history, key=lambda t: t.began), final, rescued or {})
    checks = (_end, _reads, _own_appends, _sessions, _real_time)
    return [anomaly for check in checks for anomaly in check(lists)]


def _end(lists: _Lists) -> Iterator[Anomaly]:
    """The lists at the end hold what was acknowledged, once, and nothing that was reported as not committed."""
    for key, values in lists.final.items():
        for value, times in Counter(values).items():
            if times > 1:
                yield Anomaly(Kind.DUPLICATE, f"list {key} ends with {value} in it {times} times")
            yield from _provenance(lists, key, value, "the list at the end")
    for transaction in lists.acknowledged:
        for op in transaction.appends:
            if op.value not in lists.final.get(op.key, ()) and op.value not in lists.gone(op.key):
                yield Anomaly(Kind.LOST, f"{op} was acknowledged to session {transaction.session}")


def _provenance(lists: _Lists, key: int, value: int, where: str) -> Iterator[Anomaly]:
    """Somebody wrote this value, and was not told that it was not committed."""
    writer = lists.writers.get((key, value))
    if writer is None:
        yield Anomaly(Kind.UNWRITTEN, f"{where}: list {key} holds {value}, which nobody appended")
    elif writer.outcome is Outcome.ABORTED:
        yield Anomaly(Kind.ABORTED_READ, f"{where}: list {key} holds {value}, reported as not committed")


def _reads(lists: _Lists) -> Iterator[Anomaly]:
    """Every acknowledged read, by itself."""
    for transaction in lists.acknowledged:
        for read, own in _with_own(transaction):
            others = tuple(value for value in read.values if value not in own)
            where = f"a read of session {transaction.session} at epoch {transaction.epoch}"
            for value in others:
                yield from _provenance(lists, read.key, value, where)
            yield from _whole_transactions(lists, transaction, read.key, others, where)
            yield from _order(lists, transaction, read, where)


def _with_own(transaction: Transaction) -> Iterator[tuple[Read, frozenset[int]]]:
    """Each read with what the same transaction had appended to that list before it."""
    own: dict[int, frozenset[int]] = defaultdict(frozenset)
    for op in transaction.ops:
        if isinstance(op, Append):
            own[op.key] |= {op.value}
        else:
            yield op, own[op.key]


def _whole_transactions(
    lists: _Lists, reader: Transaction, key: int, values: Values, where: str
) -> Iterator[Anomaly]:
    """Of another transaction one sees all or nothing, and nothing before it sent COMMIT."""
    seen = set(values)
    for value in values:
        writer = lists.writers.get((key, value))
        if writer is None or writer is reader:
            continue
        missing = {op.value for op in writer.appends if op.key == key} - seen
        if missing:
            yield Anomaly(Kind.INTERMEDIATE_READ, f"{where}: list {key} holds {value}, but not {missing}")
        if reader.committing < writer.committing:
            yield Anomaly(Kind.DIRTY_READ, f"{where}: list {key} holds {value} before its commit was sent")


def _order(lists: _Lists, reader: Transaction, read: Read, where: str) -> Iterator[Anomaly]:
    """A read is the beginning of the list as it became, followed at most by what was rescued."""
    if any(times > 1 for times in Counter(read.values).values()):
        yield Anomaly(Kind.DUPLICATE, f"{where}: list {read.key} was {read.values}")
        return
    final, gone = lists.final.get(read.key, ()), lists.gone(read.key)
    stayed = tuple(itertools.takewhile(lambda value: value not in gone, read.values))
    for value in read.values[len(stayed) :]:
        writer = lists.writers.get((read.key, value))
        if value not in gone:
            yield Anomaly(Kind.WRONG_ORDER, f"{where}: list {read.key} has {value} after a rescued value")
        elif writer is not None and writer.epoch < reader.epoch:
            yield Anomaly(Kind.REVIVED, f"{where}: list {read.key} holds {value} of epoch {writer.epoch}")
    if stayed == final[: len(stayed)]:
        return
    vanished = [v for v in stayed if v not in final]
    if any(
        lists.writers[read.key, v].outcome is Outcome.UNKNOWN
        for v in vanished
        if (read.key, v) in lists.writers
    ):
        yield Anomaly(Kind.DIRTY_READ, f"{where}: list {read.key} held {vanished}, which never stayed")
    else:
        yield Anomaly(Kind.WRONG_ORDER, f"{where}: list {read.key} was {read.values}, but became {final}")


def _own_appends(lists: _Lists) -> Iterator[Anomaly]:
    """Inside one transaction: own appends are seen, at the end; in a snapshot nothing else moves."""
    for transaction in lists.acknowledged:
        own: dict[int, Values] = defaultdict(tuple)
        before: dict[int, Values] = {}
        for op in transaction.ops:
            if isinstance(op, Append):
                own[op.key] += (op.value,)
                if op.key in before and transaction.snapshot:
                    before[op.key] += (op.value,)
                continue
            expected = before.get(op.key, op.values) if transaction.snapshot else op.values
            if op.values != expected or op.values[len(op.values) - len(own[op.key]) :] != own[op.key]:
                yield Anomaly(Kind.INTERNAL, f"session {transaction.session}: {transaction.ops}")
            before[op.key] = op.values


def _sessions(lists: _Lists) -> Iterator[Anomaly]:
    """A session on the primary never moves backwards, except by what was rescued in between."""
    seen: dict[int, dict[tuple[int, int], int]] = defaultdict(dict)  # session -> (key, value) -> epoch
    for transaction in lists.acknowledged:
        known = seen[transaction.session]
        for op in transaction.ops:
            if isinstance(op, Append):
                known[op.key, op.value] = transaction.epoch
                continue
            for (key, value), epoch in list(known.items()):
                excused = value in lists.gone(key) and transaction.epoch > epoch
                if key == op.key and value not in op.values and not excused:
                    yield Anomaly(Kind.BACKWARD_READ, f"session {transaction.session}: {op} misses {value}")
            known.update(dict.fromkeys(((op.key, v) for v in op.values), transaction.epoch))


def _real_time(lists: _Lists) -> Iterator[Anomaly]:
    """What was acknowledged to anybody before a transaction began is seen by it, unless it was rescued."""
    appends: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # key -> acknowledged at, value, epoch
    for transaction in lists.acknowledged:
        for op in transaction.appends:
            appends[op.key].append((transaction.ended, op.value, transaction.epoch))
    for transaction in lists.acknowledged:
        for read in transaction.reads:
            for ended, value, epoch in appends[read.key]:
                excused = value in lists.gone(read.key) and transaction.epoch > epoch
                if ended < transaction.began and value not in read.values and not excused:
                    yield Anomaly(Kind.STALE_READ, f"session {transaction.session}: {read} misses {value}")


# --- the bank -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One transfer as its client saw it. ``name`` is in the row that the same transaction leaves."""

    name: str
    source: int
    target: int
    amount: int
    outcome: Outcome


def check_bank(
    initial: Sequence[int],
    transfers: Iterable[Transfer],
    reads: Iterable[Sequence[int]],
    final: Sequence[int],
    present: Sequence[str],
    rescued: frozenset[str] = frozenset(),
) -> list[Anomaly]:
    """Everything that is wrong with a bank; empty: nothing.

    Args:
        initial, final: all balances before and after.
        reads: balances as they were read in one snapshot, at any time and epoch: the total never moves.
        present: names in the rows of the transfers at the end, with repetitions.
        rescued: names in the rescue files; by the rule above these may be missing.
    """
    known = {transfer.name: transfer for transfer in transfers}
    found = list(_totals(sum(initial), [*reads, final]))
    for name, times in Counter(present).items():
        if times > 1:
            found.append(Anomaly(Kind.DUPLICATE, f"transfer {name} is there {times} times"))
        if name not in known:
            found.append(Anomaly(Kind.UNWRITTEN, f"transfer {name} was made by nobody"))
        elif known[name].outcome is Outcome.ABORTED:
            found.append(Anomaly(Kind.ABORTED_READ, f"{known[name]} is there"))
    accounted = {*present, *rescued}
    for transfer in known.values():
        if transfer.outcome is Outcome.COMMITTED and transfer.name not in accounted:
            found.append(Anomaly(Kind.LOST, f"{transfer} is neither there nor rescued"))
    balances = list(initial)
    for name in present:
        if name in known:
            balances[known[name].source] -= known[name].amount
            balances[known[name].target] += known[name].amount
    if balances != list(final):
        found.append(Anomaly(Kind.WRONG_BALANCE, f"{list(final)}, but the transfers make it {balances}"))
    return found


def _totals(total: int, reads: Iterable[Sequence[int]]) -> Iterator[Anomaly]:
    for read in reads:
        if sum(read) != total:
            yield Anomaly(Kind.WRONG_TOTAL, f"{list(read)} is {sum(read)} and not {total}")
