"""Real servers started from wheels, and a TCP proxy that breaks the way networks do: for demo and tests."""

from understudy.embedded.errors import EmbeddedError
from understudy.embedded.fault_proxy import FaultProxy
from understudy.embedded.postgresql import EmbeddedPostgreSQL

__all__ = ["EmbeddedError", "EmbeddedPostgreSQL", "FaultProxy"]
