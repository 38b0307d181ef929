"""A laboratory: two real servers, the agent as a real process, a cluster that is set up, and the means to break it.

    with Lab(mode=Rpo.ZERO) as lab:
        lab.servers["a"].kill()
        lab.await_state(lambda state: state.primary == "b", 10, "a failover")

Everything of it lies in one folder, which is removed at the end, as are all its processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType, TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import psycopg

from understudy import config
from understudy.agent.doorbell import ring
from understudy.backup import staging
from understudy.demo import tpcb
from understudy.demo.agent_process import AgentProcess, run
from understudy.embedded import EmbeddedPostgreSQL, FaultProxy
from understudy.engines import engine_for
from understudy.engines.base import VerifyReport
from understudy.errors import StaleVersion
from understudy.model import Cluster, ClusterState, Request, RequestKind, Role, Rpo
from understudy.witness import SqliteWitness
from understudy.witness.base import Event

DATABASE = "bank"
CLUSTER = "demo"
NODES = ("a", "b")
POLL = 0.01  # seconds between two looks at the witness, which tells nobody when it changes
READY = 60.0  # seconds
_AGAIN = 0.2  # seconds between two requests

Policy = Mapping[str, str | int | float | bool]
MANUAL: Policy = MappingProxyType({"failback": "manual"})


class LabError(Exception):
    """Something that was waited for did not happen; the text says what was there instead."""


class Lab:
    """Two servers `a` (preferred) and `b`, a set-up cluster, and its agent.

    Args:
        mode: rpo of the cluster.
        scale: of pgbench's schema (one million accounts at 10).
        policy: keys of ``[clusters.demo.policy]``; what is not named keeps its default.
        proxies: clients and agent reach the servers through a `FaultProxy` each (replication does not).
        folder: where everything lies; None makes one and removes it at the end, and with the next one what was left of
            it by a process that was killed.
        tables: further tables of the configuration, as they are.
        say: told what is going on, one sentence at a time.
    """

    extensions: Collection[str] = ()
    """What its servers must be able to create, where there is a PostgreSQL that can."""

    def __init__(
        self,
        *,
        mode: Rpo,
        scale: int = 10,
        policy: Policy = MANUAL,
        proxies: bool = False,
        folder: Path | None = None,
        tables: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.mode, self.scale = mode, scale
        self._policy, self._tables, self._say = policy, tables, say
        self._with_proxies, self._keep = proxies, folder is not None
        self._password = secrets.token_urlsafe(18)
        self._stack = contextlib.ExitStack()
        self.folder = folder or self._stack.enter_context(staging.folder(prefix="understudy-lab-"))
        self.servers: dict[str, EmbeddedPostgreSQL] = {}
        self.proxies: dict[str, FaultProxy] = {}
        self.config_file = self.folder / "understudy.toml"
        self.directory = self.folder / "state"
        self.agent = AgentProcess(self.config_file, self.folder / "agent.log")
        self.standby_agent = AgentProcess(self.config_file, self.folder / "agent-standby.log", "--standby")

    def __enter__(self) -> Self:
        self._stack.enter_context(termination_as_exit())
        try:
            self._start_servers()
            self._write_config()
            self._set_up()
            self._stack.callback(self.standby_agent.stop)
            self._stack.callback(self.agent.stop)
            self.start_agent()
        except BaseException:  # also Ctrl-C: `with` does not call __exit__ for an unfinished __enter__
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self.servers.values():
            server.thaw()  # what is frozen can neither end nor be waited for
        self._stack.close()

    # --- making it --------------------------------------------------------------------------------------

    def _start_servers(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.folder.chmod(0o711)  # the unprivileged user that PostgreSQL runs as must get through
        for name in NODES:
            server = EmbeddedPostgreSQL(
                self.folder / name,
                name=name,
                extensions=self.extensions,
                temporary=not self._keep,
                die_with_parent=True,
            )
            self.servers[name] = self._stack.enter_context(server)
            self.prepare(server)
            if self._with_proxies:
                self.proxies[name] = self._stack.enter_context(FaultProxy("127.0.0.1", server.port))
            self._say(f"server {name} runs on port {server.port}, with roles that are no superusers")

    def prepare(self, server: EmbeddedPostgreSQL) -> None:
        """The roles and the empty database of one server."""
        server.prepare(DATABASE, password=self._password)

    def fill(self) -> None:
        """What `a` holds before the cluster is set up."""
        accounts = tpcb.ACCOUNTS * self.scale
        self._say(
            f"pgbench's TPC-B tables: {accounts:,} accounts; its history gets a key, to be replicated by"
        )
        with self.connect("a") as connection:
            tpcb.create(connection, self.scale)

    def make_pair(self) -> None:
        """Two servers become a pair. Raises LabError with the command's words."""
        self._say("understudy setup: copies everything from a to b and compares it")
        try:
            run(self.config_file, "setup")
        except RuntimeError as error:
            raise LabError(str(error)) from None

    def dsn(self, node: str, user: str, *, proxied: bool = False) -> str:
        """A libpq URI of the lab's database; through the proxy where asked for and there is one."""
        password = None if user == "postgres" else self._password
        uri = self.servers[node].dsn(user, DATABASE, password)
        if not proxied or node not in self.proxies:
            return uri
        parts = urlsplit(uri)
        netloc = parts.netloc.rpartition(":")[0] + f":{self.proxies[node].port}"
        return urlunsplit(parts._replace(netloc=netloc))

    def _write_config(self) -> None:
        lines = [f'directory = "{self.directory}"', f"[clusters.{CLUSTER}]", f'rpo = "{self.mode}"']
        for name in NODES:
            lines += [
                f"[[clusters.{CLUSTER}.nodes]]",
                f'name = "{name}"',
                f'dsn = "{self.dsn(name, "app", proxied=True)}"',
                f'admin_dsn = "{self.dsn(name, "understudy", proxied=True)}"',
                f'replication_dsn = "{self.dsn(name, "understudy")}"',
            ]
        lines.append(f"[clusters.{CLUSTER}.policy]")
        for key, value in self._policy.items():
            text = f'"{value}"' if isinstance(value, str) else str(value).lower()
            lines.append(f"{key} = {text}")
        self.config_file.touch(mode=0o600)
        self.config_file.write_text("\n".join([*lines, self._tables]) + "\n")
        loaded = config.load(self.config_file, {})
        self.cluster: Cluster = loaded.cluster(CLUSTER)

    def _set_up(self) -> None:
        self.fill()
        self.make_pair()
        self.witness = SqliteWitness(self.directory / "witness.db", create=False)
        self._stack.callback(self.witness.close)

    # --- looking ----------------------------------------------------------------------------------------

    def connect(self, node: str, user: str = "app") -> psycopg.Connection:
        """A connection of our own to one node, past agent, client and proxy."""
        return psycopg.connect(self.dsn(node, user), autocommit=True, connect_timeout=30)

    @property
    def state(self) -> ClusterState:
        """What the cluster has decided."""
        state = self.witness.read(CLUSTER)
        if state is None:
            raise LabError("the witness knows no state: was `understudy setup` run?")
        return state

    def events(self, after: int = 0) -> Sequence[Event]:
        """The history after the event of that id, oldest first."""
        return self.witness.events(CLUSTER, limit=10_000, after=after)

    @property
    def last_event(self) -> int:
        """The id of the newest event."""
        newest = self.witness.events(CLUSTER, limit=1)
        return newest[-1].id if newest else 0

    def await_true(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        """Wait for a condition. Raises LabError, with state and history, after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                history = "\n".join(f"  {e.kind}: {e.message}" for e in self.events()[-12:])
                raise LabError(
                    f"waited {timeout:g} s for {what}; the state is {self.state}\nand its history:\n{history}\n"
                    f"the last lines of the agent:\n{self.agent_log()}"
                )
            time.sleep(POLL)

    def agent_log(self, lines: int = 12) -> str:
        """The last lines of what the agents printed."""
        logs = [p for p in (self.agent.log, self.standby_agent.log) if p.exists()]
        return "\n".join(line for p in logs for line in p.read_text(errors="replace").splitlines()[-lines:])

    def await_state(self, condition: Callable[[ClusterState], bool], timeout: float, what: str) -> None:
        """Wait until the cluster has decided something."""
        self.await_true(lambda: condition(self.state), timeout, what)

    def await_event(self, kind: str, timeout: float, *, after: int = 0) -> Event:
        """Wait for the first event of a kind after the one of that id."""
        return self.await_true_event(lambda event: event.kind == kind, timeout, after=after, what=kind)

    def await_true_event(
        self,
        wanted: Callable[[Event], bool],
        timeout: float,
        *,
        after: int = 0,
        what: str = "that was wanted",
    ) -> Event:
        """Wait for the first event of which ``wanted`` holds, after the one of that id."""
        found: list[Event] = []

        def seen() -> bool:
            found.extend(event for event in self.events(after) if wanted(event))
            return bool(found)

        self.await_true(seen, timeout, f"the event {what}")
        return found[0]

    def settled(self) -> bool:
        """Both nodes have their roles, nothing is under way, the standby is verified (and in sync in `zero`)."""
        return at_rest(self.state, self.mode)

    def await_settled(self, timeout: float = READY) -> None:
        """Wait for `settled`."""
        self.await_true(self.settled, timeout, "a healthy pair")

    def verify(self) -> VerifyReport:
        """Compare the contents of both nodes at one position."""
        return compare(self.cluster, self.state)

    @property
    def rescues(self) -> Path:
        """The folder of the rescue folders."""
        return self.directory / "rescue"

    # --- doing ------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        """Start the agent and return when it acts and the pair is healthy."""
        self._say("the agent: one process that probes, decides, acts, and renews this host's lease")
        before = self.last_event
        self.agent.start()
        self.await_event("agent_started", READY, after=before)
        self.await_settled()

    def switchover(self, target: str, timeout: float = 60) -> None:
        """Ask for a planned change as `understudy switchover` does, and wait until it is published.

        What refuses it may be over in a moment (a probe that was missed, a schema that the agent has not seen yet: it
        looks every ten seconds), so it is asked for again. Raises LabError.
        """
        end = time.monotonic() + timeout
        while "refused" in (answer := self._asked_for(target, timeout)):
            if time.monotonic() > end:
                raise LabError(f"the switchover was refused: {answer}")
            time.sleep(_AGAIN)
        self.await_state(
            lambda s: s.primary == target and s.request is None, timeout, f"a switchover to {target}"
        )

    def _asked_for(self, target: str, timeout: float) -> str:
        """What a request for a planned change was answered."""
        order = f"lab-{secrets.token_hex(4)}"

        def answered() -> str:
            answer = self.state.answer
            return answer if answer.startswith(order) else ""

        self.order(Request(id=order, kind=RequestKind.SWITCHOVER, target=target))
        self.await_true(lambda: bool(answered()), timeout, f"an answer to the switchover to {target}")
        return answered()

    def order(self, request: Request) -> None:
        """Leave a person's order in the state and ring the agent."""
        for _ in range(20):
            state = self.state
            with contextlib.suppress(StaleVersion):
                self.witness.write(replace(state, request=request, answer=""), expected=state.version)
                ring(self.directory / f"{CLUSTER}.sock")
                return
        raise LabError("the state changed 20 times while a request was written")


def at_rest(state: ClusterState, rpo: Rpo) -> bool:
    """Both nodes have their roles, nothing is under way, the standby is verified (and in sync in `zero`)."""
    standby = state.record(state.other)
    return (
        state.plan is None
        and not state.old_links
        and bool(state.spare_slot)
        and standby.role is Role.STANDBY
        and standby.verified
        and (rpo is not Rpo.ZERO or state.in_sync)
    )


def compare(cluster: Cluster, state: ClusterState) -> VerifyReport:
    """Compare the contents of both nodes at one position."""

    async def verify() -> VerifyReport:
        engine = engine_for(cluster)
        try:
            return await engine.verify(state.primary, state.other)
        finally:
            await engine.close()

    return asyncio.run(verify())


@contextlib.contextmanager
def termination_as_exit() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does, through every `finally`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
