"""The whole command line on a real pair, the agent as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import PASSWORD, WRITABLE, Pair, make_pair, remove

from understudy.cli import main
from understudy.cli.common import Exit
from understudy.embedded.postgresql import EmbeddedPostgreSQL
from understudy.witness import SqliteWitness


class Shell:
    """Runs commands in one directory, in this process (fast) or as the agent's."""

    def __init__(self, folder: Path, pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.pair, self.capsys = folder, pair, capsys
        self.said = ""
        self._agent: subprocess.Popen[bytes] | None = None

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """The stdout of a command that ends with this exit code; no output ever holds the password."""
        self.capsys.readouterr()
        found = main(["--config", str(self.folder / "understudy.toml"), *arguments])
        captured = self.capsys.readouterr()
        self.said = captured.err
        assert found == code, f"{arguments}: {found}\n{captured.out}\n{captured.err}"
        assert PASSWORD not in captured.out + captured.err and "Traceback" not in captured.err
        return captured.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self(*arguments, "--json", code=code))

    @property
    def witness(self) -> SqliteWitness:
        return SqliteWitness(self.folder / "state" / "witness.db", create=False)

    def start_agent(self) -> None:
        log = (self.folder / "agent.log").open("wb")
        command = [
            sys.executable,
            "-m",
            "understudy.cli",
            "--config",
            str(self.folder / "understudy.toml"),
            "run",
        ]
        self._agent = subprocess.Popen([*command, "--log-format", "json"], stdout=log, stderr=log)
        self.until(lambda: self.witness.agent(self.pair.cluster.name) is not None, "the agent acts")

    def stop_agent(self) -> None:
        if self._agent is not None:
            self._agent.send_signal(signal.SIGTERM)
            assert self._agent.wait(60) == 0, self.log
            self._agent = None

    def kill_agent(self) -> None:
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()

    def cut_off(self) -> None:
        """Let b dial a where nobody answers. (A subscription that is only disabled the agent enables again.)"""
        state = self.witness.read(self.pair.cluster.name)
        assert state is not None and state.link is not None
        a = self.pair.cluster.node("a").replication_dsn
        nowhere = a.replace(f":{self.pair.servers['a'].port}/", ":1/")
        assert nowhere != a
        there = "SELECT 1 FROM pg_stat_subscription WHERE subname = %s AND pid IS NOT NULL"
        with self.pair.connect("b", "postgres", options=WRITABLE) as connection:
            connection.execute(
                "ALTER SYSTEM SET wal_retrieve_retry_interval = '1h'"
            )  # so it does not try again
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"ALTER SUBSCRIPTION {state.link.name} CONNECTION '{nowhere}'")
        for _ in range(2):  # the worker ends, and its one successor too
            self.until(lambda: not self.pair.sql("b", there, state.link.name), "b has lost a")
            time.sleep(0.3)

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def until(self, holds: Callable[[], bool], what: str, limit: float = 60.0) -> None:
        """Wait for the state of the world, bounded."""
        end = time.monotonic() + limit
        while not holds():
            assert time.monotonic() < end, f"{what}: not within {limit} s\n{self.log}"
            if self._agent is not None and self._agent.poll() is not None:
                raise AssertionError(f"the agent ended with {self._agent.returncode}\n{self.log}")
            time.sleep(0.02)


def toml(pair: Pair) -> str:
    lines = ['directory = "state"', f"[clusters.{pair.cluster.name}.policy]", 'failback = "manual"']
    lines += ['probe_timeout = "4s"']  # nothing is lost here, and a busy machine may be slow to answer
    for node in pair.cluster.nodes:
        lines += [
            f"[[clusters.{pair.cluster.name}.nodes]]",
            f'name = "{node.name}"',
            f'dsn = "{node.dsn}"',
            f'admin_dsn = "{node.admin_dsn}"',
        ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def shell(
    server_pair: dict[str, EmbeddedPostgreSQL], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """A configured pair that is not set up; its agent is gone at the end."""
    pair = make_pair(server_pair)
    file = tmp_path / "understudy.toml"
    file.write_text(toml(pair))
    file.chmod(0o600)
    shell = Shell(tmp_path, pair, capsys)
    try:
        yield shell
    finally:
        shell.kill_agent()
        for node in pair.servers:
            remove(pair, node)


def test_a_life(shell: Shell) -> None:
    """check, setup, run, status, switchover, failback, pause, events, explain, verify."""
    pair = shell.pair
    pair.sql("a", "INSERT INTO item (name) SELECT 'item ' || i FROM generate_series(1, 50) i")
    assert shell.json("check")["ok"] is True
    shell("check")
    assert all(line.startswith("--") or ";" in line for line in shell("check", "--sql").splitlines())
    shell("status", code=Exit.UNREACHABLE)
    done = shell.json("setup")
    assert done["did"] == "set up" and done["state"]["epoch"] == 1
    assert all(record["verified"] for record in done["state"]["nodes"])
    assert pair.sql("b", "SELECT count(*) FROM item") == [(50,)]
    assert shell.json("setup")["did"] == "refreshed"
    shell("switchover", "--yes", code=Exit.NO_AGENT)

    shell.start_agent()
    shell.until(lambda: shell.json("status")["promise"]["holds"], "the promise holds")
    screen = shell("status")
    assert "holds" in screen and max(map(len, screen.splitlines())) <= 80, screen

    gone = shell.json("switchover", "--yes")
    assert (gone["primary"], gone["epoch"], gone["ok"]) == ("b", 2, True)
    assert [s["step"] for s in gone["steps"]][-1] == "publish"
    assert "promote" in shell.said
    pair.sql("b", "INSERT INTO item (name) VALUES ('written on b')")
    back = shell("failback", "--yes")
    assert "a is primary at epoch 3" in back
    assert pair.sql("a", "SELECT count(*) FROM item") == [(51,)]

    shell("pause")
    assert "paused" in shell("status")
    shell("resume")
    kinds = [e["kind"] for e in shell.json("events", "--limit", "500")]
    assert kinds.count("step:publish") == 2 and "paused" in kinds
    assert "publish" in shell("events")
    explained = shell.json("explain")
    assert explained["last_change"]["steps"][-1]["kind"] == "step:publish"
    assert "a is primary at epoch 3" in shell("explain")
    assert shell.json("verify")["equal"] is True
    assert shell.json("failover", "a")["ok"] is True, "a is primary already: nothing to do"
    shell.stop_agent()
    assert PASSWORD not in shell.log
    assert all(json.loads(line) for line in shell.log.splitlines())


def test_verify_finds_a_difference(shell: Shell) -> None:
    shell.pair.sql("a", "INSERT INTO item (name) VALUES ('one')")
    shell("setup")
    with shell.pair.connect("b", options="-c default_transaction_read_only=off") as connection:
        connection.execute("UPDATE item SET name = 'other'")
    told = shell.json("verify", code=Exit.PROBLEM)
    assert told["different"] == ["public.item"]
    assert "DIFFERENT" in shell("verify", code=Exit.PROBLEM)


def test_a_refused_order_changes_nothing(shell: Shell) -> None:
    """A standby that does not receive changes is refused, with the reason and code 3."""
    shell("setup")
    shell.start_agent()
    shell.until(lambda: shell.json("status")["promise"]["holds"], "the promise holds")
    shell.cut_off()
    shell.until(lambda: "not receiving" in shell.json("explain")["gates"]["switchover"], "it shows")
    # Older than any answer the agent may still have from before.
    shell.until(lambda: shell.json("status")["lag"]["seconds"] > 2.5, "the agent sees it too")
    told = shell.json("switchover", "--yes", code=Exit.REFUSED)
    assert told["ok"] is False and told["primary"] == "a" and "nothing was changed" in told["message"]


def test_a_lost_witness_is_adopted(shell: Shell) -> None:
    """The witness is lost after a switchover: setup explains, --adopt rebuilds it, and the pair goes on."""
    shell("setup")
    shell.start_agent()
    shell.until(lambda: shell.json("status")["promise"]["holds"], "the promise holds")
    shell("switchover", "--yes")
    shell.stop_agent()
    for file in (shell.folder / "state").glob("witness.db*"):
        file.unlink()
    shell("setup", code=Exit.REFUSED)
    assert "--adopt" in shell.said
    assert shell.json("setup", "--adopt", "--yes")["state"]["primary"] == "b"
    shell.start_agent()
    name = shell.pair.cluster.name

    def settled() -> bool:
        state = shell.witness.read(name)
        assert state is not None
        return state.plan is None and not state.old_links and bool(state.spare_slot)

    shell.until(settled, "the adopted pair is in order")
    shell.pair.sql("b", "INSERT INTO item (name) VALUES ('after')")
    told = shell.json("failback", "--yes")
    assert told["primary"] == "a"
    assert shell.pair.sql("a", "SELECT name FROM item") == [("after",)]


def test_a_forced_failover_rescues_what_was_left_behind(shell: Shell) -> None:
    """b stops following, a goes on alone; a forced failover keeps a's rows in files, and `apply` brings them home."""
    shell.pair.sql("a", "INSERT INTO item (name) VALUES ('shared')")
    shell("setup")
    shell.start_agent()
    shell.until(lambda: shell.json("status")["promise"]["holds"], "the promise holds")
    shell.cut_off()
    shell.pair.sql("a", "INSERT INTO item (name) VALUES ('only on a')")
    done = shell.json("failover", "--accept-loss", "--yes")
    assert (done["ok"], done["primary"]) == (True, "b")

    def back() -> bool:
        nodes = {n["name"]: n for n in shell.json("status")["nodes"]}
        return bool(nodes["a"]["role"] == "standby")

    shell.until(back, "a has rejoined")
    assert shell.pair.sql("b", "SELECT name FROM item") == [("shared",)]
    (rescue,) = shell.json("rescue", "list")
    assert (rescue["node"], rescue["transactions"], rescue["verdicts"]["safe"]) == ("a", 1, 1)
    assert rescue["name"] in shell("rescue", "list") and "1 kept" in shell("status")
    assert "safe" in shell("rescue", "show", rescue["name"])
    assert shell.json("rescue", "apply", rescue["name"], "--yes")["applied"] == 1
    assert shell.json("rescue", "apply", rescue["name"], "--yes")["already"] == 1
    assert shell.pair.sql("b", "SELECT name FROM item ORDER BY id") == [("shared",), ("only on a",)]
    assert shell.json("verify")["equal"] is True
