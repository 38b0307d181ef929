"""Where the decision lives: a compare-and-set register per cluster, with its history."""

from understudy.witness.base import Event, Witness
from understudy.witness.sqlite import SqliteWitness

__all__ = ["Event", "SqliteWitness", "Witness"]
