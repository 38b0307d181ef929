"""The PostgreSQL engine: two independent servers of version 16, kept equal by logical replication."""

from understudy.engines.postgresql.engine import PostgreSQLEngine

__all__ = ["PostgreSQLEngine"]
