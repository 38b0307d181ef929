"""The table [api]: what is accepted, and that nothing listens openly by mistake."""

from __future__ import annotations

from typing import Any

import pytest

from understudy.config_api import Api, parse
from understudy.errors import ConfigError

TOKEN = "0123456789abcdef"
TLS = {"tls_cert": "/c.pem", "tls_key": "/k.pem"}


def test_absent_and_default() -> None:
    assert parse(None, {}, "f: api") is None
    assert parse({}, {}, "f: api") == Api(host="127.0.0.1", port=8008)


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
        parse(table, {}, "f: api")
    assert TOKEN not in str(error.value)
