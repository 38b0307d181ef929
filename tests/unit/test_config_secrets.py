"""No secret in any error, warning or repr, and nothing but ConfigError, whatever the input."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from understudy import config_environment as environment
from understudy.config import load, mask
from understudy.config_values import SETTINGS
from understudy.errors import ConfigError

PAIR = {"DATABASE_URL": "postgresql://u@localhost/a", "DATABASE_URL_SECONDARY": "postgresql://u@localhost/b"}
DATABASES = [*environment.FIRST, *environment.SECOND, *environment.NODE_EXTRAS]
ALL = [*DATABASES, *(v for s in SETTINGS for v, _ in s.variables), *environment.OWN, *environment.NOT_YET]
ANY = st.text(st.characters(exclude_characters="\0"), max_size=80)
MARKS = ("Zq7Head", "Zq7Mid", "Zq7Tail")


def secrets(alphabet: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Passwords with odd characters between recognisable pieces."""
    odd = st.text(alphabet, max_size=6)
    return st.tuples(odd, odd).map(lambda t: MARKS[0] + t[0] + MARKS[1] + t[1] + MARKS[2])


PRINTABLE = st.sampled_from("@:/?#%&='\"\\$ {}[],;é☃ab01+.-_~!*()<>|^`")
NO_SPACE = st.sampled_from("@:/?#%&='\"\\${}[],;é☃ab01+.-_~!*()<>|^`")
URI_KEY = st.sampled_from(["postgresql", "postgres", "redis", "rediss", "mongodb+srv", "postgresql+psycopg"])


def clean_of_secrets(text: str) -> None:
    for mark in MARKS:
        assert mark not in text, text


def attempt(path: Path | None, environ: Mapping[str, str]) -> str:
    """Everything a person may see of loading this."""
    try:
        config = load(path, environ)
    except ConfigError as error:
        text = str(error)
        assert "\n" not in text
        assert text.isprintable() or "☃" in text
        return text
    return repr(config) + "".join(config.warnings) + config.source


# --- mask ---------------------------------------------------------------------------------------------------


@given(
    URI_KEY,
    secrets(NO_SPACE),
    st.sampled_from(["", "error: ", 'dsn "', "dsn='"]),
    st.sampled_from(["", " x", '"']),
)
def test_mask_hides_unescaped_passwords_in_uris(scheme: str, secret: str, before: str, after: str) -> None:
    clean_of_secrets(mask(f"{before}{scheme}://user:{secret}@host:5432/db{after}"))


@given(URI_KEY, secrets(st.characters()))
def test_mask_hides_encoded_passwords_and_nothing_else(scheme: str, secret: str) -> None:
    encoded = quote(secret, safe="", errors="replace")
    text = f"cannot reach {scheme}://user:{encoded}@host:5432/db?a=b today"
    assert mask(text) == f"cannot reach {scheme}://user:****@host:5432/db?a=b today"
    assert mask(f"{scheme}://:{encoded}@host") == f"{scheme}://:****@host"
    assert mask(f"{scheme}://h/db?password={encoded}&a=b") == f"{scheme}://h/db?password=****&a=b"


@given(
    secrets(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from(["password", "sslpassword"]),
)
@example("Zq7Head' Zq7Mid\\ Zq7Tail", "password")
def test_mask_hides_keywords(secret: str, key: str) -> None:
    text = make_conninfo(**{"host": "h", key: secret, "dbname": "d"})  # type: ignore[arg-type]
    clean_of_secrets(mask(text))
    clean_of_secrets(mask(f"error in {text}"))
    clean_of_secrets(mask(repr({key: secret})))


@given(secrets(NO_SPACE.filter(lambda c: c not in "'\"\\")))
def test_mask_hides_assignments(secret: str) -> None:
    for key in ("PGPASSWORD", "PRIMARY_DB_PASSWORD", "SUPABASE_KEY", "token", "SERVICE_KEY", "pwd"):
        for text in (
            f"{key}={secret} psql",
            f"{key}: {secret}",
            f"{key}='{secret}'",
            f'{{"{key}": "{secret}"}}',
        ):
            clean_of_secrets(mask(text))


@given(
    secrets(PRINTABLE),
    st.sampled_from(["postgresql://u:{}@h/db", "host=h password={} dbname=d", "{}", "postgresql://[{}"]),
)
def test_mask_hides_what_libpq_quotes(secret: str, shape: str) -> None:
    """When a DSN cannot be parsed, libpq's message holds pieces of it."""
    try:
        conninfo_to_dict(shape.format(secret))
    except (psycopg.Error, UnicodeError) as error:
        clean_of_secrets(mask(str(error)))


@given(st.text(max_size=300))
def test_mask_never_fails_and_is_stable(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize(
    "text",
    [
        'connection to server at "10.0.0.1", port 5432 failed: Connection refused',
        'FATAL:  password authentication failed for user "bob"',
        "postgresql://host:5432/db is down, mail ops@example.com",
        "postgresql://user@host/db?sslmode=verify-full",
        'invalid integer value "99999" for connection option "port"',
        "password_required=false",
        "api.operator_token: expected 16 to 512 printable characters without spaces, found something else",
        "",
    ],
)
def test_mask_leaves_harmless_text_alone(text: str) -> None:
    assert mask(text) == text


def test_mask_is_fast_on_hostile_text() -> None:
    for piece in ("password='", "a://", "a://b:", "://@", '"', "password", "?password=&", "a@b/ "):
        mask(piece * (20_000 // len(piece)))


# --- load ---------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "u.toml"
        path.write_bytes(data)
        attempt(path, {})


VALUES = st.recursive(
    st.none().map(lambda _: "true") | st.integers().map(str) | st.floats().map(str)
    | ANY.map(lambda t: '"' + "".join(f"\\U{ord(c):08x}" for c in t if not 0xD800 <= ord(c) < 0xE000) + '"'),
    lambda inner: st.lists(inner, max_size=3).map(lambda v: "[" + ", ".join(v) + "]"),
    max_leaves=4,
)  # fmt: skip
KEYS = [
    "engine",
    "rpo",
    "nodes",
    "policy",
    "policy.lease_ttl",
    "policy.rpo",
    "policy.failover",
    "policy.max_lag_bytes",
]
NODE_KEYS = ["name", "dsn", "admin_dsn", "replication_dsn", "dsn_env", "priority", "provider", "region"]


@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(NODE_KEYS), VALUES),
)
def test_any_value_of_any_key(cluster: dict[str, str], node: dict[str, str]) -> None:
    base = {"name": '"a"', "dsn": '"postgresql://u@localhost/a"'}
    lines = ["[clusters.main]", *(f"{k} = {v}" for k, v in cluster.items())]
    lines += ["[[clusters.main.nodes]]", *(f"{k} = {v}" for k, v in (base | node).items())]
    lines += ["[[clusters.main.nodes]]", 'name = "b"', 'dsn = "postgresql://u@localhost/b"']
    test_any_file.hypothesis.inner_test("\n".join(lines).encode())  # type: ignore[attr-defined]


@given(st.sampled_from(ALL), ANY)
def test_any_value_of_any_variable(variable: str, value: str) -> None:
    attempt(None, PAIR | {variable: value})


@given(st.sampled_from(DATABASES), secrets(PRINTABLE), st.booleans())
def test_no_variable_leaks(variable: str, secret: str, encode: bool) -> None:
    shown = quote(secret, safe="") if encode else secret
    value = secret if variable.endswith("_PASSWORD") else f"postgresql://u:{shown}@far.example/db"
    environ = PAIR | {variable: value}
    if variable in environment.FIRST:
        environ = environ | {"PRIMARY_DB_NAME": "a"}
    clean_of_secrets(attempt(None, environ))
    clean_of_secrets(
        attempt(
            None, {variable: value, "PRIMARY_DB_NAME": "q", "SUPABASE_DB_NAME": "r", "SUPABASE_DB_HOST": "h"}
        )
    )


SHAPES = [
    "postgresql://u:{}@far.example/db",
    "postgresql://u:{}@far.example/db?sslmode=nope",
    "postgresql://u:{}@far.example/db?nope=1",
    "host=h dbname=d password={}",
    "host=h dbname=d password='{}'",
    "mysql://u:{}@h/d",
    "{}",
]


@given(
    secrets(PRINTABLE),
    st.sampled_from(SHAPES),
    st.sampled_from(["dsn", "admin_dsn", "name", "region", "dsn_env"]),
)
def test_no_file_leaks(secret: str, shape: str, key: str) -> None:
    if key in ("name", "region", "dsn_env") and not shape.startswith(
        ("postgresql://u:{}@far.example/db", "host=h")
    ):
        return
    literal = shape.format(secret).replace("\\", "\\\\").replace('"', '\\"')
    node = {"name": '"a"', "dsn": '"postgresql://u@localhost/a"'} | {key: f'"{literal}"'}
    lines = ["[[clusters.main.nodes]]", *(f"{k} = {v}" for k, v in node.items())]
    lines += ["[[clusters.main.nodes]]", 'name = "b"', 'dsn = "postgresql://u@localhost/b"']
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "u.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        clean_of_secrets(attempt(path, {}))
        path.write_text("\n".join(lines)[:-1], encoding="utf-8")
        clean_of_secrets(attempt(path, {}))


# --- who may read the file ------------------------------------------------------------------------------------

FILE = """
directory = "state"
[[clusters.main.nodes]]
name = "a"
dsn = "postgresql://u@localhost/a"
[[clusters.main.nodes]]
name = "b"
dsn = "postgresql://u@localhost/b"
{more}
"""
TOKEN = "".join(MARKS)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        (f'[api]\noperator_token = "{TOKEN}"', "api.operator_token"),
        (f'[api]\nread_token = "{TOKEN}"', "api.read_token"),
        (f'[[alerts.routes]]\nname = "t"\nurls = ["slack://{TOKEN}/b/c"]', "alerts.routes[0].urls[0]"),
        (f'admin_dsn = "postgresql://u:{TOKEN}@localhost/b"', "clusters.main.nodes[1].admin_dsn"),
        (f'admin_dsn = "host=localhost dbname=b password={TOKEN}"', "clusters.main.nodes[1].admin_dsn"),
        (
            f'[[clusters.main.pgbouncer]]\ndsn = "postgresql://u:{TOKEN}@localhost/pgbouncer"\n'
            'databases = ["farm"]\nfile = "/etc/p.ini"',
            "clusters.main.pgbouncer[0].dsn",
        ),
    ],
)
def test_a_file_with_secrets_that_every_user_may_read(tmp_path: Path, more: str, place: str) -> None:
    file = tmp_path / "u.toml"
    file.write_text(FILE.format(more=more))
    file.chmod(0o644)
    (warning,) = load(file, {}).warnings
    assert f"({place})" in warning
    assert "chmod 600" in warning
    clean_of_secrets(warning)
    file.chmod(0o640)  # the group may be the agent's own
    assert load(file, {}).warnings == ()


@pytest.mark.parametrize(
    "more",
    [
        "",
        '[api]\noperator_token_env = "T"\ntls_cert = "/c.pem"\ntls_key = "/k.pem"',
        '[[alerts.routes]]\nname = "t"\nurls_env = "URLS"',
        'admin_dsn = "postgresql://u:${T}@localhost/b"',
        'admin_dsn = "host=localhost dbname=b password=${T}"',
        'admin_dsn_env = "DSN"',
    ],
)
def test_a_file_without_secrets_may_be_read_by_all(tmp_path: Path, more: str) -> None:
    file = tmp_path / "u.toml"
    file.write_text(FILE.format(more=more))
    file.chmod(0o644)
    env = {"T": TOKEN, "URLS": f"slack://{TOKEN}/b/c", "DSN": f"postgresql://u:{TOKEN}@localhost/b"}
    assert load(file, env).warnings == ()


def test_a_private_key_that_every_user_may_read(tmp_path: Path) -> None:
    file, key = tmp_path / "u.toml", tmp_path / "k.pem"
    file.write_text(FILE.format(more=f'[api]\ntls_cert = "/c.pem"\ntls_key = "{key}"'))
    assert load(file, {}).warnings == ()  # what is not there is not told here: the agent may see it
    key.touch(mode=0o644)
    (warning,) = load(file, {}).warnings
    assert f"{key} holds a private key" in warning
    key.chmod(0o640)
    assert load(file, {}).warnings == ()
