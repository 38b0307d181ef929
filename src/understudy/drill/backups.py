"""Drills of backups: restored and compared, rolled forward to a mark, opened by the escrowed key, broken on purpose.

Nothing is restored onto anything: a scratch server is made for it, and is gone afterwards. Its settings are a sandbox's
(`backup.restore.SANDBOX`), so a real server takes longer; the report says so.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import psycopg

from understudy.backup import manifest as manifests
from understudy.backup import pitr, restore, roles, staging, verify, wal
from understudy.backup.catalog import MANIFEST
from understudy.backup.keys import Key, Keys, KeysError, parse_keys
from understudy.backup.logical import ARCHIVE
from understudy.backup.manifest import Finding, Kind, Level, Manifest, Verdict, Verification
from understudy.backup.pitr import Latest, Lsn, Target
from understudy.backup.seal import WrongKey
from understudy.backup.shelf import Shelf
from understudy.backup.source import BackupError, BackupRefused
from understudy.backup.store import Refused, Store, Unreachable
from understudy.demo import audit
from understudy.demo.lab import DATABASE
from understudy.drill.definition import Scenario
from understudy.drill.pair import SETTLE, SILENCE, STEADY
from understudy.drill.stage import Aborted, Stage
from understudy.drill.vault import Vault, open_archive, open_vault, quiet
from understudy.embedded import EmbeddedError, EmbeddedPostgreSQL
from understudy.readiness.journal import Loss, Radius, Recovery

_FAILOVER: Final = 60.0  # seconds for a change of primary
_SEGMENTS: Final = 4
_ABSENT: Final = "understudy_absent"
_CANNOT: Final = (BackupRefused, EmbeddedError, WrongKey, Unreachable, Refused)
"""Says nothing about a backup: no room, no program, no key, no answer."""
_ABORT: Final = (
    f"no canary of a sandbox was acknowledged anything for {SILENCE:g} s, a wait is in vain, or this host has no room, "
    "no program or no answer for it"
)


# --- restored and compared ----------------------------------------------------------------------------------


def restore_latest(stage: Stage, vault: Vault) -> None:
    """Restore the newest backup and compare everything; in a sandbox one that is made first.

    Where pgBackRest is the configured tool it is the newest of its backups: they are what the worst day needs.
    """
    if (pair := vault.sandbox) is None:
        stage.skipped.append("writes of canaries: none are made in production for a drill that only reads")
        with _unfit():
            theirs = vault.theirs(stage)
        if theirs is not None:
            _age(stage, vault, theirs[0])
            with _unfit():
                _prove_physical(stage, theirs[0], theirs[1], None)
            return
        manifest, store = vault.newest(stage)
        _age(stage, vault, manifest)
        _prove(stage, manifest, store, vault.shelf.keys)
        return
    acknowledged = quiet(stage, pair)
    manifest, store = vault.make(stage, Kind.LOGICAL)
    pair.writers.start()
    _prove(stage, manifest, store, vault.shelf.keys, acknowledged)


def _age(stage: Stage, vault: Vault, manifest: Manifest) -> None:
    """What restoring nothing but this backup would cost: everything since it was begun."""
    age = (datetime.now(UTC) - datetime.fromisoformat(manifest.started)).total_seconds()
    wanted = vault.targets.backup_age
    evidence = (
        f"{manifest.id}: what was written in the last {age:.0f} s is not in it; wanted {wanted:.0f} s at most"
    )
    stage.check("the newest backup is young enough", age <= wanted, evidence)


def _prove(
    stage: Stage,
    manifest: Manifest,
    store: Store,
    keys: Keys | None,
    acknowledged: set[audit.Row] | None = None,
) -> None:
    """Restore a backup of either kind and compare it. ``acknowledged``: writes that it must hold, and no others."""
    with _unfit():
        if manifest.kind is Kind.PHYSICAL:
            _prove_physical(stage, manifest, pitr.Stored(store, keys), keys)
        else:
            _prove_logical(stage, manifest, store, keys, acknowledged)


@contextlib.contextmanager
def _unfit() -> Iterator[None]:
    """What says nothing about the backup makes the drill inconclusive. Raises `Aborted`."""
    try:
        yield
    except _CANNOT as error:
        raise Aborted(str(error)) from None


def _prove_logical(
    stage: Stage, manifest: Manifest, store: Store, keys: Keys | None, acknowledged: set[audit.Row] | None
) -> None:
    began = stage.clock()
    with staging.folder() as place, contextlib.ExitStack() as scratch:
        room = manifest.part(ARCHIVE).raw_bytes * verify.SCRATCH_FACTOR
        staging.require_space(place, room, f"restoring {manifest.id}")
        with stage.activity("fetch, open and check every part"):
            staged = restore.stage(manifest, store, keys, place, tell=stage.say)
        with stage.activity("make a scratch server"):
            server = scratch.enter_context(restore.scratch(manifest, place))
        if not (inside := _database(stage, manifest, staged, server)):
            return
        with stage.activity("restore into it"):
            restore.run_restore(manifest, staged, inside)
        restored = stage.clock()
        with stage.activity("compare every table, sequence and foreign key with the manifest"):
            findings = restore.compare(manifest, inside, staged.divided)
        _noted(stage, findings)
        if acknowledged is not None:
            _exact(stage, inside, acknowledged, "exactly what the canaries were told is done")
        _took(stage, began, restored)


def _database(stage: Stage, manifest: Manifest, staged: restore.Staged, server: EmbeddedPostgreSQL) -> str:
    """An empty database for the backup; its DSN, or an empty text where this server cannot take it."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        if lacking := restore.missing_extensions(connection, manifest):
            evidence = f"it lacks {', '.join(lacking)}; restore it once to a server that has them"
            stage.check("the scratch server has every extension", None, evidence)
            return ""
        _, problems = roles.make_missing(connection, staged.roles)
        stage.check(
            "every role is made",
            not problems,
            "; ".join(problems[:5]) or f"{len(staged.roles.roles)} of {len(staged.roles.roles)}",
        )
        _noted(stage, restore.make_database(connection, manifest, restore.DATABASE))
    return server.dsn(dbname=restore.DATABASE)


def _prove_physical(stage: Stage, manifest: Manifest, origin: pitr.Origin, keys: Keys | None) -> None:
    began = stage.clock()
    with stage.activity(f"restore from {origin.name} to the end of the log, read every table"):
        findings = pitr.verify_from(origin, manifest, keys, stage.say)
    _noted(stage, findings)
    _took(stage, began, stage.clock())


def _noted(stage: Stage, findings: Sequence[Finding]) -> None:
    held = {Verdict.PASS: True, Verdict.FAIL: False, Verdict.INCONCLUSIVE: None}
    for finding in findings:
        stage.check(finding.what, held[finding.verdict], finding.detail)


def _took(stage: Stage, began: float, restored: float) -> None:
    """Nobody had to see or decide anything: the restore acts, the comparison proves."""
    stage.recovery = Recovery(
        detect=0.0,
        decide=0.0,
        act=round(restored - began, 6),
        verify=round(stage.clock() - restored, 6),
        writes=0.0,
    )
    stage.skipped.append("time to notice and to decide: a drill of backups is begun by somebody who knows")


def _exact(stage: Stage, dsn: str, expected: set[audit.Row], what: str) -> set[audit.Row]:
    """Compare the canaries' rows of a restored server with a ledger. Returns them."""
    with psycopg.connect(dsn) as connection:
        found = set(audit.rows(connection))
    evidence = f"{len(expected):,} expected, {len(expected - found):,} of them absent, {len(found - expected):,} others"
    stage.check(what, found == expected, evidence)
    return found


# --- to a point in time -------------------------------------------------------------------------------------


def point_in_time(stage: Stage, vault: Vault) -> None:
    """The archived primary is killed under load; restored to a mark exactly, and to the end of the log."""
    pair = vault.pair
    with stage.activity("wait until the log is archived"):
        vault.await_archived(stage)
    manifest, store = vault.make(stage, Kind.PHYSICAL)
    before = quiet(stage, pair)
    node, epoch = pair.state.primary, pair.state.epoch
    with pair.lab.connect(node, "postgres") as connection, stage.activity("set the mark") as told:
        row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
        mark = int(row[0]) if row is not None else 0
        told.append(f"{wal.lsn_text(mark)} on {node}: {len(before):,} writes acknowledged")
    with stage.activity("canaries write on"):
        pair.writers.start()
        time.sleep(STEADY)
    pair.fault_at = stage.clock()
    with stage.activity(f"kill -9 the primary's server {node}"):
        pair.lab.servers[node].kill()
    with stage.activity("wait for the failover, and for what was received of the log"):
        stage.wait("a failover", lambda: pair.state.primary != node and pair.state.plan is None, _FAILOVER)
        vault.await_rest(stage, manifest.system_identifier)
    with _restored(stage, vault, manifest, store, Lsn(mark)) as server:
        _exact(stage, server.dsn(dbname=DATABASE), before, "the mark is met exactly, to the row")
    began = stage.clock()
    with _restored(stage, vault, manifest, store, Latest()) as server:
        restored = stage.clock()
        _end_of_log(stage, vault, server, epoch)
        _took(stage, began, restored)
    with stage.activity(f"start {node} again and wait until it follows, verified"):
        pair.lab.servers[node].start()
        stage.wait("a healthy pair", pair.settled, SETTLE)


def _end_of_log(stage: Stage, vault: Vault, server: EmbeddedPostgreSQL, epoch: int) -> None:
    """What the lost server had acknowledged, against its log: that is what losing both nodes would have cost."""
    pair = vault.pair
    with psycopg.connect(server.dsn(dbname=DATABASE)) as connection:
        found = audit.rows(connection)
    told = [entry for entry in pair.entries() if entry.epoch == epoch]
    counted, oldest = audit.count(told, found, ()), audit.oldest_lost(told, found)
    exposed = 0.0 if oldest is None else max(0.0, pair.fault_at - oldest / 1e9)
    stage.loss = Loss(acknowledged=counted.acked, lost=counted.absent, rescued=0, seconds=round(exposed, 6))
    target = vault.targets.rpo
    oldest_text = f", the oldest from {exposed:.3f} s before" if counted.absent else ""
    evidence = f"{counted.acked:,} acknowledged, {counted.absent:,} of them not in the log{oldest_text}"
    stage.check(f"the log ends less than {target:g} s before the fault", exposed <= target, evidence)
    stage.check(
        "nothing was replayed twice", counted.doubled == 0, f"{counted.doubled} copies beyond the first"
    )


@contextlib.contextmanager
def _restored(
    stage: Stage, vault: Vault, manifest: Manifest, store: Store, target: Target
) -> Iterator[EmbeddedPostgreSQL]:
    """The server restored to a target, gone afterwards."""
    name = "the end of the log" if isinstance(target, Latest) else "the mark"
    with _unfit(), staging.folder() as place:
        with stage.activity(f"restore to {name}") as told:
            done = pitr.restore(manifest, store, vault.shelf.keys, target, place / "server", say=stage.say)
            told.append(f"replayed to {wal.lsn_text(done.ended)}")
        with done.server:
            yield done.server


# --- without the key ----------------------------------------------------------------------------------------


def key_loss(stage: Stage, vault: Vault) -> None:
    """The key is gone: nothing opens a backup but the escrowed copy, and that one opens and restores it."""
    if vault.sandbox is None:
        manifest, store = vault.newest(stage)
        _age(stage, vault, manifest)
    else:
        manifest, store = vault.make(stage, Kind.LOGICAL)
    if not manifest.recipients:
        raise Aborted(f"{manifest.id} is not encrypted: there is no key to lose")
    if vault.escrow is None:
        raise Aborted("where is the copy of the keys that is kept elsewhere? Name it: --escrow FILE")
    _refused(stage, vault, manifest)
    try:
        copy = Keys(opening=parse_keys(vault.escrow.read_text(), str(vault.escrow)))
    except (KeysError, OSError) as error:
        stage.check("the escrowed copy can be read", False, str(error))
        return
    trouble = vault.shelf.key_trouble(copy, manifest)
    stage.check("the escrowed copy opens the newest backup", trouble == "", trouble or manifest.id)
    if not trouble:
        _prove(stage, manifest, store, copy)


def _refused(stage: Stage, vault: Vault, manifest: Manifest) -> None:
    """Without the key, or with another one, nobody reads anything."""
    for what, keys in (("no key", Keys()), ("another key", Keys(Key.new()))):
        why = vault.shelf.key_trouble(keys, manifest)
        stage.check(f"{what} opens nothing", bool(why), why or f"{manifest.id} was opened")
    if vault.sandbox is None:
        stage.skipped.append("a host without its key file: in production it stays where it is")
        return
    file = vault.shelf.policy.secrets.key_file
    assert file is not None, "the sandbox's configuration names one"
    hidden = file.rename(file.with_suffix(".lost"))
    try:
        Shelf(vault.config, vault.cluster)
        why_not = ""
    except KeysError as error:
        why_not = str(error)
    finally:
        hidden.rename(file)
    stage.check("a host without its key file begins nothing", bool(why_not), why_not or "it went on")


# --- broken on purpose --------------------------------------------------------------------------------------

Damage = Callable[[Vault, Manifest, Store], str]
"""Breaks something and says what. Tests hand in one that breaks nothing: then the drill must fail."""


def flip_bit(vault: Vault, manifest: Manifest, store: Store) -> str:
    """One bit in the middle of the stored archive."""
    key = f"{manifest.cluster}/{manifest.id}/{ARCHIVE}"
    body = bytearray(b"".join(store.get(key)))
    at = len(body) // 2
    body[at] ^= 1
    store.put(key, [bytes(body)], replace=True)
    return f"bit 0 of byte {at:,} of {key}"


def flipped_bit(stage: Stage, vault: Vault, damage: Damage = flip_bit) -> None:
    """A bit of a stored backup turns over; the verification must fail and name the part."""
    manifest, store = _broken(stage, vault, damage)
    found = _verified(stage, vault, manifest, store, vault.shelf.keys)
    _noticed(stage, found, Verdict.FAIL, ARCHIVE)


def wrong_key(stage: Stage, vault: Vault, keys: Keys | None = None) -> None:
    """Somebody verifies with a key that does not open it: no verdict about the backup, and which key is wanted."""
    manifest, store = vault.make(stage, Kind.LOGICAL)
    found = _verified(stage, vault, manifest, store, keys or Keys(Key.new()))
    _noticed(stage, found, Verdict.INCONCLUSIVE, manifest.recipients[0])


def need_extension(vault: Vault, manifest: Manifest, store: Store) -> str:
    """The manifest says that the database needs an extension that is on no server."""
    needs = replace(manifest, extensions={**manifest.extensions, _ABSENT: "1.0"})
    key = f"{manifest.cluster}/{manifest.id}/{MANIFEST}"
    store.put(key, [manifests.encode(needs)], replace=True)
    return f"{manifest.id} needs the extension {_ABSENT}"


def missing_extension(stage: Stage, vault: Vault, damage: Damage = need_extension) -> None:
    """The scratch server lacks an extension: that is said, with its name, and is neither pass nor fail."""
    manifest, store = _broken(stage, vault, damage)
    found = _verified(stage, vault, vault.shelf.find(manifest.id), store, vault.shelf.keys)
    _noticed(stage, found, Verdict.INCONCLUSIVE, _ABSENT)


def _broken(stage: Stage, vault: Vault, damage: Damage) -> tuple[Manifest, Store]:
    manifest, store = vault.make(stage, Kind.LOGICAL)
    with stage.activity("break it") as told:
        told.append(damage(vault, manifest, store))
    return manifest, store


def _verified(
    stage: Stage, vault: Vault, manifest: Manifest, store: Store, keys: Keys | None
) -> Verification:
    with stage.activity("verify it as always") as told:
        found = verify.verify(
            vault.shelf.catalog, manifest, Level.RESTORE, keys, vault.config, store=store, tell=stage.say
        )
        told.append(found.verdict)
    return found


def _noticed(stage: Stage, found: Verification, wanted: Verdict, name: str) -> None:
    """The verdict is the right one, and somebody who reads it knows what is wrong."""
    told = "; ".join(f"{c.what}: {c.detail}" for c in found.checks if c.verdict is not Verdict.PASS)
    evidence = f"expected {wanted}, found {found.verdict}: {told or 'nothing is wrong with it'}"
    stage.check("it was noticed, with the right verdict", found.verdict is wanted, evidence)
    stage.check(f"{name} is named", name in told, told or "nothing is named")


def lose_segment(vault: Vault, manifest: Manifest, store: Store) -> str:
    """A segment in the middle of the archived log is gone."""
    name = _segments(vault, manifest, store)[1]
    store.delete([wal.prefix(manifest.cluster, manifest.system_identifier) + name])
    return f"segment {name} is gone"


def missing_wal(stage: Stage, vault: Vault, damage: Damage = lose_segment) -> None:
    """The archived log has a hole: no restore may go past it, and the missing segment is named."""
    pair = vault.pair
    with stage.activity("wait until the log is archived"):
        vault.await_archived(stage)
    manifest, store = vault.make(stage, Kind.PHYSICAL)
    with stage.activity(f"write {_SEGMENTS} segments of log"):
        with pair.lab.connect(pair.state.primary, "postgres") as connection:
            for _ in range(_SEGMENTS):
                connection.execute("SELECT pg_logical_emit_message(false, 'drill', 'x'), pg_switch_wal()")
        stage.wait("them to be stored", lambda: len(_segments(vault, manifest, store)) >= _SEGMENTS, SETTLE)
        names = _segments(vault, manifest, store)
    with stage.activity("break it") as told:
        told.append(damage(vault, manifest, store))
    try:
        with _restored(stage, vault, manifest, store, Latest()):
            why = ""
    except BackupError as error:
        why = str(error)
    stage.check("a restore past the hole is refused", bool(why), why or "it was restored")
    stage.check("the missing segment is named", names[1] in why, why or "nothing is named")
    covered = next(c for c in vault.shelf.coverage(store) if c.backup == manifest.id)
    stage.check(
        "the backup counts as one with a hole", not covered.whole, covered.reason or "it counts as whole"
    )


def _segments(vault: Vault, manifest: Manifest, store: Store) -> list[str]:
    """The complete segments after a base backup, in order."""
    found = wal.archives(store, manifest.cluster, vault.shelf.keys)
    ours = next((a for a in found if a.system == manifest.system_identifier), None)
    first = wal.segment_name(manifest.timeline, (manifest.end_lsn - 1) // wal.SEGMENT_BYTES + 1)
    names = sorted(ours.stored) if ours is not None else []
    return [name for name in names if wal.is_segment(name) and name >= first]


# --- what people read ---------------------------------------------------------------------------------------

_BROKEN: Final = (
    "make a backup of a sandbox",
    "break it",
    "verify it as always",
    "look whether that was told",
)

SCENARIOS: Final = (
    Scenario(
        name="restore-latest",
        title="The newest backup is restored and compared",
        hypothesis="It is young enough, restores without an error, and holds exactly what its manifest says",
        abort_rule=_ABORT,
        method=(
            "in a sandbox: let canaries write and end, and make a backup; in production: take the newest one",
            "fetch, open and check every part",
            "restore into a scratch server that is made for it (its time is a sandbox's: nothing waits for a disk)",
            "compare every table, sequence and foreign key with the manifest, in a sandbox the canaries' ledgers too",
        ),
        by_hand=(
            "understudy backup list",
            "make an empty server, put its address into $TARGET, and run "
            "`understudy backup restore latest --into-env TARGET`",
            "read what was compared; only then lead the application there",
        ),
        open=open_vault,
        run=restore_latest,
        radii=(Radius.SANDBOX, Radius.PRODUCTION),
    ),
    Scenario(
        name="pitr",
        title="Both nodes are lost, or a wrong statement was committed: back to a point in time",
        hypothesis=(
            "A restore to a mark holds exactly the writes before it; a restore to the end of the log lacks at most the "
            "target's seconds"
        ),
        abort_rule=_ABORT,
        method=(
            "archive a sandbox's log and make a base backup while canaries write",
            "set a mark, write on, kill -9 the primary's server",
            "restore to the mark, and compare with the canaries' ledgers row by row",
            "restore to the end of the log, and count what was acknowledged and is not in it",
        ),
        by_hand=(
            "understudy backup list",
            "understudy backup restore latest --folder /srv/restored --to-time TIME: of a base backup before that",
            "look at it: it is nobody's node, and reads only",
            "make it a node: docs/how-to/point-in-time-recovery.md",
        ),
        open=open_archive,
        run=point_in_time,
    ),
    Scenario(
        name="key-loss",
        title="The host that held the key is gone",
        hypothesis="Nothing opens a backup but the copy that is kept elsewhere; that one opens and restores the newest",
        abort_rule=_ABORT,
        method=(
            "try to open the newest backup without a key, and with another one",
            "open it with the copy that is kept elsewhere (in production: --escrow FILE)",
            "restore it with that copy and compare",
        ),
        by_hand=(
            "fetch the copy of the key that is kept elsewhere",
            "understudy backup key check --escrow FILE",
            "put it where key_file in [backup] says, readable by the agent's user only",
            "make a new key, put it before the old one in the file, and keep a new copy elsewhere",
        ),
        open=open_vault,
        run=key_loss,
        radii=(Radius.SANDBOX, Radius.PRODUCTION),
    ),
    Scenario(
        name="broken-flipped-bit",
        title="A bit of a stored backup turns over",
        hypothesis="The verification fails and names the part",
        abort_rule=_ABORT,
        method=_BROKEN,
        by_hand=(
            "understudy backup verify latest --destination OTHER: another destination may have a whole copy",
            "understudy backup create",
            "look after the disk or the service that turned it over",
        ),
        open=open_vault,
        run=flipped_bit,
        must_fail=True,
    ),
    Scenario(
        name="broken-wrong-key",
        title="Backups are verified with a key that does not open them",
        hypothesis="The verification is inconclusive, and says which key it needs",
        abort_rule=_ABORT,
        method=_BROKEN,
        by_hand=(
            "understudy backup key check",
            "put the key with the id that is named back into the file of key_file: old keys stay in it",
        ),
        open=open_vault,
        run=wrong_key,
        must_fail=True,
    ),
    Scenario(
        name="broken-missing-extension",
        title="The server that a backup is restored to lacks an extension",
        hypothesis="The verification is inconclusive and names the extension; it neither passes nor fails",
        abort_rule=_ABORT,
        method=_BROKEN,
        by_hand=(
            "install the extension's package on the server",
            "understudy backup restore latest --into-env TARGET",
        ),
        open=open_vault,
        run=missing_extension,
        must_fail=True,
    ),
    Scenario(
        name="broken-missing-wal",
        title="A segment of the archived log is missing",
        hypothesis="No restore goes past the hole, the segment is named, and the backup counts as one with a hole",
        abort_rule=_ABORT,
        method=(
            "archive a sandbox's log and make a base backup",
            "write some segments, and delete one of them from the destination",
            "try to restore to the end of the log",
            "look whether the segment is named",
        ),
        by_hand=(
            "understudy backup restore latest --folder /srv/restored --destination OTHER: another one may have it",
            "restore to the last position before the hole, which the error names (--to-lsn)",
            "understudy backup create --physical: from there on there is no hole",
        ),
        open=open_archive,
        run=missing_wal,
        must_fail=True,
    ),
)
