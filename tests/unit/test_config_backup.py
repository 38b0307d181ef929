"""The table [backup]: every key, every mistake, and no secret in any message."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from understudy import config_backup
from understudy.config import load
from understudy.config_backup import Backup, Drill, Logical, Physical, Retention, Targets, Verify, read
from understudy.errors import ConfigError

REFERENCE = Path(__file__).parents[2] / "docs/reference/configuration.md"
KEY = "UBK1-" + "-".join(["AAAA"] * 14)
NAS = {"name": "nas", "folder": "/mnt/nas"}
CLOUD = {"name": "cloud", "url": "s3://farm-backups/production/a"}
RECIPIENT = "age1" + "q" * 58


def parsed(env: dict[str, str] | None = None, **table: Any) -> Backup:
    found = read({"key_file": "/etc/key", "destination": [NAS], **table}, env or {}, "backup")
    assert found is not None
    return found


def refused(env: dict[str, str] | None = None, **table: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parsed(env, **table)
    return caught.value


def test_nothing_is_no_backup() -> None:
    assert read(None, {"UNDERSTUDY_BACKUP_KEY": KEY}, "backup") is None


def test_the_smallest_table() -> None:
    found = parsed()
    assert [(d.name, d.place) for d in found.destinations] == [("nas", "/mnt/nas")]
    assert (found.logical, found.physical, found.retention) == (Logical(), None, Retention())
    assert found.retention.unlimited


def test_every_table() -> None:
    found = parsed(
        destination=[NAS, {**CLOUD, "region": "eu-central-1", "part_size": "32MB"}],
        logical={
            "schedule": " 15  2 * * *",
            "jitter": "10min",
            "tables": ["farm.cow", "Odd Name"],
            "form": "directory",
        },
        physical={"schedule": "0 3 * * 0", "wal": False, "partial_every": 30, "slot": "mine"},
        retention={"schedule": "0 5 * * *", "days": 14, "weekly": 8, "verified": 3, "pitr": "3d"},
        verify={"schedule": "0 6 * * *", "level": "archive", "coverage": "14d"},
        targets={"rto": "30min", "rpo": "1min"},
        drill=[
            {"name": "restore-latest", "schedule": "0 4 1 * *"},
            {"name": "failback", "schedule": "0 5 1 * *", "clone": False, "clone_limit": "2GB"},
        ],
    )
    assert found.destinations[1].part_bytes == 32 * 2**20
    assert (found.destinations[1].bucket, found.destinations[1].prefix) == ("farm-backups", "production/a")
    assert found.logical == Logical(
        schedule="15 2 * * *", jitter=600.0, scope=("farm.cow", "Odd Name"), form="directory"
    )
    assert found.physical == Physical(schedule="0 3 * * 0", wal=False, partial_every=30.0, slot="mine")
    assert found.retention == Retention(schedule="0 5 * * *", days=14, weekly=8, verified=3, pitr=3 * 86400.0)
    assert not found.retention.unlimited
    assert found.verify == Verify(schedule="0 6 * * *", level="archive", coverage=14 * 86400.0)
    assert found.targets == Targets(rto=1800.0, rpo=60.0)
    assert found.drills == (
        Drill(name="restore-latest", schedule="0 4 1 * *"),
        Drill(name="failback", schedule="0 5 1 * *", clone=False, clone_limit=2**31),
    )


def test_the_environment_alone_is_enough() -> None:
    found = read(None, {"UNDERSTUDY_BACKUP_URL": "s3://farm", "UNDERSTUDY_BACKUP_KEY": KEY}, "backup")
    assert found is not None
    assert [(d.name, d.place) for d in found.destinations] == [("default", "s3://farm")]
    assert found.secrets.key == KEY
    folder = read(None, {"UNDERSTUDY_BACKUP_URL": "/mnt/nas", "UNDERSTUDY_BACKUP_KEY": KEY}, "backup")
    assert folder is not None and folder.destinations[0].folder == Path("/mnt/nas")


def test_the_table_wins_over_the_environment() -> None:
    found = parsed({"UNDERSTUDY_BACKUP_URL": "s3://farm", "UNDERSTUDY_BACKUP_KEY": KEY})
    assert (found.destinations[0].name, found.secrets.key) == ("nas", "")


def test_credentials_come_from_named_variables_or_the_usual_ones_never_from_both() -> None:
    usual = {"AWS_ACCESS_KEY_ID": "usual", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_SESSION_TOKEN": "t"}
    one = parsed(usual, destination=[CLOUD]).destinations[0]
    assert (one.access_key, one.secret_key, one.session_token) == ("usual", "hidden", "t")
    named = {**usual, "A": "mine", "B": "secret-of-mine"}
    two = parsed(named, destination=[{**CLOUD, "access_key_env": "A", "secret_key_env": "B"}]).destinations[0]
    assert (two.access_key, two.secret_key, two.session_token) == ("mine", "secret-of-mine", "")
    assert "secret-of-mine" not in repr(two)
    assert parsed(destination=[CLOUD]).destinations[0].access_key == ""


@pytest.mark.parametrize(
    ("table", "where", "expected"),
    [
        ({"destination": []}, "backup.destination", "1 to 5 destinations"),
        ({"destination": [NAS, NAS]}, "backup.destination", "different names"),
        ({"destination": [{**NAS, "name": n} for n in "abcdef"]}, "backup.destination", "1 to 5"),
        ({"destination": [{"name": "nas"}]}, "backup.destination[0]", "folder = "),
        ({"destination": [{**NAS, **CLOUD}]}, "backup.destination[0]", "folder = "),
        ({"destination": [{**NAS, "region": "x"}]}, "backup.destination[0]", "known keys"),
        ({"destination": [{"name": "nas", "folder": "relative"}]}, "backup.destination[0].folder", "absolute"),
        ({"destination": [{"name": "c", "url": "https://x/y"}]}, "backup.destination[0].url", "s3://bucket"),
        ({"destination": [{"name": "c", "url": "s3://B"}]}, "backup.destination[0].url", "s3://bucket"),
        ({"destination": [{"name": "c", "url": "s3://bucket/../x"}]}, "backup.destination[0].url", "s3://bucket"),
        ({"destination": [{**CLOUD, "endpoint": "http://example.com"}]}, "backup.destination[0].endpoint", "https"),
        ({"destination": [{**CLOUD, "endpoint": "https://u:hunter2@x"}]}, "backup.destination[0].endpoint", "https"),
        ({"destination": [{**CLOUD, "part_size": "1MB"}]}, "backup.destination[0].part_size", "a size from"),
        ({"destination": [{**CLOUD, "access_key_env": "NOT_SET"}]}, "backup.destination[0].access_key_env", "NOT_SET"),
        ({"key_file": "relative"}, "backup.key_file", "absolute"),
        ({"key_command": ["x"]}, "backup.key_command", "one of"),
        ({"recipients": ["age1"]}, "backup.recipients[0]", "age1"),
        ({"recipients": [RECIPIENT] * 17}, "backup.recipients", "at most 16"),
        ({"encryption": "perhaps"}, "backup.encryption", "true or false"),
        ({"logical": {"schedule": "every day"}}, "backup.logical.schedule", "five fields"),
        ({"logical": {"schedule": "61 * * * *"}}, "backup.logical.schedule", "five fields"),
        ({"logical": {"schedule": "* * * * * *"}}, "backup.logical.schedule", "five fields"),
        ({"logical": {"scope": "some"}}, "backup.logical.scope", '"all"'),
        ({"logical": {"scope": "all", "tables": ["x"]}}, "backup.logical", "scope or tables"),
        ({"logical": {"tables": []}}, "backup.logical.tables", "1 to 1000"),
        ({"logical": {"form": "tar"}}, "backup.logical.form", '"custom"'),
        ({"physical": {"slot": "Not A Slot"}}, "backup.physical.slot", "a-z"),
        ({"physical": {"partial_every": 0}}, "backup.physical.partial_every", "a duration"),
        ({"retention": {"verified": 0}}, "backup.retention.verified", "from 1 to"),
        ({"retention": {"dayly": 3}}, "backup.retention", "known keys"),
        ({"verify": {"level": "deep"}}, "backup.verify.level", '"bytes"'),
        ({"targets": {"rto": "0"}}, "backup.targets.rto", "a duration"),
        ({"drill": [{"name": "x"}]}, "backup.drill[0].schedule", "cron"),
        ({"drill": [{"name": "x", "schedule": "* * * * *", "clone": "maybe"}]}, "backup.drill[0].clone", "true"),
        ({"drill": [{"schedule": "* * * * *"}]}, "backup.drill[0].name", "name"),
        ({"nonsense": 1}, "backup", "known keys"),
        ({"logical": 3}, "backup.logical", "a table"),
    ],
)  # fmt: skip
def test_mistakes_say_where_and_what(table: dict[str, Any], where: str, expected: str) -> None:
    error = refused(**table)
    assert error.where == where
    assert expected in error.expected
    assert "hunter2" not in str(error)


def test_backups_for_everybody_must_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="encryption = false writes backups that anybody can read"):
        read({"destination": [NAS]}, {}, "backup")
    found = read({"destination": [NAS], "encryption": False}, {}, "backup")
    assert found is not None and not found.secrets.encryption
    alone = read({"destination": [NAS], "recipients": [RECIPIENT]}, {}, "backup")
    assert alone is not None and alone.secrets.recipients == (RECIPIENT,)


def test_a_key_in_a_variable_is_in_no_message() -> None:
    found = read({"destination": [NAS], "key_env": "K"}, {"K": KEY}, "backup")
    assert found is not None and found.secrets.key == KEY
    assert KEY not in repr(found)
    with pytest.raises(ConfigError, match="it is not set; set it where this command runs: export K="):
        read({"destination": [NAS], "key_env": "K"}, {}, "backup")


def test_a_file_and_the_environment_lead_to_config(tmp_path: Path) -> None:
    file = tmp_path / "understudy.toml"
    nodes = "".join(
        f'[[clusters.main.nodes]]\nname = "{n}"\ndsn = "postgresql://app@localhost:{p}/farm"\n'
        for n, p in (("home", 5432), ("cloud", 5433))
    )
    file.write_text(
        f'[clusters.main]\n{nodes}[backup]\nkey_file = "/k"\n[[backup.destination]]\nname = "n"\nfolder = "/n"\n'
    )
    found = load(file, {})
    assert found.backup is not None and found.backup.destinations[0].name == "n"
    env = {
        "DATABASE_URL": "postgresql://a@localhost:1/x",
        "DATABASE_URL_SECONDARY": "postgresql://a@localhost:2/x",
    }
    assert load(None, env).backup is None
    more = load(None, {**env, "UNDERSTUDY_BACKUP_URL": "/mnt", "UNDERSTUDY_BACKUP_KEY": KEY}).backup
    assert more is not None and more.destinations[0].place == "/mnt"


def test_pgbackrest_instead_of_our_own_base_backups() -> None:
    table = {"tool": "pgbackrest", "stanza": "farm", "schedule": "0 3 * * 0", "config_file": "/etc/x.conf"}
    found = parsed(physical=table).physical
    assert found == Physical(
        tool="pgbackrest", stanza="farm", schedule="0 3 * * 0", config_file=Path("/etc/x.conf"), wal=False
    )
    for wrong, named in (
        ({"stanza": None}, "stanza"),
        ({"stanza": "a b"}, "stanza"),
        ({"wal": True}, "wal"),  # the log is pgBackRest's
        ({"tool": "wal-g"}, "tool"),
        ({"program": "pgbackrest"}, "program"),
    ):
        changed = {key: value for key, value in {**table, **wrong}.items() if value is not None}
        with pytest.raises(ConfigError, match=named):
            parsed(physical=changed)


def test_the_reference_names_every_key() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    section = text[text.index("### `[backup]`") : text.index("## Policy")]
    source = Path(config_backup.__file__).read_text(encoding="utf-8")
    known = set(re.findall(r'"([a-z_]+)"', "".join(re.findall(r"reject_unknown\((.*)", source))))
    names = {
        s.name
        for some in (
            config_backup._RETENTION,
            config_backup._TARGETS,
            config_backup._PHYSICAL,
            config_backup._DRILL,
        )
        for s in some
    }
    names |= {*config_backup._SECRETS, *config_backup._TABLES, *config_backup._CREDENTIALS}
    assert [n for n in sorted(names | known) if not re.search(rf"`[a-z._]*\b{n}\b[a-z._]*`", section)] == []


def test_supabase_needs_a_project_and_a_token() -> None:
    table = {"project": "abcdefghijklmnopqrst", "token_env": "SUPABASE_ACCESS_TOKEN"}
    found = parsed({"SUPABASE_ACCESS_TOKEN": " sbp_secret "}, supabase=table).supabase
    assert found is not None
    assert (found.project, found.token, found.api) == (
        table["project"],
        "sbp_secret",
        "https://api.supabase.com",
    )
    assert "sbp_secret" not in repr(found)
    assert parsed().supabase is None
    local = {**table, "api": "http://127.0.0.1:8000/"}
    assert parsed({"SUPABASE_ACCESS_TOKEN": "x"}, supabase=local).supabase.api == "http://127.0.0.1:8000"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"project": "../x"}, "backup.supabase.project"),
        ({"token_env": "UNSET"}, "backup.supabase.token_env"),
        ({"token_env": "sbp secret"}, "backup.supabase.token_env"),
        ({"api": "http://evil.example"}, "backup.supabase.api"),
        ({"token": "sbp_secret"}, "backup.supabase"),
    ],
)
def test_mistakes_in_the_table_of_supabase(changes: dict[str, str], where: str) -> None:
    table = {"project": "abcdefghijklmnopqrst", "token_env": "TOKEN", **changes}
    error = refused({"TOKEN": "sbp_secret"}, supabase=table)
    assert str(error).startswith(where)
    assert "sbp_secret" not in str(error).replace("'sbp secret'", "")
