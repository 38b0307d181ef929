"""Point-in-time recovery: a base backup rolled forward to a moment, a position, a name or the end, in its own folder.

    restored = pitr.restore(manifest, store, keys, Time(moment), folder)
    with restored.server: ...

The result is a server by itself that knows nothing of the cluster it came from: it reaches no other server (no
subscription, no archive command, no standby's name), it is on a new timeline, and its databases that belonged to a
cluster are read-only, as a fenced node is. It listens on 127.0.0.1 with a password of its own.

Three rooms, and data flows one way through them: `files` lays out what a server needs, `server` makes one of it, and
`proof` looks at the result.
"""

from understudy.backup.pitr.files import FETCHING, NoRoom, Origin, OutOfReach, Stored
from understudy.backup.pitr.proof import verify_from, verify_physical
from understudy.backup.pitr.server import (
    Latest,
    Lsn,
    Name,
    Restored,
    Target,
    Time,
    restore,
    restore_from,
)

__all__ = [
    "FETCHING",
    "Latest",
    "Lsn",
    "Name",
    "NoRoom",
    "Origin",
    "OutOfReach",
    "Restored",
    "Stored",
    "Target",
    "Time",
    "restore",
    "restore_from",
    "verify_from",
    "verify_physical",
]
