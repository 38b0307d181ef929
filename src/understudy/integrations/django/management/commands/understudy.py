"""``manage.py understudy COMMAND ...``: the command line, on the cluster of `default`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from understudy.integrations.django.places import cluster_connection

_COMMANDS = ("status", "check", "switchover", "verify", "backup", "drill", "readiness")


class Command(BaseCommand):
    """Runs the installed command `understudy` in this process; its options and exit codes are that command's."""

    help = f"Understudy on the cluster of the alias 'default': {', '.join(_COMMANDS)}."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """One command, and whatever it takes."""
        parser.add_argument("command", choices=_COMMANDS)
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="as after `understudy COMMAND`")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it. Exits with its code where that is not 0."""
        del args
        connection = cluster_connection()
        given = ["--cluster", connection.target.cluster.name]
        if path := connection.settings_dict["OPTIONS"].get("config"):
            given += ["--config", str(path)]
        # By its entry point: the command line is a layer above this one.
        scripts = entry_points(group="console_scripts", name="understudy")
        if not scripts:
            raise CommandError("the command `understudy` is not installed: reinstall the package understudy")
        code = next(iter(scripts)).load()([*given, options["command"], *options["arguments"]])
        if code:
            sys.exit(code)
