"""The circuit breaker of a node: its states, whose outcome counts, and that one call at a time tries again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.client.breaker import Breaker, BreakerPolicy, BreakerState, Outcome, Permit

POLICY = BreakerPolicy(threshold=3, timeout=60.0, monitoring_period=10.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(POLICY, clock)


def call(breaker: Breaker, outcome: Outcome) -> None:
    permit = breaker.ask()
    assert permit is not None
    permit.tell(outcome)


def opened(breaker: Breaker) -> None:
    for _ in range(3):
        call(breaker, Outcome.FAILURE)
    assert breaker.state is BreakerState.OPEN


def test_the_defaults_are_those_of_the_documents() -> None:
    given_there = BreakerPolicy.of({"threshold": 5, "timeout": 60000, "monitoringPeriod": 10000})
    assert given_there == BreakerPolicy() == BreakerPolicy.of(None)
    assert (given_there.threshold, given_there.timeout, given_there.monitoring_period) == (5, 60.0, 10.0)
    assert BreakerPolicy.of({"timeout": 1500}) == BreakerPolicy(timeout=1.5)
    assert BreakerPolicy.of(POLICY) is POLICY


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0}, {"timeout": 0}, {"period": 1}, {"timeout": "60000"}, {"threshold": True}]
)
def test_a_wrong_policy_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="breaker: expected"):
        BreakerPolicy.of(wrong)


def test_failures_in_a_row_open_it_and_nobody_calls(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 59.9
    assert breaker.ask() is None


def test_a_success_between_failures_begins_the_count_anew(breaker: Breaker) -> None:
    for _ in range(4):
        call(breaker, Outcome.FAILURE)
        call(breaker, Outcome.FAILURE)
        call(breaker, Outcome.SUCCESS)
    assert breaker.state is BreakerState.CLOSED


def test_neutral_outcomes_neither_open_it_nor_forgive(breaker: Breaker) -> None:
    for _ in range(50):
        call(breaker, Outcome.NEUTRAL)
    assert breaker.state is BreakerState.CLOSED
    call(breaker, Outcome.FAILURE)
    call(breaker, Outcome.FAILURE)
    call(breaker, Outcome.NEUTRAL)
    call(breaker, Outcome.FAILURE)
    assert breaker.state is BreakerState.OPEN


def test_failures_far_apart_are_not_one_trouble(breaker: Breaker, clock: Clock) -> None:
    for _ in range(10):
        call(breaker, Outcome.FAILURE)
        clock.now += 10.1
    assert breaker.state is BreakerState.CLOSED


def test_half_open_lets_one_call_try_and_its_success_closes(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 60
    trying = breaker.ask()
    assert trying is not None
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.ask() is None
    trying.tell(Outcome.SUCCESS)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.ask() is not None


def test_half_open_and_failed_again_waits_the_whole_timeout(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 60
    call(breaker, Outcome.FAILURE)
    assert breaker.state is BreakerState.OPEN
    clock.now += 59.9
    assert breaker.ask() is None
    clock.now += 0.1
    assert breaker.ask() is not None


def test_a_neutral_attempt_leaves_the_next_one_to_try(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 60
    call(breaker, Outcome.NEUTRAL)
    assert breaker.state is BreakerState.HALF_OPEN
    call(breaker, Outcome.SUCCESS)
    assert breaker.state is BreakerState.CLOSED


def test_an_old_failure_cannot_harm_a_recovered_node(breaker: Breaker, clock: Clock) -> None:
    old = [breaker.ask() for _ in range(10)]
    opened(breaker)
    clock.now += 60
    call(breaker, Outcome.SUCCESS)
    for permit in old:
        assert permit is not None
        permit.tell(Outcome.FAILURE)
    assert breaker.state is BreakerState.CLOSED


def test_an_attempt_that_never_ends_does_not_block_for_ever(breaker: Breaker, clock: Clock) -> None:
    opened(breaker)
    clock.now += 60
    lost = breaker.ask()
    clock.now += 60
    second = breaker.ask()
    assert lost is not None
    assert second is not None
    lost.tell(Outcome.FAILURE)  # it speaks for nothing any more
    assert breaker.state is BreakerState.HALF_OPEN
    second.tell(Outcome.SUCCESS)
    assert breaker.state is BreakerState.CLOSED


@given(st.lists(st.tuples(st.sampled_from(["ask", *Outcome]), st.floats(0, 40)), max_size=200))
def test_whatever_happens(story: list[tuple[str | Outcome, float]]) -> None:
    """At most one call tries in HALF_OPEN, none runs into an OPEN one, and it is never open longer than it says."""
    clock = Clock()
    breaker = Breaker(POLICY, clock)
    running: list[Permit] = []
    trying: tuple[Permit, float] | None = None
    changed_at = 0.0
    for what, pause in story:
        clock.now += pause
        before = breaker.state
        if isinstance(what, Outcome):
            if running:
                permit = running.pop(0)
                permit.tell(what)
                trying = None if trying is not None and trying[0] is permit else trying
        elif (leave := breaker.ask()) is not None:
            assert breaker.state is not BreakerState.OPEN
            running.append(leave)
            if breaker.state is BreakerState.HALF_OPEN:
                assert trying is None or clock.now - trying[1] >= POLICY.timeout
                trying = (leave, clock.now)
        elif breaker.state is BreakerState.OPEN:
            assert clock.now - changed_at < POLICY.timeout
        if breaker.state is not before:
            changed_at = clock.now
