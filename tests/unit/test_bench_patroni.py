"""What the bench of Patroni tells the programs beside us, and what it understands of their answers."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from bench import _patroni

from understudy.embedded import EmbeddedError
from understudy.embedded.daemon import find
from understudy.embedded.haproxy import EmbeddedHaproxy
from understudy.model import Rpo

LEADER = {"name": "a", "role": "leader", "state": "running"}
FOLLOWER = {"name": "b", "role": "replica", "state": "streaming"}
SYNC = FOLLOWER | {"role": "sync_standby"}


@pytest.mark.parametrize("name", _patroni.SETTINGS_OF)
def test_its_times_are_those_that_its_documentation_allows(name: str) -> None:
    times = _patroni.SETTINGS_OF[name].dcs
    assert times["loop_wait"] + 2 * times["retry_timeout"] <= times["ttl"]
    assert all(times[key] >= least for key, least in _patroni.MINIMA.items())


@pytest.mark.parametrize(
    ("members", "mode", "leader"),
    [
        ([LEADER, FOLLOWER], Rpo.BOUNDED, "a"),
        ([LEADER, SYNC], Rpo.ZERO, "a"),
        ([LEADER, FOLLOWER], Rpo.ZERO, ""),
        ([LEADER, FOLLOWER | {"state": "starting"}], Rpo.BOUNDED, ""),
        ([LEADER | {"state": "starting"}, FOLLOWER], Rpo.BOUNDED, ""),
        ([LEADER], Rpo.BOUNDED, ""),
        ([FOLLOWER], Rpo.BOUNDED, ""),
        ([], Rpo.BOUNDED, ""),
    ],
)
def test_a_pair_is_healthy_when_one_leads_and_the_other_follows_as_wanted(
    members: list[dict[str, str]], mode: Rpo, leader: str
) -> None:
    assert _patroni.leader_of(members, mode) == leader


@pytest.mark.parametrize("mode", Rpo)
def test_what_a_node_is_told_listens_on_loopback_only(mode: Rpo, tmp_path: Path) -> None:
    told = _patroni.configuration(
        "a",
        folder=tmp_path,
        rest=20001,
        server=20002,
        etcd=20003,
        bin_folder=tmp_path / "bin",
        passwords={"postgres": "one", "replicator": "two"},
    )
    addresses = [told["restapi"]["listen"], told["postgresql"]["listen"], told["etcd3"]["hosts"]]
    assert addresses == ["127.0.0.1:20001", "127.0.0.1:20002", "127.0.0.1:20003"]
    assert told["watchdog"] == {"mode": "off"}
    made = json.loads(json.dumps(_patroni.bootstrap(_patroni.SETTINGS_OF["tight"], mode)))
    assert made["dcs"]["synchronous_mode"] is (mode is Rpo.ZERO)
    assert made["dcs"]["postgresql"]["parameters"]["fsync"] == "on"


def test_a_missing_part_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_patroni, "PATRONI", tmp_path / "patroni")
    assert "make peers PEERS=patroni" in _patroni.missing()


def needs(program: str) -> None:
    try:
        find(program)
    except EmbeddedError:
        pytest.skip(f"{program} is not installed: {_patroni.HOW}")


def test_haproxy_takes_its_configuration_and_ends_with_its_block() -> None:
    needs("haproxy")
    ports = {"a": (20001, 20002), "b": (20003, 20004)}
    with EmbeddedHaproxy(_patroni.balanced(_patroni.SETTINGS_OF["tight"], ports)) as gate:
        assert gate.pid is not None
    assert gate.pid is None
    assert not gate.folder.exists()


def test_etcd_answers_and_ends_with_its_block() -> None:
    needs("etcd")
    with _patroni.Etcd() as etcd:
        assert httpx.get(f"http://127.0.0.1:{etcd.port}/version", timeout=30).json()["etcdserver"]
    assert etcd.pid is None
    assert not etcd.folder.exists()
