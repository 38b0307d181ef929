"""Rights on memberships, invitations and tokens."""

from ifarm.core.actors import LEADERS
from ifarm.core.policies import Policy
from ifarm.permissions.models import ApiToken, Invitation, Membership

MEMBERSHIPS = Policy(Membership, farm=None, view=LEADERS, change=LEADERS, delete=LEADERS)
INVITATIONS = Policy(Invitation, farm=None, view=LEADERS, add=LEADERS, delete=LEADERS)
TOKENS = Policy(ApiToken, farm=None, view=LEADERS, add=LEADERS, delete=LEADERS)
