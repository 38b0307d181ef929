"""The TOML file: what is accepted, what is refused and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from understudy.config import Config, load
from understudy.errors import ConfigError
from understudy.model import Failback, Rpo

HOME = "postgresql://app:S3cretHome@db.home.example:5432/farm?sslmode=verify-full"
CLOUD = "postgresql://app:S3cretCloud@db.abc.supabase.co:5432/postgres?sslmode=verify-full"
TEMPLATE = """
directory = "state"
[clusters.main]
{cluster}
[[clusters.main.nodes]]
name = "home"
dsn = "{home}"
{one}
[[clusters.main.nodes]]
name = "cloud"
dsn = "{cloud}"
{two}
[clusters.main.policy]
{policy}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def do(text: str) -> Path:
        path = tmp_path / "understudy.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    return do


def toml(**parts: str) -> str:
    return TEMPLATE.format(
        **({"cluster": "", "one": "", "two": "", "policy": "", "home": HOME, "cloud": CLOUD} | parts)
    )


def refused(path: Path | None, environ: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    text = str(caught.value)
    assert "\n" not in text
    assert "S3cret" not in text
    return caught.value


def read(path: Path, **environ: str) -> Config:
    config = load(path, environ)
    assert "S3cret" not in repr(config)
    return config


def test_a_whole_file(write: Write) -> None:
    config = read(write(toml(cluster='engine = "postgresql"\nrpo = "zero"', one='region = "farm"')))
    cluster = config.cluster(None)
    assert (cluster.name, cluster.engine, cluster.policy.rpo) == ("main", "postgresql", Rpo.ZERO)
    assert [(n.name, n.priority, n.provider, n.region) for n in cluster.nodes] == [
        ("home", 1, "self-hosted", "farm"),
        ("cloud", 2, "supabase", ""),
    ]
    assert cluster.preferred.dsn == cluster.preferred.admin_dsn == cluster.preferred.replication_dsn == HOME
    assert config.directory == write(toml()).parent / "state"
    assert config.source.endswith("understudy.toml")
    assert config.warnings == ()


def test_replication_follows_admin(write: Write) -> None:
    admin = HOME.replace("app:", "owner:")
    node = read(write(toml(one=f'admin_dsn = "{admin}"'))).clusters[0].nodes[0]
    assert (node.dsn, node.admin_dsn, node.replication_dsn) == (HOME, admin, admin)


def test_priority_orders_the_nodes(write: Write) -> None:
    cluster = read(write(toml(one="priority = 2", two="priority = 1"))).clusters[0]
    assert cluster.preferred.name == "cloud"


def test_preferred_variable_wins(write: Write) -> None:
    cluster = read(write(toml()), UNDERSTUDY_PREFERRED="cloud").clusters[0]
    assert [(n.name, n.priority) for n in cluster.nodes] == [("cloud", 1), ("home", 2)]
    error = refused(write(toml()), {"UNDERSTUDY_PREFERRED": "mars"})
    assert "cloud, home" in error.hint


POLICY = [
    ("failure_threshold = 5", "failure_threshold", 5),
    ('probe_interval = "500ms"', "probe_interval", 0.5),
    ("probe_interval = 2", "probe_interval", 2.0),
    ('failback_after = "10min"', "failback_after", 600.0),
    ('failback_after = "2h"', "failback_after", 7200.0),
    ('failback_after = "1.5 h"', "failback_after", 5400.0),
    ('failback_after = "1d"', "failback_after", 86400.0),
    ('max_lag_bytes = "16MB"', "max_lag_bytes", 16 * 1024 * 1024),
    ('max_lag_bytes = "4kB"', "max_lag_bytes", 4096),
    ("max_lag_bytes = 5000", "max_lag_bytes", 5000),
    ('failback = "manual"', "failback", Failback.MANUAL),
    ("failover = false", "failover", False),
    ('rpo = "zero"', "rpo", Rpo.ZERO),
    ('hold_timeout = "45s"', "hold_timeout", 45.0),
]


@pytest.mark.parametrize(("line", "name", "value"), POLICY)
def test_policy_values(write: Write, line: str, name: str, value: object) -> None:
    assert getattr(read(write(toml(policy=line))).clusters[0].policy, name) == value


def test_defaults_follow_the_probe_interval(write: Write) -> None:
    policy = read(write(toml(policy="probe_interval = 10"))).clusters[0].policy
    assert (policy.lease_ttl, policy.probe_timeout, policy.agent_takeover) == (30.0, 3.0, 3.0)
    policy = read(write(toml(policy="lease_ttl = 3"))).clusters[0].policy
    assert policy.agent_takeover == pytest.approx(1.8)
    assert read(write(toml(policy="hold_timeout = 2"))).clusters[0].policy.quiet_timeout == 2.0


BAD_POLICY = [
    ("failure_threshold = 0", "policy.failure_threshold", "from 1 to 100"),
    ("failure_threshold = 101", "policy.failure_threshold", "from 1 to 100"),
    ("failure_threshold = 2.5", "policy.failure_threshold", "whole number"),
    ("failure_threshold = true", "policy.failure_threshold", "found true"),
    ("probe_interval = nan", "policy.probe_interval", "found nan"),
    ("probe_interval = inf", "policy.probe_interval", "found inf"),
    ("probe_interval = -1", "policy.probe_interval", "found -1"),
    ('probe_interval = "5 parsecs"', "policy.probe_interval", "5 parsecs"),
    ("probe_interval = 99999999999999999999999999", "policy.probe_interval", "out of range"),
    ("max_lag_bytes = 10", "policy.max_lag_bytes", "16MB"),
    ('max_lag_bytes = "1e3"', "policy.max_lag_bytes", "1e3"),
    ("failover = 1", "policy.failover", "true or false"),
    ('rpo = "none"', "policy.rpo", '"zero" or "bounded"'),
    ('failback = ["auto"]', "policy.failback", "an array of 1"),
    ("probe_timeout = 11", "policy.probe_timeout", "10 x probe_interval"),
    ("lease_ttl = 2", "policy.lease_ttl", "3 x probe_interval"),
    ("lease_ttl = 5\nagent_takeover = 5", "policy.agent_takeover", "less than lease_ttl"),
    ("hold_timeout = 3\nquiet_timeout = 4", "policy.quiet_timeout", "at most hold_timeout"),
    ("failure_treshold = 3", "clusters.main.policy", "did you mean failure_threshold?"),
]


@pytest.mark.parametrize(("line", "where", "words"), BAD_POLICY)
def test_bad_policy(write: Write, line: str, where: str, words: str) -> None:
    error = refused(write(toml(policy=line)))
    assert where in error.where
    assert words in str(error)


def test_rpo_may_be_said_twice_if_equal(write: Write) -> None:
    assert read(write(toml(cluster='rpo = "zero"', policy='rpo = "zero"'))).clusters[0].policy.rpo is Rpo.ZERO
    assert "keep one" in refused(write(toml(cluster='rpo = "zero"', policy='rpo = "bounded"'))).hint


BAD_NODE = [
    ({"home": "postgresql://app:S3cretHome@/farm"}, "nodes[0].dsn", "no host"),
    ({"home": "postgresql://app:S3cretHome@h"}, "nodes[0].dsn", "no database name"),
    ({"home": "postgresql://app:S3cret@S3cret/x@h/db"}, "nodes[0].dsn", "%40"),
    ({"home": "postgresql://app:S3cret/S3cret@h/db"}, "nodes[0].dsn", "%2F"),
    ({"home": "postgresql://app:S3cret%zz@h/db"}, "nodes[0].dsn", "percent-encoding"),
    ({"home": "postgresql://a:S3cret@h:99999/db"}, "nodes[0].dsn", "port"),
    ({"home": "postgresql://a:S3cret@h1,h2/db"}, "nodes[0].dsn", "one host per node"),
    ({"home": "postgresql://a:S3cret@h/db?sslmod=require"}, "nodes[0].dsn", "did you mean sslmode?"),
    ({"home": "postgresql://a:S3cret@h/db?sslmode=on"}, "nodes[0].dsn", "verify-full"),
    ({"home": "postgresql://a:S3cret@h/db?schema=app"}, "nodes[0].dsn", "search_path"),
    ({"home": "mysql://a:S3cret@h/db"}, "nodes[0].dsn", "a mysql URL"),
    ({"home": "S3cret"}, "nodes[0].dsn", "cannot read"),
    ({"home": "postgresql://u:S3cret%a0@h/db"}, "nodes[0].dsn", "cannot read"),
    ({"home": "host=h dbname=d password='S3cret"}, "nodes[0].dsn", "never closed"),
    ({"home": "postgresql://a:S3cret\\u0000@h/db"}, "nodes[0].dsn", "control characters"),
    ({"home": "x" * 5000}, "nodes[0].dsn", "limit 4096"),
    ({"home": CLOUD}, "nodes[0].dsn and", "two different databases"),
    ({"home": CLOUD.replace(":5432", ":6543")}, "nodes[0].dsn and", "two different databases"),
    ({"one": 'dsn_env = "X"'}, "nodes[0].dsn_env", "both"),
    ({"one": 'admin_dsn_env = "X"'}, "nodes[0].admin_dsn_env", "not set"),
    ({"one": 'admin_dsn = "${X}"'}, "nodes[0].admin_dsn", "variable X"),
    ({"one": "priority = 2"}, "nodes[1].priority", "another priority"),
    ({"one": "priority = 0"}, "nodes[0].priority", "from 1"),
    ({"one": "priority = true"}, "nodes[0].priority", "from 1"),
    ({"one": 'regoin = "x"'}, "nodes[0]", "did you mean region?"),
    ({"one": 'region = "a;b"'}, "nodes[0].region", "letters"),
    ({"cluster": 'engine = "redis"'}, "main.engine", "not in this version"),
    ({"cluster": 'engine = "oracle"'}, "main.engine", '"postgresql"'),
    ({"cluster": 'engine = ["redis"]'}, "main.engine", "an array"),
    ({"cluster": 'egine = "redis"'}, "clusters.main", "did you mean engine?"),
]


@pytest.mark.parametrize(("parts", "where", "words"), BAD_NODE)
def test_bad_nodes(write: Write, parts: dict[str, str], where: str, words: str) -> None:
    error = refused(write(toml(**parts)))
    assert where in error.where
    assert words in str(error)


def test_one_node_and_three(write: Write) -> None:
    node = '[[clusters.main.nodes]]\nname = "n{0}"\ndsn = "postgresql://u:S3cret@h{0}/d"\n'
    one = refused(write(node.format(1)))
    assert one.found == "1 node"
    assert "for each database" in one.hint
    three = refused(write("".join(node.format(i) for i in range(3))))
    assert (three.found, three.hint) == ("3 nodes", "this version runs pairs")


def test_the_same_name_twice(write: Write) -> None:
    assert "nodes[1].name" in refused(write(toml().replace('"cloud"', '"home"'))).where


SHAPES = [
    ("", "at least"),
    ("clusters = 3", "a table"),
    ("[clusters.main]\nnodes = 3", "two tables"),
    ("[clusters.main]\nnodes = [1, 2]", "a table"),
    ("[clusters.Main]", "a name"),
    ("[[clusters.main]]", "a table"),
    ("[cluster.main]", "did you mean clusters?"),
    ("directory = 3\n", "clusters"),
]


@pytest.mark.parametrize(("text", "words"), SHAPES)
def test_wrong_shapes(write: Write, text: str, words: str) -> None:
    error = refused(write(text))
    assert words in str(error) or "1 to 32 clusters" in str(error)


def test_wrong_directory(write: Write) -> None:
    assert "directory" in refused(write(toml().replace('"state"', "3"))).where
    assert "directory" in refused(write(toml().replace('"state"', '"a\\u0000b"'))).where


def test_invalid_toml_has_line_and_column(write: Write) -> None:
    error = refused(write("a = 1\nS3cret S3cret\n"))
    assert "line 2, column 8" in error.where
    assert "understudy.toml" in error.where


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"a = 1\nb = '\xff'\n")
    assert "line 2, column 6" in refused(path).where


@pytest.mark.parametrize("text", ["a = " + "[" * 9000, "a = " + "9" * 9000, "#" * (1024 * 1024 + 1)])
def test_monstrous_files(write: Write, text: str) -> None:
    refused(write(text))


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "understudy init" in refused(tmp_path / "no.toml").hint
    assert "no.toml" in refused(None, {"UNDERSTUDY_CONFIG": str(tmp_path / "no.toml")}).where
    assert "directory" in refused(tmp_path).found
    refused(None, {"UNDERSTUDY_CONFIG": "postgresql://u:S3cret@h/db"})
    monkeypatch.chdir(tmp_path)
    assert "understudy init" in refused(None).hint


def test_search_order(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    databases = {"DATABASE_URL": HOME, "DATABASE_URL_SECONDARY": CLOUD}
    assert load(None, databases).source == "environment (DATABASE_URL, DATABASE_URL_SECONDARY)"
    other = tmp_path / "other.toml"
    other.write_text(toml())
    assert load(None, databases | {"UNDERSTUDY_CONFIG": str(other)}).source == str(other)
    path = write(toml())
    assert load(None, databases).source == "understudy.toml"
    assert load(path, {"UNDERSTUDY_CONFIG": str(other)}).source == str(path)


def test_dsn_from_the_environment(write: Write) -> None:
    text = toml(home="${HOME_DSN}", cloud="x").replace('dsn = "x"', 'dsn_env = "CLOUD_DSN"')
    nodes = read(write(text), HOME_DSN=HOME, CLOUD_DSN=CLOUD).clusters[0].nodes
    assert [n.dsn for n in nodes] == [HOME, CLOUD]
    uri = "postgresql://app:${PW}@h/db"
    assert (
        read(write(toml(home=uri)), PW="a@b/c").clusters[0].nodes[0].dsn == "postgresql://app:a%40b%2Fc@h/db"
    )
    for text in ("host=h dbname=db password='${PW}'", "host=h dbname=db password=${PW}"):
        node = read(write(toml(home=text)), PW="a b'\\").clusters[0].nodes[0]
        assert node.dsn == "postgresql://:a%20b%27%5C@h/db"
    assert "$${" not in read(write(toml(home="postgresql://app:$${PW}@h/db"))).clusters[0].nodes[0].dsn


def test_environment_wins_for_policy_and_directory(write: Write) -> None:
    path = write(toml(policy="failure_threshold = 5"))
    config = read(path, DB_FAILURE_THRESHOLD="7", UNDERSTUDY_DIRECTORY="/srv/x")
    assert config.clusters[0].policy.failure_threshold == 7
    assert config.directory == Path("/srv/x")
    assert any("DB_FAILURE_THRESHOLD" in w and "policy.failure_threshold" in w for w in config.warnings)
    assert any("UNDERSTUDY_DIRECTORY" in w for w in config.warnings)
    assert refused(path, {"DB_FAILURE_THRESHOLD": "0"}).where == "DB_FAILURE_THRESHOLD"
    assert refused(path, {"UNDERSTUDY_LEASE_TTL": "1s"}).where == "UNDERSTUDY_LEASE_TTL"


def test_default_directories(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(toml().replace('directory = "state"', ""))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert read(path, XDG_STATE_HOME="/x").directory == Path("/var/lib/understudy")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert read(path, XDG_STATE_HOME="/x", HOME="/h").directory == Path("/x/understudy")
    assert read(path, XDG_STATE_HOME="x", HOME="/h").directory == Path("/h/.local/state/understudy")
    assert read(path, UNDERSTUDY_DIRECTORY="~/u", HOME="/h").directory == Path("/h/u")


@pytest.mark.parametrize(
    "mode", ["", "?sslmode=require", "?sslmode=prefer", "?sslmode=disable", "?sslmode=allow"]
)
def test_weak_tls_is_warned_about_once(write: Write, mode: str) -> None:
    config = read(write(toml(home="postgresql://u:S3cret@far.example/db" + mode)))
    assert len([w for w in config.warnings if "verify-full" in w]) == 1


def test_local_servers_need_no_tls(write: Write) -> None:
    local = "postgresql://u:S3cret@127.0.0.1/db"
    cloud = "postgresql://u:S3cret@localhost:5433/db"
    assert read(write(toml(home=local, cloud=cloud))).warnings == ()


def test_a_local_address_cannot_be_dialled(write: Write) -> None:
    config = read(write(toml(home="postgresql://u:S3cret@localhost/db")))
    assert [w for w in config.warnings if "cannot dial" in w and "node home" in w]


@pytest.mark.parametrize(
    "host", ["db.abc.supabase.co:6543", "aws-0-eu.pooler.supabase.com:5432", "ep-x-pooler.eu.aws.neon.tech"]
)
def test_poolers_are_warned_about(write: Write, host: str) -> None:
    config = read(write(toml(cloud=f"postgresql://u:S3cret@{host}/db?sslmode=verify-full")))
    assert len([w for w in config.warnings if "direct endpoint" in w]) == 2
    direct = 'admin_dsn = "postgresql://u:S3cret@db.abc.supabase.co/db?sslmode=verify-full"'
    fixed = read(write(toml(cloud=f"postgresql://u:S3cret@{host}/db?sslmode=verify-full", two=direct)))
    assert fixed.warnings == ()


def test_readable_by_everyone(write: Write) -> None:
    path = write(toml())
    path.chmod(0o644)
    (warning,) = [w for w in read(path).warnings if "chmod 600" in w]
    assert "clusters.main.nodes[0].dsn" in warning
    path.write_text(toml(home="postgresql://u:${A}@h1/d?sslmode=verify-full", cloud="${B}"))
    assert read(path, A="S3cret", B=CLOUD).warnings == ()


def test_tools_of_other_worlds(write: Write) -> None:
    prisma = "postgresql+psycopg://u:S3cret@localhost/db?schema=public&connection_limit=5&connect_timeout=3"
    config = read(write(toml(home=prisma)))
    assert config.clusters[0].nodes[0].dsn == "postgresql://u:S3cret@localhost/db?connect_timeout=3"
    assert any("connection_limit, schema" in w for w in config.warnings)


def test_a_file_and_another_database_url(write: Write) -> None:
    other = "postgresql://u:S3cret@elsewhere/db"
    assert any("DATABASE_URL is not used" in w for w in read(write(toml()), DATABASE_URL=other).warnings)
    assert read(write(toml()), DATABASE_URL=HOME, SUPABASE_DB_URL="nonsense").warnings == ()


def test_choosing_a_cluster(write: Write) -> None:
    two = toml() + toml().replace("clusters.main", "clusters.two").replace('directory = "state"', "")
    config = read(write(two))
    assert config.cluster("two").name == "two"
    with pytest.raises(ConfigError, match="one of: main, two"):
        config.cluster(None)
    with pytest.raises(ConfigError, match="one of: main, two"):
        config.cluster("three")


def test_the_example_loads() -> None:
    example = Path(__file__).parents[2] / "docs" / "reference" / "understudy.example.toml"
    text = example.read_text(encoding="utf-8")
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "S3cret")
    config = read(example, **variables)
    assert config.warnings == ()
    assert config.cluster(None).policy.failure_threshold == 3
