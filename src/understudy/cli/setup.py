"""`understudy check` and `understudy setup`: from two servers to a pair."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from understudy.agent.looking import look_at
from understudy.cli import adopt as adoption
from understudy.cli.common import Cli, CliError, Exit, confirm, leave, note, of, out, print_json, table
from understudy.decide.plans import CHANGES
from understudy.engines.base import Engine, Finding, Severity, VerifyReport
from understudy.model import ClusterState, Link, NodeRecord, NodeView, Role
from understudy.witness import SqliteWitness

_SQL = ("ALTER ", "COMMIT ", "CREATE ", "GRANT ", "SELECT ")
_STYLES = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("check")(check)
    app.command("setup")(setup)


def check(
    context: typer.Context,
    sql: Annotated[bool, typer.Option("--sql", help="Only the SQL that mends what was found.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also what was looked at and is right.")] = False,
) -> None:
    """Look at both databases for everything that would stop or limit the cluster. Changes nothing."""
    cli = of(context)
    findings = asyncio.run(_check(cli))
    errors = any(f.severity is Severity.ERROR for f in findings)
    if cli.json:
        print_json({"ok": not errors, "findings": findings, "warnings": cli.config.warnings})
    elif sql:
        print(mending(findings), end="")
    else:
        show_findings(findings, cli.config.warnings, everything=everything)
    leave(Exit.PROBLEM if errors else Exit.OK)


async def _check(cli: Cli) -> Sequence[Finding]:
    async with cli.engine() as engine:
        return await engine.check()


def mending(findings: Sequence[Finding]) -> str:
    """The SQL of all findings, per node, each statement once, ready for psql."""
    lines: list[str] = []
    for node in dict.fromkeys(f.node for f in findings):
        wanted = [f for f in findings if f.node == node and f.mend and f.severity is not Severity.OK]
        if wanted:
            lines.append(f"-- node {node}")
        lines += dict.fromkeys(line for f in wanted for line in (_comment(f.message), _statement(f.mend)))
    return "".join(f"{line}\n" for line in lines)


def _comment(text: str) -> str:
    return "\n".join(f"-- {line}" for line in text.splitlines())


def _statement(mend: str) -> str:
    """What psql runs as it is; what a person must fill in, or do elsewhere than in SQL, as a comment."""
    text = mend.strip()
    if "..." in text or not text.startswith(_SQL):
        return _comment(f"by hand: {text}")
    return text if text.endswith(";") or "--" in text.rpartition("\n")[2] else text + ";"


def show_findings(findings: Sequence[Finding], warnings: Sequence[str], *, everything: bool) -> None:
    """The table of `check`, what needs doing first; then the SQL, unbroken so that it can be copied."""
    order = (Severity.ERROR, Severity.WARNING, Severity.OK)
    rows = [
        (f.node, f.subject, Text(f.severity, style=_STYLES[f.severity]), f.message)
        for f in sorted(findings, key=lambda f: order.index(f.severity))
        if everything or f.severity is not Severity.OK
    ]
    if rows:
        out().print(table(("NODE", "SUBJECT", "SEVERITY", "MESSAGE"), rows))
    for warning in warnings:
        out().print(Text(f"configuration: {warning}", style="yellow"))
    if wanted := mending(findings):
        print(f"\nWhat mends it (also: understudy check --sql):\n{wanted}", end="")
    count = {s: sum(1 for f in findings if f.severity is s) for s in order}
    print(f"{count[Severity.ERROR]} errors, {count[Severity.WARNING]} warnings, {count[Severity.OK]} ok")


# --- setup ------------------------------------------------------------------------------------------------------


def setup(
    context: typer.Context,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="The witness was lost: rebuild its state from the nodes.")
    ] = False,
    primary: Annotated[str | None, typer.Option(help="With --adopt: who is primary, if unclear.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Make the pair: objects, publications, the first copy. May be repeated; changes no roles."""
    cli = of(context)
    if primary is not None and not adopt:
        raise CliError("--primary goes with --adopt only", Exit.USAGE)
    state, did, report = asyncio.run(_setup(cli, adopt=adopt, primary=primary, yes=yes))
    different = report.different if report is not None else ()
    if cli.json:
        print_json({"ok": not different, "did": did, "different": different, "state": state})
    else:
        print(f"cluster {state.cluster}: {did}; primary {state.primary}, epoch {state.epoch}")
        if different:
            print(f"contents DIFFER in {', '.join(different)}: see `understudy verify`")
        elif did == "set up":
            print("next: `understudy run` (keep it running), then `understudy status`")
    leave(Exit.PROBLEM if different else Exit.OK)


async def _setup(
    cli: Cli, *, adopt: bool, primary: str | None, yes: bool
) -> tuple[ClusterState, str, VerifyReport | None]:
    cluster = cli.cluster
    async with cli.engine() as engine:
        findings = await engine.check()
        if any(f.severity is Severity.ERROR for f in findings):
            show = [f for f in findings if f.severity is not Severity.OK]
            note("\n".join(f"{f.node}: {f.severity}: {f.message}" for f in show))
            raise CliError("nothing was set up; `understudy check` says what mends these", Exit.PROBLEM)
        with cli.witness(create=True) as witness:
            state = witness.read(cluster.name)
            nodes = await look_at(engine, [n.name for n in cluster.nodes])
            lost = adoption.why_lost(cluster.name, state, nodes)
            if lost and not adopt:
                raise CliError(f"{lost}; `understudy setup --adopt` rebuilds it from the nodes", Exit.REFUSED)
            if adopt:
                if not lost:
                    raise CliError(
                        "the witness agrees with the nodes: there is nothing to adopt", Exit.REFUSED
                    )
                adoption.refuse_agent(cli, witness)
                adopted = adoption.rebuild(cluster, state, nodes, primary)
                confirm(f"{lost}.\n{adopted.story}\nWrite this to the witness?", yes=yes)
                return adoption.write(cli, witness, adopted), "adopted", None
            if state is None:
                state = await _first(cli, engine, witness)
                return await _verified(cli, engine, witness, state, "set up")
            return await _again(cli, engine, witness, state, nodes, yes=yes)


async def _prepare(engine: Engine) -> Mapping[str, str]:
    """The engine's setup, with its progress on stderr."""
    console = Console(stderr=True, highlight=False, markup=False)
    said = ""

    def progress(text: str) -> None:
        nonlocal said
        if text != said:
            console.print(f"  {text}", soft_wrap=True)
        said = text

    with console.status("setting up ..."):
        return await engine.setup(progress=progress)


async def _first(cli: Cli, engine: Engine, witness: SqliteWitness) -> ClusterState:
    """Set the databases up and write version 1 of the state."""
    found = await _prepare(engine)
    cluster = cli.cluster
    primary = cluster.preferred.name
    if found.get("primary", primary) != primary:
        raise CliError(
            f"the databases say that {found['primary']} is primary: `understudy setup --adopt`", Exit.REFUSED
        )
    records = tuple(
        NodeRecord(
            name=node.name,
            role=Role.PRIMARY if node.name == primary else Role.STANDBY,
            identity=found.get(f"identity:{node.name}", ""),
            verified=node.name == primary,
        )
        for node in cluster.nodes
    )
    standby = next(node.name for node in cluster.nodes if node.name != primary)
    state = ClusterState(
        cluster=cluster.name,
        version=0,
        epoch=1,
        primary=primary,
        nodes=records,
        link=Link(name=found["link"], publisher=primary, subscriber=standby),
        spare_slot=found["spare_slot"],
    )
    written = witness.write(state, expected=0)
    cli.log(witness, written, "setup", f"set up: {primary} is primary, {standby} follows")
    return written


async def _verified(
    cli: Cli, engine: Engine, witness: SqliteWitness, state: ClusterState, did: str
) -> tuple[ClusterState, str, VerifyReport | None]:
    """Compare the contents and remember that they are equal."""
    standby = state.record(state.other)
    if standby.role is not Role.STANDBY or standby.verified or state.plan is not None:
        return state, did, None
    note(f"comparing {state.primary} and {standby.name} ...")
    report = await engine.verify(state.primary, standby.name)
    if report.equal:

        def mark(now: ClusterState) -> ClusterState | None:
            same = now.link == state.link and now.primary == state.primary
            return now.with_record(standby.name, verified=True) if same else None

        state = cli.update(witness, mark)
        cli.log(witness, state, "verified", f"{len(report.tables)} tables are equal on both nodes")
    return state, did, report


async def _again(
    cli: Cli,
    engine: Engine,
    witness: SqliteWitness,
    state: ClusterState,
    nodes: Mapping[str, NodeView],
    *,
    yes: bool,
) -> tuple[ClusterState, str, VerifyReport | None]:
    """A pair that exists: bring objects and publications up to date, or give a repair another chance."""
    standby = state.record(state.other)
    probe = nodes[standby.name].probe
    identity = probe.identity if probe is not None else ""
    known = bool(identity and standby.identity)
    replaced = known and identity.split("/")[0] != standby.identity.split("/")[0]
    if replaced and state.plan is not None and state.plan.kind in CHANGES:
        raise CliError(f"a {state.plan.kind} is under way; try again when it is over", Exit.REFUSED)
    if standby.role is Role.DETACHED or replaced:
        if not standby.copies and not standby.needs_copy and not replaced:
            return state, f"{standby.name} is detached and waits for its repair by the agent", None
        why = standby.needs_copy or "copied too often"
        if replaced:
            why = f"another server, {identity}, whose contents will be kept in files and then REPLACED"
        confirm(
            f"{standby.name} is {standby.role} ({why}; copied {standby.copies} times). Let the agent try again?",
            yes=yes,
        )
        accepted = identity if replaced else ""
        state = cli.update(witness, lambda now: another_chance(now, standby.name, accepted))
        cli.log(witness, state, "setup", f"{standby.name} gets another repair: {why}")
        cli.ring()
        return state, f"{standby.name} gets another repair", None
    if state.plan is not None:
        raise CliError(f"a {state.plan.kind} is under way; try again when it is over", Exit.REFUSED)
    down = [f"{v.name}: {v.error}" for v in nodes.values() if not v.up]
    if down:
        raise CliError(f"both nodes must answer: {'; '.join(down)}", Exit.UNREACHABLE)
    await _prepare(engine)
    return await _verified(cli, engine, witness, state, "refreshed")


def another_chance(now: ClusterState, name: str, accepted: str) -> ClusterState | None:
    """The node's next repair, or None. ``accepted``: the identity of another server in its place, or empty."""
    record = now.record(name)
    if accepted and now.primary != name and (now.plan is None or now.plan.kind not in CHANGES):
        # It follows nobody, whatever its predecessor did, and a repair of that one has lost its sense.
        why = "it is another server now"
        new = now.with_record(
            name,
            role=Role.DETACHED,
            verified=False,
            copies=0,
            identity=accepted,
            rescue_point=None,
            needs_copy=why,
        )
        return replace(new, plan=None, in_sync=False)
    if record.role is not Role.DETACHED:
        return None
    # Where the position to rescue from is known, the repair still begins with a rescue.
    return now.with_record(name, copies=0, needs_copy="")
