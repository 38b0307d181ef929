"""What carries clients that know nothing of Understudy: driven by the agent, never part of what makes a change safe.

`base.py` is the contract, `keeper.py` drives all gates of a cluster from its state.
"""

from collections.abc import Sequence

from understudy.config_gates import GateConfig, PgBouncer
from understudy.gates.base import Gate
from understudy.gates.haproxy import HaproxyGate
from understudy.gates.pgbouncer import PgBouncerGate
from understudy.model import Cluster

__all__ = ["Gate", "gates_for"]


def gates_for(cluster: Cluster, configured: Sequence[GateConfig]) -> tuple[Gate, ...]:
    """The gates of a cluster as its configuration names them."""
    return tuple(
        PgBouncerGate(gate, cluster) if isinstance(gate, PgBouncer) else HaproxyGate(gate, cluster)
        for gate in configured
    )
