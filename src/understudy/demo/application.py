"""What a story is about: an application that writes while its primary is lost, and how what it wrote is counted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from understudy.demo import audit, tpcb
from understudy.demo.audit import Row
from understudy.demo.group import Group
from understudy.demo.lab import Lab, Policy
from understudy.demo.workload import Writers
from understudy.model import Rpo

Say = Callable[[str], None]
WRITERS = 4


@dataclass(frozen=True, slots=True)
class Books:
    """What an application keeps in two places, added up on both servers.

    Args:
        what: the sums, in a few words.
        total: how much it is, on the preferred node.
    """

    what: str
    total: int
    equal: bool


class Application(ABC):
    """An application of a `Story`.

    Args:
        title: what the story is called; a fault follows in brackets.
        tells_places: its ledgers say which node acknowledged, and at which epoch.
    """

    title: str
    tells_places: bool

    @abstractmethod
    def lab(self, mode: Rpo, policy: Policy, say: Say) -> Lab:
        """The servers and the cluster, not started yet."""

    @abstractmethod
    def clients(self, lab: Lab, say: Say) -> AbstractContextManager[Group]:
        """Whoever writes, from the beginning of the block to its end. The ledgers are read afterwards too."""

    @abstractmethod
    def introduced(self, rate: float) -> Sequence[str]:
        """Who writes, through what, how much: sentences; ``rate`` is per second."""

    @abstractmethod
    def rows(self, connection: psycopg.Connection) -> list[Row]:
        """Every transaction of the clients that this node holds."""

    @abstractmethod
    def rescued(self, folder: Path) -> list[Row]:
        """The transactions in all rescue folders beneath ``folder``."""

    @abstractmethod
    def books(self, lab: Lab) -> Books:
        """Whether what belongs together adds up, on both servers."""

    @abstractmethod
    def stray(self, connection: psycopg.Connection) -> None:
        """A write of a stranger, past Understudy."""

    def told(self, group: Group) -> list[tuple[str, str]]:
        """What else is worth a line of the table at the end: what, how much."""
        return []


class Bank(Application):
    """pgbench's TPC-B through `understudy.Pool`. ``scale``: 100,000 accounts each."""

    title = "Understudy: a primary is lost"
    tells_places = True

    def __init__(self, scale: int) -> None:
        self._scale = scale

    def lab(self, mode: Rpo, policy: Policy, say: Say) -> Lab:
        """Two servers with TPC-B's tables."""
        return Lab(mode=mode, scale=self._scale, policy=policy, say=say)

    @contextmanager
    def clients(self, lab: Lab, say: Say) -> Iterator[Group]:
        """Four processes with a pool each."""
        with Writers(
            lab.folder / "ledgers",
            scale=self._scale,
            count=WRITERS,
            config_file=lab.config_file,
            exactly_once=True,
        ) as writers:
            yield writers

    def introduced(self, rate: float) -> Sequence[str]:
        """Two sentences."""
        return (
            f"{WRITERS} processes write through understudy.Pool, each a TPC-B transaction every 5 ms: "
            f"{rate:.0f} per second",
            "each keeps its own ledger of what it was promised; the databases are not asked",
        )

    def rows(self, connection: psycopg.Connection) -> list[Row]:
        """The history of TPC-B."""
        return audit.rows(connection)

    def rescued(self, folder: Path) -> list[Row]:
        """The same in the rescue files."""
        return audit.rescued_rows(folder)

    def books(self, lab: Lab) -> Books:
        """TPC-B's four sums."""
        sums: dict[str, tpcb.Sums] = {}
        for node in lab.servers:
            with lab.connect(node) as connection:
                sums[node] = tpcb.sums(connection)
        equal = all(s.equal for s in sums.values()) and len(set(sums.values())) == 1
        return Books("TPC-B sums", next(iter(sums.values())).history, equal)

    def stray(self, connection: psycopg.Connection) -> None:
        """Changes a branch."""
        connection.execute("UPDATE pgbench_branches SET filler = 'split brain' WHERE bid = 1")
