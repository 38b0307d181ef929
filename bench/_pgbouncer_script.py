"""The peer: two servers with PostgreSQL's own replication both ways, and a script that moves PgBouncer between them.

PAUSE, wait until the other server has replayed everything, copy the sequence, repoint, RESUME: what people run by hand
or from a cron job. It fences nothing, prepares for no failure and undoes nothing; so it is about the least that a
planned change through PgBouncer can cost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench import _common as common
from understudy.demo import audit, tpcb
from understudy.demo.lab import NODES, Lab
from understudy.demo.workload import Writers
from understudy.embedded.pgbouncer import EmbeddedPgBouncer
from understudy.gates.pgbouncer import repoint, way_of

DATABASE = "peer"
SEQUENCE = "pgbench_history_id_seq"
WITHIN = 30.0  # seconds


class Pair:
    """A database `peer` on both servers of a lab; what is written on either one is replicated to the other."""

    def __init__(self, lab: Lab) -> None:
        known = conninfo_to_dict(lab.dsn("a", "app"))
        self.user, self.password, self.scale = str(known["user"]), str(known["password"]), lab.scale
        self.primary = "a"
        for node in NODES:
            lab.servers[node].prepare(DATABASE, password=self.password)
        self.dsn = {n: lab.servers[n].dsn(self.user, DATABASE, self.password) for n in NODES}
        admin = {n: lab.servers[n].dsn("postgres", DATABASE) for n in NODES}
        self.admin = {n: psycopg.connect(admin[n], autocommit=True) for n in NODES}
        with psycopg.connect(self.dsn["a"], autocommit=True) as connection:
            tpcb.create(connection, self.scale)
        with psycopg.connect(self.dsn["b"], autocommit=True) as connection:
            connection.execute(tpcb.TABLES + tpcb.KEYS)
        for node in NODES:
            self.admin[node].execute("CREATE PUBLICATION peer FOR ALL TABLES")
        for source, target, copy in (("a", "b", "true"), ("b", "a", "false")):
            self.admin[target].execute(
                f"CREATE SUBSCRIPTION peer_{source} CONNECTION '{admin[source]}' PUBLICATION peer "
                f"WITH (origin = none, copy_data = {copy})"
            )
        self._await("b", "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'")

    def _await(self, node: str, question: str) -> None:
        end = time.monotonic() + WITHIN
        while (row := self.admin[node].execute(question).fetchone()) is None or not row[0]:
            if time.monotonic() > end:
                raise RuntimeError(f"{node}: not true within {WITHIN:g} s: {question}")
            time.sleep(0.001)

    def change(self, gate: EmbeddedPgBouncer, console: psycopg.Connection, target: str) -> None:
        """The script."""
        source = self.admin[self.primary]
        console.execute(f"PAUSE {DATABASE}")
        lsn = source.execute("SELECT pg_current_wal_lsn()").fetchone()
        self._await(
            self.primary,
            f"SELECT replay_lsn >= '{lsn[0] if lsn else ''}' FROM pg_stat_replication "
            f"WHERE application_name = 'peer_{self.primary}'",
        )
        value = source.execute(f"SELECT last_value FROM {SEQUENCE}").fetchone()
        self.admin[target].execute("SELECT setval(%s, %s)", (SEQUENCE, value[0] if value else 1))
        repoint(gate.entries, DATABASE, way_of(self.dsn[target]))
        console.execute("RELOAD")
        console.execute(f"RESUME {DATABASE}")
        self.primary = target

    def close(self) -> None:
        """Take the subscriptions away and close."""
        for node, connection in self.admin.items():
            connection.execute(f"DROP SUBSCRIPTION peer_{'b' if node == 'a' else 'a'}")
            connection.close()


@contextlib.contextmanager
def pair(lab: Lab) -> Iterator[Pair]:
    made = Pair(lab)
    try:
        yield made
    finally:
        made.close()


def _stall(pair: Pair, load: Writers, gate: EmbeddedPgBouncer, console: psycopg.Connection) -> float:
    common.steady(load)
    began = time.monotonic_ns()
    pair.change(gate, console, "b" if pair.primary == "a" else "a")
    common.steady(load, 200)
    return audit.longest_gap_ms(load.entries(), began, time.monotonic_ns())


def measure(lab: Lab, repeat: int) -> common.Result:
    """The script's changes there and back under the four writers, on the lab's two servers."""
    out: list[float] = []
    home: list[float] = []
    with pair(lab) as two:
        where = conninfo_to_dict(two.dsn["a"])
        entry = " ".join(f"{key}={where[key]}" for key in ("host", "port", "dbname"))
        with (
            EmbeddedPgBouncer({DATABASE: entry}, {two.user: two.password}) as gate,
            psycopg.connect(gate.console, autocommit=True, prepare_threshold=None) as console,
            Writers(
                lab.folder / "peer-ledgers",
                scale=lab.scale,
                plain_dsn=gate.dsn(two.user, two.password, DATABASE),
            ) as load,
        ):
            for number in range(repeat):
                out.append(_stall(two, load, gate, console))
                home.append(_stall(two, load, gate, console))
                common.say(f"script {number + 1} of {repeat}: out {out[-1]:.0f} ms, home {home[-1]:.0f} ms")
        with psycopg.connect(two.dsn[two.primary]) as connection:
            counted = audit.count(load.entries(), audit.rows(connection), [])
    return {
        "stall_ms": common.summary(out),
        "errors": counted.errors,
        "acked": counted.acked,
        "lost": counted.absent,
        "failback_stall_ms": common.summary(home),
        "doubled": counted.doubled,
        "fences": "nothing",
    }
