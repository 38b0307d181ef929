"""`understudy backup`: make, list, prove, restore and tidy backups, and look after the keys that open them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.common import Cli, CliError, Exit, leave, note, of, out, print_json, size, table

if TYPE_CHECKING:
    from understudy.backup.keys import Keys
    from understudy.backup.manifest import Manifest, Verdict, Verification
    from understudy.backup.pitr import Target
    from understudy.backup.shelf import Shelf
    from understudy.backup.supabase import Listing

Backup = Annotated[str, typer.Argument(metavar="BACKUP", help="Its id, a beginning of it, or `latest`.")]
Destination = Annotated[str, typer.Option(metavar="NAME", help="Read from this destination.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Make, list, prove, restore and tidy backups.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )
    for name, command in (
        ("create", create),
        ("copy", copy),
        ("list", show),
        ("info", info),
        ("verify", verify),
        ("restore", restore),
        ("prune", prune),
        ("check", check),
        ("archive", archive),
    ):
        group.command(name)(command)
    keys = typer.Typer(help="The keys that seal and open backups.", no_args_is_help=True, add_completion=False,
                       rich_markup_mode=None)  # fmt: skip
    keys.command("new")(new_key)
    keys.command("check")(check_key)
    group.add_typer(keys, name="key")
    app.add_typer(group, name="backup")


# --- making, looking ----------------------------------------------------------------------------------------


def create(  # noqa: PLR0917 (options of a command line)
    context: typer.Context,
    physical: Annotated[
        bool, typer.Option("--physical", help="The server's files, for point-in-time recovery.")
    ] = False,
    tables: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table; may be repeated.")
    ] = None,
    schema_only: Annotated[bool, typer.Option("--schema-only", help="No rows.")] = False,
    directory: Annotated[
        bool, typer.Option("--directory", help="Dump with several sessions at once; needs room on disk.")
    ] = False,
    catch_up: Annotated[
        bool,
        typer.Option("--catch-up", help="Then copy to each destination what it missed while it was away."),
    ] = False,
) -> None:
    """Make a backup of the present primary. What is not said here is as configured."""
    from understudy.backup.manifest import Kind

    if (physical and (tables or schema_only or directory)) or (tables and schema_only):
        raise CliError("--physical, --table and --schema-only exclude one another", Exit.USAGE)
    scope = tuple(tables) if tables else ("schema-only",) if schema_only else None
    with _shelf(of(context)) as shelf:
        made = shelf.create(
            Kind.PHYSICAL if physical else Kind.LOGICAL,
            scope=scope,
            form="directory" if directory else None,
            tell=note,
        )
        if catch_up:
            _, failed = shelf.catch_up(datetime.now(UTC), tell=note)
            for line in failed:  # the backup is made all the same
                note(line)
        places = shelf.places(made)
    if of(context).json:
        print_json({"backup": made, "destinations": places})
    else:
        print(f"{made.id}: {_sizes(made)}, in {', '.join(places)}")


def copy(
    context: typer.Context,
    backup: Backup = "latest",
    missing: Annotated[
        bool, typer.Option("--missing", help="Every backup that retention keeps, instead of one.")
    ] = False,
    target: Annotated[str, typer.Option("--to", metavar="NAME", help="Only to this destination.")] = "",
    source: Annotated[str, typer.Option("--from", metavar="NAME", help="Read from this destination.")] = "",
) -> None:
    """Copy backups to the destinations that lack them. What was killed goes on where it stood."""
    if missing and (target or source):
        raise CliError("--missing goes to every destination, from whichever has it", Exit.USAGE)
    failed: list[str] = []
    with _shelf(of(context)) as shelf:
        if missing:
            done, failed = shelf.catch_up(datetime.now(UTC), all_of_them=True, tell=note)
        else:
            done = list(shelf.copy(shelf.find(backup), target=target, source=source, tell=note))
    if of(context).json:
        print_json(done)
    else:
        for one in done:
            print(f"{one.backup}: in {one.target} now; {size(one.sent)} of {size(one.bytes)} were sent")
        if not done and not failed:
            print("every destination has it")
    for line in failed:
        note(line)
    leave(Exit.PROBLEM if failed else Exit.OK)


def show(context: typer.Context) -> None:
    """Every backup, where it is, and how deep it was proven."""
    with _shelf(of(context)) as shelf:
        survey = shelf.survey()
        proofs = shelf.ledger()
        foreign, trouble = _foreign(shelf)
    lines, problems = proofs.lines, [*survey.problems, *proofs.problems, *trouble]
    if of(context).json:
        rows = [
            {"backup": m, "destinations": survey.places[m.id], "verified": _best(m, lines)}
            for m in survey.backups
        ]
        print_json(
            {"backups": rows, "unfinished": survey.unfinished, "problems": problems, "supabase": foreign}
        )
    else:
        out().print(
            table(
                ("BACKUP", "SIZE", "VERIFIED", "IN"),
                [(m.id, _sizes(m), _proof(m, lines), ", ".join(survey.places[m.id])) for m in survey.backups],
                whole=1,
            )
        )
        if foreign is not None:
            _show_foreign(foreign)
        for problem in problems:
            note(problem)
    leave(Exit.PROBLEM if problems else Exit.OK)


def _foreign(shelf: Shelf) -> tuple[Listing | None, list[str]]:
    """What Supabase backs up by itself, where that is configured, and why it is not known."""
    if shelf.policy.supabase is None:
        return None, []
    from understudy.backup.supabase import SupabaseError, listing

    try:
        return listing(shelf.policy.supabase), []
    except SupabaseError as error:
        return None, [str(error)]


def _show_foreign(found: Listing) -> None:
    print(
        f"\nSupabase project {found.project} ({found.region}), not ours: restored by Supabase, never proven by us"
    )
    span = f"from {found.earliest} to {found.latest}" if found.latest else "nothing yet"
    print(f"point-in-time recovery: {span if found.pitr else 'not booked'}")
    if found.backups:
        rows = [(one.made, one.kind, one.status) for one in found.backups]
        out().print(table(("SUPABASE", "KIND", "STATUS"), rows, whole=1))


def info(context: typer.Context, backup: Backup = "latest") -> None:
    """All that is known of one backup."""
    with _shelf(of(context)) as shelf:
        manifest = shelf.find(backup)
        proofs = shelf.ledger(manifest.id)
        places = shelf.places(manifest)
    if of(context).json:
        print_json(
            {
                "backup": manifest,
                "destinations": places,
                "verifications": proofs.lines,
                "unvouched": proofs.unvouched,
            }
        )
        return
    rows = [
        ("backup", manifest.id),
        (
            "of",
            f"{manifest.cluster}, node {manifest.node} at epoch {manifest.epoch}, database {manifest.database}",
        ),
        ("made", f"{manifest.started} to {manifest.finished}"),
        ("what", f"{manifest.form}, {', '.join(manifest.scope)}"),
        ("server", f"{manifest.server_version}, by {manifest.client_version}, {manifest.tool}"),
        ("size", _sizes(manifest)),
        ("opened by", ", ".join(manifest.recipients) or "anybody: it is not encrypted"),
        ("in", ", ".join(places) or "no destination that answers"),
    ]
    rows += [("verified", _line(found)) for found in proofs.lines]
    rows += [("not counted", f"{_line(found)}: who wrote this is not known") for found in proofs.unvouched]
    out().print(table(("", ""), rows))
    for problem in proofs.problems:
        note(problem)
    if manifest.tables:
        print()
        contents = [(f"{t.schema}.{t.name}", f"{t.rows:,}", t.fingerprint) for t in manifest.tables]
        out().print(table(("TABLE", "ROWS", "FINGERPRINT"), contents))


def _line(found: Verification) -> str:
    return f"{found.at}: {found.level} {found.verdict} in {found.seconds:.0f} s from {found.destination}"


# --- proving ------------------------------------------------------------------------------------------------


def verify(
    context: typer.Context,
    backup: Backup = "latest",
    level: Annotated[str, typer.Option(help="bytes, archive or restore; without: as configured.")] = "",
    due: Annotated[
        bool, typer.Option("--due", help="Those whose turn has come, instead of one; for a daily job.")
    ] = False,
    destination: Destination = "",
) -> None:
    """Prove a backup and write what came of it into the ledger."""
    from understudy.backup.manifest import Level

    cli = of(context)
    if level and level not in list(Level):
        raise CliError(f"--level: expected one of {', '.join(Level)}, found {level!r:.40}", Exit.USAGE)
    with _shelf(cli) as shelf:
        depth = Level(level or shelf.policy.verify.level)
        wanted = shelf.due(datetime.now(UTC), 86400.0) if due else (shelf.find(backup),)
        done = [shelf.verify(one, depth, destination=destination, tell=note) for one in wanted]
    if cli.json:
        print_json(done)
    for one in () if cli.json else done:
        print(f"{one.backup}: {one.level} {one.verdict} in {one.seconds:.1f} s, from {one.destination}")
        out().print(table(("CHECK", "VERDICT", ""), [(c.what, c.verdict, c.detail) for c in one.checks]))
    leave(_ends([one.verdict for one in done]))


def _ends(verdicts: list[Verdict]) -> Exit:
    words = {str(verdict) for verdict in verdicts}
    return Exit.PROBLEM if "fail" in words else Exit.INCONCLUSIVE if "inconclusive" in words else Exit.OK


def check(context: typer.Context) -> None:
    """Whether a backup could be made and opened now: destinations, keys, the primary and its privileges."""
    cli = of(context)
    with _shelf(cli) as shelf:
        found = list(shelf.check())
    if cli.json:
        print_json(found)
    else:
        out().print(table(("CHECK", "VERDICT", ""), [(f.what, f.verdict, f.detail) for f in found]))
    leave(Exit.PROBLEM if any(str(f.verdict) == "fail" for f in found) else Exit.OK)


def archive(context: typer.Context) -> None:
    """Store the write-ahead log as it is written, until SIGTERM. `understudy run` does this where it is configured."""
    from understudy.backup import archiving

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _shelf(of(context)) as shelf:
        archiving.run(shelf, stop, tell=note)


# --- restoring ----------------------------------------------------------------------------------------------


def restore(  # noqa: PLR0917 (options of a command line)
    context: typer.Context,
    backup: Backup = "latest",
    into_env: Annotated[
        str,
        typer.Option(
            metavar="VARIABLE",
            help="Restore a dump into the database that this environment variable names (a libpq URI). "
            "It is made, or is empty; a node of a cluster is refused.",
        ),
    ] = "",
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Restore a physical backup into this new folder.")
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="NAME", help="Rows of this table only; may be repeated."),
    ] = None,
    to_time: Annotated[
        str, typer.Option(metavar="TIME", help="As of this moment: 2026-11-21T07:45:00+00:00.")
    ] = "",
    to_lsn: Annotated[str, typer.Option(metavar="LSN", help="As of this position: 0/16B3748.")] = "",
    to_name: Annotated[str, typer.Option(metavar="NAME", help="As of pg_create_restore_point(NAME).")] = "",
    destination: Destination = "",
) -> None:
    """Restore a backup beside what runs; nothing that is there is ever overwritten. Then compare."""
    from understudy.backup.manifest import Kind

    cli = of(context)
    if (folder is None) == (not into_env):
        raise CliError(
            "say where: --into-env VARIABLE for a dump, --folder FOLDER for a physical backup", Exit.USAGE
        )
    targets = [text for text in (to_time, to_lsn, to_name) if text]
    if len(targets) > 1 or (targets and into_env):
        raise CliError("at most one of --to-time, --to-lsn and --to-name, and only with --folder", Exit.USAGE)
    with _shelf(cli) as shelf:
        wanted = Kind.PHYSICAL if folder is not None else Kind.LOGICAL
        manifest = shelf.find(backup, wanted if backup == "latest" else None)
        if manifest.kind is not wanted:
            raise CliError(
                f"{manifest.id} is a {manifest.kind} backup, and this restores {wanted} ones", Exit.USAGE
            )
        if folder is not None:
            _roll_forward(cli, shelf, manifest, folder, _target(to_time, to_lsn, to_name), destination)
        else:
            _restore_dump(cli, shelf, manifest, into_env, tuple(tables or ()), destination)


def _restore_dump(  # noqa: PLR0917
    cli: Cli, shelf: Shelf, manifest: Manifest, variable: str, tables: tuple[str, ...], destination: str
) -> None:
    from understudy.backup.restore import restore_logical

    dsn = os.environ.get(variable, "")
    if not dsn:
        raise CliError(f"--into-env: expected a libpq URI in ${variable:.60}, found nothing", Exit.USAGE)
    store = shelf.place(manifest, destination)
    if doubt := shelf.doubt(manifest, store):
        note(doubt)
    done = restore_logical(cli.config, manifest, store, shelf.keys, dsn, tables=tables, tell=note)
    if cli.json:
        print_json(done)
    else:
        print(f"{manifest.id}: restored into {done.database} in {done.seconds:.1f} s")
        out().print(table(("CHECK", "VERDICT", ""), [(f.what, f.verdict, f.detail) for f in done.findings]))
    leave(Exit.OK if done.equal else Exit.PROBLEM)


def _target(to_time: str, to_lsn: str, to_name: str) -> Target:
    from understudy.backup.pitr import Latest, Lsn, Name, Time
    from understudy.backup.wal import parse_lsn

    if to_time:
        try:
            at = datetime.fromisoformat(to_time)
        except ValueError:
            wanted = "a time such as 2026-11-21T08:14:59+00:00"
            raise CliError(f"--to-time: expected {wanted}, found {to_time[:60]!r}", Exit.USAGE) from None
        if at.tzinfo is None:
            raise CliError(
                f"--to-time {to_time}: expected a time with its zone, e.g. {to_time}+00:00", Exit.USAGE
            )
        return Time(at)
    if to_lsn:
        try:
            return Lsn(parse_lsn(to_lsn))
        except ValueError as error:
            raise CliError(f"--to-lsn: {error}", Exit.USAGE) from None
    return Name(to_name) if to_name else Latest()


def _roll_forward(  # noqa: PLR0917
    cli: Cli, shelf: Shelf, manifest: Manifest, folder: Path, target: Target, destination: str
) -> None:
    from understudy.backup.wal import lsn_text

    done = shelf.restore_physical(manifest, target, folder.absolute(), destination=destination, tell=note)
    done.server.stop("fast")
    if cli.json:
        print_json(
            {"folder": folder.absolute(), "ended": lsn_text(done.ended), "last_commit": done.last_commit}
        )
        return
    print(
        f"{manifest.id}: restored to {lsn_text(done.ended)}, last commit {done.last_commit or 'none replayed'}"
    )
    start = f"{done.server.bin_folder}/pg_ctl -D {done.server.data} start"
    print(f"its files are in {done.server.data}; start it, as the user they belong to, with: {start}")
    print(
        "it is stopped, nobody's node, and reads only where it was one of a cluster:"
        " see docs/how-to/point-in-time-recovery.md"
    )


# --- tidying ------------------------------------------------------------------------------------------------


def prune(
    context: typer.Context,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Delete. Without it, only say what would go.")
    ] = False,
) -> None:
    """Delete what no rule of [backup.retention] keeps; the newest verified ones are always kept."""
    cli = of(context)
    with _shelf(cli) as shelf:
        now = datetime.now(UTC)
        plan = shelf.retention(now)
        done = shelf.prune(now, confirm=confirm)
    if cli.json:
        print_json({"plan": plan, "done": done})
    else:
        rows = [(c.id, "keep", "; ".join(c.reasons)) for c in plan.keep]
        rows += [(c.id, "delete", "; ".join(c.reasons)) for c in plan.delete]
        out().print(table(("BACKUP", "", "WHY"), sorted(rows), whole=1))
        for what, lines in (
            ("log", done.wal),
            ("left behind", done.leftovers),
            ("kept by a lock", done.locked),
        ):
            for line in lines:
                print(f"{what}: {line}")
        for line in done.failed:
            note(line)
        if not confirm:
            note("nothing was deleted: add --confirm")
    leave(Exit.PROBLEM if done.failed else Exit.OK)


# --- keys ---------------------------------------------------------------------------------------------------


def new_key(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file that is not there yet.")],
) -> None:
    """Make a key. Without it, backups are lost: keep a copy where this host's fire does not reach it."""
    with _refusals():
        from understudy.backup.keys import write_new

        key = write_new(path)
    print(f"{path}: a new key, id {key.id}; name it as key_file in [backup], and keep a copy elsewhere")


def check_key(
    context: typer.Context,
    escrow: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prove that this copy opens the backup, instead of ours."),
    ] = None,
    backup: Backup = "latest",
) -> None:
    """Prove that the keys open a backup, by opening a part of it."""
    with _refusals():
        from understudy.backup.keys import Keys, parse_keys

        copy = None if escrow is None else Keys(opening=parse_keys(escrow.read_text(), str(escrow)))
    with _shelf(of(context), copy) as shelf:
        manifest = shelf.find(backup)
        trouble = shelf.key_trouble(copy, manifest)
    if trouble is None:
        raise CliError(f"{manifest.id} is not encrypted", Exit.PROBLEM)
    if trouble:
        raise CliError(trouble, Exit.PROBLEM)
    print(f"{escrow or 'the configured key'} opens {manifest.id}")


# --- shared -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _shelf(cli: Cli, keys: Keys | None = None) -> Iterator[Shelf]:
    """The backups of the cluster of this call; ``keys``: those that open them, instead of the configured ones."""
    with _refusals():
        from understudy.backup.shelf import Shelf

        yield Shelf(cli.config, cli.cluster, keys)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What backups raise, with its exit code."""
    try:
        from understudy.backup import shelf, source, store
    except ImportError as error:
        raise CliError(f"{error.name}: not installed; pip install 'understudy[backup]'", Exit.USAGE) from None
    try:
        yield
    except shelf.NoSuchBackup as error:
        raise CliError(str(error), Exit.USAGE) from None
    except source.BackupRefused as error:
        raise CliError(str(error), Exit.REFUSED) from None
    except store.Unreachable as error:
        raise CliError(str(error), Exit.UNREACHABLE) from None


def _sizes(manifest: Manifest) -> str:
    stored, raw = sum(p.stored_bytes for p in manifest.parts), sum(p.raw_bytes for p in manifest.parts)
    return f"{size(stored)} of {size(raw)}"


def _best(manifest: Manifest, lines: Sequence[Verification]) -> Verification | None:
    """The newest line of the ledger that says something about this backup."""
    told = [v for v in lines if v.backup == manifest.id]
    return next((v for v in reversed(told) if str(v.verdict) != "inconclusive"), told[-1] if told else None)


def _proof(manifest: Manifest, lines: Sequence[Verification]) -> str:
    found = _best(manifest, lines)
    return "never" if found is None else f"{found.level} {found.verdict} {found.at[:10]}"
