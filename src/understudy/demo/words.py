"""What the agent's events mean, in words for somebody who sees them for the first time."""

from __future__ import annotations

WHY = {
    "announce": "from now on nobody can renew the right to write to the old primary",
    "prepare_reverse": "nothing has stopped yet",
    "hold": "new transactions wait instead of failing",
    "fence_if_reachable": "",
    "fence": "whoever comes past Understudy is refused too",
    "wait_replay": "nothing can be lost: there is nothing left to copy",
    "copy_sequences": "the next identity value is the right one",
    "stop_apply": "the old direction of copying ends at this position",
    "raise_sequences": "no identity value is handed out twice",
    "open_reverse_slot": "before the first write, so that the old primary can follow without a copy",
    "promote": "the point of no return",
    "publish": "the waiting transactions go on",
    "rescue": "before anything on the returned server changes",
    "rewind": "row by row, no full copy",
    "follow": "",
    "catch_up": "",
    "verify": "checksums of all rows at one position, under load",
    "require_sync": "every commit is on both from now on",
    "relax_sync": "",
    "open_spare_slot": "ready for the next failover",
    "resume_apply": "",
    "drop_old_links": "",
}

KINDS = {
    "node_down": "noticed",
    "node_up": "noticed",
    "primary_down": "DECISION",
    "returned": "DECISION",
    "needs_copy": "DECISION",
    "failback": "DECISION",
    "sync_possible": "decision",
    "sync_lost": "decision",
    "tidy": "tidying up",
    "failover_refused": "refused",
    "agent_started": "agent",
}

LOUD = frozenset({"primary_down", "returned", "failback", "failover_refused", "needs_copy"})
COMMIT_POINTS = frozenset({"step:promote", "step:publish"})

MODES = {
    "zero": "no acknowledged commit is lost; every commit waits until both servers have it",
    "bounded": "commits do not wait for the second server; what it did not have yet is rescued from the first",
}

FAULTS = {
    "kill": "SIGKILL to every process of server a, at once, as when a host is lost",
    "freeze": "SIGSTOP to every process of server a: connections stay open, nothing answers",
}

RETURNS = {
    "kill": "server a is started again: it recovers, and believes that it is still the primary",
    "freeze": "server a is thawed: its processes go on as if nothing had happened",
}


def name(kind: str) -> str:
    """The name of an event in the timeline."""
    if kind == "step:fence_if_reachable":
        return "fence"
    return kind.removeprefix("step:").replace("_", " ") if kind.startswith("step:") else KINDS.get(kind, kind)


def shorten(message: str, limit: int = 120) -> str:
    """An event's sentence without the lines that drivers add."""
    text = " ".join(message.split())
    text = text.replace("connection failed: connection to server at", "connection to")
    text = text.replace(" Is the server running on that host and accepting TCP/IP connections?", "")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def style(kind: str) -> str:
    """How loud an event is drawn."""
    if kind in LOUD:
        return "bold yellow"
    return "bold green" if kind in COMMIT_POINTS else ""
