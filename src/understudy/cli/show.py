"""`events` and `verify`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated

import typer
from rich.text import Text

from understudy.agent.history import tell
from understudy.cli.common import Cli, CliError, Exit, leave, of, out, print_json, table
from understudy.config import mask
from understudy.engines.base import VerifyReport
from understudy.model import ClusterState
from understudy.plain import plain
from understudy.witness import SqliteWitness

_FOLLOW_EVERY = 0.25


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("events")(events)
    app.command("verify")(verify)


def events(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
) -> None:
    """Print the history: what was seen, by whom, which rule fired, how long each step took."""
    cli = of(context)
    with cli.witness() as witness:
        if follow:
            _follow(cli, witness, limit)
        found = witness.events(cli.cluster.name, limit=limit)
    if cli.json:
        print_json(found)
        return
    for event in found:
        print(mask(tell(event)))


def _follow(cli: Cli, witness: SqliteWitness, limit: int) -> None:
    """For ever; with `--json` one object per line."""
    after = 0
    while True:
        for event in witness.events(cli.cluster.name, limit=limit, after=after):
            after = event.id
            line = json.dumps(plain(event), ensure_ascii=False) if cli.json else mask(tell(event))
            print(line, flush=True)
        limit = 1000
        time.sleep(_FOLLOW_EVERY)


def verify(context: typer.Context) -> None:
    """Compare the contents of both nodes, table by table, at one position, while the application goes on."""
    cli = of(context)
    with cli.witness() as witness:
        state = cli.state(witness)
    if state.link is None:
        raise CliError(f"{state.other} does not follow {state.primary}: nothing to compare", Exit.REFUSED)
    report = asyncio.run(_verify(cli, state))
    if cli.json:
        print_json({"equal": report.equal, "different": report.different, "report": report})
    else:
        _show(report)
    leave(Exit.OK if report.equal else Exit.PROBLEM)


async def _verify(cli: Cli, state: ClusterState) -> VerifyReport:
    async with cli.engine() as engine:
        return await engine.verify(state.primary, state.other)


def _show(report: VerifyReport) -> None:
    rows = [
        (
            check.table,
            f"{check.left[0]}",
            f"{check.right[0]}",
            Text("equal", style="green") if check.equal else Text("DIFFERENT", style="bold red"),
        )
        for check in report.tables
    ]
    out().print(table(("TABLE", f"ROWS {report.left}", f"ROWS {report.right}", "CONTENTS"), rows))
    verdict = "equal" if report.equal else f"DIFFERENT: {', '.join(report.different)}"
    at = f"{report.position >> 32:X}/{report.position & 0xFFFFFFFF:X}"
    print(f"{len(report.tables)} tables compared at position {at} of {report.left}: {verdict}")
