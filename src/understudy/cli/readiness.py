"""`understudy readiness`: one traffic light for the worst day, and the reasons for it."""

from __future__ import annotations

import typer

from understudy.cli.common import Exit, leave, of, out, print_json, table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("readiness")(readiness)


def readiness(context: typer.Context) -> None:
    """How ready the cluster is for its worst day: standby, backups, proofs, log, drills, key. Exit code 1: red."""
    from understudy.readiness.gather import look
    from understudy.readiness.light import Light

    cli = of(context)
    found = look(cli.config, cli.cluster)
    if cli.json:
        print_json(found)
    else:
        print(f"{found.cluster}: {found.light}")
        out().print(
            table(("", "LIGHT", "WHY"), [(item.name, item.light, item.detail) for item in found.items])
        )
    leave(Exit.PROBLEM if found.light is Light.RED else Exit.OK)
