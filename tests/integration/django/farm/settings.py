"""Settings; the cluster's configuration is named by the environment (``UNDERSTUDY_CONFIG``)."""

import os

SECRET_KEY = "only-for-tests"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "understudy.integrations.django",
    "tests.integration.django.farm",
]
MIDDLEWARE = ["understudy.integrations.django.middleware.DatabaseFailoverMiddleware"]
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
