"""Words of notifications."""

from enum import StrEnum


class Channel(StrEnum):
    """How somebody is told."""

    IN_APP = "in_app"
    EMAIL = "email"


class State(StrEnum):
    """Where a notification is; `SENT` and `FAILED` are final. One in the app is sent as soon as it is there."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    HIGH = "high"
