"""What real routers do to a probe is found, and found between the right hops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from nornir_tcptraceroute import Interface
from nornir_tcptraceroute.analysis import explain
from nornir_tcptraceroute.analysis.crafted import packet_text

from .test_traces import run_probe, trace_one

if TYPE_CHECKING:
    from nornir_tcptraceroute import Trace

    from .conftest import LabFactory

SOURCE_TRANSLATED = """
description: A router that translates the client's address and port without state
vantage: client
target: server
hosts:
  client:
  server: {services: [80]}
routers:
  r1:
  mask:
    addresses: [203.0.113.91, "2001:db8::91"]
    rewrite:
      - {address: 203.0.113.91, to: client, flip_port: true}
      - {address: "2001:db8::91", to: client, flip_port: true}
  r3:
links:
  - [client, r1, mask, r3, server]
"""

TTL_RAISED = """
description: A router that sets the TTL to 64, and a server that refuses a port behind it
vantage: client
target: server
hosts:
  client:
  server: {services: [80], firewall: [{do: port-unreachable, port: 81}]}
routers: {r1: , lifter: {set_ttl: 64}, r3: }
links:
  - [client, r1, lifter, r3, server]
"""

TTL_LOWERED = """
description: A router that sets the TTL to 3, so that nothing passes the third router behind it
vantage: client
target: server
hosts:
  client:
  server: {services: [80]}
routers: {r1: , setter: {set_ttl: 3}, r3: , r4: , r5: , r6: }
links:
  - [client, r1, setter, r3, r4, r5, r6, server]
"""

RESTORED = """
description: A router that clears the DSCP, and one that sets it to what it was
vantage: client
target: server
hosts:
  client:
  server: {services: [80]}
routers: {r1: , cleaner: {set_dscp: 0}, r3: , restorer: {set_dscp: 46}, r5: }
links:
  - [client, r1, cleaner, r3, restorer, r5, server]
"""

LATE_RESTORED = """
description: A silent router behind one that clears the DSCP
vantage: client
target: server
hosts:
  client:
  server: {services: [80]}
routers: {r1: , cleaner: {set_dscp: 0}, mute: {silent: true}, r4: }
links:
  - [client, r1, cleaner, mute, r4, server]
"""


def found(trace: Trace) -> list[tuple[int, str, str, str, int | None]]:
    """Every finding: at which hop, field, values, and after which hop."""
    explained = explain(trace)
    assert type(explained).from_dict(explained.to_dict()) == explained
    return [(hop.ttl, one.field, one.sent, one.seen, one.after) for hop in explained.hops for one in hop.modified or ()]


LINUX = {"tcp_options": "linux"}
MSS = {4: "1460", 6: "1440"}
STRIPPED = ("sack-permitted, timestamp, window-scale 7", "window-scale 7")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("evidence", ["notable", "all"])
def test_each_router_that_rewrites_is_named_by_its_link(lab: LabFactory, family: int, evidence: str) -> None:
    trace = trace_one(lab("rewrite"), "server", family, tos=0xB9, evidence=evidence, **LINUX)
    findings = found(trace)
    assert [finding[:2] + finding[4:] for finding in findings] == [
        (3, "dscp", 2),
        (3, "ecn", 2),
        (4, "mss", 3),
        (5, "tcp_options", 4),
    ]
    values = {name: (sent, seen) for _, name, sent, seen, _ in findings}
    assert values["dscp"] == ("46", "8")
    assert values["ecn"] == ("1", "0")
    assert values["mss"] == (MSS[family], "1000")
    assert values["tcp_options"][1] == STRIPPED[1]
    assert values["tcp_options"][0].startswith("sack-permitted, timestamp") is True
    if evidence == "notable":
        assert values["tcp_options"] == STRIPPED
        notes = [note for hop in explain(trace).hops for note in hop.notes or ()]
        assert notes[0] == "dscp 46 -> 8 between hop 2 ({}) and here".format(trace.hops[1].address)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("evidence", ["none", "notable"])
def test_a_stateless_translation_is_found_whatever_is_kept(lab: LabFactory, family: int, evidence: str) -> None:
    here = lab("nat")
    outside, inside = {4: "203.0.113.90", 6: "2001:db8::90"}[family], here.truth.address("rewritten", family)
    # It is done before routing, so that the router's own answer shows it.
    assert found(trace_one(here, outside, family, evidence=evidence)) == [(2, "address", outside, inside, 1)]


@pytest.mark.parametrize("outside", ["203.0.113.80", "2001:db8::80"])
def test_a_stateful_translation_shows_in_who_answers_and_not_in_the_quotes(lab: LabFactory, outside: str) -> None:
    trace = explain(trace_one(lab("nat"), outside))
    assert found(trace) == []
    hidden = [hop.ttl for hop in trace.hops if any("in the destination's name" in note for note in hop.notes or ())]
    assert hidden == [4, 5]


@pytest.mark.parametrize("family", [4, 6])
def test_a_translated_source_is_found_with_its_port(lab: LabFactory, family: int) -> None:
    here = lab(SOURCE_TRANSLATED)
    outside = {4: "203.0.113.91", 6: "2001:db8::91"}[family]
    trace = trace_one(here, "server", family, source_port=33333)
    assert trace.port_state == "open"
    assert found(trace) == [
        (3, "source", here.truth.address("client", family), outside, 2),
        (3, "source_port", "33333", "565", 2),
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_a_shifted_sequence_is_found_and_its_shift_told_where_the_packets_are_kept(lab: LabFactory, family: int) -> None:
    ((ttl, name, sent, seen, after),) = found(trace_one(lab("sequence"), "server", family))
    assert (ttl, name, sent, after) == (3, "sequence", "unknown", 2)
    assert seen.isdigit()
    trace = explain(trace_one(lab("sequence"), "server", family, evidence="all"))
    ((modification,), (note,)) = trace.hops[2].modified or (), trace.hops[2].notes or ()
    assert (int(modification.seen) - int(modification.sent)) % 2**32 == 2**31
    assert note == "sequence shifted by 2147483648 between hop 2 ({}) and here".format(trace.hops[1].address)


@pytest.mark.parametrize("family", [4, 6])
def test_a_ttl_that_was_raised_is_found_where_a_quote_shows_it(lab: LabFactory, family: int) -> None:
    trace = trace_one(lab(TTL_RAISED), "server", family, port=81, max_ttl=6)
    assert found(trace) == [(3, "ttl", "3", "63", 2)]


@pytest.mark.parametrize("family", [4, 6])
def test_a_ttl_that_is_set_low_is_told_of_without_being_called_proven(lab: LabFactory, family: int) -> None:
    trace = explain(trace_one(lab(TTL_LOWERED), "server", family, max_ttl=9))
    assert found(trace) == []
    (note,) = [note for hop in trace.hops for note in hop.notes or ()]
    place = "between hop 2 ({}) and here".format(trace.hops[1].address)
    assert note == "answers for TTL 3 to 9 from one distance: the TTL is set anew {}, or the probe loops here".format(place)
    assert note in (trace.hops[2].notes or ())


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_set_back_is_a_finding_of_its_own(lab: LabFactory, family: int) -> None:
    trace = trace_one(lab(RESTORED), "server", family, tos=46 << 2)
    assert found(trace) == [(3, "dscp", "46", "0", 2), (5, "dscp", "46", "46", 4)]
    notes = explain(trace).hops[4].notes or ()
    assert notes[0].startswith("dscp 0 -> 46 between hop 4 (")


@pytest.mark.parametrize("family", [4, 6])
def test_behind_a_silent_router_the_link_is_as_wide_as_what_is_not_seen(lab: LabFactory, family: int) -> None:
    trace = trace_one(lab(LATE_RESTORED), "server", family, tos=46 << 2, max_ttl=6)
    assert found(trace) == [(4, "dscp", "46", "0", 2)]


PLAIN: list[dict[str, Any]] = [
    {},
    {"tcp_options": "mss"},
    {**LINUX, "tos": 0xB9, "dont_fragment": True},
    {"length": 1400, "flags": "SYN,ECE,CWR"},
    {"flags": "ACK"},
]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("evidence", ["none", "notable", "all"])
@pytest.mark.parametrize("shape", PLAIN, ids=str)
def test_where_nothing_is_rewritten_nothing_is_found(lab: LabFactory, family: int, evidence: str, shape: dict[str, Any]) -> None:
    trace = explain(trace_one(lab("chain"), "server", family, evidence=evidence, **shape))
    assert len(trace.hops) == 12
    for hop in trace.hops[:-1]:
        assert hop.modified == ()
        assert hop.mpls == (None if evidence == "none" else ())
        assert hop.notes == ()
        assert hop.unseen == (None if evidence == "none" else ("payload",) if shape.get("length") else ())
    assert found(trace) == []


def test_a_path_that_is_refused_for_its_length_shows_no_rewriting(lab: LabFactory) -> None:
    for family in (4, 6):
        assert found(trace_one(lab("mtu"), "server", family, length=1350, dont_fragment=family == 4)) == []


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("evidence", ["none", "notable", "all"])
def test_a_packet_of_ones_own_is_compared_with_itself(lab: LabFactory, family: int, evidence: str) -> None:
    """Options, window and payload that no probe of ours has: the path leaves them, or changes just what it changes."""
    segment = TCP(dport=80, window=1234, options=[("MSS", 1460), ("WScale", 3), ("Timestamp", (5, 0))]) / Raw(b"\0hello\0")
    for network, expected in (
        ("chain", []),
        ("rewrite", [(3, "dscp", "46", "8", 2), (4, "mss", "1460", "1000", 3), (5, "tcp_options", "", "", 4)]),
    ):
        here = lab(network)
        address = here.truth.address("server", family)
        header = IP(dst=address, tos=46 << 2) if family == 4 else IPv6(dst=address, tc=46 << 2)
        (trace,) = run_probe(here, {"packet": packet_text(header / segment), "evidence": evidence})
        assert trace.port_state == "open"
        findings = found(trace)
        assert [row[:2] + row[4:] for row in findings] == [
            row[:2] + row[4:] for row in expected if evidence != "none" or row[1] == "dscp"
        ]
        assert [row[:4] for row in findings[:2]] == [row[:4] for row in expected[: 2 if evidence != "none" else 1]]
        if findings and evidence != "none":
            assert [value.partition(" ")[0] for value in findings[2][2:4]] == ["window-scale", "window-scale"]
            assert "timestamp" not in findings[2][3]


SIMULATED = """
description: A host that plays routers, of which one tells its labels and one its interface
vantage: client
target: 198.18.0.1
hosts:
  client:
  cloud:
    simulates:
      seed: 7
      regions:
        - {prefix: 198.18.0.0/16, hops: 8, rtt_ms: 5, mpls: 4, interfaces: 6}
        - {prefix: 2001:2::/48, hops: 8, rtt_ms: 5, mpls: 4, interfaces: 6}
links:
  - [client, cloud]
"""


@pytest.mark.parametrize("destination", ["198.18.0.5", "2001:2::5"])
def test_labels_and_interfaces_of_simulated_routers_are_told_and_nothing_else(lab: LabFactory, destination: str) -> None:
    trace = explain(trace_one(lab(SIMULATED), destination, queries=2))
    assert trace.reached
    assert [hop.ttl for hop in trace.hops if hop.mpls] == [4]
    assert [(label.bottom, label.ttl) for label in trace.hops[3].mpls or ()] == [(False, 1), (True, 1)]
    told = {hop.ttl: hop.interface for hop in trace.hops if hop.interface}
    assert told == {6: (Interface("incoming", 6, trace.hops[5].address, "eth6"),)}
    assert found(trace) == []
