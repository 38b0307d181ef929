"""Every exception Understudy raises on purpose.

Driver errors (`psycopg.Error` and its children) are never wrapped: `except psycopg.IntegrityError` keeps
working. The ones below are what Understudy adds. `CommitInDoubt` and `NoPrimaryAvailable` are children of
`psycopg.OperationalError` too, so code that already handles a lost connection handles them; they live in
`understudy.client.errors` because this module imports nothing.
"""


class UnderstudyError(Exception):
    """Base of every error that Understudy raises on purpose; its text says what to do next."""


class ConfigError(UnderstudyError):
    """The configuration cannot be used.

    Args:
        where: the file and key, or the environment variable, e.g. ``understudy.toml: clusters.main.nodes``.
        expected: what a right value looks like.
        found: what was there instead, with secrets masked.
        hint: what to do next (optional).
    """

    def __init__(self, where: str, expected: str, found: str, hint: str = "") -> None:
        self.where, self.expected, self.found, self.hint = where, expected, found, hint
        super().__init__(f"{where}: expected {expected}, found {found}" + (f"; {hint}" if hint else ""))


class WitnessError(UnderstudyError):
    """The witness could not be read or written; nothing was decided."""


class StaleVersion(WitnessError):
    """A compare-and-set lost: somebody else changed the state first. Read it again and decide anew."""


class EngineError(UnderstudyError):
    """A node refused or failed a step of a plan. The step may be tried again."""


class Unreachable(EngineError):
    """A node did not answer in time; whether the step took effect is unknown (every step is idempotent)."""


class StaleEpoch(EngineError):
    """The node has seen a newer epoch than the caller's: the caller has been superseded and must stop."""


class NeedsCopy(EngineError):
    """A logical rewind of this node is impossible (text says why); only a full copy brings it back."""


class LeaseError(UnderstudyError):
    """The lease file is missing, corrupt, or cannot be created."""
