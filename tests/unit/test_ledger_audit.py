"""The audit: what counts as lost, doubled, two writers, outage and stall."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from understudy.demo import audit
from understudy.demo.ledger import Entry, Status

MS = 1_000_000


def ack(
    at: int, *, node: int = 0, epoch: int = 1, seq: int = 0, settled: bool = False, began: int | None = None
) -> Entry:
    """An acknowledgement after ``at`` milliseconds."""
    start = (at - 1 if began is None else began) * MS
    return Entry(1, seq or at, Status.ACKED, node, epoch, start, at * MS, settled)


def failed(at: int, status: Status = Status.IN_DOUBT) -> Entry:
    return Entry(1, at, status, 0, 1, at * MS, at * MS)


def test_lost_is_acknowledged_and_nowhere() -> None:
    counted = audit.count([ack(1), ack(2), ack(3)], present=[(1, 1)], rescued=[(1, 2)])
    assert (counted.acked, counted.absent, counted.unaccounted, counted.rescued) == (3, 2, 1, 1)


def test_what_was_never_promised_cannot_be_lost() -> None:
    counted = audit.count([ack(1), failed(2), failed(3, Status.FAILED)], present=[(1, 1)], rescued=[])
    assert (counted.absent, counted.errors, counted.in_doubt, counted.failed) == (0, 2, 1, 1)


def test_doubled_counts_every_copy_beyond_the_first() -> None:
    assert audit.count([ack(1)], present=[(1, 1)] * 3, rescued=[]).doubled == 2


def test_a_change_of_primary_is_not_two_writers() -> None:
    acks = [ack(1), ack(2), ack(3, node=1, epoch=2), ack(4, node=0, epoch=3)]
    assert audit.two_writers(acks) == 0


def test_an_acknowledgement_of_the_former_node_is_two_writers() -> None:
    acks = [ack(1), ack(2, node=1, epoch=2), ack(3), ack(4), ack(5, node=1, epoch=2)]
    assert audit.two_writers(acks) == 2


def test_what_was_under_way_in_a_change_and_is_noted_late_is_no_second_writer() -> None:
    """A writer whose process has no turn for a while hears of its acknowledgement after others were served anew."""
    new = ack(5, node=1, epoch=2)
    assert audit.two_writers([ack(1), new, ack(9, began=2)]) == 0
    assert audit.two_writers([ack(1), new, ack(9, began=6)]) == 1


def test_a_rolled_back_change_on_the_same_node_is_one_writer() -> None:
    assert audit.two_writers([ack(1), ack(2, epoch=3), ack(3, epoch=1)]) == 0


def test_what_was_settled_by_its_token_was_not_made_then() -> None:
    new = ack(5, node=1, epoch=2)
    assert audit.two_writers([ack(1), new, ack(6, settled=True, began=2)]) == 0
    assert audit.two_writers([ack(1), new, ack(8, settled=True, began=7)]) == 1


def test_outage_is_from_the_last_old_to_the_first_new_acknowledgement() -> None:
    # One answer of the old primary is still on its way when the fault begins at 10.
    acks = [ack(1), ack(9), ack(11), ack(161, node=1, epoch=2), ack(162, node=1, epoch=2)]
    assert audit.outage_ms(acks, 10 * MS) == pytest.approx(150)


def test_outage_without_a_change_is_the_longest_gap() -> None:
    assert audit.outage_ms([ack(9), ack(30), ack(31)], 10 * MS) == pytest.approx(21)


def test_an_outage_that_never_ended_is_none() -> None:
    assert audit.outage_ms([ack(9), failed(30)], 10 * MS) is None


def test_a_gap_that_began_earlier_is_measured_whole() -> None:
    assert audit.longest_gap_ms([ack(1), ack(50), ack(52)], 20 * MS, 51 * MS) == pytest.approx(49)


def test_a_gap_that_goes_on_is_measured_to_the_end() -> None:
    assert audit.longest_gap_ms([ack(19), ack(21)], 20 * MS, 100 * MS) == pytest.approx(79)


def test_rescued_rows_are_the_inserts_into_the_history(tmp_path: Path) -> None:
    folder = tmp_path / "demo-link-epoch2"
    folder.mkdir()
    new = {"writer": "3", "seq": "17"}
    records = [
        {"schema": "public", "table": "pgbench_accounts", "op": "update", "new": {"aid": "1"}},
        {"schema": "other", "table": "pgbench_history", "op": "insert", "new": {"writer": "9", "seq": "9"}},
        {"schema": "public", "table": "pgbench_history", "op": "insert", "new": new},
    ]
    (folder / "changes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    assert audit.rescued_rows(tmp_path) == [(3, 17)]
    assert audit.rescued_rows(tmp_path / "none") == []
