"""After a migration: new tables are published on both nodes, copied, and followed from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from understudy.engines import engine_for
from understudy.model import Cluster


def publish_new_tables(cluster: Cluster, progress: Callable[[str], None]) -> None:
    """Add what is new to the publications. Roles and fences stay as they are.

    Raises `EngineError` naming what stands in the way (say, a table without a primary key).
    """

    async def work() -> None:
        engine = engine_for(cluster)
        try:
            await engine.setup(progress=progress)
        finally:
            await engine.close()

    asyncio.run(work())
