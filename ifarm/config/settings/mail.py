"""Where e-mails go: Django's own settings, from the environment."""

import os

EMAIL_HOST = os.environ.get("IFARM_MAIL_HOST", "localhost")
EMAIL_PORT = int(os.environ.get("IFARM_MAIL_PORT", "25"))
EMAIL_HOST_USER = os.environ.get("IFARM_MAIL_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("IFARM_MAIL_PASSWORD", "")
EMAIL_USE_TLS = EMAIL_PORT == 587
EMAIL_USE_SSL = EMAIL_PORT == 465
# Seconds for each answer of the server. A claim on an e-mail lasts much longer (`notifications/delivery.py`).
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = os.environ.get("IFARM_MAIL_FROM", "iFarm <ifarm@localhost>")
# What links in e-mails begin with.
IFARM_URL = os.environ.get("IFARM_URL", "http://localhost")
