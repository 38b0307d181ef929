"""Base backups that pgBackRest makes and keeps, where it is there already: asked for, seen, proven, restored.

Its repository stays its own: what it expires, how it encrypts and how the log gets there (`archive_command`) is its
configuration's affair. Each of its backups is shown as a `Manifest` of form ``pgbackrest``, made of what it tells.

Sources: pgBackRest 2.55 command reference: backup, info (``--output=json``), restore, archive-get, verify, check.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from understudy.backup import physical, pitr, wal
from understudy.backup.manifest import Finding, Kind, Manifest, Part, Verdict
from understudy.backup.programs import Child
from understudy.backup.source import BackupError, BackupRefused, Guard, alone, primary_of, still
from understudy.backup.store import Missing, Tell
from understudy.backup.wal import Reach, parse_lsn, segment_name, segment_number
from understudy.config import Config
from understudy.config_backup import Physical
from understudy.embedded import programs as wheels
from understudy.model import Cluster

NAME: Final = "pgbackrest"
"""Of the tool, of the form of its manifests, and of the place where its backups are said to be."""
ANSWER_S: Final = 60.0
RESTORE_S: Final = 24 * 3600.0
_NOT_THERE: Final = 1
"""Exit code of archive-get for a segment that is not in the repository."""
_DAMAGED: Final = frozenset({26, 28, 29, 55})
"""Exit codes that speak against the repository: wrong checksum, invalid file, wrong format, missing file (its
src/build/error/error.yaml). Any other is this host's, or the configuration's."""
_TOLD: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stanza:
    """What pgBackRest tells of a stanza.

    Args:
        status: why it is not well, in its words; empty: it is.
        system: system identifier of the server that is copied now; empty: none was yet.
        backups: oldest first, without those in which it found wrong page checksums: these are in ``problems``.
        labels: by id, its own names of them.
        segments: by id, the first segment of the log that is needed and the last that is there.
    """

    status: str
    system: str
    backups: tuple[Manifest, ...]
    labels: Mapping[str, str]
    segments: Mapping[str, tuple[str, str]]
    problems: tuple[str, ...]


class PgBackRest:
    """One stanza. Blocking. As a `pitr.Origin`: what restores come from."""

    name: str = NAME
    listed: bool = False

    def __init__(self, policy: Physical, cluster: str) -> None:
        self._policy, self._cluster = policy, cluster

    # --- asking -----------------------------------------------------------------------------------------

    def stanza(self) -> Stanza:
        """What there is. Raises `BackupRefused` where the program cannot be run, `BackupError` where it fails."""
        text = self._run("info", "--output=json")
        try:
            (found,) = json.loads(text)
            return _stanza(self._cluster, self._policy.stanza, found)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BackupError(
                f"{NAME} info: expected what version 2 tells of one stanza, found something else ({error!r:.100})"
            ) from None

    def trouble(self) -> str:
        """Why the stanza is not well; empty where it is."""
        try:
            return self.stanza().status
        except BackupError as error:
            return str(error)

    def check(self, config: Config, cluster: Cluster) -> Finding:
        """Whether a backup could be made now, and the log arrives; writes a segment to see."""
        try:
            self._require_primary(primary_of(config, cluster).dsn)
            self._run("check")
        except BackupError as error:
            return Finding(what=NAME, verdict=Verdict.FAIL, detail=str(error))
        return Finding(
            what=NAME, verdict=Verdict.PASS, detail=f"stanza {self._policy.stanza}: the log arrives"
        )

    # --- making -----------------------------------------------------------------------------------------

    def create(
        self, config: Config, cluster: Cluster, *, tell: Tell, cancel: threading.Event | None
    ) -> Manifest:
        """Let it make a backup of the present primary, of the kind that its configuration says.

        Raises as `physical.create`. Where the primary changes meanwhile the backup is not counted, and said to be
        there: only pgBackRest deletes what is in its repository.
        """
        source = primary_of(config, cluster)
        self._require_primary(source.dsn)
        before = set(self.stanza().labels)
        guard = Guard(source, cancel=cancel or threading.Event(), timeout=physical.TIMEOUT_S)
        with alone(config.directory, f"backup-{cluster.name}"), guard:
            tell(f"{NAME} makes a backup of {source.node}, stanza {self._policy.stanza}")
            try:
                with Child(
                    self._command("backup"), dict(os.environ), dsn="", output=False, account=_as(self._user())
                ) as child:
                    guard.on_abort(child.end)
                    child.finish()
            finally:
                guard.check()  # the reason why everything else failed
            still(source)
        made = [manifest for manifest in self.stanza().backups if manifest.id not in before]
        if not made:
            raise BackupError(
                f"{NAME}: ended without an error, and there is no new backup in stanza {self._policy.stanza}"
            )
        return made[-1]

    def _require_primary(self, dsn: str) -> None:
        """Raise `BackupRefused` unless the stanza copies this server."""
        found, wanted = self.stanza(), physical.ask(dsn).system
        if not found.system:
            hint = f"`{NAME} --stanza={self._policy.stanza} stanza-create` makes it"
            raise BackupRefused(f"stanza {self._policy.stanza}: {found.status}; {hint}")
        if found.system != wanted:
            raise BackupRefused(
                f"stanza {self._policy.stanza} copies server {found.system or 'none'}, and the primary is {wanted}: let"
                f" its pg1-path lead to the present primary (then `{NAME} stanza-upgrade`), or give each node a stanza"
            )

    # --- proving ----------------------------------------------------------------------------------------

    def verify(self) -> Iterator[Finding]:
        """Let it read its repository through: every file, and the log, against their checksums."""
        try:
            told = self._run("verify", "--output=text", "--verbose", limit=RESTORE_S)
        except BackupRefused as error:
            yield Finding(what="repository", verdict=Verdict.INCONCLUSIVE, detail=str(error))
            return
        except BackupError as error:
            yield Finding(what="repository", verdict=Verdict.FAIL, detail=str(error))
            return
        verdict = Verdict.PASS if "status: ok" in told else Verdict.FAIL
        yield Finding(what="repository", verdict=verdict, detail=" ".join(told.split())[:_TOLD])

    # --- as the origin of a restore ---------------------------------------------------------------------

    def reach(self, manifest: Manifest) -> Reach:
        """See `pitr.Origin`: from the backup's first segment, which is not in the backup, to the newest."""
        first, last = self._with(manifest).segments[manifest.id]
        timeline, begin, end = int(first[:8], 16), segment_number(first), segment_number(last)
        names = tuple(segment_name(timeline, number) for number in range(begin, end + 1))
        return Reach(timeline=timeline, names=names, ends=(end + 1) * wal.SEGMENT_BYTES, missing="")

    def fetch(self, manifest: Manifest, name: str, path: Path) -> None:  # manifest: the stanza has one log
        """See `pitr.Origin`."""
        place = path.parent.with_name(pitr.FETCHING)
        self._run("archive-get", name, str(place / name), f"--pg1-path={place}", name=name)
        (place / name).rename(path)

    def unpack(self, manifest: Manifest, data: Path, say: Callable[[str], None]) -> None:
        """See `pitr.Origin`. Each file is compared with its checksum; tablespaces come beside, not where they were."""
        label = self._with(manifest).labels[manifest.id]
        say(f"{manifest.id}: {NAME} restores {label}")
        spaces, place = data.with_name("tablespaces"), data.with_name(pitr.FETCHING)
        for folder in (data, spaces, place, place / "global"):
            folder.mkdir(mode=0o700)
            self._own(folder)
        self._run(
            "restore", f"--set={label}", f"--pg1-path={data}", "--type=none", "--archive-mode=off",
            f"--tablespace-map-all={spaces}", limit=RESTORE_S,
        )  # fmt: skip
        for name in (
            "global/pg_control",
            "backup_label",
        ):  # what archive-get looks at: the data is the server's then
            shutil.copyfile(data / name, place / name)
            self._own(place / name)
        if (server := wheels.account()) is not None:
            for folder in (data, spaces):
                _give_all(folder, server.uid, server.gid)

    def _with(self, manifest: Manifest) -> Stanza:
        """The stanza. Raises `BackupRefused` where the backup is not in it, or it cannot be read."""
        found = self.stanza()
        if manifest.id not in found.labels:
            why = found.status or "expired, or damaged"
            raise BackupRefused(f"{manifest.id}: not in stanza {self._policy.stanza} now: {why}")
        return found

    # --- running it -------------------------------------------------------------------------------------

    def _command(self, *arguments: str) -> list[str]:
        program = shutil.which(self._policy.program or NAME)
        if program is None:
            raise BackupRefused(
                f"{self._policy.program or NAME}: expected pgBackRest's program, found none; install the package"
                " pgbackrest, or set program in [backup.physical]"
            )
        config = [f"--config={self._policy.config_file}"] if self._policy.config_file else []
        quiet = ["--log-level-console=off", "--log-level-stderr=warn"]
        return [program, f"--stanza={self._policy.stanza}", *config, *quiet, *arguments]

    def _user(self) -> pwd.struct_passwd | None:
        """Whom it runs as; None: as we do."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self._policy.user)
        except KeyError:
            raise BackupRefused(
                f"{NAME} is not run as root: what it wrote then, archive_command could not go on with; set user in"
                f" [backup.physical] to the user that PostgreSQL runs as (found: {self._policy.user or 'nothing'})"
            ) from None

    def _run(self, *arguments: str, limit: float = ANSWER_S, name: str = "") -> str:
        """Its output. ``name``: of the segment that exit code 1 says is not there."""
        user = self._user()
        try:
            done = subprocess.run(
                self._command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=limit, check=False, cwd="/", **_as(user),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BackupRefused(
                f"{NAME} {arguments[0]}: expected an end within {limit:.0f} s, found none"
            ) from None
        except OSError as error:
            raise BackupRefused(f"{NAME}: cannot be started: {error.strerror or error}") from None
        if name and done.returncode == _NOT_THERE:
            raise Missing(NAME, name, f"not in the archive of stanza {self._policy.stanza}", "")
        if done.returncode != 0:
            words = " ".join((done.stderr or done.stdout).split())[-_TOLD:]
            kind = BackupError if done.returncode in _DAMAGED else BackupRefused
            raise kind(f"{NAME} {arguments[0]}: ended with exit code {done.returncode}: {words}")
        return str(done.stdout)

    def _own(self, folder: Path) -> None:
        """A folder of ours that it has to write into."""
        if (user := self._user()) is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {}
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}


def _give_all(top: Path, uid: int, gid: int) -> None:
    for folder, _, names in os.walk(top):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            os.chown(path, uid, gid, follow_symlinks=False)


# --- what it tells --------------------------------------------------------------------------------------------


def _stanza(cluster: str, name: str, told: Mapping[str, Any]) -> Stanza:
    """From its JSON. Raises KeyError, TypeError or ValueError where that is another."""
    databases = {one["id"]: one for one in told["db"]}
    newest = {one["database"]["id"]: one["max"] or "" for one in told["archive"]}
    backups, labels, segments, problems = [], {}, {}, []
    for one in sorted(told["backup"], key=lambda backup: backup["timestamp"]["stop"]):
        if one.get("error"):
            problems.append(
                f"{NAME} {one['label']}: it found pages with wrong checksums in it; it is not counted"
            )
            continue
        database = databases[one["database"]["id"]]
        manifest = _manifest(cluster, name, one, database)
        first, last = one["archive"]["start"], one["archive"]["stop"]
        if segment_number(last) != (manifest.end_lsn - 1) // wal.SEGMENT_BYTES:
            problems.append(
                f"{NAME} {one['label']}: its log has segments of another size than 16 MB; it is not counted"
            )
            continue
        there = newest.get(one["database"]["id"], "")
        backups.append(manifest)
        labels[manifest.id] = one["label"]
        segments[manifest.id] = (first, there if there[:8] == first[:8] else last)
    status = "" if told["status"]["code"] == 0 else str(told["status"]["message"])
    system = str(databases[max(databases)]["system-id"]) if databases else ""
    return Stanza(
        status=status,
        system=system,
        backups=tuple(backups),
        labels=labels,
        segments=segments,
        problems=tuple(problems),
    )


def _manifest(cluster: str, stanza: str, told: Mapping[str, Any], database: Mapping[str, Any]) -> Manifest:
    begun, ended = (datetime.fromtimestamp(told["timestamp"][key], UTC) for key in ("start", "stop"))
    size = told["info"]
    part = Part(
        name=physical.PART, raw_bytes=size["size"], stored_bytes=size["repository"].get("size", 0), sha256=""
    )
    label = told["label"].replace("_", "-")
    return Manifest(
        id=f"{begun:%Y%m%dT%H%M%SZ}-{NAME}-{label}", cluster=cluster, engine="postgresql", kind=Kind.PHYSICAL,
        form=NAME, scope=("all",), node=f"stanza {stanza}", epoch=0, started=f"{begun:%Y-%m-%dT%H:%M:%SZ}",
        finished=f"{ended:%Y-%m-%dT%H:%M:%SZ}", database="", encoding="", locale="",
        server_version=database["version"], client_version=told["backrest"]["version"],
        system_identifier=str(database["system-id"]), timeline=int(told["archive"]["start"][:8], 16),
        start_lsn=parse_lsn(told["lsn"]["start"]), end_lsn=parse_lsn(told["lsn"]["stop"]), extensions={}, tables=(),
        sequences=(), parts=(part,), recipients=(), tool=f"pgBackRest {told['backrest']['version']}, {told['type']}",
    )  # fmt: skip
