"""Deliberate faults: is each promise of `docs/promises.md` really tested? `make mutants`.

Every mutant is one textual change of a copy of `src/understudy` in a temporary folder. The smallest selection of tests
that must notice it runs against the copy. A mutant that survives means a promise without a test: exit status 1.
`python tools/mutants.py 2 5` runs those of promises 2 and 5 only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "understudy"
LIMIT = 300  # seconds for the tests of one mutant
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::[A-Za-z0-9_]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old`` stands exactly once in ``file`` (below src/understudy) and becomes ``new``."""

    promise: int
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


LEASING = "tests/unit/test_agent_leasing.py"
DECIDE = "tests/unit/test_decide.py"
PLANS = "tests/unit/test_plans.py"
CLIENT = "tests/unit/test_client.py"
SMALL = "tests/simulation/test_exhaustive.py"
SMALL_FAILOVER = f"{SMALL}::test_a_failover_with_a_lost_message_anywhere"
SMALL_SWITCHOVER = f"{SMALL}::test_a_switchover_with_one_fault_anywhere"

MUTANTS = (
    Mutant(
        1,
        "one register confirms a lease",
        "agent/leasing.py",
        "return times[1] if len(times) >= 2 else None",
        "return times[0] if times else None",
        (LEASING,),
    ),
    Mutant(
        1,
        "the lease counts from the newest answer",
        "agent/leasing.py",
        "return times[1] if len(times) >= 2 else None",
        "return times[0] if len(times) >= 2 else None",
        (LEASING,),
    ),
    Mutant(
        1,
        "a claimed change leaves the lease open",
        "agent/leasing.py",
        "    return plan.epoch == state.epoch and Step.PUBLISH not in plan.done\n",
        "    return False\n",
        (LEASING,),
    ),
    Mutant(
        1,
        "a failover does not wait for old leases",
        "decide/plans.py",
        "        Step.ANNOUNCE,\n        Step.HOLD,\n        Step.FENCE_IF_REACHABLE,\n",
        "        Step.ANNOUNCE,\n        Step.FENCE_IF_REACHABLE,\n",
        (SMALL_FAILOVER,),
    ),
    Mutant(
        1,
        "fence rows alone open a lease",
        "client/renewal.py",
        "        if state is None:\n            return (\n",
        "        if epoch < 0:\n            return (\n",
        ("tests/unit/test_renewal.py",),
    ),
    Mutant(
        1,
        "a superseded agent goes on",
        "engines/postgresql/sessions.py",
        "f.plan <= excluded.plan AND f.primary_node = excluded.primary_node",
        "f.primary_node = excluded.primary_node",
        ("tests/integration/test_engine_tickets.py",),
    ),
    Mutant(
        1,
        "sessions survive the fence",
        "engines/postgresql/fencing.py",
        "        if empty == 2:\n",
        "        if empty >= 0:\n",
        ("tests/integration/test_engine_change.py::test_a_superuser_who_is_writing_is_named",),
    ),
    Mutant(
        2,
        "failover to a standby that is not in sync",
        "decide/decide.py",
        'return "" if state.in_sync else f"{name} is not in sync: acknowledged commits would be lost"',
        'return ""',
        (DECIDE,),
    ),
    Mutant(
        2,
        "in-sync is kept while the primary stops waiting",
        "decide/plans.py",
        "    if kind in (PlanKind.SYNC_OFF, PlanKind.REINSTATE):\n",
        "    if kind is PlanKind.REINSTATE:\n",
        (f"{SMALL_SWITCHOVER}[zero]",),
    ),
    Mutant(
        2,
        "a switchover does not wait for replay",
        "decide/plans.py",
        "        Step.FENCE,\n        Step.WAIT_REPLAY,\n",
        "        Step.FENCE,\n",
        (PLANS, f"{SMALL_SWITCHOVER}[zero]"),
    ),
    Mutant(
        3,
        "the lag gate is open",
        "decide/decide.py",
        "    if view.lag_seconds > policy.max_lag_seconds:\n",
        "    if view.lag_seconds < 0:\n",
        (DECIDE,),
    ),
    Mutant(
        3,
        "a returned primary is rewound without a rescue",
        "decide/plans.py",
        "        Step.RESCUE,\n        Step.REWIND,\n",
        "        Step.REWIND,\n",
        (SMALL_FAILOVER,),
    ),
    Mutant(
        3,
        "the standby goes on applying while it is promoted",
        "decide/plans.py",
        "        Step.FENCE_IF_REACHABLE,\n        Step.STOP_APPLY,\n",
        "        Step.FENCE_IF_REACHABLE,\n",
        (SMALL_FAILOVER,),
    ),
    Mutant(
        4,
        "a switchover does not wait until all is quiet",
        "decide/plans.py",
        "        Step.ANNOUNCE,\n        Step.HOLD,\n        Step.FENCE,\n",
        "        Step.ANNOUNCE,\n        Step.FENCE,\n",
        (f"{SMALL_SWITCHOVER}[bounded]",),
    ),
    Mutant(
        4,
        "a rolled back switchover leaves the standby waiting",
        "agent/steps.py",
        "        await hands.engine.relax_sync(state.link.subscriber, _ticket(state))\n",
        "",
        (f"{SMALL_SWITCHOVER}[zero]",),
    ),
    Mutant(
        4,
        "a switchover that fails is not rolled back",
        "decide/decide.py",
        "        if step is not Step.PROMOTE:\n",
        "        if step is Step.PROMOTE:\n",
        (DECIDE,),
    ),
    Mutant(
        5,
        "home without having been verified",
        "decide/decide.py",
        "    if not state.record(preferred).verified or view.healthy_since is None:\n",
        "    if view.healthy_since is None:\n",
        (DECIDE,),
    ),
    Mutant(
        5,
        "contents that differ count as equal",
        "decide/plans.py",
        "    if outcome.needs_copy or outcome.different:\n",
        "    if outcome.needs_copy:\n",
        (PLANS,),
    ),
    Mutant(
        6,
        "without the witness no lease is renewed",
        "agent/leasing.py",
        "            if present is None or present.phase is not Phase.OPEN:\n",
        "            if present is None or present is not None:\n",
        (LEASING,),
    ),
    Mutant(
        6,
        "one missed probe is a dead server",
        "decide/decide.py",
        '    if node.misses >= policy.failure_threshold:\n        return f"primary',
        '    if node.misses >= 1:\n        return f"primary',
        (DECIDE,),
    ),
    Mutant(
        6,
        "the primary waits for ever for a lost standby",
        "decide/decide.py",
        "    if view.sync_lost_since is not None and lost_for >= policy.sync_timeout:\n",
        "    if lost_for < 0:\n",
        (DECIDE,),
    ),
    Mutant(
        6,
        "a network that swallows everything holds the writes of zero",
        "decide/decide.py",
        "    if _far_behind(view, policy):\n        # A network",
        "    if view.lag_seconds is None:\n        # A network",
        (DECIDE,),
    ),
    Mutant(
        6,
        "a switchover that became a failover never ends",
        "agent/steps.py",
        "    if probe is not None and not probe.fenced:\n        # A switchover",
        "    if probe is None:\n        # A switchover",
        (f"{SMALL_SWITCHOVER}[bounded]",),
    ),
    Mutant(
        7,
        "a commit in doubt is run again",
        "client/outcome.py",
        "    if isinstance(error, CommitInDoubt | NoPrimaryAvailable |",
        "    if isinstance(error, CommitInDoubt):\n        return True\n    if isinstance(error, NoPrimaryAvailable |",
        (CLIENT,),
    ),
    Mutant(
        7,
        "END is not seen as a commit",
        "client/outcome.py",
        'rb"\\b(?:COMMIT|END)\\b"',
        'rb"\\b(?:COMMIT)\\b"',
        (CLIENT,),
    ),
    Mutant(
        8,
        "a refused failover is not told",
        "decide/decide.py",
        '        return Decision(rule="failover_refused", reason=f"{trouble}; no failover: {refused}", alarm=True)\n',
        "        return None\n",
        (DECIDE,),
    ),
    Mutant(
        8,
        "history is forgotten at once",
        "witness/sqlite.py",
        "(cursor.lastrowid or 0) - _EVENTS_KEPT",
        "(cursor.lastrowid or 0)",
        ("tests/unit/test_witness.py",),
    ),
)


def changed(mutant: Mutant, folder: Path) -> Path:
    """A copy of the sources with this fault in it. Returns what goes into PYTHONPATH."""
    target = folder / "src"
    shutil.copytree(SOURCE, target / "understudy", ignore=shutil.ignore_patterns("__pycache__"))
    path = target / "understudy" / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(
            f"mutant {mutant.what!r}: expected its pattern once in {mutant.file}, found {text.count(mutant.old)} "
            "times; bring tools/mutants.py up to date"
        )
    path.write_text(text.replace(mutant.old, mutant.new))
    return target


def run(tests: tuple[str, ...], sources: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "not slow"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT,
    )  # fmt: skip


def require_clean(mutants: list[Mutant]) -> None:
    """Without a fault everything passes; else nothing that fails below would prove anything."""
    tests = tuple(sorted({test for mutant in mutants for test in mutant.tests}))
    answer = run(tests, ROOT / "src")
    if answer.returncode != 0:
        raise SystemExit(
            f"the tests fail without any mutant; mend that first:\n{answer.stdout}\n{answer.stderr}"
        )


def caught_by(mutant: Mutant) -> str:
    """The first test that notices, or an empty string."""
    with tempfile.TemporaryDirectory(prefix="understudy-mutant-") as folder:
        answer = run(mutant.tests, changed(mutant, Path(folder)))
    found = FAILED.search(answer.stdout)
    if found is not None:
        return found.group(1).removeprefix("tests/")
    if answer.returncode == 0:
        return ""
    raise SystemExit(f"mutant {mutant.what!r}: the tests did not run:\n{answer.stdout}\n{answer.stderr}")


def main() -> None:
    wanted = {int(number) for number in sys.argv[1:]}
    mutants = [mutant for mutant in MUTANTS if not wanted or mutant.promise in wanted]
    require_clean(mutants)
    survived = 0
    for mutant in mutants:
        began = time.monotonic()
        test = caught_by(mutant)
        survived += not test
        took = time.monotonic() - began
        print(f"{mutant.promise}  {mutant.what:<52} {test or 'SURVIVED':<90} {took:5.1f} s", flush=True)
    print(f"{survived} survived")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
