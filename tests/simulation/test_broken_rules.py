"""A simulation that finds nothing proves nothing: each rule of the protocol, taken away, must be found missing."""

from __future__ import annotations

import pytest
from tests.simulation.world import Rules, Setup, run

from understudy.model import Rpo

SEEDS = 250
ZERO, BOUNDED = Rpo.ZERO, Rpo.BOUNDED

# rules taken away (two, where each makes up for the other) -> mode, hosts, faults to look among, the promise that
# must be seen to break
BROKEN = {
    "held": (BOUNDED, 2, ("partition", "node_crash", "isolate"), "one writer"),
    "announced": (BOUNDED, 2, ("no_witness", "switchover"), "one writer"),
    "apply_stopped": (BOUNDED, 1, ("no_replication", "node_crash"), "rescue"),
    "in_sync_withdrawn_first": (ZERO, 1, ("node_freeze", "isolate"), "rpo zero"),
    "rescue_filtered": (BOUNDED, 1, ("node_crash",), "rescue"),
    "slot_before_promote": (BOUNDED, 1, ("node_crash",), "reverse slot"),
    "stale_refused": (ZERO, 1, ("late", "double", "switchover", "failover"), "rpo zero"),
    "sessions_end_before_relax": (ZERO, 1, ("slow", "force", "disk_full"), "rpo zero"),
    "promoted_left_alone, stale_refused": (BOUNDED, 1, ("double", "switchover"), "sequences"),
    "fence_raises_row": (BOUNDED, 1, ("node_crash",), "comes to rest"),
    "zombies_dropped": (BOUNDED, 1, ("switchover", "node_crash"), "rescue"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_rule_taken_away_is_missed(rule: str) -> None:
    rpo, hosts, kinds, promise = BROKEN[rule]
    found = set()
    for seed in range(SEEDS):
        setup = Setup.focused(
            seed, *kinds, rpo=rpo, hosts=hosts, rules=Rules(**dict.fromkeys(rule.split(", "), False))
        )
        result = run(setup)
        if result.promise:
            found.add(result.promise)
        if promise in found:
            return
    pytest.fail(f"without {rule!r} expected {promise!r} to break within {SEEDS} seeds, found {sorted(found)}")


@pytest.mark.parametrize("rule", BROKEN)
def test_with_all_rules_the_same_histories_are_clean(rule: str) -> None:
    rpo, hosts, kinds, _ = BROKEN[rule]
    for seed in range(40):
        result = run(Setup.focused(seed, *kinds, rpo=rpo, hosts=hosts))
        assert not result.promise, f"{rule} seed {seed}: {result.promise}: {result.text}"
