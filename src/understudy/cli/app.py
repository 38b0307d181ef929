"""The application object, its global options, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from typer.core import TyperGroup

from understudy import __version__
from understudy.agent import orders
from understudy.agent.agent import AlreadyRunning
from understudy.cli import (
    agent,
    alerts,
    backup,
    change,
    drill,
    explain,
    init,
    readiness,
    rescue,
    setup,
    show,
    status,
)
from understudy.cli.common import Cli, CliError, Exit, note
from understudy.config import mask
from understudy.demo import command as demo
from understudy.errors import ConfigError, LeaseError, StaleEpoch, UnderstudyError, Unreachable, WitnessError

_GLOBAL_VALUES = ("--config", "--cluster")
_GLOBAL_FLAGS = ("--json",)
# The parser's own errors, whichever parser this version of typer brings along.
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]


def hoist(arguments: Sequence[str]) -> list[str]:
    """Put the global options first, so that they may stand anywhere: `understudy status --json`."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        if word in _GLOBAL_FLAGS or word.startswith(tuple(f"{name}=" for name in _GLOBAL_VALUES)):
            first.append(word)
        elif word in _GLOBAL_VALUES and left:
            first += [word, left.pop(0)]
        else:
            rest.append(word)
    return first + rest


class _Group(TyperGroup):
    """Accepts the global options before and after the name of the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoist(args))


app = typer.Typer(
    name="understudy",
    cls=_Group,
    help="Keeps an application running when its database goes away, and gets it home again without losing a row.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"understudy {__version__}")
        raise typer.Exit(0)


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="The TOML file (else UNDERSTUDY_CONFIG, ...).")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Which cluster; needed where there are several.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON value on stdout, nothing else.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and leave.")
    ] = False,
) -> None:
    """Keeps an application running when its database goes away, and gets it home again without losing a row."""
    context.obj = Cli(path=config, wanted=cluster, json=json)


for part in (init, setup, agent, status, change, show, explain, rescue, alerts, backup, drill, readiness):
    part.register(app)
demo.command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Expected errors are one line on stderr; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = app(args=given or ["--help"], standalone_mode=False, prog_name="understudy")
    except _ParserError as error:
        return _fail(_first_line(error), Exit.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        note("interrupted")
        return int(Exit.INTERRUPTED)
    except UnderstudyError as error:
        return _fail(str(error), _code(error))
    except psycopg.Error as error:
        lost = isinstance(error, psycopg.OperationalError)
        return _fail(str(error), Exit.UNREACHABLE if lost else Exit.PROBLEM)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read has left: nothing to flush at exit
        return int(Exit.OK)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", Exit.UNREACHABLE)
    return result if isinstance(result, int) else int(Exit.OK)


def _first_line(error: Exception) -> str:
    words = getattr(error, "format_message", error.__str__)()
    return " ".join(str(words).split())


def _code(error: UnderstudyError) -> Exit:
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, orders.NoSuchTarget):
        return Exit.USAGE
    if isinstance(error, orders.NoAgent):
        return Exit.NO_AGENT
    if isinstance(error, AlreadyRunning | StaleEpoch | orders.OrderWaits):
        return Exit.REFUSED
    if isinstance(error, Unreachable | WitnessError | LeaseError | orders.NotSetUp):
        return Exit.UNREACHABLE
    return Exit.PROBLEM


def _fail(message: str, code: Exit) -> int:
    print(f"error: {mask(message.strip())}", file=sys.stderr)
    return int(code)
