"""`understudy alerts`: who is told of trouble, whether that works, and what has been told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import typer

from understudy.cli.common import Cli, CliError, Exit, duration, leave, of, out, print_json, table
from understudy.config_alerts import Alerting


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A condition as the monitor's memory has it. ``told``: the gravest severity told, or None: not (yet)."""

    cluster: str
    key: str
    severity: str
    title: str
    text: str
    seconds: float
    told: str | None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Who is told of trouble, whether that works, and what has been told.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )
    group.command("test")(test)
    group.command("list")(show)
    app.add_typer(group, name="alerts")


def test(context: typer.Context) -> None:
    """Send a test notice to every address of every route and say what came of each."""
    from understudy.monitor.delivery import NoApprise, send_test

    cli = of(context)
    routes = _alerting(cli).routes
    if not routes:
        raise CliError("no route is configured: add [[alerts.routes]] with name and urls_env", Exit.USAGE)
    name = cli.wanted if cli.wanted is not None else ", ".join(c.name for c in cli.config.clusters)
    try:
        sent = send_test(routes, name)
    except NoApprise as error:
        raise CliError(str(error), Exit.USAGE) from None
    if cli.json:
        print_json([{"route": s.route, "to": s.to, "sent": not s.error, "error": s.error} for s in sent])
    else:
        rows = [(s.route, s.to, s.error or "sent") for s in sent]
        out().print(table(("ROUTE", "TO", "RESULT"), rows))
    leave(Exit.PROBLEM if any(s.error for s in sent) else Exit.OK)


def show(context: typer.Context) -> None:
    """The routes, and every condition that holds now or has ended so recently that its end is not told yet."""
    from understudy.monitor.delivery import masked

    cli = of(context)
    alerting = _alerting(cli)
    known = _known(cli)
    if cli.json:
        routes = [
            {"name": r.name, "severity": r.severity, "to": [masked(u) for u in r.urls]}
            for r in alerting.routes
        ]
        print_json({"routes": routes, "conditions": known})
        return
    rows = [(r.name, r.severity, ", ".join(masked(u) for u in r.urls)) for r in alerting.routes]
    out().print(table(("ROUTE", "FROM", "TO"), rows) if rows else "no route: notices are only logged")
    print()
    if not known:
        print("nothing is wrong that the monitor knows of")
        return
    out().print(
        table(
            ("CLUSTER", "SEVERITY", "SINCE", "TOLD", "WHAT"),
            [(k.cluster, k.severity, duration(k.seconds), k.told or "not yet", k.title) for k in known],
        )
    )


def _alerting(cli: Cli) -> Alerting:
    if cli.wanted is not None:
        cli.config.cluster(cli.wanted)  # a wrong name is said before anything else
    if cli.config.alerting is None:
        raise CliError(
            f"{cli.config.source}: nothing is watched: add a table [monitor] or [alerts], or set "
            "UNDERSTUDY_ALERT_URLS",
            Exit.USAGE,
        )
    return cli.config.alerting


def _known(cli: Cli) -> list[Known]:
    from understudy.monitor.memory import MemoryDamaged, path_of, read

    found: list[Known] = []
    for cluster in cli.config.clusters:
        path = path_of(cli.config.directory, cluster.name)
        record = read(path)
        if record is None or cli.wanted not in (None, cluster.name):
            continue
        try:
            since_saved = max(0.0, time.time() - record["wall"])
            found += [_known_one(cluster.name, held, since_saved) for held in record["edges"]["held"]]
        except (KeyError, TypeError) as error:
            raise MemoryDamaged(f"{path}: expected what was told so far, found no {error}") from None
    return found


def _known_one(cluster: str, held: dict[str, Any], since_saved: float) -> Known:
    return Known(
        cluster=cluster,
        key=held["key"],
        severity=held["severity"],
        title=held["title"],
        text=held["text"],
        seconds=held["age"] + since_saved,
        told=held["told"],
    )
