"""The command line. `main` is what the console script `understudy` calls."""

from understudy.cli.app import app, main

__all__ = ["app", "main"]
