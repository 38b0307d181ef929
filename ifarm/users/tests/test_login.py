"""People log in with django-allauth, headless: password, then a second factor where they have one."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.hashers import identify_hasher
from django.test import Client, override_settings

from ifarm.config.settings import accounts
from ifarm.tenants.services import create_tenant
from ifarm.users.models import User

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
AUTH = "/api/v1/accounts/browser/v1/auth/"


@pytest.fixture
def farmer() -> User:
    user = User.objects.create_user("Farmer@Example.org", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    create_tenant(user, name="Hill Farm")
    return user


def post(client: Client, path: str, body: dict[str, Any]) -> Any:
    return client.post(AUTH + path, json.dumps(body), "application/json")


def test_a_person_logs_in_and_out(farmer: User) -> None:
    client = Client()
    assert client.get("/api/v1/tenants/").status_code == 401
    assert post(client, "login", {"email": "farmer@example.org", "password": "wrong"}).status_code == 400
    assert post(client, "login", {"email": "FARMER@example.org", "password": PASSWORD}).status_code == 200
    assert [tenant["name"] for tenant in client.get("/api/v1/tenants/").json()] == ["Hill Farm"]
    assert client.get("/api/v1/animals/").status_code == 200
    client.delete(AUTH + "session")
    assert client.get("/api/v1/tenants/").status_code == 401


def test_a_browser_logs_in_with_its_csrf_token(farmer: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/api/v1/accounts/browser/v1/config")
    answer = client.post(
        AUTH + "login",
        json.dumps({"email": farmer.email, "password": PASSWORD}),
        "application/json",
        headers={"X-CSRFToken": client.cookies["csrftoken"].value},
    )
    assert answer.status_code == 200


def test_a_second_factor_is_asked_for(farmer: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: 1_800_000_000.0))  # a code lives 30 s
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(farmer, secret)
    client = Client()
    first = post(client, "login", {"email": farmer.email, "password": PASSWORD})
    assert first.status_code == 401
    assert "mfa_authenticate" in {flow["id"] for flow in first.json()["data"]["flows"]}
    assert client.get("/api/v1/tenants/").status_code == 401
    code = next(iter(totp.yield_hotp_counters_from_time()), None)
    assert code is not None
    value = totp.format_hotp_value(totp.hotp_value(secret, code))
    assert post(client, "2fa/authenticate", {"code": value}).status_code == 200
    assert client.get("/api/v1/tenants/").status_code == 200


def test_passkeys_are_offered() -> None:
    config = Client().get("/api/v1/accounts/browser/v1/config").json()["data"]
    assert set(config["mfa"]["supported_types"]) == {"totp", "webauthn", "recovery_codes"}
    assert config["mfa"]["passkey_login_enabled"] is True


def test_passwords_are_kept_with_argon2() -> None:
    with override_settings(PASSWORD_HASHERS=accounts.PASSWORD_HASHERS):
        user = User.objects.create_user("somebody@example.org", PASSWORD)
        assert identify_hasher(user.password).algorithm == "argon2"
        assert user.check_password(PASSWORD)


def test_errors_of_django_itself_have_our_shape(farmer: User) -> None:
    client = Client(enforce_csrf_checks=True)
    for answer in (post(client, "login", {}), client.get("/api/v1/nowhere/")):
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
