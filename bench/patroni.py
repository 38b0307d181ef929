"""What a lost and a changed primary cost with Patroni, beside us: same machine, same run, same writers, same measure.

Patroni is built for another problem: one cluster of physical copies on many hosts, each with an agent beside the
server, and a leader lock in a store that needs a majority. It survives the loss of any host, its own included; it can
wait longer than we do before it believes in a loss, because a wrong belief costs a whole cluster. We manage pairs of
independent databases from one host. So this compares what an application notices, not which of the two is better.

Four writers do one TPC-B transaction every 5 ms each: through `understudy.Pool` for us, with psycopg alone for Patroni,
through HAProxy as its documentation has it (``--route haproxy``) or with libpq's list of hosts and
``target_session_attrs=read-write`` (``--route libpq``). Patroni runs with its defaults and with the smallest times that
its documentation allows; in mode `zero` with ``synchronous_mode``. Faults:

kill, freeze: every process of the primary's server, SIGKILL or SIGSTOP. Patroni beside it lives, as our agent does.
kill-host, freeze-host: Patroni beside it as well. For us that is the same as kill and freeze: no agent is there.
switchover: a planned change.

``FAULT_ms`` is the longest time without an acknowledgement to anybody, ``FAULT_lost`` what was acknowledged and is not
on the primary once all is healthy again, ``FAULT_unaccounted`` what is not in rescue files either: Patroni has none, we
do in mode `bounded`. One member of etcd, on the same machine: the network costs Patroni nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

if __package__ in (
    None,
    "",
):  # `python bench/patroni.py`: this folder would hide the library of the same name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import psycopg
from tools.install_peers import PATRONI

from bench import _common as common
from bench import _gates, _patroni
from understudy.demo import audit
from understudy.demo.lab import MANUAL, Lab
from understudy.demo.workload import Writers
from understudy.embedded.daemon import find
from understudy.model import Rpo

FAULTS = ("kill", "kill-host", "freeze", "freeze-host", "switchover")
WITHIN = 180.0  # seconds in which writers are to go on
Once = Callable[[Writers], _gates.Seen]


def repeated(what: str, load: Writers, repeat: int, once: Once) -> list[_gates.Seen]:
    seen = []
    for number in range(repeat):
        seen.append(once(load))
        common.say(f"{what} {number + 1} of {repeat}: {seen[-1].gap_ms:.0f} ms")
    return seen


def figures(fault: str, seen: Sequence[_gates.Seen], counted: audit.Count) -> common.Result:
    key = fault.replace("-", "_")
    return {
        f"{key}_ms": common.summary(each.gap_ms for each in seen),
        f"{key}_acked": counted.acked,
        f"{key}_lost": counted.absent,
        f"{key}_unaccounted": counted.unaccounted,
        f"{key}_errors": counted.errors,
        f"{key}_runs": common.numbers([each.gap_ms for each in seen]),
    }


def ours(fault: str, arguments: argparse.Namespace) -> common.Result:
    """The same on a pair of ours, through our client."""
    if fault.endswith("-host"):
        same = fault.removesuffix("-host")
        return {f"{fault.replace('-', '_')}_ms": f"as {same}: no agent is on that host"}
    with Lab(mode=Rpo(arguments.mode), scale=arguments.scale, policy=MANUAL, say=common.say) as lab:

        def once(load: Writers) -> _gates.Seen:
            return _gates.planned(lab, load) if fault == "switchover" else _gates.lost(lab, load, fault)

        with common.writers(lab) as load:
            seen = repeated(f"understudy, {fault}", load, arguments.repeat, once)
        lab.await_settled()
        postgresql = {"versions": {"postgresql": common.postgresql_version(lab)}}
        return figures(fault, seen, common.count(lab, load)) | postgresql


def patroni(settings: str, arguments: argparse.Namespace) -> common.Result:
    """All faults, one after another, on one pair of Patroni's."""
    tuned = _patroni.SETTINGS_OF[settings]
    found: common.Result = dict(tuned.dcs)
    common.say(f"patroni, {settings}: etcd, two Patronis, HAProxy")
    with _patroni.pair(tuned, Rpo(arguments.mode), arguments.scale) as (pair, gate):
        direct = pair.dsn(*pair.nodes.values())
        dsn = pair.dsn(port=gate.port) if arguments.route == "haproxy" else direct
        for fault in arguments.faults:
            if fault.startswith("freeze") and arguments.route == "libpq":
                found[f"{fault.replace('-', '_')}_ms"] = "libpq waits for as long as it is frozen"
                continue
            pair.await_healthy()
            pair.await_route(dsn)
            with Writers(gate.folder / fault, scale=arguments.scale, plain_dsn=dsn) as load:
                what, once = f"patroni, {settings}, {fault}", partial(one, pair, fault)
                seen = repeated(what, load, arguments.repeat, once)
            with psycopg.connect(direct) as connection:
                counted = audit.count(load.entries(), audit.rows(connection), [])
                common.say(f"{what}: acked {counted.acked}, lost {counted.absent}, errors {counted.errors}")
                found |= figures(fault, seen, counted)
                connection.execute("TRUNCATE pgbench_history")  # the next writers count from one again
    return found


def one(pair: _patroni.Pair, fault: str, load: Writers) -> _gates.Seen:
    """One fault, from a healthy pair to a healthy pair."""
    leader = pair.await_healthy()
    common.steady(load)
    began = time.monotonic_ns()
    if fault == "switchover":
        pair.switch()
        seen = _gates.seen(load, began, WITHIN)
    else:
        broken = leader if fault.endswith("-host") else leader.server
        broken.kill() if fault.startswith("kill") else broken.freeze()
        seen = _gates.seen(load, began, WITHIN)
        leader.thaw()
        leader.start()
    pair.await_healthy()
    return seen


def versions() -> dict[str, str]:
    """Of the peer's parts, each in its own words."""
    programs = {"patroni": (PATRONI, "--version"), "etcd": (find("etcd"), "--version")}
    programs["haproxy"] = (find("haproxy"), "-v")
    said = {
        name: subprocess.run(call, capture_output=True, text=True, check=True).stdout
        for name, call in programs.items()
    }
    return {name: text.splitlines()[0] for name, text in said.items()}


def measure(arguments: argparse.Namespace) -> common.Result:
    found: common.Result = {"mode": arguments.mode, "route": arguments.route, "peers": {}}
    for fault in arguments.faults:
        found |= ours(fault, arguments)
    absent = _patroni.missing()
    for settings in arguments.settings:
        found["peers"][f"patroni, {settings}"] = (
            {"skipped": absent} if absent else patroni(settings, arguments)
        )
    return found if absent else found | {"versions": found.get("versions", {}) | versions()}


def main() -> int:
    parser = common.options("patroni")
    parser.add_argument("--mode", choices=[mode.value for mode in Rpo], default=Rpo.ZERO.value)
    parser.add_argument(
        "--route", choices=["haproxy", "libpq"], default="haproxy", help="Patroni's clients' (haproxy)"
    )
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS, help="which (all)")
    names = list(_patroni.SETTINGS_OF)
    parser.add_argument("--settings", nargs="+", choices=names, default=names, help="of Patroni (all)")
    return common.finish("patroni", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
