"""The way back from a mistake that replication has copied faithfully: docs/how-to/restore.md, step by step."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from understudy import Pool, config
from understudy.backup import logical, restore
from understudy.backup.keys import Key, Keys
from understudy.backup.manifest import Verdict
from understudy.backup.store import open_store
from understudy.config_backup import Destination
from understudy.demo.agent_process import AgentProcess, run
from understudy.demo.lab import Lab
from understudy.model import Rpo

ACCOUNTS = "SELECT count(*) FROM pgbench_accounts"
PATIENCE = 60.0


def restored_config(lab: Lab) -> Path:
    """A cluster of another name on the restored databases."""
    path = lab.folder / "restored.toml"
    path.touch(mode=0o600)
    path.write_text(
        lab.config_file.read_text().replace("/bank", "/restored").replace("clusters.demo", "clusters.again")
    )
    return path


@pytest.mark.slow
def test_a_restored_database_becomes_the_primary_of_the_pair(tmp_path: Path) -> None:
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        loaded = config.load(lab.config_file, {})
        store, keys = open_store(Destination(name="shelf", folder=tmp_path)), Keys(Key.new())
        manifest = logical.create(loaded, lab.cluster, [store], keys)
        with lab.connect("a") as connection:
            accounts = connection.execute(ACCOUNTS).fetchone()
            connection.execute("DELETE FROM pgbench_accounts")

        lab.agent.stop()  # and the applications
        for server in lab.servers.values():
            server.prepare("restored", password=lab._password)
        target = lab.servers["a"].dsn(dbname="restored")
        result = restore.restore_logical(loaded, manifest, store, keys, target)
        assert all(f.verdict is Verdict.PASS for f in result.findings), result.findings

        path = restored_config(lab)
        run(path, "check")
        run(path, "setup")
        agent = AgentProcess(path, lab.folder / "agent-restored.log")
        agent.start()
        try:
            again = config.load(path, {})
            with Pool(again.cluster(None), again.directory, min_size=1, max_size=1) as pool:
                deadline = time.monotonic() + PATIENCE
                while True:
                    try:
                        with pool.connection() as connection:
                            assert connection.execute(ACCOUNTS).fetchone() == accounts
                            connection.execute("UPDATE pgbench_tellers SET tbalance = 42 WHERE tid = 1")
                        break
                    except psycopg.OperationalError:  # the agent is starting
                        assert time.monotonic() < deadline, lab.agent_log()
                        time.sleep(0.2)
                run(path, "switchover", "b", "--yes")
                with pool.connection() as connection:
                    assert connection.execute(ACCOUNTS).fetchone() == accounts
                    row = connection.execute("SELECT tbalance FROM pgbench_tellers WHERE tid = 1").fetchone()
                    assert row == (42,)
                    port = connection.execute("SELECT current_setting('port')").fetchone()
                    assert port == (str(lab.servers["b"].port),)
        finally:
            agent.stop()
        with lab.connect("a") as connection:  # what there was is kept, as it was left
            assert connection.execute(ACCOUNTS).fetchone() == (0,)
