"""Journals of drills: read back as written, chained, and in a shape that others read."""

from __future__ import annotations

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from understudy.readiness import journal
from understudy.readiness.journal import (
    Activity,
    Check,
    Journal,
    JournalError,
    Journals,
    Loss,
    Outcome,
    Radius,
    Recovery,
)


def drill(number: int = 1, outcome: Outcome = Outcome.PASS) -> Journal:
    good = Check(what="writes are acknowledged", outcome=Outcome.PASS, evidence="412 in 2 s", seconds=2.0)
    return Journal(
        id=f"2026112{number}T074500Z-failover-crash-00000{number}",
        scenario="failover-crash",
        cluster="main",
        hypothesis="writes go on within 3 s and none is lost",
        abort_rule="no write for 60 s",
        radius=Radius.SANDBOX,
        operator="schedule",
        must_fail=False,
        started=f"2026-11-2{number}T07:45:00+00:00",
        finished=f"2026-11-2{number}T07:45:40+00:00",
        seconds=40.0,
        versions={"understudy": "0.1", "postgresql": "16.14", "platform": "Linux", "host": "oak"},
        config="ab" * 32,
        before=(good,),
        timeline=(Activity(name="kill -9", offset=3.0, seconds=0.0, outcome=Outcome.PASS, output="pid 42"),),
        after=(good,),
        evidence=(),
        skipped=("page: no browser here",),
        cleanup=(good,),
        recovery=Recovery(detect=0.05, decide=0.01, act=0.06, verify=1.0, writes=0.12),
        loss=Loss(acknowledged=400, lost=0, rescued=0, seconds=0.0),
        rto=3600.0,
        rpo=300.0,
        backup="",
        backup_sha256="",
        outcome=outcome,
        summary="nothing lost, 0.12 s without a write",
    )


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = journal.write(tmp_path / "drills", drill())
    assert journal.read(file) == drill()
    assert journal.all_of(tmp_path / "drills") == ([drill()], [])


def test_whole_numbers_are_good_enough_for_seconds(tmp_path: Path) -> None:
    given = replace(drill(), rto=3600, seconds=40)
    assert journal.read(journal.write(tmp_path, given)) == drill()


def test_a_journal_is_read_once_and_again_when_it_changed(tmp_path: Path) -> None:
    opened: list[Path] = []
    reading = journal.read

    def counted(file: Path) -> Journal:
        opened.append(file)
        return reading(file)

    first = journal.write(tmp_path, drill(1))
    look = Journals(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "read", counted)
        assert [look.all() for _ in range(3)] == [([drill(1)], [])] * 3
        assert opened == [first]
        second = journal.write(tmp_path, drill(2))
        opened.clear()
        assert [one.id for one in look.all()[0]] == [drill(1).id, drill(2).id]
        assert opened == [second]
        second.write_text(second.read_text().replace("pid 42", "pid 43"))
        assert "changed after it was written" in look.all()[1][0]
        second.unlink()
        assert look.all() == ([drill(1)], [])


def test_what_is_remembered_of_journals_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [journal.write(tmp_path, drill(number)) for number in (1, 2, 3)]
    monkeypatch.setattr(journal, "REMEMBERED", sum(file.stat().st_size for file in files[1:]))
    look = Journals(tmp_path)
    assert len(look.all()[0]) == 3
    opened: list[Path] = []
    reading = journal.read
    monkeypatch.setattr(journal, "read", lambda file: opened.append(file) or reading(file))
    assert len(look.all()[0]) == 3
    assert opened == files[:1]  # the newest are known


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert journal.all_of(tmp_path / "none") == ([], [])


def test_the_outer_shape_is_the_chaos_toolkits(tmp_path: Path) -> None:
    outer = json.loads(journal.write(tmp_path, drill()).read_text())
    assert outer["status"] == "completed"
    assert outer["deviated"] is False
    assert outer["start"] == "2026-11-21T07:45:00"
    assert outer["steady_states"]["before"]["steady_state_met"] is True
    assert outer["run"][0]["activity"]["name"] == "kill -9"
    assert {"experiment", "platform", "node", "end", "duration", "rollbacks"} <= set(outer)


@pytest.mark.parametrize(("outcome", "status"), [(Outcome.FAIL, "failed"), (Outcome.INCONCLUSIVE, "aborted")])
def test_the_status_is_the_outcome(tmp_path: Path, outcome: Outcome, status: str) -> None:
    assert json.loads(journal.write(tmp_path, drill(outcome=outcome)).read_text())["status"] == status


def test_a_changed_journal_is_noticed(tmp_path: Path) -> None:
    file = journal.write(tmp_path, drill())
    file.write_text(file.read_text().replace('"lost": 0', '"lost": 1'))
    with pytest.raises(JournalError, match="changed after it was written"):
        journal.read(file)


def test_a_journal_that_was_replaced_together_with_its_hash_breaks_the_chain(tmp_path: Path) -> None:
    first = journal.write(tmp_path, drill(1))
    second = journal.write(tmp_path, drill(2))
    third = journal.write(tmp_path, drill(3))
    assert journal.all_of(tmp_path)[1] == []
    second.unlink()
    forged = journal.write(tmp_path / "elsewhere", replace(drill(2), summary="all was well"))
    forged.rename(second)
    journals, wrong = journal.all_of(tmp_path)
    assert [found.id for found in journals] == [drill(n).id for n in (1, 2, 3)]
    assert [sentence.partition(":")[0] for sentence in wrong] == [str(second), str(third)]
    first.unlink()  # tidying away the oldest is no break
    assert str(first) not in "".join(journal.all_of(tmp_path)[1])


def test_one_that_was_taken_out_is_noticed(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        journal.write(tmp_path, drill(number))
    (tmp_path / f"{drill(2).id}.json").unlink()
    assert len(journal.all_of(tmp_path)[1]) == 1


def test_a_damaged_journal_does_not_stop_the_next_drill(tmp_path: Path) -> None:
    journal.write(tmp_path, drill(1)).write_text("not JSON")
    journal.write(tmp_path, drill(2))
    journals, wrong = journal.all_of(tmp_path)
    assert [found.id for found in journals] == [drill(2).id]
    assert len(wrong) == 1


def test_drills_that_overlap_are_chained_as_they_end(tmp_path: Path) -> None:
    """The one that began first ends last."""
    for number in (2, 1, 3):
        journal.write(tmp_path, drill(number))
    journals, wrong = journal.all_of(tmp_path)
    assert ([found.id for found in journals], wrong) == ([drill(n).id for n in (1, 2, 3)], [])
    assert journals[0].previous != journals[1].previous != journals[2].previous


def test_two_that_end_at_once_are_chained_one_after_the_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: journal.write(tmp_path, drill(number)), range(1, 9)))
    journals, wrong = journal.all_of(tmp_path)
    assert (len(journals), wrong) == (8, [])


def test_one_that_was_slipped_in_is_noticed(tmp_path: Path) -> None:
    for number in (1, 4):
        journal.write(tmp_path, drill(number))
    forged = journal.write(tmp_path / "elsewhere", drill(2))
    forged.rename(tmp_path / forged.name)
    assert [sentence.partition(":")[0] for sentence in journal.all_of(tmp_path)[1]] == [
        str(tmp_path / forged.name)
    ]


def test_where_it_does_not_fit_nothing_is_left(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))  # the kernel refuses as a full disk does
    try:
        with pytest.raises(OSError, match="too large"):
            journal.write(tmp_path, drill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["chain.lock"]
    journal.write(tmp_path, drill())
    assert journal.all_of(tmp_path) == ([drill()], [])
