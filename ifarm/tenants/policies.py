"""Rights on the tenant itself."""

from ifarm.core.actors import Role
from ifarm.core.policies import Policy
from ifarm.tenants.models import Tenant

TENANTS = Policy(Tenant, farm=None, change={Role.OWNER})
