"""The table ``[backup]``: where backups go, what opens them, when they are made, kept, verified and drilled. No I/O.

    [backup]
    key_file = "/etc/understudy/backup.key"

    [[backup.destination]]
    name = "nas"
    folder = "/mnt/nas/backups"

    [[backup.destination]]
    name = "cloud"
    url = "s3://farm-backups/production"
    region = "eu-central-1"

    [backup.logical]
    schedule = "15 2 * * *"

Every key: `docs/reference/configuration.md`. Schedules are cron expressions in UTC. Without the table and without
``UNDERSTUDY_BACKUP_URL`` there are no backups. Credentials and keys are in no ``repr`` and in no error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from understudy.config_values import Kind, Setting, not_set, parse, reject_unknown, show
from understudy.errors import ConfigError

KEYS = ("backup",)
VARIABLES = ("UNDERSTUDY_BACKUP_URL", "UNDERSTUDY_BACKUP_KEY")
MAX_DESTINATIONS = 5
MAX_DRILLS = 50
MAX_RECIPIENTS = 16
MIB = 2**20
CLONE_LIMIT = 20 * 1024 * MIB
"""Bytes of data that a drill clones at most, where nobody says otherwise."""
API = "https://api.supabase.com"
"""Where Supabase's Management API is."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"(?:[A-Za-z0-9_=.\-]+/)*[A-Za-z0-9_=.\-]+")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_RECIPIENT = re.compile(r"age1[0-9a-z]{20,200}")
_TABLE = re.compile(r"[^\s\x00.][^\x00.]{0,62}(?:\.[^\x00]{1,63})?")
_PROJECT = re.compile(r"[a-z0-9]{6,40}")
_SLOT = re.compile(r"[a-z0-9_]{1,31}")
_STANZA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_CREDENTIALS = ("access_key_env", "secret_key_env", "session_token_env")
_USUAL = {
    "access_key_env": "AWS_ACCESS_KEY_ID",
    "secret_key_env": "AWS_SECRET_ACCESS_KEY",
    "session_token_env": "AWS_SESSION_TOKEN",
}
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One place that keeps backups: a ``folder``, or a ``bucket`` of an S3-compatible server.

    Args:
        prefix: before every key in the bucket, without slashes at its ends.
        endpoint: of a server other than Amazon's; its buckets are addressed in the path.
        access_key, secret_key, session_token: empty: what the host provides (role of the machine or the pod).
        part_bytes: how much is sent at once; an object can have 10,000 parts.
    """

    name: str
    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    part_bytes: int = 8 * MIB

    @property
    def place(self) -> str:
        """Where it is, for people; no secret."""
        if self.folder is not None:
            return str(self.folder)
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What backups are sealed for and opened with; at most one of ``key_file``, ``key``, ``key_command``.

    Args:
        encryption: False: backups are written as they are. Must be said.
        key_file: keys, one a line; the first one seals, each of them opens.
        key: the same as text.
        key_command: a program and its arguments that prints the same.
        recipients: of age; whoever holds one of their identities can open every backup.
        identity_files: of age; what this host opens with.
    """

    encryption: bool = True
    key_file: Path | None = None
    key: str = field(default="", repr=False)
    key_command: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    identity_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Logical:
    """Dumps. ``schedule``: empty: only when asked for. ``jitter``: seconds a start is put off by at most, at random.

    ``scope``: ``("all",)``, ``("schema-only",)`` or names of tables, as in the manifest. ``form``: ``custom`` or
    ``directory``.
    """

    schedule: str = ""
    jitter: float = 0.0
    scope: tuple[str, ...] = ("all",)
    form: str = "custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Physical:
    """Base backups, and the write-ahead log between them.

    Args:
        wal: stream the log all the time, for point-in-time recovery.
        partial_every: seconds after which the newest, unfinished segment is stored too: what a total loss may cost.
        slot: how the name of the replication slot begins that keeps the log for us; the cluster's name follows.
        spool_limit: bytes that may wait on this host for the destinations; then receiving stops.
        slot_limit: bytes of log that the primary may keep for us; then the slot is dropped, for its disk's sake.
        tool: ``understudy``, or ``pgbackrest``: then base backups and the log are pgBackRest's (``wal`` is False).
        stanza: of pgBackRest. program, config_file: its own; empty, None: where it is found, what it finds.
        user: whom it runs as where we are root.
    """

    schedule: str = ""
    jitter: float = 0.0
    wal: bool = True
    partial_every: float = 60.0
    slot: str = "understudy_wal"
    spool_limit: int = 8 * 1024 * MIB
    slot_limit: int = 8 * 1024 * MIB
    tool: str = "understudy"
    stanza: str = ""
    program: str = ""
    config_file: Path | None = None
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept: whatever any rule keeps (see `backup.retention`). All zero: everything.

    Args:
        days: younger ones. last: the newest so many.
        daily, weekly, monthly, yearly: the newest of each of the last so many days, ISO weeks, months, years in UTC.
        verified: the newest so many that passed a verification are never deleted, whatever the rules say.
        pitr: seconds back to which a point-in-time recovery must be possible.
        schedule: when the job runs; empty: only when asked for.
    """

    days: int = 0
    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    verified: int = 2
    pitr: float = 7 * 86400.0
    schedule: str = ""

    @property
    def unlimited(self) -> bool:
        """No rule: nothing is ever deleted."""
        return not (self.days or self.last or self.daily or self.weekly or self.monthly or self.yearly)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """When backups are proven: how deep (`backup.manifest.Level`), and the seconds in which each one's turn comes."""

    schedule: str = ""
    jitter: float = 0.0
    level: str = "restore"
    coverage: float = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """In seconds: the time to recover, the data that may be lost, and the ages from which on a proof is too old."""

    rto: float = 3600.0
    rpo: float = 300.0
    backup_age: float = 26 * 3600.0
    verification_age: float = 8 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill that the agent runs by itself.

    Args:
        clone: on a clone of the cluster's data, where the drill can; False: on small tables of its own.
        clone_limit: bytes of that data, at most.
    """

    name: str
    schedule: str
    clone: bool = True
    clone_limit: int = CLONE_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Supabase:
    """A project whose own backups are listed beside ours. ``token_env``: the variable that ``token`` came from."""

    project: str
    token_env: str
    token: str = field(repr=False)
    api: str = API


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """The whole table."""

    destinations: tuple[Destination, ...]
    secrets: Secrets
    logical: Logical = field(default_factory=Logical)
    physical: Physical | None = None
    retention: Retention = field(default_factory=Retention)
    verify: Verify = field(default_factory=Verify)
    targets: Targets = field(default_factory=Targets)
    drills: tuple[Drill, ...] = ()
    supabase: Supabase | None = None


_JITTER = Setting("jitter", Kind.DURATION, 0, 6 * 3600)
_PARTS = Setting("part_size", Kind.SIZE, 5 * MIB, 512 * MIB)
_PHYSICAL = (
    Setting("wal", Kind.SWITCH),
    Setting("partial_every", Kind.DURATION, 1, 86400),
    *(Setting(n, Kind.SIZE, 64 * MIB, 2**50) for n in ("spool_limit", "slot_limit")),
    _JITTER,
)
_RETENTION = (
    Setting("days", Kind.COUNT, 0, 36500),
    *(Setting(n, Kind.COUNT, 0, 10000) for n in ("last", "daily", "weekly", "monthly", "yearly")),
    Setting("verified", Kind.COUNT, 1, 1000),
    Setting("pitr", Kind.DURATION, 0, 3660 * 86400),
)
_COVERAGE = Setting("coverage", Kind.DURATION, 3600, 3660 * 86400)
_TARGETS = tuple(
    Setting(n, Kind.DURATION, 1, 3660 * 86400) for n in ("rto", "rpo", "backup_age", "verification_age")
)
SIZE_OF_CLONE = Setting("clone_limit", Kind.SIZE, MIB, 2**50)
_DRILL = (Setting("clone", Kind.SWITCH), SIZE_OF_CLONE)
_TABLES = ("logical", "physical", "retention", "verify", "targets", "supabase")
_SECRETS = ("encryption", "key_file", "key_env", "key_command", "recipients", "identity_files")


def read(table: object, env: Mapping[str, str], where: str) -> Backup | None:
    """The table ``[backup]``, or None where neither it nor ``UNDERSTUDY_BACKUP_URL`` is there.

    The variables stand for one destination where the table names none, and for the key where it names none.
    Raises ConfigError.
    """
    if table is None and VARIABLES[0] not in env:
        return None
    body = _table({} if table is None else table, where)
    reject_unknown(body, (*_SECRETS, "destination", "drill", *_TABLES), where)
    return Backup(
        destinations=_destinations(body, env, where),
        secrets=_secrets(body, env, where),
        logical=_logical(_table(body.get("logical", {}), f"{where}.logical"), f"{where}.logical"),
        physical=_physical(body.get("physical"), f"{where}.physical"),
        retention=_retention(_table(body.get("retention", {}), f"{where}.retention"), f"{where}.retention"),
        verify=_verify(_table(body.get("verify", {}), f"{where}.verify"), f"{where}.verify"),
        targets=_targets(_table(body.get("targets", {}), f"{where}.targets"), f"{where}.targets"),
        drills=_drills(body, where),
        supabase=_supabase(body.get("supabase"), env, f"{where}.supabase"),
    )


# --- destinations -------------------------------------------------------------------------------------------


def _destinations(body: Mapping[str, Any], env: Mapping[str, str], where: str) -> tuple[Destination, ...]:
    tables = _tables(body, "destination", where)
    place = f"{where}.destination"
    found = [_destination(table, env, f"{place}[{i}]") for i, table in enumerate(tables)]
    if not found and VARIABLES[0] in env:
        text = env[VARIABLES[0]].strip()
        table = {"name": "default", "url" if "://" in text else "folder": text}
        found = [_destination(table, env, VARIABLES[0])]
    if not 1 <= len(found) <= MAX_DESTINATIONS or len({d.name for d in found}) != len(found):
        hint = f"add [[{place.rpartition(' ')[2]}]] with name and folder, or name and url"
        expected = f"1 to {MAX_DESTINATIONS} destinations with different names"
        raise ConfigError(place, expected, "none" if not found else "others", hint)
    return tuple(found)


def _destination(table: Mapping[str, Any], env: Mapping[str, str], where: str) -> Destination:
    reject_unknown(table, ("name", "folder", "url", "endpoint", "region", "part_size", *_CREDENTIALS), where)
    name = _matching(table.get("name"), _NAME, f"{where}.name", "a short name of a-z, 0-9, _ and -")
    if ("folder" in table) == ("url" in table):
        found = "both" if "folder" in table else "neither"
        raise ConfigError(where, 'folder = "/..." or url = "s3://bucket/prefix"', found)
    if "folder" in table:
        reject_unknown(table, ("name", "folder"), where)
        return Destination(name=name, folder=_path(table["folder"], f"{where}.folder"))
    bucket, prefix = _url(table["url"], f"{where}.url")
    access, secret, token = (_credential(table, key, env, where) for key in _CREDENTIALS)
    if bool(access) != bool(secret):
        raise ConfigError(where, "an access key and a secret key, or neither", "one of the two")
    return Destination(
        name=name, bucket=bucket, prefix=prefix, endpoint=_endpoint(table.get("endpoint", ""), f"{where}.endpoint"),
        region=_optional(table, "region", _REGION, where, 'a region such as "eu-central-1"'),
        access_key=access, secret_key=secret, session_token=token,
        part_bytes=parse(_PARTS, table.get("part_size", 8 * MIB), f"{where}.part_size"),
    )  # fmt: skip


def _url(value: object, where: str) -> tuple[str, str]:
    """The bucket and the prefix."""
    expected = "s3://bucket or s3://bucket/prefix"
    if not isinstance(value, str) or not value.startswith("s3://"):
        raise ConfigError(where, expected, show(value))
    bucket, _, prefix = value.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket) or (
        prefix and (not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/"))
    ):
        raise ConfigError(where, expected, show(value))
    return bucket, prefix


def _endpoint(value: object, where: str) -> str:
    if value == "":
        return ""
    expected = "https://host[:port], or http:// for this host"
    if not isinstance(value, str) or not value.isprintable():
        raise ConfigError(where, expected, show(value))
    url = urlsplit(value)
    local = url.hostname in ("localhost", "127.0.0.1", "::1")
    if url.scheme not in ("https", "http") or not url.hostname or url.username is not None or url.query:
        raise ConfigError(
            where, expected, "something else", "credentials belong in access_key_env, secret_key_env"
        )
    if url.scheme == "http" and not local:
        raise ConfigError(
            where, expected, "http to another host", "whoever listens there could change requests"
        )
    return value.rstrip("/")


def _credential(table: Mapping[str, Any], key: str, env: Mapping[str, str], where: str) -> str:
    """The value of the variable that ``key`` names; of the usual one where it names none and no other is named."""
    if key not in table:
        return "" if any(other in table for other in _CREDENTIALS) else env.get(_USUAL[key], "").strip()
    place = f"{where}.{key}"
    variable = _matching(table[key], _VARIABLE, place, "the name of an environment variable")
    if variable not in env:
        raise not_set(place, variable)
    return env[variable].strip()


# --- keys ---------------------------------------------------------------------------------------------------


def _secrets(body: Mapping[str, Any], env: Mapping[str, str], where: str) -> Secrets:
    encryption = parse(
        Setting("encryption", Kind.SWITCH), body.get("encryption", True), f"{where}.encryption"
    )
    ways = [key for key in ("key_file", "key_env", "key_command") if key in body]
    if len(ways) > 1:
        raise ConfigError(f"{where}.{ways[1]}", "one of key_file, key_env, key_command", " and ".join(ways))
    secrets = Secrets(
        encryption=encryption,
        key_file=_path(body["key_file"], f"{where}.key_file") if "key_file" in body else None,
        key=_key(body, env, where) if not ways or ways == ["key_env"] else "",
        key_command=_command(body["key_command"], f"{where}.key_command") if "key_command" in body else (),
        recipients=_recipients(body.get("recipients", []), f"{where}.recipients"),
        identity_files=tuple(
            _path(v, f"{where}.identity_files[{i}]")
            for i, v in enumerate(_list(body.get("identity_files", []), f"{where}.identity_files"))
        ),
    )
    writes = secrets.key_file or secrets.key or secrets.key_command or secrets.recipients
    if encryption and not writes:
        hint = "make a key with `understudy backup key new`; encryption = false writes backups that anybody can read"
        raise ConfigError(where, "key_file, key_env, key_command or recipients", "none of them", hint)
    return secrets


def _key(body: Mapping[str, Any], env: Mapping[str, str], where: str) -> str:
    if "key_env" not in body:
        return env.get(VARIABLES[1], "").strip()
    place = f"{where}.key_env"
    variable = _matching(body["key_env"], _VARIABLE, place, "the name of an environment variable")
    if variable not in env:
        raise not_set(place, variable)
    return env[variable].strip()


def _command(value: object, where: str) -> tuple[str, ...]:
    words = _list(value, where)
    if not 1 <= len(words) <= 100 or not all(isinstance(w, str) and w and "\0" not in w for w in words):
        raise ConfigError(where, 'a program and its arguments: ["kms", "decrypt", ...]', show(value))
    return tuple(words)


def _recipients(value: object, where: str) -> tuple[str, ...]:
    found = tuple(
        _matching(v, _RECIPIENT, f"{where}[{i}]", "a public key of age, age1...")
        for i, v in enumerate(_list(value, where))
    )
    if len(found) > MAX_RECIPIENTS:
        raise ConfigError(where, f"at most {MAX_RECIPIENTS}", str(len(found)))
    return found


# --- the other tables ---------------------------------------------------------------------------------------


def _logical(table: Mapping[str, Any], where: str) -> Logical:
    reject_unknown(table, ("schedule", "jitter", "scope", "tables", "form"), where)
    if "tables" in table and "scope" in table:
        raise ConfigError(where, "scope or tables", "both", "keep one of the two")
    scope: tuple[str, ...] = (_choice(table, "scope", ("all", "schema-only"), "all", where),)
    if "tables" in table:
        names = _list(table["tables"], f"{where}.tables")
        what = 'a table, "name" or "schema.name"'
        scope = tuple(_matching(v, _TABLE, f"{where}.tables[{i}]", what) for i, v in enumerate(names))
        if not 1 <= len(scope) <= 1000:
            raise ConfigError(f"{where}.tables", "1 to 1000 tables", str(len(scope)))
    return Logical(
        schedule=_schedule(table, where), jitter=parse(_JITTER, table.get("jitter", 0), f"{where}.jitter"),
        scope=scope, form=_choice(table, "form", ("custom", "directory"), "custom", where),
    )  # fmt: skip


def _physical(value: object, where: str) -> Physical | None:
    if value is None:
        return None
    table = _table(value, where)
    if _choice(table, "tool", ("understudy", "pgbackrest"), "understudy", where) == "pgbackrest":
        return _pgbackrest(table, where)
    reject_unknown(table, ("schedule", "slot", "tool", *(s.name for s in _PHYSICAL)), where)
    slot = _optional(table, "slot", _SLOT, where, "a name of a-z, 0-9 and _") or Physical().slot
    return Physical(schedule=_schedule(table, where), slot=slot, **_values(_PHYSICAL, table, where))


def _pgbackrest(table: Mapping[str, Any], where: str) -> Physical:
    reject_unknown(table, ("schedule", "jitter", "tool", "stanza", "program", "config_file", "user"), where)
    stanza = _matching(table.get("stanza"), _STANZA, f"{where}.stanza", "the name of a stanza")
    config = table.get("config_file")
    return Physical(
        schedule=_schedule(table, where), wal=False, tool="pgbackrest", stanza=stanza,
        program=str(_path(table["program"], f"{where}.program")) if "program" in table else "",
        config_file=None if config is None else _path(config, f"{where}.config_file"),
        user=_optional(table, "user", _USER, where, "the name of a user of this host"),
        **_values((_JITTER,), table, where),
    )  # fmt: skip


def _retention(table: Mapping[str, Any], where: str) -> Retention:
    reject_unknown(table, ("schedule", *(s.name for s in _RETENTION)), where)
    return Retention(schedule=_schedule(table, where), **_values(_RETENTION, table, where))


def _verify(table: Mapping[str, Any], where: str) -> Verify:
    reject_unknown(table, ("schedule", "jitter", "level", "coverage"), where)
    level = _choice(table, "level", ("bytes", "archive", "restore"), "restore", where)
    return Verify(
        schedule=_schedule(table, where), level=level, **_values((_JITTER, _COVERAGE), table, where)
    )


def _targets(table: Mapping[str, Any], where: str) -> Targets:
    reject_unknown(table, (s.name for s in _TARGETS), where)
    return Targets(**_values(_TARGETS, table, where))


def _drills(body: Mapping[str, Any], where: str) -> tuple[Drill, ...]:
    found = []
    for index, table in enumerate(_tables(body, "drill", where)):
        place = f"{where}.drill[{index}]"
        reject_unknown(table, ("name", "schedule", *(s.name for s in _DRILL)), place)
        name = _matching(table.get("name"), _NAME, f"{place}.name", "the name of a drill")
        if not (schedule := _schedule(table, place)):
            raise ConfigError(f"{place}.schedule", 'a cron expression such as "0 4 1 * *"', "nothing")
        found.append(Drill(name=name, schedule=schedule, **_values(_DRILL, table, place)))
    if len(found) > MAX_DRILLS:
        raise ConfigError(f"{where}.drill", f"at most {MAX_DRILLS} drills", str(len(found)))
    return tuple(found)


def _supabase(value: object, env: Mapping[str, str], where: str) -> Supabase | None:
    if value is None:
        return None
    table = _table(value, where)
    reject_unknown(table, ("project", "token_env", "api"), where)
    variable = _matching(
        table.get("token_env"), _VARIABLE, f"{where}.token_env", "the name of an environment variable"
    )
    if not env.get(variable, "").strip():
        raise not_set(f"{where}.token_env", variable)
    return Supabase(
        project=_matching(
            table.get("project"),
            _PROJECT,
            f"{where}.project",
            "the project's reference, as in db.REFERENCE.supabase.co",
        ),
        token_env=variable,
        token=env[variable].strip(),
        api=_endpoint(table.get("api", ""), f"{where}.api") or API,
    )


# --- values -------------------------------------------------------------------------------------------------


def _schedule(table: Mapping[str, Any], where: str) -> str:
    value, place = table.get("schedule", ""), f"{where}.schedule"
    if value == "":
        return ""
    expected = 'a cron expression of five fields in UTC, such as "15 2 * * *"'
    if not isinstance(value, str) or len(value.split()) != 5 or len(value) > 200:
        raise ConfigError(place, expected, show(value))
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise ConfigError(
            place, "the package cronsim", "it is not installed", "pip install 'understudy[backup]'"
        ) from None
    try:
        CronSim(value, _ANY_TIME)
    except CronSimError:
        raise ConfigError(place, expected, show(value)) from None
    return " ".join(value.split())


def _values(settings: tuple[Setting, ...], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {s.name: parse(s, table[s.name], f"{where}.{s.name}") for s in settings if s.name in table}


def _choice(table: Mapping[str, Any], key: str, known: tuple[str, ...], default: str, where: str) -> str:
    value = table.get(key, default)
    if value not in known:
        raise ConfigError(f"{where}.{key}", " or ".join(f'"{k}"' for k in known), show(value))
    return str(value)


def _matching(value: object, pattern: re.Pattern[str], where: str, expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ConfigError(where, expected, "nothing" if value is None else show(value))
    return value


def _optional(table: Mapping[str, Any], key: str, pattern: re.Pattern[str], where: str, expected: str) -> str:
    return _matching(table[key], pattern, f"{where}.{key}", expected) if key in table else ""


def _path(value: object, where: str) -> Path:
    if not isinstance(value, str) or not value.isprintable() or not Path(value).is_absolute():
        raise ConfigError(where, "an absolute path", show(value))
    return Path(value)


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(where, "a list", show(value))
    return value


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, "a table", show(value))
    return value


def _tables(body: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    return [
        _table(v, f"{where}.{key}[{i}]") for i, v in enumerate(_list(body.get(key, []), f"{where}.{key}"))
    ]
