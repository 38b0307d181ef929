"""`understudy init`: a first configuration file, commented, without any password in it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.common import CliError, Exit, note, of, print_json
from understudy.config import DEFAULT_FILE

_SECOND = ("DATABASE_URL_SECONDARY", "SUPABASE_DB_URL")
_NEXT = (
    "edit {file}: the two databases, their administrative roles, the promise (rpo)",
    "understudy check      # what stands in the way, with the SQL that mends it",
    "understudy setup      # make the pair: copies the data to the standby",
    "understudy run        # the agent; keep it running (systemd, container, ...)",
)

_TEMPLATE = """\
# Understudy: one cluster of two PostgreSQL databases. Every key: docs/reference/configuration.md
# Passwords belong into the environment: ${{NAME}} is replaced by the variable, percent-encoded inside a URI.

# State of this host: witness, lease, rescue files. Default: /var/lib/understudy for root, else
# ~/.local/state/understudy. The application's processes need read and write access to the lease in it.
{directory}

[clusters.main]
rpo = "bounded"                  # "zero": no acknowledged commit is ever lost (each commit waits for the standby)

[[clusters.main.nodes]]
name = "home"                    # the first node is the preferred primary
dsn = "{first}"
# What the agent connects with: the owner of the database. Default: dsn.
# admin_dsn = "postgresql://understudy:${{HOME_ADMIN_PASSWORD}}@db.example.org:5432/app?sslmode=verify-full"
# How the other node dials this one for replication. Default: admin_dsn.
# replication_dsn = "..."

[[clusters.main.nodes]]
name = "cloud"
dsn = "{second}"
# admin_dsn = "postgresql://postgres:${{CLOUD_ADMIN_PASSWORD}}@db.example.com:5432/app?sslmode=verify-full"
# replication_dsn = "..."

[clusters.main.policy]           # what you do not change may be left out
failover = true
failback = "auto"                # or "manual": `understudy failback`
failback_after = "10min"         # the preferred node must have been well for so long
max_lag_seconds = "10s"          # past either bound, failover is refused (rpo = "bounded")
max_lag_bytes = "16MB"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    context: typer.Context,
    file: Annotated[Path, typer.Option(help="Where to write it.")] = Path(DEFAULT_FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a commented understudy.toml and say what to do next."""
    cli = of(context)
    target = cli.path if cli.path is not None and file == Path(DEFAULT_FILE) else file
    if (target.exists() or target.is_symlink()) and not force:
        raise CliError(f"{target} exists already; --force replaces it", Exit.REFUSED)
    _write(target, text(os.environ))
    steps = [step.format(file=target) for step in _NEXT]
    if cli.json:
        print_json({"file": str(target.absolute()), "next": steps})
        return
    print(f"wrote {target}. Next:")
    for number, step in enumerate(steps, 1):
        print(f"  {number}. {step}")
    if "DATABASE_URL" not in os.environ:
        note("DATABASE_URL is not set: the file holds example addresses")


def text(environ: Mapping[str, str]) -> str:
    """The file's contents; databases named in the environment are referred to, never copied."""
    first = _reference(environ, ("DATABASE_URL",), "home", "db.example.org")
    second = _reference(environ, _SECOND, "cloud", "db.example.com")
    return _TEMPLATE.format(first=first, second=second, directory='# directory = "/var/lib/understudy"')


def _reference(environ: Mapping[str, str], names: tuple[str, ...], node: str, host: str) -> str:
    for name in names:
        if environ.get(name, "").strip():
            return f"${{{name}}}"
    return f"postgresql://app:${{{node.upper()}_PASSWORD}}@{host}:5432/app?sslmode=verify-full"


def _write(target: Path, contents: str) -> None:
    """Readable by its owner only, and complete or not there."""
    making = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(contents)
        making.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            making.unlink()
