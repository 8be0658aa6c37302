"""Traces without any privilege, in labs of real routers: the same path and port states, and no more claimed than is known."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.analysis import explain
from nornir_tcptraceroute.probe.records import Trace

if TYPE_CHECKING:
    from nornir_tcptraceroute.lab import Lab

    from .conftest import LabFactory

PROGRAM = [sys.executable, "-m", "nornir_tcptraceroute.probe"]


def traced(lab: Lab, *, capabilities: bool = False, **request: Any) -> dict[str, Any]:
    """The record of one trace from the vantage."""
    ended = lab.run(
        lab.topology.vantage, PROGRAM, capabilities=capabilities, input=json.dumps({"names": "none", **request}), timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    record: dict[str, Any] = json.loads(ended.stdout)
    return record


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", [80, 81, 82, 1001, 1003, 1013, 2001, 2004, 99])
def test_every_port_state_and_hop_is_that_of_a_raw_trace(lab: LabFactory, family: int, port: int) -> None:
    network = lab("ports")
    request: dict[str, Any] = {"destination": "server", "port": port, "family": family, "max_ttl": 8, "queries": 2}
    raw = traced(network, capabilities=True, method="raw", **request)
    connected = traced(network, **request)
    assert (raw["method"], connected["method"]) == ("raw", "connect")
    for name in ("address", "source", "reached", "port_state", "stop_reason"):
        assert connected[name] == raw[name]
    assert [(hop["ttl"], hop["addresses"]) for hop in connected["hops"]] == [
        (hop["ttl"], hop["addresses"]) for hop in raw["hops"]
    ]
    told = [[(reply["kind"], reply["icmp_type"], reply["icmp_code"]) for reply in hop["replies"]] for hop in raw["hops"]]
    assert [
        [(reply["kind"], reply["icmp_type"], reply["icmp_code"]) for reply in hop["replies"]] for hop in connected["hops"]
    ] == told


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_not_known_is_null_and_one_warning_says_what_is_missing(lab: LabFactory, family: int) -> None:
    trace = traced(lab("chain"), destination="server", family=family)
    assert trace["source_port"] is None
    assert (trace["probe"]["length"], trace["probe"]["tcp_options"]) == (None, "system")
    for hop in trace["hops"]:
        for reply in hop["replies"]:
            assert (reply["reply_ttl"], reply["quoted"], reply["altered"]) == (None, None, [])
            assert reply["rtt_ms"] is not None
    (warning,) = trace["warnings"]
    assert "CAP_NET_RAW" in warning
    assert "become: true" in warning


LABELLED = """
description: A simulated router that tells of labels and of its interface
vantage: client
hosts:
  client:
  cloud:
    simulates:
      regions:
        - {prefix: 198.19.0.0/16, hops: 9, mpls: 6, interfaces: 6}
        - {prefix: 2001:2::/48, hops: 9, mpls: 6, interfaces: 6}
        - {prefix: 198.18.0.0/16, hops: 9, quote: 8}
links: [[client, cloud]]
"""


@pytest.mark.parametrize("destination", ["198.19.0.9", "2001:2::9", "198.18.0.9"])
def test_extensions_reach_a_connection_too_and_nothing_is_read_into_the_rest(lab: LabFactory, destination: str) -> None:
    network = lab(LABELLED)
    explained = {
        method: explain(Trace.from_dict(traced(network, capabilities=True, destination=destination, method=method)))
        for method in ("raw", "connect")
    }
    assert [hop.mpls for hop in explained["connect"].hops] == [hop.mpls for hop in explained["raw"].hops]
    assert [hop.interface for hop in explained["connect"].hops] == [hop.interface for hop in explained["raw"].hops]
    assert bool(explained["connect"].hops[5].mpls) == (destination != "198.18.0.9")
    for trace in explained.values():
        assert not any(hop.modified for hop in trace.hops)


def test_asked_for_by_name_it_needs_no_warning(lab: LabFactory) -> None:
    trace = traced(lab("chain"), capabilities=True, destination="server", method="connect")
    assert (trace["method"], trace["warnings"]) == ("connect", [])


def test_silent_hops_are_silent(lab: LabFactory) -> None:
    network = lab("silent")
    connected = traced(network, destination=network.topology.target, family=4)
    raw = traced(network, capabilities=True, destination=network.topology.target, family=4)
    assert [hop["address"] for hop in connected["hops"]] == [hop["address"] for hop in raw["hops"]]
    assert None in [hop["address"] for hop in connected["hops"]]


def test_the_mtu_of_a_narrow_link_is_told(lab: LabFactory) -> None:
    # A SYN fits everywhere; that the connection keeps to the path is what matters here.
    network = lab("mtu")
    connected = traced(network, destination=network.topology.target, family=4)
    assert connected["reached"]


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        ({"flags": "ACK"}, "flags"),
        ({"source_port": 33333}, "source_port"),
        ({"length": 100}, "length"),
        ({"tos": 1}, "tos"),
        ({"tcp_options": "mss"}, "tcp_options"),
        ({"evidence": "all"}, "evidence"),
    ],
)
def test_what_a_connection_can_not_do_asks_for_the_privilege(lab: LabFactory, request_: dict[str, Any], name: str) -> None:
    network = lab("chain")
    asked = {"destination": "server", **request_}
    ended = network.run("client", PROGRAM, capabilities=False, input=json.dumps(asked))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "CAP_NET_RAW" in ended.stderr
    refused = network.run("client", PROGRAM, capabilities=False, input=json.dumps({**asked, "method": "connect"}))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"{name}: ")
    assert "needs raw sockets, and method is connect" in refused.stderr


@pytest.mark.parametrize("destination", ["198.18.0.9", "2001:2::9"])
def test_the_service_sees_a_connection_that_is_reset_without_fin_or_data(lab: LabFactory, destination: str) -> None:
    network = lab("simulated")
    trace = traced(network, destination=destination)
    assert (trace["port_state"], len(trace["hops"])) == ("open", 12)
    assert all(hop["loss"] == 0 for hop in trace["hops"])


def test_two_hundred_traces_at_once(lab: LabFactory) -> None:
    requests = "\n".join(
        json.dumps(
            {"destination": f"198.18.{number // 250}.{number % 250 + 1}", "names": "none", "queries": 1, "method": "connect"}
        )
        for number in range(200)
    )
    ended = lab("simulated").run("client", PROGRAM, capabilities=False, input=requests, timeout=120)
    assert ended.returncode == 0, ended.stderr
    traces = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(traces) == 200
    assert all(trace["port_state"] == "open" and len(trace["hops"]) == 12 for trace in traces)
