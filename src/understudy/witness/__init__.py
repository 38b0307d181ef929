"""Where the decision lives: a compare-and-set register per cluster, with its history."""

from understudy.witness.base import Entry, Event, Witness
from understudy.witness.sqlite import SqliteWitness

__all__ = ["Entry", "Event", "SqliteWitness", "Witness"]
