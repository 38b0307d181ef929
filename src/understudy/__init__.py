"""Understudy keeps an application running when its database goes away, and gets it home without losing a row."""

__version__ = "0.1.0"
