"""Rights on farms and paddocks."""

from uuid import UUID

from ifarm.core.actors import LEADERS, Actor, Role
from ifarm.core.policies import Policy
from ifarm.farms.models import Farm, Paddock

FARMS = Policy(Farm, farm="id", add={Role.OWNER}, change=LEADERS, delete={Role.OWNER})
PADDOCKS = Policy(Paddock, farm="farm_id", add=LEADERS, change=LEADERS, delete=LEADERS)


def access_farm(actor: Actor, farm_id: UUID, *, lock: bool = False) -> Farm:
    """One farm. Raises `NotFound`."""
    return FARMS.access(actor, farm_id, lock=lock)


def access_paddock(actor: Actor, paddock_id: UUID, *, lock: bool = False) -> Paddock:
    """One paddock. Raises `NotFound`."""
    return PADDOCKS.access(actor, paddock_id, lock=lock)
