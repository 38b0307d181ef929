from ifarm.animals.tests.herd import cow, farm, owner

__all__ = ["cow", "farm", "owner"]  # fixtures
