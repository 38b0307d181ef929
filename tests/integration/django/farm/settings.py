"""Settings; the cluster's configuration is named by the environment (``UNDERSTUDY_CONFIG``)."""

import os

SECRET_KEY = "only-for-tests"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "understudy.integrations.django",
    "tests.integration.django.farm",
]
MIDDLEWARE = [
    "understudy.integrations.django.middleware.DatabaseFailoverMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "table": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "farm_cache"},
}
ROOT_URLCONF = "tests.integration.django.farm.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_ENGINE = "understudy.integrations.django.postgresql"
DATABASES = {
    "default": {"ENGINE": _ENGINE, "CONN_MAX_AGE": None, "OPTIONS": {"cluster": "demo"}},
    "backup": {
        "ENGINE": _ENGINE,
        "CONN_MAX_AGE": None,
        "OPTIONS": {"cluster": "demo", "readonly": True, "max_lag": 5},
        "TEST": {"MIRROR": "default"},
    },
}
DATABASE_ROUTERS = ["understudy.integrations.django.router.DatabaseRouter"]
if "FARM_MIGRATIONS" in os.environ:
    MIGRATION_MODULES = {"farm": os.environ["FARM_MIGRATIONS"]}
