"""What drills of backups are done to: the backups of the configured cluster, read only, or those of a sandbox."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from understudy import config as configuration
from understudy.backup import archiving, staging
from understudy.backup.keys import write_new
from understudy.backup.manifest import Kind, Manifest
from understudy.backup.pgbackrest import PgBackRest
from understudy.backup.shelf import Shelf
from understudy.backup.store import Store, StoreError
from understudy.config import Config
from understudy.config_backup import Targets
from understudy.demo.audit import Row
from understudy.drill.definition import Setting
from understudy.drill.pair import STEADY, Sandbox, open_sandbox
from understudy.drill.stage import Aborted, Stage
from understudy.errors import UnderstudyError
from understudy.model import Cluster
from understudy.readiness.journal import Check, Outcome, Radius

ARCHIVED: Final = 60.0  # seconds for the log to reach the destination
_KEY: Final = "backup.key"
_TABLES: Final = """
[backup]
key_file = "{key}"
[[backup.destination]]
name = "drill"
folder = "{folder}"
"""
_LOG: Final = """
[backup.physical]
partial_every = "1s"
"""


class Vault:
    """The backups of one cluster, and what was to be learnt of them.

    Attributes:
        escrow: a copy of the keys that is kept elsewhere; None: nobody has named one.
        pair: the sandbox they are of; None: they are those of the configured cluster, and are only read.
    """

    def __init__(
        self, config: Config, cluster: Cluster, *, escrow: Path | None = None, pair: Sandbox | None = None
    ) -> None:
        self.config, self.cluster, self.escrow, self._pair = config, cluster, escrow, pair
        self.shelf = Shelf(config, cluster)

    @property
    def sandbox(self) -> Sandbox | None:
        """The sandbox, where it is one."""
        return self._pair

    @property
    def pair(self) -> Sandbox:
        """The sandbox. Only drills that happen nowhere else ask for it."""
        assert self._pair is not None, "a drill of a sandbox was begun in production"
        return self._pair

    @property
    def targets(self) -> Targets:
        """What the configuration promises."""
        return self.shelf.policy.targets

    def steady(self) -> Iterator[Check]:
        """A destination answers; in a sandbox the pair is healthy too. Nothing is written there."""
        if self._pair is not None:
            yield from self._pair.steady()
        began, down = time.monotonic(), dict[str, str]()
        for store in self.shelf.stores:
            try:
                store.folders(f"{self.cluster.name}/")
            except StoreError as error:
                down[store.name] = str(error)
        good = ", ".join(store.name for store in self.shelf.stores if store.name not in down)
        evidence = "; ".join([f"{good or 'none'} of {len(self.shelf.stores)} answered", *down.values()])
        yield Check(
            what="a destination answers",
            outcome=Outcome.PASS if good else Outcome.FAIL,
            evidence=evidence,
            seconds=round(time.monotonic() - began, 6),
        )

    def trouble(self) -> str:
        """As the sandbox has it; readers of a destination disturb nobody."""
        return self._pair.trouble() if self._pair is not None else ""

    def cleanup(self) -> Iterator[Check]:
        """Of the sandbox nothing is left. (Scratch servers and their folders end with the block that made them.)"""
        if self._pair is not None:
            yield from self._pair.cleanup()

    def theirs(self, stage: Stage) -> tuple[Manifest, PgBackRest] | None:
        """The newest backup of pgBackRest, noted on the stage; None where it is not the tool, or has none yet.

        Raises `BackupError`.
        """
        tool = self.shelf.pgbackrest
        if tool is None:
            return None
        backups = tool.stanza().backups
        if not backups:
            stage.skipped.append("pgBackRest's backups: its stanza has none")
            return None
        newest = backups[-1]
        stage.backup, stage.versions["postgresql"] = newest.id, newest.server_version
        stage.versions["pgbackrest"] = newest.client_version
        return newest, tool

    def newest(self, stage: Stage) -> tuple[Manifest, Store]:
        """The newest backup of ours and a destination that has it; noted on the stage. Raises `NoSuchBackup`."""
        manifest, store = self._noted(stage, self.shelf.find("latest"))
        others = [
            place.name
            for place in self.shelf.catalog.places(manifest.cluster, manifest.id)
            if place.name != store.name
        ]
        if others:
            stage.skipped.append(f"the copies in {', '.join(others)}: one destination is read, {store.name}")
        return manifest, store

    def make(self, stage: Stage, kind: Kind) -> tuple[Manifest, Store]:
        """Make a backup of the sandbox."""
        with stage.activity(f"make a {kind} backup") as told:
            made = self.shelf.create(kind, tell=stage.say)
            told.append(f"{made.id}: {sum(part.stored_bytes for part in made.parts):,} bytes")
        return self._noted(stage, made)

    def _noted(self, stage: Stage, manifest: Manifest) -> tuple[Manifest, Store]:
        stage.backup = manifest.id
        stage.backup_sha256 = max(manifest.parts, key=lambda part: part.stored_bytes).sha256
        stage.versions["postgresql"] = manifest.server_version
        return manifest, self.shelf.place(manifest)

    # --- the archived log -------------------------------------------------------------------------------

    def await_archived(self, stage: Stage) -> None:
        """Wait until everything that is committed now is in the destination. Raises `Aborted`."""
        now = time.time()
        path = archiving.path_of(self.config.directory, self.cluster.name)

        def stored() -> bool:
            status = archiving.read(path, datetime.now(UTC))
            return (
                status is not None
                and status.receiving
                and all((d.until or 0) > now for d in status.destinations)
            )

        stage.wait("the log to be stored", stored, ARCHIVED)

    def await_rest(self, stage: Stage, system: str) -> None:
        """Wait until all that was received of a lost server is in the destination. Raises `Aborted`."""
        spool = self.config.directory / "wal" / self.cluster.name
        stage.wait("the rest of the log to be stored", lambda: not any(spool.glob(f"{system}.*/*")), ARCHIVED)


@contextlib.contextmanager
def open_vault(stage: Stage, setting: Setting) -> Iterator[Vault]:
    """The backups that the setting asks for. In a sandbox there is none yet."""
    if setting.radius is Radius.PRODUCTION:
        yield _production(setting)
        return
    with _sandbox(stage, setting, _TABLES) as vault:
        yield vault


@contextlib.contextmanager
def open_archive(stage: Stage, setting: Setting) -> Iterator[Vault]:
    """A sandbox whose log is archived from its first moment on."""
    with _sandbox(stage, setting, _TABLES + _LOG) as vault:
        yield vault


def _production(setting: Setting) -> Vault:
    if setting.config is None or setting.config.backup is None:
        raise Aborted("the configuration has no table [backup]: there is nothing to drill with")
    try:
        return Vault(setting.config, setting.config.cluster(setting.cluster), escrow=setting.escrow)
    except UnderstudyError as error:  # no key: nothing was learnt of the backups
        raise Aborted(str(error)) from None


@contextlib.contextmanager
def _sandbox(stage: Stage, setting: Setting, tables: str) -> Iterator[Vault]:
    with staging.folder() as place:
        (place / "destination").mkdir()
        write_new(place / _KEY)
        escrow = place / "escrow" / _KEY  # elsewhere, as far as a drill has an elsewhere
        escrow.parent.mkdir(mode=0o700)
        escrow.write_text((place / _KEY).read_text())
        text = tables.format(key=place / _KEY, folder=place / "destination")
        with open_sandbox(stage, setting, tables=text) as pair:
            loaded = configuration.load(pair.lab.config_file, {})
            yield Vault(loaded, pair.cluster, escrow=escrow, pair=pair)


def quiet(stage: Stage, pair: Sandbox) -> set[Row]:
    """Let the canaries write for a while and end. Returns every write that was acknowledged."""
    with stage.activity("canaries write and end"):
        time.sleep(STEADY)
        pair.writers.stop()
    return pair.acknowledged()
