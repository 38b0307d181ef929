"""`python ifarm/manage.py ...`: Django's commands for iFarm."""

import os
import sys
from pathlib import Path


def main() -> None:
    """Run one command."""
    # The folder of this file holds packages with common names (`core`, `users`): they are ours as `ifarm.core` only.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if path != here]
    if sys.argv[1:2] == ["farm"]:
        from ifarm.demo import main as farm

        farm()
        return
    if sys.argv[1:2] == ["demo"]:
        from ifarm.demo_story import main as demo

        del sys.argv[1]
        demo()
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ifarm.config.django.production")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
