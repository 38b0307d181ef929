"""How long writers are without an answer when the primary is lost, and what becomes of what they were promised."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

if __package__ in (None, ""):  # `python bench/failover.py`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg

from bench import _common as common
from understudy.demo import audit, tpcb
from understudy.demo.lab import MANUAL, Lab
from understudy.demo.workload import Writers
from understudy.embedded import EmbeddedPostgreSQL
from understudy.model import Request, RequestKind, Rpo

FAULTS = ("kill", "freeze", "partial-freeze", "blackhole")
PEER_BOUND = 20.0  # seconds that the peer without Understudy is left with a frozen server


def break_primary(lab: Lab, fault: str) -> str:
    """Let the fault happen to the present primary, and return its name."""
    node = lab.state.primary
    if fault == "kill":
        lab.servers[node].kill()
    elif fault == "freeze":
        lab.servers[node].freeze()
    elif fault == "blackhole":
        lab.proxies[node].black_hole()
    else:
        lab.agent.freeze()
        lab.servers[node].freeze_postmaster()
    return node


def mend(lab: Lab, fault: str, node: str) -> None:
    """End the fault."""
    if fault == "kill":
        lab.servers[node].start()
    elif fault == "blackhole":
        lab.proxies[node].pass_through()
    else:
        lab.servers[node].thaw()
        lab.agent.thaw()


def await_failover(lab: Lab, fault: str, node: str, event: int) -> bool:
    """Wait for the change of primary. Returns whether Understudy began it by itself.

    A frozen postmaster leaves the sessions that are open alive, the standby agent's among them: for Understudy that
    server works, and nothing has to change. To reach the dangerous moment all the same (open sessions on one node,
    another one promoted) a person orders the failover, as somebody would who finds that nobody can log in.
    """
    if fault != "partial-freeze":
        lab.await_state(lambda s: s.primary != node, 60, "a failover")
        return True
    lab.await_event("agent_took_over", 30, after=event)
    end = time.monotonic() + 5
    while time.monotonic() < end and lab.state.primary == node and lab.state.plan is None:
        time.sleep(0.05)
    alone = lab.state.primary != node or lab.state.plan is not None
    if not alone:
        other = lab.state.other
        lab.order(Request(id="bench", kind=RequestKind.FAILOVER, target=other, accept_loss=True))
    # Not until everything is at rest: the old primary cannot follow while its postmaster is frozen.
    lab.await_state(lambda s: s.primary != node, 60, "a failover")
    return alone


def phases(lab: Lab, event: int, wall: float) -> dict[str, float]:
    """Where the time went: when each event of the failover was written down, in ms since the fault."""
    found: dict[str, float] = {}
    for seen in lab.events(event):
        found.setdefault(seen.kind.removeprefix("step:"), round((seen.wall - wall) * 1000, 1))
        if seen.kind == "step:publish":
            break
    return found


def once(lab: Lab, load: Writers, fault: str) -> tuple[float | None, bool, dict[str, float]]:
    """One fault, from a healthy pair to a healthy pair.

    Returns (outage in ms, Understudy began the failover by itself, when its steps were done in ms since the fault).
    """
    if fault == "partial-freeze" and lab.standby_agent.pid is None:
        lab.standby_agent.start()
        lab.await_true(
            lambda: any(e.message.endswith("(waiting in standby)") for e in lab.events()),
            20,
            "a second agent",
        )
    common.steady(load)
    event, began, wall = lab.last_event, time.monotonic_ns(), time.time()
    node = break_primary(lab, fault)
    alone = await_failover(lab, fault, node, event)
    common.steady(load)
    if fault == "partial-freeze":
        common.steady(load, 1000)  # the old sessions have time to do harm
    outage, steps = audit.outage_ms(load.entries(), began), phases(lab, event, wall)
    mend(lab, fault, node)
    lab.await_settled(120)
    if fault == "partial-freeze":  # the thawed agent has been replaced: it waits in the other one's place now
        lab.agent, lab.standby_agent = lab.standby_agent, lab.agent
    return outage, alone, steps


def measure(arguments: argparse.Namespace) -> common.Result:
    mode, fault = Rpo(arguments.mode), arguments.fault
    outages: list[float | None] = []
    steps: list[dict[str, float]] = []
    alone = 0
    with Lab(
        mode=mode, scale=arguments.scale, policy=MANUAL, proxies=fault == "blackhole", say=common.say
    ) as lab:
        with common.writers(lab, exactly_once=arguments.exactly_once) as load:
            for number in range(arguments.repeat):
                outage, by_itself, done = once(lab, load, fault)
                outages.append(outage)
                steps.append(done)
                alone += by_itself
                common.say(f"{fault} {number + 1} of {arguments.repeat}: outage {outage or -1:.0f} ms")
            common.steady(load)
        counted = common.count(lab, load)
        errors = common.kinds(load)
        server = common.postgresql_version(lab)
        equal = lab.verify().equal
    return {
        "fault": fault,
        "mode": mode.value,
        "outage_ms": common.summary(outages),
        "acked": counted.acked,
        "lost": counted.absent,
        "unaccounted": counted.unaccounted,
        "doubled": counted.doubled,
        "rescued": counted.rescued,
        "errors": counted.errors,
        "two_writer_epochs": counted.two_writers,
        "errors_by_kind": errors,
        "failovers_without_a_person": alone,
        "contents_equal": equal,
        "runs": [{"outage_ms": o, **s} for o, s in zip(common.numbers(outages), steps, strict=True)],
        "versions": {"postgresql": server},
        "peers": peers(fault, arguments),
    }


def peers(fault: str, arguments: argparse.Namespace) -> dict[str, common.Result]:
    """A client without Understudy on a server that freezes."""
    found: dict[str, common.Result] = {"patroni": {"skipped": common.PATRONI}}
    if fault == "freeze" and not arguments.no_peers:
        found["plain psycopg"] = frozen_plain(arguments.scale)
    else:
        found["plain psycopg"] = {
            "skipped": "measured with --fault freeze: without a second server nothing returns"
        }
    return found


def frozen_plain(scale: int) -> common.Result:
    """psycopg alone, no limit per call: it waits as long as the server is frozen, here `PEER_BOUND` seconds."""
    common.say(f"peer: psycopg alone, server frozen for {PEER_BOUND:g} s")
    folder = Path(tempfile.mkdtemp(prefix="understudy-peer-"))
    folder.chmod(0o711)
    with EmbeddedPostgreSQL(folder, name="peer", temporary=True, die_with_parent=True) as server:
        server.prepare("bank", password="peer")
        dsn = server.dsn("app", "bank", "peer")
        with psycopg.connect(dsn, autocommit=True) as connection:
            tpcb.create(connection, scale)
        with (
            tempfile.TemporaryDirectory(prefix="understudy-peer-") as ledgers,
            Writers(Path(ledgers), scale=scale, plain_dsn=dsn) as load,
        ):
            common.steady(load)
            began = time.monotonic_ns()
            server.freeze()
            time.sleep(PEER_BOUND)
            server.thaw()
            common.steady(load)
            load.stop()
            entries = load.entries()
        with psycopg.connect(dsn) as connection:
            counted = audit.count(entries, audit.rows(connection), [])
    return {
        "outage_ms": common.summary([audit.outage_ms(entries, began)]),
        "acked": counted.acked,
        "lost": counted.absent,
        "doubled": counted.doubled,
        "errors": counted.errors,
        "frozen_for_s": PEER_BOUND,
    }


def main() -> int:
    parser = common.options("failover")
    parser.add_argument("--fault", choices=FAULTS, default="kill")
    parser.add_argument("--mode", choices=[mode.value for mode in Rpo], default=Rpo.ZERO.value)
    parser.add_argument("--exactly-once", action="store_true", help="writers settle what is in doubt")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    return common.finish("failover", parser.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
