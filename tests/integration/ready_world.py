"""A real pair that is ready for its worst day: dump, base backup, archived log, a proof, a drill; and its API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from understudy.backup.keys import write_new
from understudy.demo.agent_process import run
from understudy.demo.lab import CLUSTER, Lab
from understudy.embedded.postgresql import free_port
from understudy.model import Rpo
from understudy.readiness.kept import Reader
from understudy.readiness.light import Light

OPERATOR, READER = "operator-of-the-test-0123456789abcdef", "reader-of-the-test-0123456789abcdef"
TABLES = """
[backup]
key_file = "{key}"
[[backup.destination]]
name = "disk"
folder = "{folder}"
[backup.logical]
schedule = "0 3 1 1 *"
[backup.physical]
partial_every = "1s"

[api]
listen = "127.0.0.1:{port}"
operator_token = "{operator}"
read_token = "{reader}"
"""


@dataclass
class Ready:
    """The lab, where its backups and their key are, and where it answers HTTP."""

    lab: Lab
    folder: Path
    key: Path
    address: str

    def await_light(self, light: Light, *items: str) -> None:
        """Until the agent keeps these reasons of the light in that colour."""

        def seen() -> bool:
            told = Reader(self.lab.directory, CLUSTER).told()
            found = {} if told is None else {one.name: one.light for one in told.readiness.items}
            return all(found.get(item) is light for item in items)

        self.lab.await_true(seen, 150, f"{light}: {', '.join(items)}")

    def again(self) -> None:
        """Let the agent look now: it does when it begins."""
        self.lab.agent.stop()
        self.lab.start_agent()


@contextmanager
def ready_lab(folder: Path, *, more: str = "", drill: bool = True) -> Iterator[Ready]:
    """With one dump that was restored and compared, one base backup, and a drill. ``more``: for the configuration."""
    place = folder / "disk"
    place.mkdir()
    port = free_port()
    with Lab(mode=Rpo.BOUNDED, scale=1) as lab:
        lab.agent.stop()
        key = lab.folder / "backup.key"
        write_new(key)
        words = TABLES.format(key=key, folder=place, port=port, operator=OPERATOR, reader=READER)
        with lab.config_file.open("a") as file:
            file.write(words + more)
        lab.start_agent()
        ready = Ready(lab, place, key, f"http://127.0.0.1:{port}")
        lab.await_event("physical_backup_done", 90)  # the agent's own: its log needs one to begin from
        run(lab.config_file, "backup", "create")
        run(lab.config_file, "backup", "verify")
        if drill:
            run(lab.config_file, "drill", "run", "failover-crash")
        yield ready
