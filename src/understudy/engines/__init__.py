"""What differs per database. `base.py` is the contract; one folder per engine beneath."""

from understudy.engines.base import Engine
from understudy.errors import ConfigError
from understudy.model import Cluster


def engine_for(cluster: Cluster) -> Engine:
    """The engine of a cluster. Raises ConfigError for a kind this version has none for."""
    if cluster.engine == "postgresql":
        from understudy.engines.postgresql.engine import PostgreSQLEngine

        return PostgreSQLEngine(cluster)
    raise ConfigError(f"clusters.{cluster.name}.engine", "postgresql", repr(cluster.engine))
