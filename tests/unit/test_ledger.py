"""Ledgers: whole records, whatever happens to the writer; readers that follow."""

from __future__ import annotations

from pathlib import Path

from understudy.demo.ledger import SIZE, Entry, Ledger, Reader, Status, read


def entry(seq: int, *, writer: int = 1, ended: int = 0) -> Entry:
    return Entry(
        writer, seq, Status.ACKED, node=1, epoch=2, began=ended - 5, ended=ended, settled=seq % 2 == 0
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "writer-1.ledger"
    ledger = Ledger(path)
    entries = [entry(seq, ended=seq * 10) for seq in range(1, 4)]
    for one in entries:
        ledger.add(one)
    ledger.close()
    assert list(read(path)) == entries
    assert path.stat().st_size == 3 * SIZE


def test_a_torn_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "writer-1.ledger"
    ledger = Ledger(path)
    ledger.add(entry(1))
    ledger.close()
    with path.open("ab") as file:
        file.write(b"half of a record")
    assert [e.seq for e in read(path)] == [1]


def test_a_ledger_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "writer-1.ledger"
    for seq in (1, 2):
        ledger = Ledger(path)
        ledger.add(entry(seq))
        ledger.close()
    assert [e.seq for e in read(path)] == [1, 2]


def test_a_reader_follows_in_the_order_of_answers(tmp_path: Path) -> None:
    paths = [tmp_path / f"writer-{n}.ledger" for n in (1, 2)]
    reader = Reader(paths)
    assert reader.new() == []
    ledgers = [Ledger(path) for path in paths]
    ledgers[0].add(entry(1, writer=1, ended=20))
    ledgers[1].add(entry(1, writer=2, ended=10))
    assert [(e.writer, e.ended) for e in reader.new()] == [(2, 10), (1, 20)]
    ledgers[0].add(entry(2, writer=1, ended=30))
    assert [(e.writer, e.seq) for e in reader.new()] == [(1, 2)]
    for ledger in ledgers:
        ledger.close()
