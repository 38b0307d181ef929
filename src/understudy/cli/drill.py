"""`understudy drill`: make the worst day happen on purpose, and keep what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.common import Cli, CliError, Exit, leave, note, of, out, print_json, table
from understudy.errors import ConfigError
from understudy.model import Rpo
from understudy.readiness import journal
from understudy.readiness.journal import Journal, Outcome, Radius

if TYPE_CHECKING:
    from understudy.drill.definition import Setting

_ENDS = {Outcome.PASS: Exit.OK, Outcome.FAIL: Exit.PROBLEM, Outcome.INCONCLUSIVE: Exit.INCONCLUSIVE}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Make the worst day happen on purpose, and keep what was measured.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )
    group.command("list")(show)
    group.command("run")(run)
    group.command("report")(report)
    group.command("runbook")(runbook)
    app.add_typer(group, name="drill")


def folder_of(cli: Cli) -> Path:
    """Where the journals lie: in the state directory; in ./drills where nothing is configured."""
    try:
        return cli.config.directory / "drills"
    except ConfigError:
        return Path("drills")


def show(context: typer.Context) -> None:
    """The drills, the presets, and how each one ended last."""
    from understudy.drill.catalogue import PRESETS, SCENARIOS

    cli = of(context)
    journals, wrong = journal.all_of(folder_of(cli))
    last = {found.scenario: found for found in journals}
    if cli.json:
        rows = [
            {
                "name": s.name, "title": s.title, "hypothesis": s.hypothesis, "must_fail": s.must_fail,
                "radii": [r.value for r in s.radii], "last": last.get(s.name),
            }
            for s in SCENARIOS
        ]  # fmt: skip
        print_json({"drills": rows, "presets": PRESETS, "wrong": wrong})
        return
    lines = [
        (s.name, ", ".join(r.value for r in s.radii), _last(last.get(s.name)), s.title) for s in SCENARIOS
    ]
    out().print(table(("DRILL", "WHERE", "LAST TIME", ""), lines))
    print()
    out().print(table(("PRESET", "DRILLS"), [(name, ", ".join(names)) for name, names in PRESETS.items()]))
    for sentence in wrong:
        note(sentence)


def _last(found: Journal | None) -> str:
    return "never" if found is None else f"{found.outcome.value} {found.started[:10]}"


def run(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="DRILL...", help="Drills or presets: `drill list`.")],
    production: Annotated[
        str,
        typer.Option(metavar="CLUSTER", help="Do it to this cluster, not to servers made for the drill."),
    ] = "",
    really: Annotated[
        str, typer.Option("--yes-production", metavar="CLUSTER", help="Say the cluster's name a second time.")
    ] = "",
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit's XML there.")] = None,
) -> None:
    """Run drills, one after another. Without --production they happen on two servers that are made for it."""
    from understudy.drill import report as reports
    from understudy.drill.catalogue import NoSuchDrill, wanted
    from understudy.drill.runner import run as run_drill

    cli = of(context)
    try:
        scenarios = wanted(tuple(names))
    except NoSuchDrill as error:
        raise CliError(str(error), Exit.USAGE) from None
    setting = _setting(cli, production, really)
    refused = [s.name for s in scenarios if setting.radius not in s.radii]
    if refused:
        raise CliError(f"{', '.join(refused)}: only in a sandbox; leave out --production", Exit.REFUSED)
    targets = (
        cli.config.backup.targets if setting.config is not None and cli.config.backup is not None else None
    )
    rto, rpo = (3600.0, 300.0) if targets is None else (targets.rto, targets.rpo)
    done: list[Journal] = []
    for scenario in scenarios:
        note(f"drill {scenario.name}: {scenario.title}")
        found = run_drill(scenario, setting, rto=rto, rpo=rpo, say=lambda text: note(f"  {text}"))
        file = journal.write(folder_of(cli), found)
        earlier, _ = journal.all_of(file.parent)
        file.with_suffix(".md").write_text(reports.markdown(found, earlier))
        file.with_suffix(".html").write_text(reports.html(found, earlier))
        note(f"drill {scenario.name}: {found.outcome.value}: {found.summary}; {file.with_suffix('.html')}")
        done.append(found)
    if junit is not None:
        junit.write_text(reports.junit(done))
    if cli.json:
        print_json(done)
    else:
        rows = [(d.scenario, d.outcome.value, d.summary) for d in done]
        out().print(table(("DRILL", "OUTCOME", ""), rows))
    worst = max((d.outcome for d in done), key=[Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL].index)
    leave(_ENDS[worst])


def _setting(cli: Cli, production: str, really: str) -> Setting:
    """Where to do it: the cluster that was named twice, else a sandbox in the mode of the configured one."""
    from understudy.drill.definition import Setting

    if production or really:
        if production != really:
            raise CliError(
                "a drill in production is asked for twice: --production CLUSTER --yes-production CLUSTER",
                Exit.USAGE,
            )
        cluster = cli.config.cluster(production)
        return Setting(
            radius=Radius.PRODUCTION, cluster=cluster.name, mode=cluster.policy.rpo, config=cli.config
        )
    try:
        cluster, config = cli.cluster, cli.config
    except ConfigError:
        if cli.path is not None or cli.wanted is not None:
            raise
        return Setting(radius=Radius.SANDBOX, cluster="sandbox", mode=Rpo.BOUNDED)
    return Setting(radius=Radius.SANDBOX, cluster=cluster.name, mode=cluster.policy.rpo, config=config)


def report(
    context: typer.Context,
    drill: Annotated[str, typer.Argument(metavar="[ID]", help="A drill's id; without: the newest one.")] = "",
    form: Annotated[str, typer.Option("--format", help="md, html, junit or json.")] = "md",
) -> None:
    """Print the report of a drill."""
    from understudy.drill import report as reports

    cli = of(context)
    journals, wrong = journal.all_of(folder_of(cli))
    for sentence in wrong:
        note(sentence)
    found = next((j for j in reversed(journals) if j.id.startswith(drill)), None)
    if found is None:
        raise CliError(
            f"no drill {drill or 'at all'} in {folder_of(cli)}: run `understudy drill run`", Exit.USAGE
        )
    forms = {
        "md": lambda: reports.markdown(found, journals),
        "html": lambda: reports.html(found, journals),
        "junit": lambda: reports.junit([found]),
        "json": lambda: _text(folder_of(cli) / f"{found.id}.json"),
    }
    if form not in forms:
        raise CliError(f"--format: expected one of {', '.join(forms)}, found {form!r:.40}", Exit.USAGE)
    print(forms[form](), end="")
    leave(Exit.PROBLEM if wrong else Exit.OK)


def _text(file: Path) -> str:
    return file.read_text()


def runbook() -> None:
    """Print the disaster-recovery runbook, made from the same definitions as the drills."""
    from understudy.drill.runbook import markdown

    print(markdown(), end="")
