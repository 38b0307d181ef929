"""Settings of the tests: the test database of one embedded server, reached directly (`ifarm/conftest.py` starts it).

Also for `makemigrations`, which needs a place and connects to none.
"""

import os

from understudy.embedded.postgresql import HOST, free_port

OWNER = "app"
PASSWORD = "only-on-loopback"  # noqa: S105
# Django opens its alias when the first model is defined, so the place is known before the server runs.
PORT = free_port()
for _name in [name for name in os.environ if name.startswith(("UNDERSTUDY_", "DATABASE_", "PG"))]:
    del os.environ[_name]
os.environ["DATABASE_URL"] = f"postgresql://{OWNER}:{PASSWORD}@{HOST}:{PORT}/ifarm"
os.environ["DATABASE_URL_SECONDARY"] = f"postgresql://{OWNER}@{HOST}:1/ifarm"  # never used

from ifarm.config.django.base import *  # noqa: E402, F403

SECRET_KEY = "only-for-tests"  # noqa: S105
ALLOWED_HOSTS = ["testserver"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; nobody's password
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
