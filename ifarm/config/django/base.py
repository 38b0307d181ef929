"""What all settings share; each integration has a file of its own in `config/settings/`."""

from pathlib import Path

from ifarm.config.settings.accounts import *  # noqa: F403
from ifarm.config.settings.database import *  # noqa: F403
from ifarm.config.settings.mail import *  # noqa: F403
from ifarm.config.settings.payments import *  # noqa: F403
from ifarm.config.settings.rest import *  # noqa: F403
from ifarm.config.settings.storage import *  # noqa: F403
from ifarm.config.settings.uploads import *  # noqa: F403

DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
USE_I18N = True
CSRF_FAILURE_VIEW = "ifarm.api.problems.csrf_failure"
ROOT_URLCONF = "ifarm.config.urls"
WSGI_APPLICATION = "ifarm.config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "understudy.integrations.django",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.headless",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    *(f"ifarm.{found.parent.name}" for found in sorted(Path(__file__).parents[2].glob("*/apps.py"))),
]
MIDDLEWARE = [
    "ifarm.api.problems.Failover",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
# Holds permissions, under keys that name their generation: each process may have one of its own.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "KEY_PREFIX": "ifarm",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}
