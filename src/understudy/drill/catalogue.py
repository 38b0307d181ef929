"""Every drill there is, and the presets: which are run how often."""

from __future__ import annotations

from typing import Final

from understudy.drill import alarm, backups, changes
from understudy.drill.definition import AnyScenario
from understudy.errors import UnderstudyError

SCENARIOS: Final[tuple[AnyScenario, ...]] = (
    *changes.SCENARIOS,
    *alarm.SCENARIOS,
    *backups.SCENARIOS,
)

PRESETS: Final = {
    "monthly-failover": ("failover-crash", "failback", "restore-latest"),
    "quarterly-simulation": tuple(s.name for s in SCENARIOS if not s.must_fail),
    "annual-chaos-week": tuple(s.name for s in SCENARIOS),
}
"""The documents ask for a failover test every month, a full simulation every quarter, and chaos once a year
(backup-and-high-availability.md, Regular DR Testing). A backup that is not restored is none, so that is monthly too."""


class NoSuchDrill(UnderstudyError):
    """There is no drill and no preset of that name; names those that are."""


def wanted(names: tuple[str, ...]) -> list[AnyScenario]:
    """The drills of these names, presets resolved, in the order of the catalogue. Raises `NoSuchDrill`."""
    known = {scenario.name for scenario in SCENARIOS}
    chosen: set[str] = set()
    for name in names:
        if name not in known and name not in PRESETS:
            raise NoSuchDrill(
                f"drill {name!r:.60}: expected one of {', '.join(sorted(known))}, or a preset: {', '.join(PRESETS)}"
            )
        chosen |= set(PRESETS.get(name, (name,)))
    return [scenario for scenario in SCENARIOS if scenario.name in chosen]
