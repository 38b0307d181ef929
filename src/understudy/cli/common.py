"""What every command shares: exit codes, global options, output for people and for machines."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy import config as configuration
from understudy.agent.doorbell import ring
from understudy.agent.orders import Orders
from understudy.config import Config, mask
from understudy.engines import engine_for
from understudy.engines.base import Engine
from understudy.errors import UnderstudyError
from understudy.model import Cluster, ClusterState
from understudy.plain import plain
from understudy.witness import SqliteWitness


class Exit(IntEnum):
    """Exit codes of every command: `docs/reference/cli.md`."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    NO_AGENT = 5
    INCONCLUSIVE = 6
    INTERRUPTED = 130


class CliError(UnderstudyError):
    """Ends the command with one line on stderr and this exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Cli:
    """The global options of this call, and what follows from them."""

    path: Path | None = None
    wanted: str | None = None
    json: bool = False
    _config: Config | None = field(default=None, repr=False)

    @property
    def config(self) -> Config:
        if self._config is None:
            self._config = configuration.load(self.path)
        return self._config

    @property
    def cluster(self) -> Cluster:
        return self.config.cluster(self.wanted)

    @contextlib.contextmanager
    def witness(self, *, create: bool = False) -> Iterator[SqliteWitness]:
        """The witness of this host. Raises CliError where there is none yet."""
        if self.wanted is not None:
            self.config.cluster(self.wanted)  # a wrong name is said before anything else
        path = self.config.directory / "witness.db"
        if not create and not path.exists():
            raise CliError(
                f"witness {path}: there is none yet; run `understudy setup` first (as the user the agent runs as)",
                Exit.UNREACHABLE,
            )
        with contextlib.closing(SqliteWitness(path, create=create)) as witness:
            yield witness

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """The engine of the cluster, closed afterwards."""
        engine = engine_for(self.cluster)
        try:
            yield engine
        finally:
            await engine.close()

    def orders(self, witness: SqliteWitness) -> Orders:
        """What a person may ask of this cluster's agent, in the name of who runs this command."""
        return Orders(self.cluster, witness, self.config.directory, who=who())

    def state(self, witness: SqliteWitness) -> ClusterState:
        """The present state. Raises OrderError before `setup`."""
        return self.orders(witness).state()

    def update(
        self, witness: SqliteWitness, change: Callable[[ClusterState], ClusterState | None]
    ) -> ClusterState:
        """Compare-and-set, repeated a bounded number of times; None from ``change`` leaves things as they are."""
        return self.orders(witness).update(change)

    def log(self, witness: SqliteWitness, state: ClusterState, kind: str, message: str) -> None:
        """One line of history in the name of the person who gave the command."""
        self.orders(witness).log(state, kind, message)

    def ring(self) -> None:
        """Hurry the agent of this host, if there is one."""
        ring(self.config.directory / f"{self.cluster.name}.sock")


def who() -> str:
    """Who gave this command, for the history."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:uid {os.getuid()}"


def of(context: typer.Context) -> Cli:
    """The global options of a call."""
    found = context.find_object(Cli)
    return found if found is not None else Cli()


def leave(code: Exit) -> NoReturn:
    """End the command with this exit code; everything has been said."""
    raise typer.Exit(int(code))


# --- output -----------------------------------------------------------------------------------------------------


def out() -> Console:
    """For results."""
    return Console(highlight=False, soft_wrap=False, markup=False, emoji=False)


def note(text: str) -> None:
    """One line for people on stderr: progress, explanations. Nothing secret leaves."""
    Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True).print(mask(text))


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)
    print(text)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", whole: int = 0
) -> Table:
    """A table that fits 80 columns; the last column takes what is left. The first ``whole`` ones are never folded:
    names that people copy.
    """
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        last = number == len(columns) - 1
        made.add_column(column, overflow="fold", no_wrap=number < whole, ratio=1 if last else None)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(mask(str(cell))) for cell in row))
    return made


# --- questions --------------------------------------------------------------------------------------------------


def confirm(question: str, *, yes: bool) -> None:
    """Ask on stderr. Raises CliError when the answer is no, or when nobody can be asked."""
    if yes:
        return
    print(mask(f"{question} [y/N] "), end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        print(file=sys.stderr)
        raise CliError("nobody to ask: add --yes to go on without a question", Exit.USAGE)
    if answer.strip().lower() not in ("y", "yes"):
        raise CliError("not confirmed; nothing was changed", Exit.REFUSED)


def duration(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "unknown"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def size(count: int) -> str:
    """A number of bytes for people."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
