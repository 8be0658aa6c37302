"""The task `locate_block`, from the controller and from managed hosts: the verdict names the firewall of the topology."""

from __future__ import annotations

import json
import pickle
import shutil
from functools import partial
from typing import Any

import pytest

from nornir_tcptraceroute.analysis.blocking import locate_block_in_records
from nornir_tcptraceroute.lab import Lab
from nornir_tcptraceroute.plugins.tasks import BlockResult
from tests.nornir.conftest import Run, managed

QUICK: dict[str, Any] = {"max_ttl": 10, "wait": 0.5, "names": "none", "family": 4}


@pytest.fixture(scope="module")
def locate(run_on_controller: Run) -> Run:
    return partial(run_on_controller, task="locate_block")


def single(result: Any, name: str = "service") -> BlockResult:
    (told,) = result[name]
    assert isinstance(told, BlockResult)
    return told


CASES = [(443, 80, "open", False), (8080, 80, "closed", False), (25, 443, "dropped", True), (23, 443, "rejected", True)]


@pytest.mark.parametrize(("port", "working", "verdict", "is_blocked"), CASES)
def test_from_the_controller(fleet: Lab, locate: Run, port: int, working: int, verdict: str, is_blocked: bool) -> None:
    hosts = {"service": {"hostname": "service", "data": {"tcptraceroute": {"port": port, **QUICK}}}}
    told = single(locate(hosts, working_port=working))
    assert not told.failed, told.result
    assert told.measurement is not None
    assert (told.result["verdict"], told.result["is_blocked"]) == (verdict, is_blocked), told.result["sentence"]
    assert told.measurement.to_dict() == told.result == json.loads(json.dumps(told.result))
    assert (told.severity_level > 20) is is_blocked
    if verdict == "dropped":
        assert told.result["passes"]["address"] in fleet.truth.addresses("firewall", 4)
        assert told.result["blocks"]["role"] == "destination"
    if verdict == "rejected":
        assert told.result["likely"]["address"] in fleet.truth.addresses("firewall", 4)
        assert (told.result["icmp_type"], told.result["icmp_code"]) == (3, 13)
    # What Ansible gets from the same two traces is the same.
    told_again = locate_block_in_records(told.result["blocked"], told.result["working"])
    assert {name: told.result[name] for name in told_again} == told_again
    assert pickle.loads(pickle.dumps(told.measurement)) == told.measurement  # noqa: S301 - our own


def test_a_device_of_the_inventory_is_named(fleet: Lab, locate: Run) -> None:
    addresses = list(fleet.truth.addresses("firewall", 4))
    hosts = {
        "service": {"hostname": "service", "data": {"tcptraceroute": QUICK}},
        "fw1": {"hostname": "firewall", "data": {"tcptraceroute": {**QUICK, "addresses": addresses}}},
    }
    told = single(locate(hosts, destination="service", port=25, working_port=80))
    assert "between hop 5 (fw1, " in told.result["sentence"]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: openssh-client")
def test_from_a_host_by_ack(fleet: Lab, locate: Run) -> None:
    host = managed("beta", "root", "openssh", **{name: value for name, value in QUICK.items() if name != "names"})
    told = single(locate({"beta": host}, destination="service", port=23), "beta")
    assert not told.failed, told.result
    assert told.result["working"]["probe"]["flags"] == "ACK"
    assert told.result["blocked"]["probe"]["flags"] == "SYN"
    assert told.result["blocked"]["vantage"] == "beta"
    assert told.result["verdict"] == "rejected"
    assert told.result["likely"]["address"] in fleet.truth.addresses("firewall", 4)


WRONG = [
    ({"port": [80, 443]}, "here: destination: a block is located for one destination and one port at a time"),
    ({"port": 80, "working_port": 80}, "here: working_port: 80 is the port in question: give another, or none"),
    ({"port": 80, "working_port": "ssh"}, "here: working_port: 'ssh' is not between 1 and 65535"),
    ({"port": 80, "flags": "ACK"}, "here: flags: 'ACK' opens no connection, and a block is located by SYN"),
    ({"port": 80, "hops": 3}, "here: 'hops' is not an option"),
    ({"port": 0}, "here: port: 0 is not between 1 and 65535"),
    ({"destination": "no.such.name.invalid", "port": 80}, "here: no.such.name.invalid does not resolve"),
]


@pytest.mark.parametrize(("call", "problem"), WRONG, ids=[str(call) for call, _ in WRONG])
def test_what_is_wrong_is_one_sentence(locate: Run, call: dict[str, Any], problem: str) -> None:
    told = single(locate({"here": {"hostname": "service"}}, **call), "here")
    assert told.failed
    assert told.measurement is None
    assert str(told.result).startswith(problem)
    assert "\n" not in str(told.result)


def test_a_dry_run_tells_both_plans(locate: Run) -> None:
    told = single(locate({"service": {"hostname": "service"}}, port=25, working_port=80, dry_run=True))
    assert told.result["dry_run"] is True
    assert len(told.result["traces"]) == 2
    assert {trace["address"] for trace in told.result["traces"]} == {told.result["traces"][0]["address"]}
