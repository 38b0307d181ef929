"""Pre-flight."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.engines.base import Finding
from understudy.engines.postgresql.sessions import Sessions


async def check(sessions: Sessions) -> Sequence[Finding]:
    """See `Engine.check`."""
    del sessions
    return []
