"""Who takes payments for iFarm itself. Without a provider nothing is charged: billing stops with an error that says so.

`IFARM_PAYMENT_PROVIDER`: the dotted name of a class, see `ifarm.subscriptions.provider`. `IFARM_PAYMENT_SECRETS`: what
its messages are signed with; several, separated by commas, while one is replaced.
"""

import os

PAYMENT_PROVIDER = os.environ.get("IFARM_PAYMENT_PROVIDER", "")
PAYMENT_SECRETS = [secret for secret in os.environ.get("IFARM_PAYMENT_SECRETS", "").split(",") if secret]
