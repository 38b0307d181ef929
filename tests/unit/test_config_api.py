"""The table [api]: what is accepted, and that nothing listens openly by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from understudy.config_api import VARIABLES, Api, read
from understudy.errors import ConfigError

TOKEN = "0123456789abcdef"
TLS = {"tls_cert": "/c.pem", "tls_key": "/k.pem"}


def parse(table: Any, env: dict[str, str], where: str = "f: api") -> Api | None:
    api, warnings = read(table, env, where)
    assert warnings == []
    assert TOKEN not in repr(api)
    return api


def test_absent_and_default() -> None:
    assert parse(None, {}, "f: api") is None
    assert parse({}, {}, "f: api") == Api(host="127.0.0.1", port=8008)


def test_the_environment_alone() -> None:
    """As with ``[api]`` in a file: one variable for each key."""
    env = {
        "UNDERSTUDY_API_LISTEN": "0.0.0.0:8443",
        "UNDERSTUDY_OPERATOR_TOKEN": f"{TOKEN}-operator\n",
        "UNDERSTUDY_READ_TOKEN": TOKEN,
        "UNDERSTUDY_API_TLS_CERT": "/c.pem",
        "UNDERSTUDY_API_TLS_KEY": "/k.pem",
    }
    assert set(env) == set(VARIABLES.values())
    assert parse(None, env) == Api(
        host="0.0.0.0",
        port=8443,
        operator_token=f"{TOKEN}-operator",
        read_token=TOKEN,
        tls_cert=Path("/c.pem"),
        tls_key=Path("/k.pem"),
    )


def test_the_environment_wins_over_the_table_and_says_so() -> None:
    env = {"UNDERSTUDY_API_LISTEN": "[::1]:9", "UNDERSTUDY_OPERATOR_TOKEN": f"{TOKEN}-1", "T": f"{TOKEN}-2"}
    table = {"listen": "127.0.0.1:8", "operator_token_env": "T"}
    api, warnings = read(table, env, "f: api")
    assert api == Api(host="::1", port=9, operator_token=f"{TOKEN}-1")
    assert warnings == [
        "UNDERSTUDY_API_LISTEN from the environment is used instead of f: api.listen.",
        "UNDERSTUDY_OPERATOR_TOKEN from the environment is used instead of f: api.operator_token_env.",
    ]
    same = {"operator_token_env": "UNDERSTUDY_OPERATOR_TOKEN"}
    assert parse(same, {"UNDERSTUDY_OPERATOR_TOKEN": TOKEN}) == Api(
        host="127.0.0.1", port=8008, operator_token=TOKEN
    )


def test_a_token_for_nothing_is_told() -> None:
    api, (warning,) = read(None, {"UNDERSTUDY_READ_TOKEN": TOKEN}, "api")
    assert api is None
    assert warning.startswith("UNDERSTUDY_READ_TOKEN is not used")


@pytest.mark.parametrize(
    "env",
    [
        {"UNDERSTUDY_API_LISTEN": "0.0.0.0:8008"},
        {"UNDERSTUDY_API_LISTEN": "0.0.0.0:8008", "UNDERSTUDY_OPERATOR_TOKEN": TOKEN},
        {"UNDERSTUDY_API_LISTEN": "8008"},
        {"UNDERSTUDY_API_LISTEN": "127.0.0.1:1", "UNDERSTUDY_OPERATOR_TOKEN": "short"},
        {"UNDERSTUDY_API_LISTEN": "127.0.0.1:1", "UNDERSTUDY_API_TLS_CERT": "/c.pem"},
        {"UNDERSTUDY_API_LISTEN": "127.0.0.1:1", "UNDERSTUDY_API_TLS_KEY": "k.pem"},
    ],
    ids=str,
)
def test_mistakes_in_the_environment(env: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as error:
        read(None, env, "api")
    assert TOKEN not in str(error.value)


def test_tokens_come_from_the_environment_and_stay_hidden() -> None:
    api = parse({"listen": "[::1]:9", "read_token_env": "T"}, {"T": f"{TOKEN}\n"}, "f: api")
    assert api is not None
    assert (api.host, api.port, api.read_token, api.guarded) == ("::1", 9, TOKEN, True)
    assert TOKEN not in repr(api)


def test_others_may_reach_it_with_tls_and_a_token() -> None:
    assert parse({"listen": "0.0.0.0:8008", "operator_token": TOKEN, **TLS}, {}, "f: api") is not None


@pytest.mark.parametrize(
    "table",
    [
        {"listen": "0.0.0.0:8008"},
        {"listen": "0.0.0.0:8008", "operator_token": TOKEN},
        {"listen": "10.0.0.1:8008", **TLS},
        {"listen": "example.org:8008"},
        {"listen": "127.0.0.1"},
        {"listen": "127.0.0.1:70000"},
        {"operator_token": "short"},
        {"operator_token": TOKEN, "read_token": TOKEN},
        {"operator_token": TOKEN, "operator_token_env": "T"},
        {"read_token_env": "MISSING"},
        {"tls_cert": "/c.pem"},
        {"lissen": "127.0.0.1:8008"},
        [],
    ],
    ids=str,
)
def test_mistakes(table: Any) -> None:
    with pytest.raises(ConfigError) as error:
        read(table, {}, "f: api")
    assert TOKEN not in str(error.value)
