"""Conditions over time become notices: once, with one end each, never too many. Whatever the conditions do."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from understudy.config_alerts import Severity
from understudy.monitor.edges import (
    CALM,
    FLAPPING,
    HOUR,
    Condition,
    EdgePolicy,
    Edges,
    Kind,
    Notice,
    restored,
)

POLICY = EdgePolicy(per_hour=1000, clear_after=60.0, quiet_start=0.0)


def condition(key: str = "slow:a", severity: Severity = Severity.WARNING, patience: float = 0.0) -> Condition:
    return Condition(key=key, severity=severity, title=key, text="", patience=patience)


def event(number: int, severity: Severity = Severity.INFO) -> Notice:
    return Notice(kind=Kind.EVENT, severity=severity, key=f"event:{number}", title=f"event {number}", text="")


class Story:
    """Edges with a clock, and everything they told: (time, notice)."""

    def __init__(self, policy: EdgePolicy = POLICY) -> None:
        self.edges, self.now = Edges(policy=policy, started=0.0), 0.0
        self.told: list[tuple[float, Notice]] = []

    def after(
        self,
        seconds: float,
        *conditions: Condition,
        events: tuple[Notice, ...] = (),
        unseen: tuple[str, ...] = (),
    ) -> list[Kind]:
        self.now += seconds
        notices = self.edges.look(conditions, events, unseen, self.now)
        self.told += [(self.now, notice) for notice in notices]
        return [notice.kind for notice in notices]


def test_what_holds_is_told_once_and_its_end_once() -> None:
    story = Story()
    assert story.after(0, condition()) == [Kind.RAISED]
    for _ in range(100):
        assert story.after(10, condition()) == []
    assert story.after(10) == []
    assert story.after(59.9) == []
    assert story.after(0.1) == [Kind.RECOVERED]
    assert story.after(1000) == []


def test_an_end_that_was_none_is_not_told() -> None:
    story = Story()
    story.after(0, condition())
    story.after(10)
    story.after(40, condition())
    assert story.after(10) == []
    assert story.after(59) == []
    assert story.after(1) == [Kind.RECOVERED]


def test_what_is_shorter_than_its_patience_is_not_told() -> None:
    story = Story()
    for _ in range(20):
        assert story.after(10, condition(patience=30.0)) == []
        assert story.after(10, condition(patience=30.0)) == []
        assert story.after(1) == []
    story.after(1, condition(patience=30.0))
    assert story.after(30, condition(patience=30.0)) == [Kind.RAISED]


def test_worse_is_told_once_and_better_is_not() -> None:
    story = Story()
    story.after(0, condition())
    assert story.after(10, condition(severity=Severity.CRITICAL)) == [Kind.WORSE]
    assert story.after(10, condition()) == []
    assert story.after(10, condition(severity=Severity.CRITICAL)) == []
    story.after(10)
    assert story.after(60) == [Kind.RECOVERED]
    assert story.told[-1][1].severity is Severity.CRITICAL  # those who heard of it hear of its end


def test_flapping_is_said_once_and_then_there_is_silence() -> None:
    story = Story()
    kinds: list[Kind] = []
    for _ in range(20):
        kinds += story.after(30, condition())
        kinds += story.after(30)
        kinds += story.after(60)
    assert kinds == [Kind.RAISED, Kind.RECOVERED] * (FLAPPING - 1) + [Kind.RAISED]
    assert "quiet until" in story.told[-1][1].text
    assert story.after(CALM) == [Kind.RECOVERED]


def test_what_nobody_sees_has_neither_begun_nor_ended() -> None:
    story = Story()
    story.after(0, condition())
    for _ in range(50):
        assert story.after(10, unseen=("slow:a",)) == []
    assert story.after(10) == []
    assert story.after(60) == [Kind.RECOVERED]
    story.after(1, condition("slow:b", patience=10.0))
    assert story.after(60, unseen=("slow:b",)) == []


def test_a_quiet_start() -> None:
    story = Story(EdgePolicy(per_hour=10, clear_after=60.0, quiet_start=30.0))
    assert story.after(0, condition()) == []
    assert story.after(29, condition(), events=(event(1),)) == [Kind.EVENT]  # what has happened does not wait
    assert story.after(1, condition()) == [Kind.RAISED]


def test_no_more_than_the_hour_has_room_for() -> None:
    story = Story(EdgePolicy(per_hour=5, clear_after=60.0, quiet_start=0.0))
    many = [condition(f"slow:n{i}") for i in range(9)] + [condition("down:a", Severity.CRITICAL)]
    assert story.after(0, *many) == [Kind.RAISED] * 4 + [Kind.SUMMARY]
    assert story.told[0][1].key == "down:a"
    assert story.told[-1][1].title == "6 more notices wait"
    for _ in range(59):
        assert story.after(60, *many) == []
    assert story.after(60, *many) == [Kind.RAISED] * 4 + [Kind.SUMMARY]
    assert story.after(HOUR, *many) == [Kind.RAISED] * 2
    assert max(Counter(n.key for _, n in story.told if n.kind is Kind.RAISED).values()) == 1


def test_events_wait_for_their_turn_and_none_is_lost() -> None:
    story = Story(EdgePolicy(per_hour=2, clear_after=60.0, quiet_start=0.0))
    story.after(0, events=tuple(event(n) for n in range(5)))
    for _ in range(10):
        story.after(HOUR)
    told = [n.key for _, n in story.told if n.kind is Kind.EVENT]
    assert sorted(told) == [f"event:{n}" for n in range(5)]


def test_a_restart_tells_nothing_twice_and_forgets_no_end() -> None:
    story = Story()
    story.after(0, condition(), events=(event(1),))
    dumped = json.loads(json.dumps(story.edges.dump(story.now)))
    again = restored(POLICY, dumped, now=5000.0, elapsed=100.0)
    assert again.look([condition()], [], (), 5000.0) == []
    assert again.look([], [], (), 5001.0) == []
    assert [n.kind for n in again.look([], [], (), 5061.0)] == [Kind.RECOVERED]


def test_a_clock_that_was_set_back_during_a_restart_does_no_harm() -> None:
    story = Story(EdgePolicy(per_hour=2, clear_after=60.0, quiet_start=0.0))
    story.after(0, events=(event(1), event(2)))
    again = restored(story.edges.policy, story.edges.dump(story.now), now=10.0, elapsed=-1e9)
    assert again.look([], [event(3)], (), 10.0) == []
    assert [n.key for n in again.look([], [], (), 10.0 + HOUR)] == ["event:3"]


# --- whatever the conditions do -----------------------------------------------------------------------------

KEYS = ("down:a", "slow:a", "lag")
STEP = st.fixed_dictionaries(
    {
        "pause": st.sampled_from((0.5, 5.0, 61.0, 400.0, 1000.0)),
        "present": st.dictionaries(st.sampled_from(KEYS), st.sampled_from(Severity)),
        "unseen": st.sets(st.sampled_from(KEYS)),
        "events": st.integers(0, 3),
        "restart": st.booleans(),
    }
)


@given(
    st.lists(STEP, max_size=60),
    st.integers(2, 8),
    st.sampled_from((0.0, 10.0, 60.0)),
    st.sampled_from((0.0, 30.0)),
)
def test_whatever_happens(steps: list[dict], per_hour: int, patience: float, quiet: float) -> None:
    policy = EdgePolicy(per_hour=per_hour, clear_after=60.0, quiet_start=quiet)
    edges, now, number = Edges(policy=policy, started=0.0), 0.0, 0
    told: list[tuple[float, Notice]] = []
    begun: dict[str, Severity] = {}
    given_events: set[str] = set()
    for step in steps:
        now += step["pause"]
        if step["restart"]:
            edges = restored(policy, json.loads(json.dumps(edges.dump(now))), now=now, elapsed=0.0)
        present = {k: condition(k, s, patience) for k, s in step["present"].items()}
        events = [event(number + i, Severity.CRITICAL) for i in range(step["events"])]
        number += len(events)
        given_events |= {e.key for e in events}
        for notice in edges.look(list(present.values()), events, step["unseen"] - present.keys(), now):
            told.append((now, notice))
            key = notice.key
            if notice.kind is Kind.RAISED:
                assert key not in begun  # told once, until its end was told
                assert key in present
                begun[key] = notice.severity
            elif notice.kind is Kind.WORSE:
                assert notice.severity.rank > begun[key].rank
                begun[key] = notice.severity
            elif notice.kind is Kind.RECOVERED:
                assert key not in present
                assert key not in step["unseen"]
                assert notice.severity is begun.pop(key)  # at most one end for each beginning
        for at, _ in told:
            assert sum(1 for other, _ in told if at <= other < at + HOUR) <= per_hour
    events_told = [n.key for _, n in told if n.kind is Kind.EVENT]
    assert len(events_told) == len(set(events_told))
    for turn in range(200):  # in the end nothing is left to tell
        edges.look([], [], (), now + (turn + 1) * HOUR)
    assert (edges.held, edges.waiting) == ({}, ())
