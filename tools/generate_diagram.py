"""Writes docs/explanation/plans.md from the step tables and rules of the decision core: `--check` only compares.

It fails when a plan has no way out or a rule begins no known plan, so that nobody adds a state one cannot leave.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from understudy.decide.plans import CHANGES, steps  # noqa: E402
from understudy.model import PlanKind, Rpo, Step  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "plans.md"
DECIDE = ROOT / "src" / "understudy" / "decide" / "decide.py"


def begun_by() -> dict[PlanKind, list[str]]:
    """Which rules begin which plan: read from the calls of `_begin` and `_roll_back` in decide.py."""
    found: dict[PlanKind, list[str]] = {kind: [] for kind in PlanKind}
    for node in ast.walk(ast.parse(DECIDE.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "_roll_back" and isinstance(node.args[1], ast.Constant):
            found[PlanKind.REINSTATE].append(node.args[1].value)
        if node.func.id != "_begin" or not isinstance(node.args[3], ast.Constant):
            continue
        kind, rule = node.args[1], node.args[3].value
        kinds = (
            [PlanKind[kind.attr]]
            if isinstance(kind, ast.Attribute)
            else [PlanKind.FAILOVER, PlanKind.SWITCHOVER]
        )
        for each in kinds:
            found[each].append(rule)
    return {kind: sorted(set(rules)) for kind, rules in found.items()}


def ways_out(kind: PlanKind) -> list[str]:
    """How a plan of that kind ends besides finishing."""
    if kind not in CHANGES:
        return ["given up when its node is down, and begun anew from what is then seen"]
    out = {
        PlanKind.FAILOVER: "rolled back (reinstate) when the target dies before `promote` and the source answers",
        PlanKind.SWITCHOVER: "rolled back (reinstate) if a step before `promote` fails; failover if the source dies",
        PlanKind.REINSTATE: "failover when the source dies and the gates are open; else tried until it answers",
    }
    return [out[kind]]


def mistakes() -> list[str]:
    found = []
    used = {step for kind in PlanKind for step in steps(kind, Rpo.ZERO)}
    found += [f"step {step} belongs to no plan" for step in Step if step not in used]
    found += [f"no rule begins a {kind}" for kind, rules in begun_by().items() if not rules]
    for kind in CHANGES:
        if Step.PROMOTE not in steps(kind, Rpo.ZERO) or steps(kind, Rpo.ZERO)[-1] is not Step.PUBLISH:
            found.append(f"change {kind} has no commit point or does not end with publish")
    return found


def page() -> str:
    rules = begun_by()
    lines = [
        "# Plans: the generated picture",
        "",
        "Written by `python tools/generate_diagram.py` from `decide/plans.py` and `decide/decide.py`; do not edit.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> steady",
    ]
    for kind in PlanKind:
        lines += (
            [f"    steady --> {kind}: {', '.join(r for r in rules[kind] if r)}"]
            if kind is not PlanKind.REINSTATE
            else []
        )
        lines.append(f"    {kind} --> steady: {'publish' if kind in CHANGES else 'finished or given up'}")
    lines += [
        "    steady --> reinstate: primary_fenced",
        "    failover --> reinstate: target_lost",
        "    switchover --> reinstate: step_failed, target_lost",
        "    switchover --> failover: escalate",
        "    reinstate --> failover: escalate",
        "```",
    ]
    for kind in PlanKind:
        lines += [
            "",
            f"## {kind}",
            "",
            f"Begun by the rules: {', '.join(f'`{r}`' for r in rules[kind])}.",
            "",
        ]
        lines += ["| # | step | |", "|---|---|---|"]
        for number, step in enumerate(steps(kind, Rpo.ZERO), start=1):
            note = "commit point" if step is Step.PROMOTE and kind in CHANGES else ""
            note = "`zero` only" if step not in steps(kind, Rpo.BOUNDED) else note
            lines.append(f"| {number} | `{step}` | {note} |")
        lines += ["", "Otherwise: " + "; ".join(ways_out(kind)) + "."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the page is not what it should be"
    )
    options = parser.parse_args()
    wrong = mistakes()
    for text in wrong:
        print(text, file=sys.stderr)
    if options.check:
        if not PAGE.exists() or PAGE.read_text() != page():
            print(
                f"{PAGE.relative_to(ROOT)} is out of date: run `python tools/generate_diagram.py`",
                file=sys.stderr,
            )
            return 1
    else:
        PAGE.write_text(page())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
