"""Random histories against the promises: plain seeds for breadth, Hypothesis for histories that shrink."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from functools import cache

import pytest
from bench.simulation import run_chunk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.simulation.faults import KINDS, Fault
from tests.simulation.world import FAULTS_UNTIL, Setup, run

from understudy.decide import steps
from understudy.model import Failback, PlanKind, Rpo

DEFAULT_SCHEDULES = 2000
CHUNK = 50


def explained(setup: Setup) -> str:
    """The history of a broken promise, readable: virtual time, who, what."""
    result = run(setup, traced=True)
    faults = "\n".join(map(str, setup.faults))
    trace = "\n".join(result.trace[-120:])
    return f"{result.promise}: {result.text}\nseed {setup.seed}\n{faults}\n...\n{trace}"


@cache
def swept(schedules: int) -> dict[str, object]:
    """Run that many schedules on two cores; sums and failing seeds."""
    chunks = [range(n, min(n + CHUNK, schedules)) for n in range(0, schedules, CHUNK)]
    failures, rules, reached = [], set(), set()
    faults: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for part in pool.imap_unordered(run_chunk, chunks):
            failures += part["failures"]
            rules |= part["rules"]
            reached |= part["steps"]
            faults += part["faults"]
    return {"failures": failures, "rules": rules, "steps": reached, "faults": faults}


@pytest.fixture(scope="module")
def sweep(seeds: range) -> dict[str, object]:
    return swept(max(len(seeds), DEFAULT_SCHEDULES))


@pytest.mark.timeout(0)
def test_every_promise_holds_in_every_schedule(sweep: dict[str, object]) -> None:
    failures = sorted(sweep["failures"], key=lambda failure: failure["seed"])
    if failures:
        listed = "\n".join(f"seed {f['seed']}: {f['promise']}: {f['text'][:150]}" for f in failures[:20])
        first = explained(Setup.from_seed(failures[0]["seed"]))
        pytest.fail(f"{len(failures)} schedules broke a promise\n{listed}\n\n{first}", pytrace=False)


def test_every_rule_of_the_decision_is_reached(sweep: dict[str, object]) -> None:
    expected = {
        "witness_behind", "continue", "target_lost", "wait", "escalate", "primary_down", "failover_refused",
        "sync_lost", "request_refused", "request", "returned", "needs_copy", "link_lost",
        "tidy", "sync_possible", "failback", "steady", "step_failed", "try_again",
    }  # fmt: skip
    assert not expected - sweep["rules"]


def test_every_step_of_every_plan_is_reached(sweep: dict[str, object]) -> None:
    expected = {f"{kind}:{step}" for kind in PlanKind for step in steps(kind, Rpo.ZERO)}
    assert not expected - sweep["steps"]


def test_every_kind_of_fault_was_injected(sweep: dict[str, object]) -> None:
    assert not set(KINDS) - set(sweep["faults"])


fault_strategy = st.builds(
    Fault,
    at=st.floats(1.5, FAULTS_UNTIL).map(lambda value: round(value, 2)),
    kind=st.sampled_from(KINDS),
    which=st.integers(0, 11),
    lasts=st.sampled_from((0.2, 0.6, 1.5, 3.0, 6.0)),
)
setups = st.builds(
    Setup,
    seed=st.integers(0, 10_000),
    rpo=st.sampled_from(Rpo),
    hosts=st.integers(1, 2),
    agents=st.integers(2, 3),
    clients=st.integers(1, 2),
    faults=st.lists(fault_strategy, max_size=6).map(tuple),
    failback=st.sampled_from(Failback),
)


@given(setups)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_drawn_histories_keep_every_promise(setup: Setup) -> None:
    result = run(setup)
    if result.promise:
        pytest.fail(explained(setup), pytrace=False)


def test_one_seed_is_one_history() -> None:
    first, second = (run(Setup.from_seed(17), traced=True) for _ in range(2))
    assert first.trace == second.trace
    assert first.final == second.final
    assert first.events == second.events


@pytest.mark.parametrize("rpo", Rpo)
def test_a_quiet_world_stays_as_it_is(rpo: Rpo) -> None:
    result = run(Setup(seed=1, rpo=rpo))
    assert not result.promise, result.text
    assert result.outcomes["failed"] == 0
    assert result.outcomes["in doubt"] == 0
    assert result.final is not None
    assert (result.final.epoch, result.final.primary) == (1, "oak")


@pytest.mark.parametrize("rpo", Rpo)
def test_a_switchover_fails_no_transaction(rpo: Rpo) -> None:
    for seed in range(20):
        setup = Setup(seed=seed, rpo=rpo, clients=2, faults=(Fault(5.0, "switchover", 0, 0.0),))
        result = run(setup)
        assert not result.promise, explained(setup)
        assert result.final is not None
        assert result.final.epoch > 1
        assert result.outcomes["failed"] == 0, explained(setup)
        assert result.outcomes["in doubt"] == 0, explained(setup)
