"""The pair a change of primary is drilled on: two servers of our own, a clone, or the cluster that people use.

In both, canaries write all the time and keep ledgers of what they were told; the databases are asked afterwards.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psycopg

from understudy.agent.orders import OrderError, Orders
from understudy.backup import staging
from understudy.config import Config
from understudy.demo import audit
from understudy.demo.lab import MANUAL, Lab, at_rest, compare
from understudy.demo.ledger import Entry, Reader, Status
from understudy.demo.workload import Writers, canary_tokens, rescued_tokens
from understudy.drill import clone
from understudy.drill.definition import Setting
from understudy.drill.stage import Aborted, Stage
from understudy.engines.base import VerifyReport
from understudy.errors import UnderstudyError
from understudy.model import Cluster, ClusterState, RequestKind
from understudy.readiness.journal import Check, Outcome, Radius
from understudy.witness import SqliteWitness
from understudy.witness.base import Event

STEADY: Final = 1.0  # seconds of undisturbed writing before and after
SILENCE: Final = 30.0  # seconds without an acknowledgement after which a drill is aborted
SETTLE: Final = 120.0  # seconds for a repair
SETTLE_RATE: Final = 10e6  # bytes of a clone that a repair reads in a second, at least
_CANARIES: Final = {
    Radius.SANDBOX: (4, 0.005),
    Radius.CLONE: (4, 0.005),
    Radius.PRODUCTION: (2, 0.02),
}
"""How many writers, and seconds between two writes of each: in production a hundred small rows a second."""


class Pair:
    """One cluster with canaries. Made by `open_pair`.

    Attributes:
        fault_at: when the fault began, on the stage's clock.
        alone: one node is gone for good: nothing is expected of the pair any more, only of the other node.
        home: the node that is to be primary when the drill is over.
        settle: seconds that a repair may take.
    """

    settle = SETTLE

    def __init__(
        self, cluster: Cluster, witness: SqliteWitness, directory: Path, writers: Writers, stage: Stage
    ) -> None:
        self.cluster, self.witness, self.directory = cluster, witness, directory
        self.writers, self.stage = writers, stage
        self.fault_at = stage.clock()
        self.alone = False
        self._orders = Orders(cluster, witness, directory, who="drill")
        self._ledgers, self._entries = Reader(writers.ledgers), list[Entry]()
        self._acknowledged = time.monotonic_ns()
        self.home = self.state.primary

    # --- looking ----------------------------------------------------------------------------------------

    @property
    def state(self) -> ClusterState:
        """What the cluster has decided."""
        return self._orders.state()

    @property
    def last_event(self) -> int:
        """The number of the newest line of history."""
        newest = self.witness.events(self.cluster.name, limit=1)
        return newest[-1].id if newest else 0

    def events(self, after: int) -> Sequence[Event]:
        """The history since then, oldest first."""
        return self.witness.events(self.cluster.name, limit=1000, after=after)

    def settled(self) -> bool:
        """Both nodes have their roles, the standby is verified, and nothing is under way."""
        state = self.state
        return state.request is None and at_rest(state, self.cluster.policy.rpo)

    def entries(self) -> list[Entry]:
        """What the canaries were told, in the order in which they were answered."""
        new = self._ledgers.new()  # only what was added: this is asked in every turn of every wait
        self._entries += new
        told = (entry.ended for entry in new if entry.status is Status.ACKED)
        self._acknowledged = max((self._acknowledged, *told))
        return self._entries

    def acknowledged(self) -> set[audit.Row]:
        """Every write that a canary was told is done."""
        return {(entry.writer, entry.seq) for entry in self.entries() if entry.status is Status.ACKED}

    def count(self) -> tuple[audit.Count, int | None]:
        """Their ledgers against the present primary and the rescue folders; and when (ns of the monotonic clock) the
        oldest write was acknowledged that is nowhere, None: there is none.
        """
        with psycopg.connect(
            self.cluster.node(self.state.primary).admin_dsn, connect_timeout=10
        ) as connection:
            present = self._present(connection)
        entries, rescued = self.entries(), self._rescued(self.directory / "rescue")
        return audit.count(entries, present, rescued), audit.oldest_lost(entries, [*present, *rescued])

    def _present(self, connection: psycopg.Connection) -> Sequence[audit.Row]:
        return (
            canary_tokens(connection, self.writers.canary) if self.writers.canary else audit.rows(connection)
        )

    def _rescued(self, folder: Path) -> Sequence[audit.Row]:
        canary = self.writers.canary
        return rescued_tokens(folder, canary) if canary else audit.rescued_rows(folder)

    def verify(self) -> VerifyReport:
        """Compare the contents of both nodes at one position."""
        return compare(self.cluster, self.state)

    # --- the steady state -------------------------------------------------------------------------------

    def steady(self) -> Iterator[Check]:
        """A healthy pair, canaries that are answered, equal contents."""
        if not self.alone:
            yield self._healthy()
        yield self._answered()
        if not self.alone:
            yield self._equal()

    def _healthy(self) -> Check:
        began = time.monotonic()
        with contextlib.suppress(Aborted):  # the check says what was found instead
            self.stage.wait("a healthy pair", self.settled, self.settle)
        what = "both nodes have their roles and the standby is verified"
        return _check(what, self.settled(), self._roles(), began)

    def _answered(self) -> Check:
        began, before = time.monotonic(), len(self.entries())
        time.sleep(STEADY)
        answers = self.entries()[before:]
        errors = audit.errors_of(answers)
        evidence = f"{len(answers) - errors} acknowledged, {errors} not, in {STEADY:g} s"
        return _check("canaries are acknowledged", bool(answers) and not errors, evidence, began)

    def _equal(self) -> Check:
        what, began = "both nodes hold the same", time.monotonic()
        try:
            report = self.verify()
        except (UnderstudyError, psycopg.Error) as error:
            return Check(what=what, outcome=Outcome.INCONCLUSIVE, evidence=str(error), seconds=_since(began))
        different = ", ".join(report.different) or "none"
        evidence = f"{len(report.tables)} tables compared at one position; different: {different}"
        return _check(what, report.equal, evidence, began)

    def _roles(self) -> str:
        state = self.state
        return f"epoch {state.epoch}: {state.primary} is primary, {state.other} is {state.record(state.other).role}"

    def trouble(self) -> str:
        """No canary was acknowledged anything for `SILENCE` seconds; an error is no acknowledgement."""
        self.entries()
        silent = time.monotonic() - self._acknowledged / 1e9
        if self.writers.alive and silent > SILENCE:
            return f"no canary was acknowledged anything for {silent:.0f} s (abort rule: {SILENCE:g} s)"
        return ""

    def cleanup(self) -> Iterator[Check]:
        """The canaries have ended."""
        alive = self.writers.alive
        yield _check("the canaries have ended", alive == 0, f"{alive} processes are left", time.monotonic())

    # --- doing ------------------------------------------------------------------------------------------

    def change(self, target: str) -> None:
        """Order a planned change as a person does, and wait until it is published. Raises `Aborted`."""
        try:
            self._orders.require_agent()
            request = self._orders.change(RequestKind.SWITCHOVER, target)
        except OrderError as error:
            raise Aborted(str(error)) from None
        self.stage.wait("an answer to the order", lambda: self.state.answer.startswith(request.id), 60)
        if "refused" in self.state.answer:
            raise Aborted(self.state.answer)
        self.stage.wait(
            f"{target} to be primary", lambda: self.state.primary == target and self.state.plan is None, 60
        )


class Production(Pair):
    """The cluster that people use: nothing of it is broken, and in the end it is as it was."""

    def cleanup(self) -> Iterator[Check]:
        """The canaries have ended, and the primary is the one that it should be."""
        yield from super().cleanup()
        began = time.monotonic()
        with contextlib.closing(SqliteWitness(self.directory / "witness.db", create=False)) as witness:
            state = witness.read(self.cluster.name)
        found = "nobody" if state is None else state.primary
        evidence = f"{found} is primary" + (
            "" if found == self.home else f"; `understudy switchover {self.home}`"
        )
        yield _check(f"{self.home} is primary", found == self.home, evidence, began)


class Sandbox(Pair):
    """Two servers of our own, which may be broken. The folder that ``lab`` lies in is the drill's alone."""

    def __init__(self, lab: Lab, writers: Writers, stage: Stage) -> None:
        super().__init__(lab.cluster, lab.witness, lab.directory, writers, stage)
        self.lab = lab

    def cleanup(self) -> Iterator[Check]:
        """Canaries, servers and folder are gone."""
        yield from super().cleanup()
        running = [server.name for server in self.lab.servers.values() if server.pids]
        left = self.lab.folder.parent.exists()  # all of the drill: also the dump that a clone was made of
        gone = not running and not left
        evidence = f"servers left: {', '.join(running) or 'none'}; folder left: {left}"
        yield _check("servers and folder are gone", gone, evidence, time.monotonic())


@contextlib.contextmanager
def open_pair(stage: Stage, setting: Setting) -> Iterator[Pair]:
    """The pair that the setting asks for, with canaries that write. Raises `Aborted` where it cannot be had."""
    if setting.radius is not Radius.PRODUCTION:
        with open_servers(stage, setting) as sandbox:
            yield sandbox
        return
    if setting.config is None:
        raise Aborted("a drill in production needs a configuration; none was found")
    with _open_production(stage, setting.config, setting.cluster) as pair:
        yield pair


@contextlib.contextmanager
def open_servers(stage: Stage, setting: Setting) -> Iterator[Sandbox]:
    """Two servers of our own with a clone of the cluster's data, or with TPC-B's tables, as the setting asks for."""
    if setting.radius is not Radius.CLONE:
        with open_sandbox(stage, setting) as sandbox:
            yield sandbox
        return
    with staging.folder() as place, contextlib.ExitStack() as stack:
        with stage.activity("make a clone: two servers with your data, an agent and canaries"):
            original = clone.find(stage, setting, place)
            lab = clone.CloneLab(stage, original, place, setting.mode)
            made = _peopled(stage, stack, lab, setting.radius, canary=_new_canary())
            made.settle = SETTLE + original.size / SETTLE_RATE
        yield made


@contextlib.contextmanager
def open_sandbox(stage: Stage, setting: Setting, *, tables: str = "") -> Iterator[Sandbox]:
    """Two servers of our own with TPC-B's tables, an agent, and canaries. ``tables``: more of its configuration."""
    with staging.folder() as place, contextlib.ExitStack() as stack:
        with stage.activity("make two servers, an agent and canaries"):
            lab = Lab(
                mode=setting.mode, scale=1, policy=MANUAL, folder=place / "lab", tables=tables, say=stage.say
            )
            made = _peopled(stage, stack, lab, Radius.SANDBOX, canary=0)
        yield made


def _peopled(stage: Stage, stack: contextlib.ExitStack, lab: Lab, radius: Radius, *, canary: int) -> Sandbox:
    """The laboratory, begun, with canaries. All of it ends with the stack."""
    stack.enter_context(lab)
    ledgers = lab.folder / "ledgers"
    writers = stack.enter_context(_canaries(ledgers, lab.config_file, radius, canary=canary))
    sandbox = Sandbox(lab, writers, stage)
    stage.abort = sandbox.trouble
    return sandbox


def _new_canary() -> int:
    """The number of canaries that write tokens; not 0, and nobody else's."""
    return secrets.randbits(48) | 1 << 47


@contextlib.contextmanager
def _open_production(stage: Stage, config: Config, name: str) -> Iterator[Production]:
    cluster = config.cluster(name)
    path = config.directory / "witness.db"
    if not path.exists():
        raise Aborted(f"witness {path}: there is none; a drill runs on the host of the agent, as its user")
    file = Path(config.source)
    with (
        contextlib.closing(SqliteWitness(path, create=False)) as witness,
        staging.folder() as folder,
        _canaries(folder, file, Radius.PRODUCTION, canary=_new_canary(), cluster=name) as writers,
    ):
        pair = Production(cluster, witness, config.directory, writers, stage)
        stage.abort = pair.trouble
        yield pair


@contextlib.contextmanager
def _canaries(
    folder: Path, config_file: Path, radius: Radius, *, canary: int, cluster: str | None = None
) -> Iterator[Writers]:
    count, interval = _CANARIES[radius]
    file = config_file if config_file.is_file() else None
    writers = Writers(
        folder, scale=1, count=count, interval=interval, config_file=file, canary=canary, cluster=cluster
    )
    try:
        writers.start()  # not by `with`: what was begun has to end also where the rest is interrupted
        yield writers
        writers.stop()
    except BaseException:
        writers.stop(at_once=True)
        raise


def _check(what: str, held: bool, evidence: str, began: float) -> Check:
    outcome = Outcome.PASS if held else Outcome.FAIL
    return Check(what=what, outcome=outcome, evidence=evidence, seconds=_since(began))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 6)
