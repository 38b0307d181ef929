"""What clients that know nothing of us see through PgBouncer: a planned change (psycopg, pgbench), a lost primary."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # `python bench/pgbouncer.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import _common as common
from bench import _gates
from bench import _pgbouncer_script as script
from understudy.demo import gates
from understudy.demo.lab import MANUAL, Lab
from understudy.demo.pgbench import Pgbench
from understudy.model import Rpo


def under_pgbench(lab: Lab, dsn: str) -> common.Result:
    """One switchover while pgbench runs. Returns its stall (ms), errors, acked, lost."""
    lab.await_settled()
    run = Pgbench(lab, dsn, lab.folder / "pgbench", seconds=5)
    try:
        time.sleep(2)  # pgbench writes its log at the end: nothing tells from outside how far it is
        began = time.time()
        lab.switchover(lab.state.other)
        ended = time.time()
        report = run.report()
    finally:
        run.kill()
    with lab.connect(lab.state.primary) as connection:
        row = connection.execute("SELECT count(*) FROM pgbench_history WHERE writer = %s", (report.writer,))
        present = row.fetchone()
    common.say(f"pgbench: {report.acked} transactions, errors {list(report.errors)}")
    return {
        "stall": report.longest_gap_ms(began, ended + 0.2),
        "errors": len(report.errors),
        "acked": report.acked,
        "lost": report.acked - int(present[0] if present is not None else 0),
    }


def measure(arguments: argparse.Namespace) -> common.Result:
    changes, losses, runs = [], [], []
    with Lab(mode=Rpo(arguments.mode), scale=arguments.scale, policy=MANUAL, say=common.say) as lab:
        with gates.pgbouncer(lab) as gate:
            dsn = gates.at_port(lab, gate.port)
            for _ in range(arguments.repeat):
                runs.append(under_pgbench(lab, dsn))
            with _gates.writers(lab, dsn) as load:
                for number in range(arguments.repeat):
                    changes.append(_gates.planned(lab, load))
                    losses.append(_gates.lost(lab, load))
                    common.say(f"{number + 1} of {arguments.repeat}: {changes[-1]}; killed: {losses[-1]}")
            found = _gates.figures(lab, load, changes, losses)
        peer = script.measure(lab, arguments.repeat)
    return found | {
        "mode": arguments.mode,
        "pgbench_stall_ms": common.summary(run["stall"] for run in runs),
        "pgbench_errors": sum(run["errors"] for run in runs),
        "pgbench_acked": sum(run["acked"] for run in runs),
        "pgbench_lost": sum(run["lost"] for run in runs),
        "peers": {"pgbouncer by script": peer},
    }


def main() -> int:
    parser = common.options("pgbouncer")
    parser.add_argument("--mode", choices=[mode.value for mode in Rpo], default=Rpo.BOUNDED.value)
    return common.finish("pgbouncer", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
