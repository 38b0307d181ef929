"""Watching what the protocol does not need to know, and telling people: slow statements, full disks, failovers.

`rules`, `ready` and `edges` decide and do no I/O: a reading becomes conditions, conditions over time become notices.
`looking` asks the nodes, on connections of its own; `delivery` tells people; `part` runs all of it beside the agents.
"""
