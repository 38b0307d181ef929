"""`understudy demo`."""

from __future__ import annotations

import json as json_text
from enum import StrEnum
from typing import Annotated

import typer

from understudy.model import Rpo


class Fault(StrEnum):
    """What happens to the primary."""

    KILL = "kill"
    FREEZE = "freeze"


def command(app: typer.Typer) -> None:
    """Add `understudy demo` to the command line."""
    app.command("demo")(demo)


def demo(  # noqa: PLR0917 (options of a command line)
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One fault only, not one after the other.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON value on stdout; the story on stderr.")
    ] = False,
    mode: Annotated[Rpo, typer.Option(help="Promise nothing lost (zero), or rescue (bounded).")] = Rpo.ZERO,
    fault: Annotated[Fault, typer.Option(help="What happens to the primary first.")] = Fault.KILL,
    scale: Annotated[int, typer.Option(min=1, max=100, help="pgbench's scale: 100,000 accounts each.")] = 10,
) -> None:
    """Watch a failover and the way home on two real servers of this machine. Needs nothing else; leaves nothing."""
    from rich.console import Console

    from understudy.demo.story import Story, as_json, verdict

    # `--json` is also an option of the whole program, which takes it from anywhere on the line.
    json = json or bool(getattr(context.find_root().obj, "json", False))
    console = Console(stderr=json, highlight=False, emoji=False)
    faults = [fault] if once else [fault, *(other for other in Fault if other is not fault)]
    endings = []
    for which in faults:
        endings.append(Story(console, mode=mode, fault=which.value, scale=scale).run())
        verdict(console, endings[-1])
    if json:
        objects = [as_json(ending) for ending in endings]
        print(json_text.dumps(objects[0] if once else objects), flush=True)
    if any(ending.broken for ending in endings):
        raise typer.Exit(1)
