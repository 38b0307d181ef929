"""Settings of a server. Needs `IFARM_SECRET_KEY`, `IFARM_HOSTS` and `UNDERSTUDY_CONFIG` in the environment."""

import os

from django.core.exceptions import ImproperlyConfigured

from ifarm.config.django.base import *  # noqa: F403


def _needed(name: str, what: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(
            f"environment: expected {name} ({what}), found nothing. Set it and start again."
        )
    return value


SECRET_KEY = _needed("IFARM_SECRET_KEY", "50 random characters; signs sessions and cursors")
ALLOWED_HOSTS = _needed("IFARM_HOSTS", "names this server answers to, separated by commas").split(",")
# `manage.py farm` serves plain HTTP on the loopback interface; everywhere else a proxy ends TLS.
_TLS = os.environ.get("IFARM_PLAIN_HTTP") != "1"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _TLS
SECURE_HSTS_SECONDS = 31_536_000 if _TLS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _TLS else None
