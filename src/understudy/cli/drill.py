"""`understudy drill`: make the worst day happen on purpose, and keep what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.common import Cli, CliError, Exit, leave, note, of, out, print_json, table
from understudy.config_backup import CLONE_LIMIT, SIZE_OF_CLONE
from understudy.config_values import parse
from understudy.errors import ConfigError
from understudy.model import Rpo
from understudy.readiness import journal
from understudy.readiness.journal import Journal, Outcome, Radius

if TYPE_CHECKING:
    from understudy.drill.definition import AnyScenario, Setting

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
    group.command("schedule")(schedule)
    group.command("report")(report)
    group.command("runbook")(runbook)
    app.add_typer(group, name="drill")


def folder_of(cli: Cli) -> Path:
    """Where the journals lie: in the state directory; in ./drills where nothing is configured."""
    return cli.config.directory / "drills" if _configured(cli) else Path("drills")


def _configured(cli: Cli) -> bool:
    """Whether there is a configuration. Raises ConfigError where there is one with a mistake."""
    try:
        return bool(cli.config.clusters)
    except ConfigError as error:
        if cli.wanted is None and (cli.path, error.where) == (
            None,
            "configuration",
        ):  # as `config.load` says it
            return False
        raise


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
    out().print(table(("DRILL", "WHERE", "LAST TIME", ""), lines, whole=1))
    print()
    out().print(table(("PRESET", "DRILLS"), [(name, ", ".join(names)) for name, names in PRESETS.items()]))
    for sentence in wrong:
        note(sentence)


def _last(found: Journal | None) -> str:
    return "never" if found is None else f"{found.outcome.value} {found.started[:10]}"


def run(  # noqa: PLR0917 (options of a command line)
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="DRILL...", help="Drills or presets: `drill list`.")],
    clone: Annotated[
        bool | None,
        typer.Option(
            "--clone/--no-clone",
            help="With a clone of the cluster's data (so where backups are configured), or small tables.",
        ),
    ] = None,
    clone_limit: Annotated[
        str, typer.Option(metavar="SIZE", help="The largest data that is cloned.")
    ] = f"{CLONE_LIMIT // 2**30}GB",
    production: Annotated[
        str,
        typer.Option(metavar="CLUSTER", help="Do it to this cluster, not to servers made for the drill."),
    ] = "",
    really: Annotated[
        str, typer.Option("--yes-production", metavar="CLUSTER", help="Say the cluster's name a second time.")
    ] = "",
    escrow: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For key-loss: the copy of the keys that is kept elsewhere."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit's XML there.")] = None,
) -> None:
    """Run drills, one after another. Without --production they happen on servers that are made for it.

    Where backups are configured those hold a clone of the cluster's data, for the drills of a change of primary.
    """
    from understudy.drill import report as reports
    from understudy.drill.catalogue import NoSuchDrill, wanted

    cli = of(context)
    try:
        scenarios = wanted(tuple(names))
    except NoSuchDrill as error:
        raise CliError(str(error), Exit.USAGE) from None
    limit = int(parse(SIZE_OF_CLONE, clone_limit, "--clone-limit"))
    setting = replace(_setting(cli, production, really, escrow), clone_limit=limit)
    setting = _cloned(setting, clone)
    refused = [
        s.name for s in scenarios if setting.radius is Radius.PRODUCTION and setting.radius not in s.radii
    ]
    if refused:
        raise CliError(f"{', '.join(refused)}: only in a sandbox; leave out --production", Exit.REFUSED)
    done, ends = _run_all(cli, scenarios, setting)
    if junit is not None:
        junit.write_text(reports.junit(done))
    if cli.json:
        print_json(done)
    else:
        rows = [(d.scenario, d.outcome.value, _said(d)) for d in done]
        out().print(table(("DRILL", "OUTCOME", ""), rows, whole=1))
    leave(ends)


def _run_all(cli: Cli, scenarios: Sequence[AnyScenario], setting: Setting) -> tuple[list[Journal], Exit]:
    """Run each and keep its journal; an interrupted one is the last. What the command ends with."""
    from understudy.backup.source import BackupRefused
    from understudy.drill.runner import Interrupted
    from understudy.drill.runner import run as run_drill

    targets = (
        cli.config.backup.targets if setting.config is not None and cli.config.backup is not None else None
    )
    rto, rpo = (3600.0, 300.0) if targets is None else (targets.rto, targets.rpo)
    done: list[Journal] = []
    kept = True
    for scenario in scenarios:
        note(f"drill {scenario.name}: {scenario.title}")
        try:
            where = setting if setting.radius in scenario.radii else replace(setting, radius=Radius.SANDBOX)
            done.append(run_drill(scenario, where, rto=rto, rpo=rpo, say=lambda text: note(f"  {text}")))
        except BackupRefused as error:
            raise CliError(f"another drill is at {setting.cluster}: {error}", Exit.REFUSED) from None
        except Interrupted as error:
            done.append(error.journal)
            _keep(cli, done[-1])
            return done, Exit.INTERRUPTED
        kept = _keep(cli, done[-1]) and kept
    worst = max((d.outcome for d in done), key=[Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL].index)
    return done, _ENDS[worst] if kept else Exit.PROBLEM


def _keep(cli: Cli, found: Journal) -> bool:
    """Write the journal and its reports. Where that fails the report goes to stderr: it is all there is."""
    from understudy.drill import report as reports

    folder = folder_of(cli)
    try:
        file = journal.write(folder, found)
        earlier, _ = journal.all_of(folder)
        file.with_suffix(".md").write_text(reports.markdown(found, earlier))
        file.with_suffix(".html").write_text(reports.html(found, earlier))
    except OSError as error:
        note(reports.markdown(found))
        note(f"error: {folder}: the journal was not kept: {error.strerror or error}; this is its report")
        return False
    note(f"drill {found.scenario}: {found.outcome.value}: {_said(found)}; {file.with_suffix('.html')}")
    return True


def _said(found: Journal) -> str:
    """How it ended and what it measured, for one line."""
    from understudy.drill import report as reports

    return "; ".join(filter(None, (found.summary, reports.measured(found))))


def _setting(cli: Cli, production: str, really: str, escrow: Path | None) -> Setting:
    """Where to do it: the cluster that was named twice, else a sandbox in the mode of the configured one."""
    from understudy.drill.definition import Setting

    if escrow is not None and not production:
        raise CliError("--escrow: a sandbox has a key and a copy of its own; add --production", Exit.USAGE)
    if production or really:
        if production != really:
            raise CliError(
                "a drill in production is asked for twice: --production CLUSTER --yes-production CLUSTER",
                Exit.USAGE,
            )
        cluster = cli.config.cluster(production)
        return Setting(
            radius=Radius.PRODUCTION,
            cluster=cluster.name,
            mode=cluster.policy.rpo,
            config=cli.config,
            escrow=escrow,
        )
    if not _configured(cli):
        return Setting(radius=Radius.SANDBOX, cluster="sandbox", mode=Rpo.BOUNDED)
    return Setting(
        radius=Radius.SANDBOX, cluster=cli.cluster.name, mode=cli.cluster.policy.rpo, config=cli.config
    )


def _cloned(setting: Setting, clone: bool | None) -> Setting:
    """On a clone where that is asked for, or where backups are configured and nothing is said."""
    if setting.radius is Radius.PRODUCTION:
        if clone:
            raise CliError("--clone: a drill in production has production's data", Exit.USAGE)
        return setting
    if clone and setting.config is None:
        raise CliError("--clone: there is no configuration that says of what", Exit.USAGE)
    configured = setting.config is not None and setting.config.backup is not None
    return replace(setting, radius=Radius.CLONE) if clone or (clone is None and configured) else setting


# --- when ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """One table ``[[backup.drill]]``: what it runs, when it is due, and how it ended last (None: never)."""

    name: str
    drills: tuple[str, ...]
    schedule: str
    due: str
    last: str | None
    code: int | None


def schedule(context: typer.Context) -> None:
    """The drills that the agent runs by itself ([[backup.drill]]), when each is due, and how it ended last."""
    cli = of(context)
    found = _scheduled(cli)
    wrong = [f"[[backup.drill]] {one.name}: there is no such drill" for one in found if not one.drills]
    if cli.json:
        print_json({"drills": found, "wrong": wrong})
    elif found:
        rows = [(one.name, one.schedule, one.due, _ended(one), ", ".join(one.drills)) for one in found]
        out().print(table(("DRILL", "SCHEDULE (UTC)", "NEXT", "LAST", "RUNS"), rows))
    else:
        print("no drill is scheduled: add [[backup.drill]] with name and schedule")
    for sentence in wrong:
        note(sentence)
    leave(Exit.PROBLEM if wrong else Exit.OK)


def _scheduled(cli: Cli) -> list[Scheduled]:
    from understudy.backup import schedule as schedules

    policy = cli.config.backup
    if policy is None or not policy.drills:
        return []
    jobs = [job for job in schedules.jobs(policy) if job.command[:1] == ("drill",)]
    memory = schedules.load(schedules.path_of(cli.config.directory, cli.cluster.name))
    runs = schedules.met(jobs, memory, datetime.now(UTC)).runs
    return [
        Scheduled(
            name=job.command[2],
            drills=_drills_of(job.command[2]),
            schedule=job.schedule,
            due=schedules.due_at(job, runs[job.name]).isoformat(timespec="seconds"),
            last=runs[job.name].ended or None,
            code=runs[job.name].code if runs[job.name].ended else None,
        )
        for job in jobs
    ]


def _drills_of(name: str) -> tuple[str, ...]:
    from understudy.drill.catalogue import NoSuchDrill, wanted

    try:
        return tuple(scenario.name for scenario in wanted((name,)))
    except NoSuchDrill:
        return ()


def _ended(one: Scheduled) -> str:
    return "never" if one.last is None else f"{one.last}, exit code {one.code}"


# --- what came of it ----------------------------------------------------------------------------------------


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
