"""Transactions put together from pgoutput's messages. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from understudy.engines.postgresql.pgoutput import (
    Begin,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Message,
    Origin,
    PgoutputError,
    Relation,
    Row,
    Truncate,
    Update,
)

MAX_TRANSACTION_CHANGES: Final = 1_000_000
"""Limit of `transactions` only, which holds one transaction in memory; `Assembler` has none."""


class Op(StrEnum):
    """What a change did."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Change:
    """One changed row, or one truncated table.

    ``old``: key (``full`` False: other columns are None) or whole row before the change, None where it is not
    known or the key did not change. ``cascade``/``restart_identity`` belong to TRUNCATE.
    """

    op: Op
    relation: Relation
    old: Row | None = None
    new: Row | None = None
    full: bool = False
    cascade: bool = False
    restart_identity: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """One committed transaction. ``origin``: name of the origin it was received from, empty for its own writes."""

    xid: int
    commit_lsn: int
    commit_time: datetime
    end_lsn: int
    changes: tuple[Change, ...]
    origin: str = ""
    messages: tuple[LogicalMessage, ...] = ()


@dataclass(slots=True)
class Assembler:
    """Checks the order of messages and resolves relation ids. Holds one `Relation` per table, nothing else."""

    relations: dict[int, Relation] = field(default_factory=dict)
    current: Begin | None = None

    def feed(self, message: Message) -> tuple[Change, ...]:
        """The changes a message carries (none for most kinds). Raises `PgoutputError` out of order."""
        if isinstance(message, Begin):
            if self.current is not None:
                raise PgoutputError(0, "C before the next B", f"B of transaction {message.xid}")
            self.current = message
        elif isinstance(message, Commit):
            if self.current is None or self.current.commit_lsn != message.commit_lsn:
                raise PgoutputError(0, f"C of {self.current}", f"C of commit LSN {message.commit_lsn}")
            self.current = None
        elif isinstance(message, Relation):
            self.relations[message.id] = message
        elif isinstance(message, Insert | Update | Delete | Truncate):
            return self._changes(message)
        return ()

    def _changes(self, message: Insert | Update | Delete | Truncate) -> tuple[Change, ...]:
        if self.current is None:
            raise PgoutputError(0, "B before a change", type(message).__name__)
        if isinstance(message, Truncate):
            tables = [self._relation(i) for i in message.relations]
            return tuple(
                Change(Op.TRUNCATE, t, cascade=message.cascade, restart_identity=message.restart_identity)
                for t in tables
            )
        relation = self._relation(message.relation)
        if isinstance(message, Insert):
            change = Change(Op.INSERT, relation, None, message.new)
        elif isinstance(message, Update):
            change = Change(Op.UPDATE, relation, message.old, message.new, message.full)
        else:
            change = Change(Op.DELETE, relation, message.old, None, message.full)
        for row in (change.old, change.new):
            if row is not None and len(row) != len(relation.columns):
                raise PgoutputError(
                    0, f"{len(relation.columns)} columns of {relation.name}", f"{len(row)} columns"
                )
        return (change,)

    def _relation(self, relation_id: int) -> Relation:
        relation = self.relations.get(relation_id)
        if relation is None:
            raise PgoutputError(1, "the id of an announced relation", str(relation_id))
        return relation


def transactions(messages: Iterable[Message]) -> Iterator[Transaction]:
    """Whole transactions, one in memory at a time (at most `MAX_TRANSACTION_CHANGES` changes).

    Raises `PgoutputError` for messages out of order, a transaction past the limit, or one without its commit.
    """
    assembler = Assembler()
    changes: list[Change] = []
    logical: list[LogicalMessage] = []
    origin = ""
    for message in messages:
        begun = assembler.current
        changes.extend(assembler.feed(message))
        if len(changes) + len(logical) > MAX_TRANSACTION_CHANGES:
            raise PgoutputError(0, f"at most {MAX_TRANSACTION_CHANGES} changes in a transaction", "more")
        if isinstance(message, Origin):
            origin = message.name
        elif isinstance(message, LogicalMessage) and message.transactional:
            logical.append(message)
        elif isinstance(message, Commit) and begun is not None:
            yield Transaction(
                begun.xid,
                message.commit_lsn,
                message.commit_time,
                message.end_lsn,
                tuple(changes),
                origin,
                tuple(logical),
            )
            changes, logical, origin = [], [], ""
    if assembler.current is not None:
        raise PgoutputError(0, "C at the end", f"end of messages inside transaction {assembler.current.xid}")
