"""Renewing the lease in the agent's place, so that an agent that dies or freezes never stops a write.

The rule is the agent's: at least two of the three registers (witness, two fence rows) hold epoch e, and none of the
answering ones a higher one. One process per host does it (a file lock says which).
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from understudy.engines.postgresql.fence_row import read_fences
from understudy.errors import UnderstudyError, WitnessError
from understudy.lease import Lease, LeaseFile, Phase, boot_now
from understudy.model import Cluster, ClusterState, PlanKind
from understudy.witness.sqlite import SqliteWitness

_CHANGES = (PlanKind.FAILOVER, PlanKind.SWITCHOVER, PlanKind.REINSTATE)
_BETWEEN = 0.25  # seconds between two attempts


def confirmed(state: ClusterState | None, fences: list[tuple[int, str] | None]) -> tuple[int, str] | None:
    """The (epoch, primary) that at least two of three registers hold, none of the others being higher.

    With the witness unreadable, both fence rows must also agree on the primary; with it readable, its
    primary counts, and only while no change of primary is under way.
    """
    answers = [fence for fence in fences if fence is not None]
    epochs = [epoch for epoch, _ in answers] + ([state.epoch] if state is not None else [])
    if len(epochs) < 2:
        return None
    highest = max(epochs)
    if epochs.count(highest) < 2:
        return None
    if state is None:
        return answers[0] if len(set(answers)) == 1 else None
    if state.epoch < highest or (state.plan is not None and state.plan.kind in _CHANGES):
        return None
    return highest, state.primary


class Renewal:
    """Watches that somebody renews; does it where nobody does. The work runs in a thread of its own."""

    def __init__(self, cluster: Cluster, directory: Path, file: LeaseFile) -> None:
        self._cluster, self._directory, self._file = cluster, directory, file
        self._overdue = max(1.5 * cluster.policy.probe_interval, 1.5)
        self._next = 0.0
        self._go = threading.Event()
        self._thread: threading.Thread | None = None

    def nudge_if_due(self, lease: Lease | None) -> None:
        """Called by the watcher at every look. Costs a comparison while the agent does its work."""
        now = boot_now()
        if lease is not None and now - lease.renewed < self._overdue and lease.deadline > now:
            return
        if now < self._next or (lease is not None and lease.phase is not Phase.OPEN and lease.deadline > now):
            return
        self._next = now + _BETWEEN
        if self._thread is None or not self._thread.is_alive():  # also: none could be started, or it failed
            self._thread = threading.Thread(
                target=self._run, name=f"understudy-{self._cluster.name}-renewal", daemon=True
            )
            self._thread.start()
        self._go.set()

    def _run(self) -> None:
        while True:
            self._go.wait()
            self._go.clear()
            try:
                self.attempt()
            except (UnderstudyError, OSError):
                continue  # the lease stays as it is; holding calls say why
            except RuntimeError:
                if threading.main_thread().is_alive():
                    raise
                return  # the interpreter is going down and gives no more threads to resolve names with

    def attempt(self) -> bool:
        """Try once. False when another process does it, or when two of three did not confirm."""
        fd = os.open(
            self._directory / f"{self._cluster.name}.renew", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660
        )
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return self._confirm_and_renew()
        finally:
            os.close(fd)

    def _confirm_and_renew(self) -> bool:
        began = boot_now()  # the lease counts from before the questions were asked
        policy = self._cluster.policy
        state = self._state()
        fences = read_fences([node.dsn for node in self._cluster.nodes], timeout=policy.probe_timeout)
        answer = confirmed(state, fences)
        if answer is None:
            return False
        epoch, primary = answer
        deadline = began + policy.lease_ttl
        present = self._file.read()
        if present is not None and present.epoch > epoch:
            return False
        if present is not None and (present.epoch, present.primary, present.phase) == (
            epoch,
            primary,
            Phase.OPEN,
        ):
            return self._file.renew(
                epoch,
                primary,
                renewed=began,
                deadline=deadline,
                standby=present.standby,
                standby_lag=-1.0,  # nobody measures it while the agent is away
            )
        if state is None:
            return (
                False  # only the witness says that a change is finished: fence rows are raised before it is
            )
        if present is not None and present.deadline > boot_now():
            return False  # somebody is at work: HOLDING or CHANGING
        return self._file.write(
            Lease(epoch=epoch, primary=primary, phase=Phase.OPEN, renewed=began, deadline=deadline)
        )

    def _state(self) -> ClusterState | None:
        """What the witness says; None where it cannot be read, for whatever reason: two others may suffice."""
        path = self._directory / "witness.db"
        if not path.exists():
            return None
        try:
            witness = SqliteWitness(path, create=False)
            try:
                return witness.read(self._cluster.name)
            finally:
                witness.close()
        except WitnessError:
            return None
