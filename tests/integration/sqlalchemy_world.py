"""What the tests of the integrations share: a configuration file for the small world of the client's tests."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_client_world import World


def config_of(world: World) -> Path:
    """Write the world's cluster as an `understudy.toml`, as an application would find it."""
    name = world.cluster.name
    policy = world.cluster.policy
    lines = [f'directory = "{world.directory}"', f"[clusters.{name}]"]
    for node in world.cluster.nodes:
        lines += [f"[[clusters.{name}.nodes]]", f'name = "{node.name}"', f'dsn = "{node.dsn}"']
    lines += [
        f"[clusters.{name}.policy]",
        f"hold_timeout = {policy.hold_timeout}",
        f"lease_ttl = {policy.lease_ttl}",
        f"connect_timeout = {policy.connect_timeout}",
    ]
    path = world.directory / "understudy.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return path
