"""``DatabaseReplicationService``: the name that projects call; the work is PostgreSQL's."""

from __future__ import annotations

from typing import Any


class DatabaseReplicationService:
    """Kept for projects that call it on ``post_save``. The databases replicate every row themselves.

    Saving an object again on the standby would recurse through the signal, lose deletions and bulk changes, and collide
    with the row that replication brings; the standby refuses it anyway.
    """

    @staticmethod
    def replicate_to_backup(model_instance: Any) -> None:
        """Nothing: the row is replicated when its transaction commits. May be removed from the project."""
        del model_instance
