"""A Patroni of one's own, on loopback: etcd, two Patronis with one PostgreSQL each, HAProxy before them.

The servers are the programs of `EmbeddedPostgreSQL` with its settings of durability; Patroni makes, starts and
promotes them. Facts: patroni.readthedocs.io, "Dynamic Configuration Settings", "Patroni REST API", "Replication modes",
and its example of haproxy.cfg.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from tools.install_peers import PATRONI

from understudy.demo import tpcb
from understudy.demo.lab import DATABASE, NODES, termination_as_exit
from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL
from understudy.embedded.daemon import Daemon, find
from understudy.embedded.haproxy import Configuration, EmbeddedHaproxy
from understudy.embedded.postgresql import HOST, SETTINGS, free_port
from understudy.model import Rpo

HOW = "`make peers PEERS=patroni` (root, apt) installs it"
READY = 180.0  # seconds: with the defaults a rejoin takes a few loops of 10 s
POLL = 0.05  # seconds between two questions to a REST API, which tells nobody when something changes
MINIMA = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0}  # as documented
PHYSICAL = {**SETTINGS, "wal_level": "replica"}
NOT_SHARED = ("listen_addresses",)  # what Patroni sets itself


@dataclass(frozen=True, slots=True)
class Settings:
    """How Patroni and HAProxy are tuned.

    Args:
        dcs: Patroni's times, in seconds.
        checks: HAProxy's words for how a server is checked, and `check_timeout` for how long one check may take.
    """

    dcs: Mapping[str, int]
    checks: str
    check_timeout: str


SETTINGS_OF = {
    "default": Settings(
        {"ttl": 30, "loop_wait": 10, "retry_timeout": 10, "primary_start_timeout": 300},
        "inter 3s fall 3 rise 2",
        "5s",
    ),
    "tight": Settings(MINIMA, "inter 500ms fall 2 rise 1", "1s"),
}


def missing() -> str:
    """Which part is not installed, and how to install it; empty: none."""
    if not PATRONI.exists():
        return f"{PATRONI} is not there: {HOW}"
    try:
        for program in ("etcd", "haproxy"):
            find(program)
    except EmbeddedError:
        return f"{program} is neither on PATH nor in /usr/sbin: {HOW}"
    return ""


def configuration(
    name: str,
    *,
    folder: Path,
    rest: int,
    server: int,
    etcd: int,
    bin_folder: Path,
    passwords: Mapping[str, str],
) -> dict[str, Any]:
    """What one Patroni is told of itself. Its file is YAML, of which JSON is a part."""
    roles = {role: {"username": role, "password": password} for role, password in passwords.items()}
    return {
        "scope": "bench",
        "name": name,
        "restapi": {"listen": f"{HOST}:{rest}", "connect_address": f"{HOST}:{rest}"},
        "etcd3": {"hosts": f"{HOST}:{etcd}"},
        "watchdog": {"mode": "off"},  # this machine's is not ours
        "postgresql": {
            "listen": f"{HOST}:{server}",
            "connect_address": f"{HOST}:{server}",
            "data_dir": str(folder / "data"),
            "bin_dir": str(bin_folder),
            "pgpass": str(folder / "pgpass"),
            "authentication": {"superuser": roles["postgres"], "replication": roles["replicator"]},
            "pg_hba": [
                f"host all all {HOST}/32 scram-sha-256",
                f"host replication replicator {HOST}/32 scram-sha-256",
            ],
            "parameters": {"unix_socket_directories": ""},
        },
    }


def bootstrap(settings: Settings, mode: Rpo) -> dict[str, Any]:
    """What the cluster is told when it is made; Patroni keeps it in etcd."""
    return {
        "dcs": {
            **settings.dcs,
            "synchronous_mode": mode is Rpo.ZERO,
            "postgresql": {
                "use_pg_rewind": True,
                "remove_data_directory_on_rewind_failure": True,
                "parameters": {key: value for key, value in PHYSICAL.items() if key not in NOT_SHARED},
            },
        },
        "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "no-sync"],
    }


def balanced(settings: Settings, ports: Mapping[str, tuple[int, int]]) -> Configuration:
    """HAProxy as Patroni's documentation has it: to whoever says of itself that it is the primary.

    Args:
        ports: name -> ports of the server and of its Patroni's REST API.
    """

    def text(port: int, socket: Path) -> str:
        lines = [
            "defaults",
            "  mode tcp",
            "  retries 2",
            "  timeout client 30m",
            "  timeout connect 4s",
            "  timeout server 30m",
            f"  timeout check {settings.check_timeout}",
            "listen primary",
            f"  bind {HOST}:{port}",
            "  option httpchk OPTIONS /primary",
            "  http-check expect status 200",
            f"  default-server {settings.checks} on-marked-down shutdown-sessions",
            *(f"  server {name} {HOST}:{at} check port {rest}" for name, (at, rest) in ports.items()),
        ]
        return "\n".join(lines) + "\n"

    return text


def leader_of(members: Sequence[Mapping[str, Any]], mode: Rpo) -> str:
    """Who leads, where the other one follows as `mode` wants it; else nothing.

    Args:
        members: of the answer of `GET /cluster`.
    """
    states = {member["role"]: (member["name"], member["state"]) for member in members}
    follower = "sync_standby" if mode is Rpo.ZERO else "replica"
    leader, other = states.get("leader", ("", "")), states.get(follower, ("", ""))
    return leader[0] if leader[1] == "running" and other[1] == "streaming" else ""


class Etcd(Daemon):
    """One member: no quorum to wait for, which is kind to Patroni."""

    def __init__(self) -> None:
        super().__init__("etcd", free_port())
        self._peers = free_port()

    def _arguments(self) -> list[str]:
        clients, peers = f"http://{HOST}:{self.port}", f"http://{HOST}:{self._peers}"
        return [
            *("--name", "bench", "--data-dir", str(self.folder / "data"), "--log-level", "warn"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"bench={peers}"),
        ]


class Node(Daemon):
    """One Patroni; `port` is its REST API's. `server` is the PostgreSQL that it runs, to be looked at and broken."""

    def __init__(
        self, name: str, etcd: int, settings: Settings, mode: Rpo, passwords: Mapping[str, str]
    ) -> None:
        super().__init__(str(PATRONI), free_port())
        self.name = name
        self.server = EmbeddedPostgreSQL(self.folder, name=name)
        port = free_port()
        self._write("server.json", json.dumps({"port": port, "major": self.server.major}))
        self._write("password", passwords["postgres"])
        told = configuration(
            name,
            folder=self.folder,
            rest=self.port,
            server=port,
            etcd=etcd,
            bin_folder=self.server.bin_folder,
            passwords=passwords,
        )
        self._file = self._write(
            "patroni.yml", json.dumps(told | {"bootstrap": bootstrap(settings, mode)}, indent=1)
        )

    def _arguments(self) -> list[str]:
        return [str(self._file)]

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.server.destroy()

    def kill(self) -> None:
        """SIGKILL for Patroni, all that it runs, and the server, as when their host is lost."""
        if (patroni := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(patroni, signal.SIGKILL)
        super().kill()
        self.server.kill()

    def freeze(self) -> None:
        """SIGSTOP for both, as when their host hangs."""
        super().freeze()
        self.server.freeze()

    def thaw(self) -> None:
        """SIGCONT for both."""
        self.server.thaw()
        super().thaw()


class Pair:
    """Two nodes under Patroni, with the application's role and pgbench's tables."""

    def __init__(self, nodes: Mapping[str, Node], mode: Rpo, settings: Settings) -> None:
        self.nodes, self.mode = nodes, mode
        self._password = secrets.token_urlsafe(18)
        self.patience = READY + settings.dcs["ttl"]

    def prepare(self, scale: int) -> None:
        """The same roles and tables as our own pair's."""
        leader = self.await_healthy()
        leader.server.prepare(DATABASE, password=self._password)
        with psycopg.connect(self.dsn(leader), autocommit=True) as connection:
            tpcb.create(connection, scale)

    def dsn(self, *nodes: Node, port: int = 0) -> str:
        """For the application: to one of these nodes that takes writes, or to a port of HAProxy's."""
        ports = [port] if port else [node.server.port for node in nodes]
        hosts = ",".join(f"{HOST}:{each}" for each in ports)
        wanted = "" if port else "&target_session_attrs=read-write"
        return f"postgresql://app:{self._password}@{hosts}/{DATABASE}?connect_timeout=2{wanted}"

    def await_healthy(self) -> Node:
        """The leader, once the other one follows it. Raises RuntimeError."""
        end, said = time.monotonic() + self.patience, "nothing"
        while time.monotonic() < end:
            for node in self.nodes.values():
                with contextlib.suppress(httpx.HTTPError, psycopg.Error):
                    members = httpx.get(f"http://{HOST}:{node.port}/cluster", timeout=2).json()["members"]
                    said = json.dumps(members)
                    leader = leader_of(members, self.mode)
                    if leader and self._followed(self.nodes[leader]):
                        return self.nodes[leader]
            time.sleep(POLL)
        logs = "\n".join(node.log.read_text(errors="replace")[-2000:] for node in self.nodes.values())
        raise RuntimeError(f"no healthy pair within {self.patience:g} s; Patroni says {said}\n{logs}")

    def _followed(self, leader: Node) -> bool:
        """The server's own word: REST APIs repeat what members last wrote to etcd, dead ones too."""
        states = "SELECT state, sync_state FROM pg_stat_replication"
        with psycopg.connect(leader.server.dsn(), autocommit=True, connect_timeout=2) as connection:
            found = connection.execute(states).fetchall()
        wanted = ("sync", "quorum") if self.mode is Rpo.ZERO else ("async", "sync", "quorum")
        return any(state == "streaming" and sync in wanted for state, sync in found)

    def switch(self) -> None:
        """A planned change to the other node, as `patronictl switchover` orders it. Raises `httpx.HTTPError`."""
        leader = self.await_healthy()
        (candidate,) = (name for name in self.nodes if name != leader.name)
        order = {"leader": leader.name, "candidate": candidate}
        httpx.post(f"http://{HOST}:{leader.port}/switchover", json=order, timeout=60).raise_for_status()

    def await_route(self, dsn: str) -> None:
        """Wait until a few connections in turn lead to the leader: HAProxy takes all for up until it has asked."""
        end, good = time.monotonic() + self.patience, 0
        while good < 2 * len(self.nodes):
            if time.monotonic() > end:
                raise RuntimeError(f"connections do not lead to the leader within {self.patience:g} s")
            good = good + 1 if _writable(dsn) else 0
            time.sleep(POLL)


def _writable(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn) as connection:
            return connection.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,)
    except psycopg.OperationalError:
        return False


@contextlib.contextmanager
def pair(settings: Settings, mode: Rpo, scale: int) -> Iterator[tuple[Pair, EmbeddedHaproxy]]:
    """A healthy pair, and HAProxy before it. Everything ends with the block."""
    passwords = {role: secrets.token_urlsafe(18) for role in ("postgres", "replicator")}
    with contextlib.ExitStack() as stack:
        stack.enter_context(termination_as_exit())
        etcd = stack.enter_context(Etcd())
        nodes = {}
        for name in NODES:
            nodes[name] = node = Node(name, etcd.port, settings, mode, passwords)
            stack.push(node)
            node.start()
        made = Pair(nodes, mode, settings)
        made.prepare(scale)
        ports = {name: (node.server.port, node.port) for name, node in nodes.items()}
        yield made, stack.enter_context(EmbeddedHaproxy(balanced(settings, ports)))
