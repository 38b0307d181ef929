"""`manage.py run_imports`: carries out the imports that wait. As the owner of the tables; any number at once."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

from django.core.management.base import BaseCommand

from ifarm.exchange.running import run_waiting_imports


class Command(BaseCommand):
    """Imports of all tenants."""

    help = "Carry out the imports that wait, and those that a worker left. May be run at any time."
    requires_system_checks: ClassVar = ()  # they load all routes, a second of which no import needs

    def handle(self, *args: Any, **options: Any) -> None:
        """Until none waits."""
        # Rows come by the ten thousand and hold no cycles: looking for some in all that Django has loaded, each time
        # that some hundred more are there, took a tenth of the time.
        gc.freeze()
        gc.set_threshold(50_000)
        self.stdout.write(f"{run_waiting_imports()} imports")
