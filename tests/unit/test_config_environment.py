"""Environment variables: every name of the requirements, its unit and its meaning."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from understudy import config_environment as environment
from understudy.config import Config, load
from understudy.config_values import SETTINGS
from understudy.errors import ConfigError
from understudy.model import Failback, Rpo

ONE = "postgresql://ccfinapp:S3cretOne@localhost:5432/cc_financial"
TWO = "postgresql://user:S3cretTwo@backup-host:5432/cc_financial?sslmode=verify-full"
PAIR = {"DATABASE_URL": ONE, "DATABASE_URL_SECONDARY": TWO}
PARTS = {
    "PRIMARY_DB_NAME": "ifarm_production",
    "PRIMARY_DB_USER": "ifarm_user",
    "PRIMARY_DB_PASSWORD": "S3cret @:/?#%&='\"é",
    "PRIMARY_DB_HOST": "postgres.yourdomain.com",
    "PRIMARY_DB_PORT": "5433",
    "SUPABASE_DB_NAME": "postgres",
    "SUPABASE_DB_USER": "postgres",
    "SUPABASE_DB_PASSWORD": "S3cret%40",
    "SUPABASE_DB_HOST": "db.yourproject.supabase.co",
    "SUPABASE_DB_PORT": "5432",
}
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(**environ: str) -> Config:
    config = load(None, environ)
    assert "S3cret" not in repr(config)
    return config


def refused(**environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


VARIABLES = [
    ("DB_HEALTH_CHECK_INTERVAL", "30000", "probe_interval", 30.0),
    ("DB_HEALTH_CHECK_INTERVAL", "500", "probe_interval", 0.5),
    ("DB_HEALTH_CHECK_INTERVAL", "2s", "probe_interval", 2.0),
    ("DATABASE_HEALTH_CHECK_INTERVAL", "30", "probe_interval", 30.0),
    ("UNDERSTUDY_PROBE_INTERVAL", "2", "probe_interval", 2.0),
    ("UNDERSTUDY_PROBE_TIMEOUT", "800ms", "probe_timeout", 0.8),
    ("DB_CONNECTION_TIMEOUT", "5000", "connect_timeout", 5.0),
    ("DATABASE_FAILOVER_TIMEOUT", "7", "connect_timeout", 7.0),
    ("UNDERSTUDY_CONNECT_TIMEOUT", "7", "connect_timeout", 7.0),
    ("DB_FAILURE_THRESHOLD", "4", "failure_threshold", 4),
    ("UNDERSTUDY_FAILURE_THRESHOLD", "4", "failure_threshold", 4),
    ("DB_PRIMARY_RETRY_INTERVAL", "120000", "failback_after", 120.0),
    ("UNDERSTUDY_FAILBACK_AFTER", "2h", "failback_after", 7200.0),
    ("DATABASE_FAILOVER_ENABLED", "False", "failover", False),
    ("DATABASE_FAILOVER_ENABLED", "on", "failover", True),
    ("UNDERSTUDY_FAILOVER", "0", "failover", False),
    ("UNDERSTUDY_RPO", "zero", "rpo", Rpo.ZERO),
    ("UNDERSTUDY_FAILBACK", "Manual", "failback", Failback.MANUAL),
    ("UNDERSTUDY_FAILBACK_DAILY_CAP", "0", "failback_daily_cap", 0),
    ("UNDERSTUDY_MAX_LAG_BYTES", "1GB", "max_lag_bytes", 1024**3),
    ("UNDERSTUDY_MAX_LAG_SECONDS", "20", "max_lag_seconds", 20.0),
    ("UNDERSTUDY_LEASE_TTL", "6", "lease_ttl", 6.0),
    ("UNDERSTUDY_HOLD_TIMEOUT", "60", "hold_timeout", 60.0),
    ("UNDERSTUDY_QUIET_TIMEOUT", "6", "quiet_timeout", 6.0),
    ("UNDERSTUDY_STEP_TIMEOUT", "20", "step_timeout", 20.0),
    ("UNDERSTUDY_SYNC_TIMEOUT", "2", "sync_timeout", 2.0),
    ("UNDERSTUDY_AGENT_TAKEOVER", "4", "agent_takeover", 4.0),
]


@pytest.mark.parametrize(("variable", "text", "name", "value"), VARIABLES)
def test_every_policy_variable(variable: str, text: str, name: str, value: object) -> None:
    config = read(**PAIR, **{variable: text})
    assert getattr(config.clusters[0].policy, name) == value


def test_the_table_above_is_complete() -> None:
    assert {v for v, *_ in VARIABLES} == {v for s in SETTINGS for v, _ in s.variables}


def test_the_reference_names_every_variable_and_key() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    names = [v for s in SETTINGS for v, _ in s.variables] + [s.name for s in SETTINGS]
    names += [*environment.FIRST, *environment.SECOND, *environment.OWN, *environment.NOT_YET]
    assert [n for n in names if f"`{n}`" not in text] == []


@pytest.mark.parametrize("variable", sorted({v for v, *_ in VARIABLES}))
@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "9999999999999", "٣"])
def test_bad_values_name_the_variable(variable: str, value: str) -> None:
    assert refused(**PAIR, **{variable: value}).where == variable


def test_the_requirements_own_example_works() -> None:
    config = read(
        **PAIR,
        DB_HEALTH_CHECK_INTERVAL="30000",
        DB_CONNECTION_TIMEOUT="5000",
        DB_FAILURE_THRESHOLD="3",
        DB_PRIMARY_RETRY_INTERVAL="120000",
    )
    policy = config.clusters[0].policy
    assert (policy.probe_interval, policy.lease_ttl, policy.probe_timeout) == (30.0, 90.0, 3.0)
    assert any("noticed only after about 90 s" in w for w in config.warnings)


def test_the_url_family() -> None:
    config = read(**PAIR)
    cluster = config.cluster("main")
    assert [(n.name, n.dsn, n.priority) for n in cluster.nodes] == [
        ("primary", ONE, 1),
        ("secondary", TWO, 2),
    ]
    assert config.source == "environment (DATABASE_URL, DATABASE_URL_SECONDARY)"


def test_the_parts_family() -> None:
    config = read(**PARTS)
    first, second = config.clusters[0].nodes
    assert conninfo_to_dict(first.dsn) == {
        "dbname": "ifarm_production",
        "user": "ifarm_user",
        "password": PARTS["PRIMARY_DB_PASSWORD"],
        "host": "postgres.yourdomain.com",
        "port": "5433",
    }
    assert conninfo_to_dict(second.dsn)["password"] == "S3cret%40"
    assert conninfo_to_dict(second.dsn)["sslmode"] == "require"
    assert second.provider == "supabase"


def test_compose_file_of_the_requirements() -> None:
    config = read(
        DATABASE_URL="postgresql://user:S3cret@db:5432/ifarm",
        SUPABASE_DB_URL="postgresql://postgres:S3cret@db.backup.supabase.co:5432/postgres",
        REDIS_URL="redis://:S3cret@redis:6379/0",
        DATABASE_FAILOVER_ENABLED="True",
    )
    assert config.clusters[0].preferred.name == "primary"
    assert any("REDIS_URL is recognised but not used" in w for w in config.warnings)


def test_defaults_of_host_and_port() -> None:
    config = read(PRIMARY_DB_NAME="x", SUPABASE_DB_NAME="y", SUPABASE_DB_HOST="db.q.supabase.co")
    assert conninfo_to_dict(config.clusters[0].nodes[0].dsn) == {
        "dbname": "x",
        "host": "localhost",
        "port": "5432",
    }


def test_supabase_may_be_preferred() -> None:
    config = read(DATABASE_URL=ONE, SUPABASE_DB_URL=TWO, UNDERSTUDY_PREFERRED="secondary")
    assert config.clusters[0].preferred.dsn == TWO


def test_one_database_only() -> None:
    assert (
        refused(DATABASE_URL=ONE).hint == "Set DATABASE_URL_SECONDARY to enable automatic database failover"
    )
    assert refused(DATABASE_URL=ONE, DATABASE_URL_SECONDARY=" ").where == "DATABASE_URL_SECONDARY"
    assert refused(SUPABASE_DB_URL=TWO).where == "DATABASE_URL"


CONTRADICTIONS = [
    ({**PAIR, "PRIMARY_DB_NAME": "other"}, "DATABASE_URL and PRIMARY_DB_*"),
    ({**PAIR, "SUPABASE_DB_URL": ONE}, "DATABASE_URL_SECONDARY and SUPABASE_DB_URL"),
    ({**PARTS, "SUPABASE_DB_URL": TWO}, "SUPABASE_DB_URL and SUPABASE_DB_*"),
    ({"DATABASE_URL": ONE, "DATABASE_URL_SECONDARY": ONE}, "DATABASE_URL and DATABASE_URL_SECONDARY"),
]


@pytest.mark.parametrize(("environ", "where"), CONTRADICTIONS)
def test_contradictions_name_both(environ: dict[str, str], where: str) -> None:
    assert refused(**environ).where == where


def test_agreeing_variables_are_fine() -> None:
    config = read(**PAIR, PRIMARY_DB_NAME="cc_financial", PRIMARY_DB_HOST="127.0.0.1")
    assert config.clusters[0].nodes[0].dsn == ONE


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PRIMARY_DB_HOST", "S3cret@x"), ("PRIMARY_DB_HOST", "a:b"), ("PRIMARY_DB_HOST", "]"),
        ("PRIMARY_DB_PORT", "S3cret"), ("PRIMARY_DB_PORT", "0"), ("PRIMARY_DB_NAME", "a/S3cret"),
        ("SUPABASE_DB_HOST", "a,b"), ("SUPABASE_DB_NAME", ""), ("SUPABASE_DB_USER", "a\x01"),
    ],
)  # fmt: skip
def test_bad_parts(variable: str, value: str) -> None:
    assert variable.rpartition("_")[0] in refused(**{**PARTS, variable: value}).where


def test_who_wins_and_that_it_is_said() -> None:
    config = read(**PAIR, DB_HEALTH_CHECK_INTERVAL="2000", DATABASE_HEALTH_CHECK_INTERVAL="3")
    assert config.clusters[0].policy.probe_interval == 2.0
    assert any("DATABASE_HEALTH_CHECK_INTERVAL='3' is not used" in w for w in config.warnings)
    agreed = read(**PAIR, DB_HEALTH_CHECK_INTERVAL="2000", DATABASE_HEALTH_CHECK_INTERVAL="2")
    assert not any("is not used" in w for w in agreed.warnings)
    own = read(**PAIR, DB_HEALTH_CHECK_INTERVAL="2000", UNDERSTUDY_PROBE_INTERVAL="1")
    assert own.clusters[0].policy.probe_interval == 1.0


def test_admin_and_replication() -> None:
    admin, replication = ONE.replace("ccfinapp", "owner"), ONE.replace("localhost", "pi.example")
    config = read(**PAIR, UNDERSTUDY_PRIMARY_ADMIN_DSN=admin, UNDERSTUDY_PRIMARY_REPLICATION_DSN=replication)
    node = config.clusters[0].nodes[0]
    assert (node.dsn, node.admin_dsn, node.replication_dsn) == (ONE, admin, replication)
    assert refused(**PAIR, UNDERSTUDY_PRIMARY_ADMIN_DSN="S3cret").where == "UNDERSTUDY_PRIMARY_ADMIN_DSN"


def test_warnings_about_variables() -> None:
    config = read(
        **PAIR, UNDERSTUDY_FAILURE_TRESHOLD="3", SUPABASE_URL="postgresql://u:S3cret@h/d", UNDERSTUDY_LOG="1"
    )
    assert any("did you mean UNDERSTUDY_FAILURE_THRESHOLD?" in w for w in config.warnings)
    assert any("SUPABASE_URL holds a database URL" in w for w in config.warnings)
    assert not any("UNDERSTUDY_LOG" in w for w in config.warnings)
    many = read(
        **PAIR, MONGODB_ATLAS_URL="mongodb+srv://u:S3cret@c/", UPSTASH_REDIS_URL="redis://default:S3cret@x"
    )
    assert sum("not used by this version yet" in w for w in many.warnings) == 2


def test_the_name_of_the_cluster() -> None:
    assert read(**PAIR, UNDERSTUDY_CLUSTER="farm").cluster("farm").name == "farm"
    assert refused(**PAIR, UNDERSTUDY_CLUSTER="My Farm").where == "UNDERSTUDY_CLUSTER"
