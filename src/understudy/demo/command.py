"""`understudy demo`."""

from __future__ import annotations

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
    from understudy.demo.application import Bank
    from understudy.demo.story import tell

    # `--json` is also an option of the whole program, which takes it from anywhere on the line.
    json = json or bool(getattr(context.find_root().obj, "json", False))
    faults = [fault] if once else [fault, *(other for other in Fault if other is not fault)]
    if not tell(Bank(scale), mode=mode, faults=[which.value for which in faults], json=json):
        raise typer.Exit(1)
