"""The router of the two-alias layout (`default` and `backup`): writes have one way, whatever happens.

Which node `default` leads to is the backend's affair, not the router's. A router that sent writes to a second alias
would split them from the transaction that `atomic` holds open on the first, and from the fence.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from understudy.agent.doorbell import ring
from understudy.errors import StaleVersion, UnderstudyError
from understudy.integrations.django.places import (
    BACKUP,
    cluster_connection,
    failover_enabled,
    open_for_writing,
)
from understudy.integrations.django.postgresql.base import DatabaseWrapper
from understudy.model import ClusterState, Request, RequestKind
from understudy.witness import Entry, SqliteWitness

logger = logging.getLogger(__name__)

_ATTEMPTS = 10


class DatabaseRouter:
    """``DATABASE_ROUTERS = ["core.db_router.DatabaseRouter"]``, with ``core/db_router.py`` importing this class."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """`default`; `backup` only while `default` takes no new transactions and the standby can be read, and
        never inside ``atomic``.

        An object's relations are read where the object came from, unless that is `backup`, which may be behind.
        """
        del model
        if connections[DEFAULT_DB_ALIAS].in_atomic_block or not self._readable_elsewhere():
            return DEFAULT_DB_ALIAS
        return BACKUP

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """Always `default`: it leads to the present primary, and waits while that changes."""
        del model, hints
        return DEFAULT_DB_ALIAS

    def allow_relation(self, obj1: Any, obj2: Any, **hints: Any) -> bool | None:
        """Both aliases hold the same rows."""
        both = {DEFAULT_DB_ALIAS, BACKUP}
        return True if {obj1._state.db, obj2._state.db} <= both else None

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool | None:
        """`default` only: migrating it changes both nodes, and what it writes is replicated."""
        del app_label, model_name, hints
        return {DEFAULT_DB_ALIAS: True, BACKUP: False}.get(db)

    @staticmethod
    def _readable_elsewhere() -> bool:
        """While the primary changes nobody knows the standby's lag: `backup` would wait for the same lease."""
        if not failover_enabled() or BACKUP not in connections.settings or open_for_writing():
            return False
        backup = connections[BACKUP]
        return not isinstance(backup, DatabaseWrapper) or backup.on_standby()

    @classmethod
    def _is_primary_available(cls) -> bool:
        """Whether writes are taken at this moment. Reads shared memory: no query, no cache."""
        return not failover_enabled() or open_for_writing()

    @classmethod
    def force_failover(cls) -> str:
        """Order the agent to make the other node primary; returns the name of that node without waiting for it.

        A planned change: nothing is lost, writers wait. If the primary is dead, the agent has failed over already.
        Raises `UnderstudyError` where the order cannot be given.
        """
        target = cluster_connection().target
        path = target.directory / "witness.db"
        if not path.exists():
            raise UnderstudyError(f"{path}: there is no witness on this host; run `understudy setup` first")
        witness = SqliteWitness(path, create=False)
        try:
            state = _order(witness, target.cluster.name)
            witness.log(
                target.cluster.name,
                epoch=state.epoch,
                entry=Entry(
                    agent="django",
                    kind="asked",
                    message=f"switchover to {state.other} was asked for by the application",
                ),
            )
        finally:
            witness.close()
        ring(target.directory / f"{target.cluster.name}.sock")
        logger.warning("Ordered a change of primary to %s", state.other)
        return state.other


def _order(witness: SqliteWitness, cluster: str) -> ClusterState:
    for _ in range(_ATTEMPTS):
        state = witness.read(cluster)
        if state is None:
            raise UnderstudyError(f"cluster {cluster} has not been set up: run `understudy setup`")
        if state.request is not None:
            raise UnderstudyError(f"another order waits: {state.request.kind} to {state.request.target}")
        request = Request(id=secrets.token_hex(6), kind=RequestKind.SWITCHOVER, target=state.other)
        try:
            return witness.write(replace(state, request=request, answer=""), expected=state.version)
        except StaleVersion:
            continue
    raise UnderstudyError(f"the state of cluster {cluster} changed {_ATTEMPTS} times meanwhile; try again")
