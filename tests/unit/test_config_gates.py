"""The tables [[clusters.main.pgbouncer]] and [[clusters.main.haproxy]]."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy import config
from understudy.config_gates import Haproxy, PgBouncer
from understudy.errors import ConfigError

NODES = """
[clusters.main]
[[clusters.main.nodes]]
name = "home"
dsn = "postgresql://app:x@127.0.0.1:5432/farm"
[[clusters.main.nodes]]
name = "cloud"
dsn = "postgresql://app:x@127.0.0.1:5433/farm"
"""
BOUNCER = """
[[clusters.main.pgbouncer]]
dsn = "postgresql://console:${WORD}@127.0.0.1:6432/pgbouncer"
databases = ["farm", "farm_batch"]
file = "/etc/pgbouncer/databases.ini"
"""
PROXY = """
[[clusters.main.haproxy]]
socket = "/run/haproxy/admin.sock"
backend = "farm"
"""


def load(tmp_path: Path, text: str) -> config.Config:
    file = tmp_path / "understudy.toml"
    file.write_text(NODES + text)
    file.chmod(0o600)
    return config.load(file, {"WORD": "s3cret"})


def test_each_database_and_each_backend_is_a_gate(tmp_path: Path) -> None:
    loaded = load(tmp_path, BOUNCER + PROXY)
    dsn, file = "postgresql://console:s3cret@127.0.0.1:6432/pgbouncer", Path("/etc/pgbouncer/databases.ini")
    assert loaded.gates["main"] == (
        PgBouncer(dsn=dsn, database="farm", file=file),
        PgBouncer(dsn=dsn, database="farm_batch", file=file),
        Haproxy(socket=Path("/run/haproxy/admin.sock"), backend="farm"),
    )
    assert "s3cret" not in repr(loaded.gates)


def test_a_cluster_without_gates_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, "").gates["main"] == ()


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        (BOUNCER.replace("/pgbouncer", "/farm"), "pgbouncer[0].dsn", "the database pgbouncer"),
        (
            BOUNCER.replace('["farm", "farm_batch"]', '"farm"'),
            "pgbouncer[0].databases",
            "a list of names",
        ),
        (BOUNCER.replace('["farm", "farm_batch"]', "[]"), "pgbouncer[0].databases", "a list of names"),
        (BOUNCER.replace('"farm_batch"', '"farm; x"'), "pgbouncer[0].databases", "a list of names"),
        (BOUNCER.replace('"/etc', '"etc'), "pgbouncer[0].file", "an absolute path"),
        (BOUNCER.replace("databases", "database"), "pgbouncer[0]", "known keys only"),
        (PROXY.replace('backend = "farm"', ""), "haproxy[0].backend", "the name of a backend"),
        (PROXY.replace('"farm"', '"farm/x"'), "haproxy[0].backend", "the name of a backend"),
        (PROXY + PROXY, "clusters.main", "every gate once"),
        (PROXY.replace("[[", "[").replace("]]", "]"), "clusters.main.haproxy", "tables"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, where: str, expected: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(tmp_path, text)
    assert where in told.value.where
    assert expected in told.value.expected
    assert "s3cret" not in str(told.value)
