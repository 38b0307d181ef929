"""What the agent takes from a datagram. Anybody on the host who may write may ring."""

from __future__ import annotations

import json

import pytest

from understudy.agent.doorbell import doubts_in


def test_commits_in_doubt_are_counted() -> None:
    assert doubts_in(b'{"in_doubt": 3}') == 3


@pytest.mark.parametrize(
    "data",
    [
        b"look",
        b"",
        b"\xff\xfe",
        b"[1]",
        b'{"node": "a", "epoch": 1, "error": "in_doubt"}',
        b'{"in_doubt": true}',
        b'{"in_doubt": 1.5}',
        b'{"in_doubt": "1"}',
        b'{"in_doubt": 0}',
        b'{"in_doubt": -1}',
        b'{"in_doubt": 1e9999}',
        b'{"in_doubt": 10000000}',
        b"[" * 4000,
        json.dumps({"in_doubt": 1, "more": "x" * 5000}).encode(),
    ],
)
def test_anything_else_only_rings(data: bytes) -> None:
    assert doubts_in(data) == 0
