"""The one error of this package."""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded server could not do what was asked.

    The message says where, what was expected, what was found and what to do next. It never holds a password.
    """

    def __init__(self, where: str, *, expected: str, found: str, next_step: str) -> None:
        super().__init__(f"{where}: expected {expected}, found {found}. {next_step}")
