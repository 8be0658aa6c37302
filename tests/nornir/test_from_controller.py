"""Traces from the controller: many at once on one engine, under every runner, with options from the inventory."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from nornir_tcptraceroute.lab import Lab
from nornir_tcptraceroute.plugins.tasks import TracerouteResult
from tests.nornir.conftest import Run

NODES = ("alpha", "beta", "gamma", "service", "core", "firewall", "east", "west")


def test_two_hundred_destinations_by_a_hundred_workers_are_what_the_topology_says(fleet: Lab, run_on_controller: Run) -> None:
    places = [(NODES[number % len(NODES)], (22, 80, 443, 8080)[number % 4]) for number in range(200)]
    hosts = {
        f"host{number}": {"hostname": fleet.truth.address(node, 4), "data": {"tcptraceroute": {"port": port}}}
        for number, (node, port) in enumerate(places)
    }
    result = run_on_controller(hosts, workers=100, names="none", count=True)
    assert len(result) == 200
    for number, (node, port) in enumerate(places):
        (single,) = result[f"host{number}"]
        assert isinstance(single, TracerouteResult)
        assert not single.failed, single.result
        assert single.trace is not None
        addresses = [hop.address for hop in single.trace.hops]
        paths = fleet.truth.paths("controller", node, family=4, port=port)
        assert any(path.matches(addresses) for path in paths), (node, addresses)
        assert single.trace.port_state == paths[0].end
    # To send, to hear ICMP and to hear TCP: for all threads together.
    assert 1 <= result.raw_sockets <= 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("runner", ["serial", "threaded", "RetryRunner", "QueueRunner"])
def test_every_runner_runs_the_task(run_on_controller: Run, runner: str) -> None:
    hosts = {"service": {"hostname": "service"}, "filtered": {"hostname": "service", "data": {"tcptraceroute": {"port": 25}}}}
    result = run_on_controller(hosts, runner=runner, max_ttl=6, wait=0.2, names="none")
    assert not result.failed
    told: dict[str, Any] = {name: several[0] for name, several in result.items()}
    assert told["service"].trace.port_state == "open"
    assert told["filtered"].trace.port_state == "filtered"
    assert told["filtered"].severity_level > told["service"].severity_level
    again = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own
    assert json.dumps(again["filtered"][0].result) == json.dumps(told["filtered"].result)


def test_options_are_merged_key_by_key(run_on_controller: Run) -> None:
    hosts: dict[str, Any] = {
        "one": {"hostname": "service", "groups": ["near", "far"], "data": {"tcptraceroute": {"queries": 2}}},
        "two": {"hostname": "service", "groups": ["far"]},
        "wrong": {"hostname": "service", "groups": ["wrong"]},
    }
    group = {
        "near": {"data": {"tcptraceroute": {"port": 443}}},
        "far": {"data": {"tcptraceroute": {"port": 80, "first_ttl": 2, "queries": 5}}},
        "wrong": {"data": {"tcptraceroute": {"hops": 3, "port": 0}}},
    }
    defaults = {"data": {"tcptraceroute": {"family": 4, "first_ttl": 1, "names": "none"}}}
    result = run_on_controller(hosts, group=group, defaults=defaults, tos=8)
    shown = {}
    for name in ("one", "two"):
        single: Any = result[name][0]
        trace = single.trace
        shown[name] = (trace.port, trace.hops[0].ttl, len(trace.hops[0].replies), trace.family, trace.probe.tos)
    assert shown == {"one": (443, 2, 2, 4, 8), "two": (80, 2, 5, 4, 8)}
    assert result["wrong"][0].failed
    assert result["wrong"][0].result == "wrong: 'hops' in tcptraceroute of group wrong is not an option"


WRONG = [
    ({"vantage": "moon"}, ["vantage: 'moon' is not one of controller, host"]),
    ({"vantage": "host"}, ["destination: is needed with vantage 'host', where the probe leaves from the host itself"]),
    ({"rate": 0}, ["rate: 0 is not between 1 and 1000000 probes per second, nor 'unlimited'"]),
    ({"destination": [], "time_limit": 0}, ["time_limit: 0 is not between 1 and 86400 s", "destination: 0 traces are not"]),
    ({"port": [80, 0], "queries": 51}, ["queries: 51 is not between 1 and 50", "port: 0 is not between 1 and 65535"]),
    ({"destination": "no.such.name.invalid"}, ["no.such.name.invalid"]),
]


@pytest.mark.parametrize(("call", "problems"), WRONG, ids=[str(call) for call, _ in WRONG])
def test_what_is_wrong_is_told_at_once(run_on_controller: Run, call: dict[str, Any], problems: list[str]) -> None:
    (single,) = run_on_controller({"here": {"hostname": "service"}}, **call)["here"]
    assert single.failed
    lines = single.result.splitlines()
    assert len(lines) == len(problems)
    assert all(line.startswith("here: ") and problem in line for line, problem in zip(lines, problems, strict=True)), lines


def test_a_dry_run_sends_nothing(fleet: Lab, run_on_controller: Run) -> None:
    def sent() -> str:
        return str(fleet.run("controller", ["cat", "/proc/net/dev"]).stdout)

    before = sent()
    result = run_on_controller({"service": {"hostname": fleet.truth.address("service", 4)}}, port=443, max_ttl=9, dry_run=True)
    plan = result["service"][0].result
    assert (plan["address"], plan["probes"], plan["interface"]) == (fleet.truth.address("service", 4), 27, "management")
    assert sent() == before
