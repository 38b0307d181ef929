"""Routes for devices that are offline most of the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ifarm.api.views import TenantView, operation
from ifarm.core.errors import TooLarge
from ifarm.sync import pushes, selectors
from ifarm.sync.policies import SYNC
from ifarm.sync.serializers import ChangesOutput, ChangesQuery, PushInput, PushOutput

MOST_BYTES: Final = 1024 * 1024
"""In one push."""


class ChangesApi(TenantView):
    """What changed here, and what was done out there."""

    @operation(SYNC, "view", output=ChangesOutput, query=ChangesQuery)
    def get(self, asked: Mapping[str, Any]) -> selectors.Changes:
        """What changed since; everything, without a cursor. 410: start from the beginning, the problem says why."""
        kinds = asked.get("kinds")
        return selectors.pull(
            self.actor,
            since=asked.get("since"),
            wanted=None if kinds is None else kinds.split(","),
            limit=asked["limit"],
        )

    @operation(SYNC, "push", input=PushInput, output=PushOutput)
    def post(self, data: Mapping[str, Any]) -> pushes.Pushed:
        """Carry out what was done offline: in order, once, each by itself. A result for each, with 200."""
        return pushes.push(self.actor, sent_at=data["sent_at"], operations=data["operations"])

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """As everywhere, and not more than a phone should send at once."""
        super().initial(request, *args, **kwargs)
        if len(request.body) > MOST_BYTES:
            raise TooLarge(
                f"expected at most {MOST_BYTES} bytes, found {len(request.body)}. Send fewer operations."
            )
