"""Judging what a rescue holds, where the present primary cannot be asked."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from tests.unit.test_renewal import CLUSTER

from understudy.engines.postgresql.classify import Touched, classify
from understudy.engines.postgresql.rescue_files import CHANGES
from understudy.engines.postgresql.sessions import Sessions
from understudy.errors import Unreachable


class Silent(Sessions):
    """Sessions with nodes that do not answer."""

    def control(self, node: str, **_: object) -> object:  # type: ignore[override]
        raise Unreachable(f"{node}: silent")


class Noting(Touched):
    """Notes at which turn of the event loop each change was judged."""

    def __init__(self) -> None:
        super().__init__()
        self.turns, self.turn = set[int](), 0

    def only_once(self, schema: str, table: str, key: tuple[str, ...]) -> bool:
        self.turns.add(self.turn)
        return True

    async def count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


async def test_a_long_tail_does_not_hold_up_probes_and_leases(tmp_path: Path) -> None:
    """A million changes take half a minute; the agent's event loop has more to do."""
    line = {"lsn": "0/1", "xid": 7, "schema": "s", "table": "t", "op": "insert", "key": {"id": "1"}}
    (tmp_path / CHANGES).write_text(f"{json.dumps(line)}\n" * 3500)
    touched = Noting()
    counting = asyncio.create_task(touched.count())
    verdicts, _, _ = await classify(Silent(CLUSTER), "a", tmp_path, touched)
    counting.cancel()
    with suppress(asyncio.CancelledError):
        await counting
    assert verdicts == {"unknown": 1}
    assert len(touched.turns) == 4, "one for each batch of a thousand"
