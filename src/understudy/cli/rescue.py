"""`understudy rescue`: what only an old primary had, kept in files; look at it, apply its provably safe part."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.common import Cli, CliError, Exit, confirm, leave, note, of, out, print_json, table
from understudy.config import mask
from understudy.engines.postgresql import rescue_files
from understudy.engines.postgresql.rescue_files import ApplyReport, Rescue, Verdict

_Name = Annotated[str, typer.Argument(help="Name of the folder, as `rescue list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=False, rich_markup_mode=None)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("apply")(apply)
    app.add_typer(group, name="rescue", help="What only an old primary had: list it, look at it, apply it.")


def list_(context: typer.Context) -> None:
    """List the rescues kept on this host, oldest first."""
    cli = of(context)
    found = _all(cli)
    if cli.json:
        print_json([_summary(rescue) for rescue in found])
        return
    if not found:
        print("no rescues")
        return
    rows = [(r.folder.name, r.node, r.transactions, r.changes, _verdicts(r)) for r in found]
    out().print(table(("NAME", "FROM", "TRANSACTIONS", "CHANGES", "VERDICTS"), rows))


def show(
    context: typer.Context,
    name: _Name,
    limit: Annotated[int, typer.Option(min=0, help="At most so many transactions.")] = 20,
) -> None:
    """Check a rescue's files against their hashes and show its transactions with their verdicts."""
    cli = of(context)
    rescue = rescue_files.load(_folder(cli, name))
    verdicts = [head for head, _ in zip(rescue.read_verdicts(), range(limit), strict=False)]
    if cli.json:
        print_json({**_summary(rescue), "manifest": rescue.manifest, "transactions_shown": verdicts})
        return
    print(f"{rescue.folder}: saved {rescue.manifest['created']} from {rescue.node}, files undamaged")
    print(f"{rescue.transactions} transactions, {rescue.changes} changes: {_verdicts(rescue)}")
    rows = [(v["xid"], v["lsn"], v["changes"], v["verdict"], v.get("reason", "")) for v in verdicts]
    out().print(table(("XID", "POSITION", "CHANGES", "VERDICT", "REASON"), rows))
    if rescue.transactions > len(verdicts):
        print(f"... and {rescue.transactions - len(verdicts)} more (--limit)")
    print(f"every change: {rescue_files.CHANGES}; as SQL: {rescue_files.REPLAY} (in the folder above)")


def apply(
    context: typer.Context,
    name: _Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Apply a rescue's provably safe transactions to the present primary; twice does no harm."""
    cli = of(context)
    rescue = rescue_files.load(_folder(cli, name))
    with cli.witness() as witness:
        state = cli.state(witness)
    safe = int(rescue.verdicts.get(Verdict.SAFE, 0))
    if rescue.manifest.get("cluster", state.cluster) != state.cluster:
        raise CliError(f"{name} belongs to cluster {rescue.manifest['cluster']}", Exit.USAGE)
    confirm(f"apply {safe} of {rescue.transactions} transactions to {state.primary}?", yes=yes)
    dsn = cli.cluster.node(state.primary).admin_dsn
    progress = note if rescue.transactions <= 200 else lambda _: None
    report = asyncio.run(rescue_files.apply(dsn, rescue.folder, progress=progress))
    with cli.witness() as witness:
        text = f"rescue {name}: {report.applied} transactions applied, {report.already} before, {len(report.left)} left"
        cli.log(witness, state, "rescue_applied", text)
    _tell(cli, report, rescue)
    leave(Exit.PROBLEM if report.left else Exit.OK)


def _tell(cli: Cli, report: ApplyReport, rescue: Rescue) -> None:
    if cli.json:
        print_json(report)
        return
    print(
        f"applied {report.applied} transactions ({report.changes} changes), {report.already} were applied before"
    )
    if report.left:
        rows = [(left.xid, left.lsn, left.verdict, left.reason) for left in report.left[:50]]
        out().print(table(("XID", "POSITION", "VERDICT", "WHY IT WAS LEFT"), rows))
        print(f"{len(report.left)} left for a person: {rescue.folder / rescue_files.REPLAY}")


def _all(cli: Cli) -> list[Rescue]:
    found = rescue_files.list_rescues(cli.config.directory / "rescue")
    return [r for r in found if cli.wanted is None or r.manifest.get("cluster") == cli.wanted]


def _folder(cli: Cli, name: str) -> Path:
    """The folder of that name; nothing outside the directory of rescues is opened."""
    folder = cli.config.directory / "rescue" / name
    if Path(name).name != name or name.startswith(".") or not folder.is_dir():
        raise CliError(f"no rescue named {mask(name)!r}; `understudy rescue list` shows them", Exit.USAGE)
    return folder


def _verdicts(rescue: Rescue) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in rescue.verdicts.items() if count) or "nothing"


def _summary(rescue: Rescue) -> dict[str, object]:
    return {
        "name": rescue.folder.name,
        "folder": rescue.folder,
        "node": rescue.node,
        "created": rescue.manifest["created"],
        "transactions": rescue.transactions,
        "changes": rescue.changes,
        "verdicts": rescue.verdicts,
    }
