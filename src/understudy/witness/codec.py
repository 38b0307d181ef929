"""`ClusterState` to JSON and back: see `strict_json`."""

from __future__ import annotations

from understudy import strict_json
from understudy.errors import WitnessError
from understudy.model import ClusterState

FORMAT = 1
"""Version of the record's layout; a reader refuses others."""


def encode(state: ClusterState) -> str:
    """The state as JSON text."""
    return strict_json.encode(state, layout=FORMAT, key="state")


def decode(text: str) -> ClusterState:
    """The state that `encode` wrote. Raises `WitnessError` naming what is wrong with the record."""
    try:
        return strict_json.decode(ClusterState, text, layout=FORMAT, key="state", what="witness record")
    except strict_json.RecordError as error:
        raise WitnessError(str(error)) from None
