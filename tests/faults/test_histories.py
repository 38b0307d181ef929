"""What several clients saw across a failover and a switchover home, on real servers, is what one database shows."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.equipment.history import Outcome, check_bank, check_lists
from tests.equipment.history_workload import ACCOUNTS, EACH, Clients, HistoryLab, Notes, rescued

from understudy.demo.lab import Lab
from understudy.model import Rpo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def cut_the_stream(lab: Lab) -> None:
    """Freeze the process of server a that sends changes to b: what is committed from now on is a's alone."""
    with lab.connect("a", "postgres") as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_replication").fetchall()
    assert len(rows) == 1
    os.kill(rows[0][0], signal.SIGSTOP)


def across_both_changes(lab: Lab) -> tuple[list[Notes], int]:
    """Loss of a, its return, and the planned change home. Also when everything was well again (monotonic, ns)."""
    with Clients(lab) as clients:
        clients.work(300)
        if lab.mode is Rpo.BOUNDED:
            cut_the_stream(lab)
            clients.work(60)
        lab.servers["a"].kill()
        lab.await_state(lambda state: state.primary == "b" and state.plan is None, 60, "a failover")
        clients.work(200)
        lab.servers["a"].start()
        lab.await_settled()
        well = time.monotonic_ns()
        clients.work(100)
        lab.switchover("a")
        clients.work(200)
        notes = clients.stop()
    lab.await_settled()
    return notes, well


def check_all(lab: Lab, notes: list[Notes]) -> tuple[dict[int, frozenset[int]], frozenset[str]]:
    """Both workloads, against what is there now and what was rescued, which is returned."""
    values, names = rescued(lab.rescues)
    with lab.connect("a") as connection:
        lists = {key: tuple(v) for key, v in connection.execute("SELECT key, elements FROM list")}
        balances = [b for (b,) in connection.execute("SELECT balance FROM account ORDER BY id")]
        present = [name for (name,) in connection.execute("SELECT name FROM transfer")]
    assert check_lists([t for n in notes for t in n.transactions], lists, values) == []
    transfers, reads = [t for n in notes for t in n.transfers], [r for n in notes for r in n.totals]
    assert check_bank([EACH] * ACCOUNTS, transfers, reads, balances, present, names) == []
    return values, names


@pytest.mark.parametrize("mode", Rpo)
def test_histories_across_a_failover_and_a_switchover(mode: Rpo) -> None:
    with HistoryLab(mode=mode, scale=1) as lab:
        notes, well = across_both_changes(lab)
        values, names = check_all(lab, notes)
        assert lab.verify().equal
    if mode is Rpo.ZERO:
        assert not values
        assert not names
    else:
        assert values, "there was no tail to rescue, so the rule about it was not tried"
    epochs = {t.epoch for n in notes for t in n.transactions if t.outcome is Outcome.COMMITTED}
    assert len(epochs) >= 3, "the clients did not work before, between and after the changes"
    # With everything well again, nobody was told anything but that snapshots collided.
    later = [text for n in notes for at, text in n.errors if at > well]
    assert [text for text in later if not text.startswith("SerializationFailure")] == []
