"""What differs per database. `base.py` is the contract; one folder per engine beneath."""

import time
from collections.abc import Callable

from understudy.engines.base import Engine
from understudy.errors import ConfigError
from understudy.model import Cluster


def engine_for(cluster: Cluster, *, clock: Callable[[], float] = time.monotonic) -> Engine:
    """The engine of a cluster; ``clock`` is what it tells the times of probes in (seconds, monotonic).

    Raises:
        ConfigError: this version has no engine of that kind.
    """
    if cluster.engine == "postgresql":
        from understudy.engines.postgresql.engine import PostgreSQLEngine

        return PostgreSQLEngine(cluster, clock=clock)
    raise ConfigError(f"clusters.{cluster.name}.engine", "postgresql", repr(cluster.engine))
