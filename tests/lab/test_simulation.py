"""The simulated network: its bytes are what Scapy reads, its decisions those of the scenario, and its record what happened."""

from __future__ import annotations

import ipaddress
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6TimeExceeded, IPv6

from nornir_tcptraceroute.lab import Lab, NamespaceError, TopologyError, parse_topology
from nornir_tcptraceroute.lab.inside.packets import checksum, read_segment
from nornir_tcptraceroute.lab.inside.simulation import Answer, Simulation
from nornir_tcptraceroute.lab.scenario import Simulation as Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

VANTAGE = {4: "192.0.2.1", 6: "2001:db8::1"}
DESTINATION = {4: "198.18.0.9", 6: "2001:2::9"}
PREFIX = {4: "198.18.0.0/15", 6: "2001:2::/48"}
NOW = 1_000_000_000_000


def simulation(family: int = 4, seed: int = 1, **region: Any) -> Simulation:
    scenario = Scenario.model_validate({"seed": seed, "regions": [{"prefix": PREFIX[family], "hops": 12, **region}]})
    # What crosses to the process is JSON.
    return Simulation(json.loads(json.dumps(scenario.plain())))


def probe(
    family: int = 4,
    ttl: int = 1,
    *,
    flags: str = "S",
    sequence: int = 1000,
    source_port: int = 40000,
    port: int = 80,
    **more: Any,
) -> bytes:
    destination = more.pop("destination", DESTINATION[family])
    header = IP(src=VANTAGE[4], dst=destination, ttl=ttl) if family == 4 else IPv6(src=VANTAGE[6], dst=destination, hlim=ttl)
    return bytes(header / TCP(sport=source_port, dport=port, flags=flags, seq=sequence, **more))


def answers(network: Simulation, packet: bytes, now: int = NOW) -> list[Answer]:
    segment = read_segment(packet)
    assert segment is not None
    return network.answers(segment, now)


def address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def opened(answer: Answer, family: int) -> Any:
    """An answer as Scapy reads it, whole, its checksums right."""
    kind = IP if family == 4 else IPv6
    read = kind(answer.packet)
    again = kind(answer.packet)
    for layer in (again, again.payload):
        for name in ("chksum", "cksum", "len", "plen"):
            if name in layer.fields:
                del layer.fields[name]
    fresh = kind(bytes(again))
    assert [fresh.getfieldval(name) for name in fresh.fields] == [read.getfieldval(name) for name in read.fields]
    for name in ("chksum", "cksum"):
        if name in read.payload.fields:
            assert read.payload.fields[name] == fresh.payload.fields[name]
    return read


@pytest.mark.parametrize("size", range(40))
def test_the_checksum_of_a_packet_with_its_checksum_is_zero(size: int) -> None:
    data = bytes((7 * position + size) % 256 for position in range(size - size % 2))
    assert checksum(data + checksum(data).to_bytes(2, "big")) == 0


@pytest.mark.parametrize(("data", "expected"), [(b"", 0xFFFF), (b"\0\0", 0xFFFF), (b"\xff\xff", 0), (b"\x12\x34\x56", 0x97CB)])
def test_checksums_at_the_edges(data: bytes, expected: int) -> None:
    assert checksum(data) == expected


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("ttl", [1, 5, 11])
def test_a_router_on_the_way_answers_with_time_exceeded(family: int, ttl: int) -> None:
    sent = probe(family, ttl)
    (answer,) = answers(simulation(family, rtt_ms=60), sent)
    read = opened(answer, family)
    assert answer.outcome == "time_exceeded"
    assert answer.due == NOW + 60_000_000 * ttl // 12
    assert (read.src, read.dst) == (address(answer.responder), VANTAGE[family])
    error = read[ICMP] if family == 4 else read[ICMPv6TimeExceeded]
    assert (error.type, error.code) == ({4: 11, 6: 3}[family], 0)
    assert (read.ttl if family == 4 else read.hlim) == 65 - ttl
    quote = bytes(error.payload)
    as_arrived = (IP if family == 4 else IPv6)(sent)
    if family == 4:
        as_arrived.ttl = 1
        del as_arrived.chksum
    else:
        as_arrived.hlim = 1
    assert quote == bytes(as_arrived)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("ttl", [12, 13, 255])
def test_the_destination_answers_from_its_distance_on(family: int, ttl: int) -> None:
    (answer,) = answers(simulation(family), probe(family, ttl))
    read = opened(answer, family)
    assert (answer.outcome, address(answer.responder), read.src) == ("syn_ack", DESTINATION[family], DESTINATION[family])
    assert (read[TCP].flags, read[TCP].ack, read[TCP].dport) == ("SA", 1001, 40000)
    assert dict(read[TCP].options)["MSS"] == 1460
    assert (read.ttl if family == 4 else read.hlim) == 64 - 11


@pytest.mark.parametrize(
    ("region", "ttl", "expected"),
    [
        ({"silent": [3]}, 3, "silent"),
        ({"silent": [3]}, 4, "time_exceeded"),
        ({"loss": 1}, 3, "lost"),
        ({"loss": 1}, 12, "lost"),
        ({"ports": {80: "closed"}}, 12, "rst"),
        ({"ports": {80: "filtered"}}, 12, "filtered"),
        ({"port": "filtered", "ports": {80: "open"}}, 12, "syn_ack"),
        ({"filtered_beyond": 8}, 8, "time_exceeded"),
        ({"filtered_beyond": 8}, 9, "filtered"),
        ({"filtered_beyond": 8}, 30, "filtered"),
        ({"unreachable": {"hop": 5}}, 5, "time_exceeded"),
        ({"unreachable": {"hop": 5}}, 6, "unreachable"),
        ({"syn_proxy": 4}, 4, "time_exceeded"),
        ({"syn_proxy": 4}, 5, "syn_ack"),
        ({"hops": 3}, 3, "syn_ack"),
        ({"hops": [4, 4]}, 3, "time_exceeded"),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_what_the_scenario_says_happens(family: int, region: dict[str, Any], ttl: int, expected: str) -> None:
    (answer,) = answers(simulation(family, **region), probe(family, ttl))
    assert answer.outcome == expected
    assert bool(answer.packet) == (expected not in ("silent", "lost", "filtered"))


@pytest.mark.parametrize(("family", "code"), [(4, 13), (6, 1)])
def test_a_refusal_comes_from_the_router_that_refuses(family: int, code: int) -> None:
    network = simulation(family, unreachable={"hop": 5})
    (expired,), (refused,) = answers(network, probe(family, 5)), answers(network, probe(family, 9))
    assert refused.responder == expired.responder
    read = opened(refused, family)
    assert (read[ICMP] if family == 4 else read[ICMPv6DestUnreach]).code == code


@pytest.mark.parametrize("family", [4, 6])
def test_extensions_are_what_scapy_reads(family: int) -> None:
    (answer,) = answers(simulation(family, mpls=[2], interfaces=[2]), probe(family, 2))
    read = opened(answer, family)
    extension = (read[ICMP] if family == 4 else read[ICMPv6TimeExceeded]).ext
    shown = extension.show2(dump=True) if extension is not None else ""
    assert "MPLS" in shown
    assert "eth2" in shown


def test_a_short_quote_is_eight_bytes_behind_the_header() -> None:
    (answer,) = answers(simulation(quote=8), probe(4, 2))
    assert len(answer.packet) == 20 + 8 + 20 + 8


def test_a_translation_shows_in_quotes_from_beyond_it() -> None:
    network = simulation(translation={"hop": 3, "port_mask": 256})
    quotes = [IP(answers(network, probe(4, ttl))[0].packet[28:]) for ttl in (3, 4)]
    assert [(quote.src, quote[TCP].sport) for quote in quotes] == [(VANTAGE[4], 40000), ("203.0.113.1", 40000 ^ 256)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1000, 2000, 3000, 4000], ["syn_ack 1001", "rst 2001", "syn_ack 3001", "rst 4001"]),
        ([1000, 1000, 1000, 1000], ["syn_ack 1001", "syn_ack 1001", "state", "state"]),
        ([4000, 3000, 2000, 1000], ["syn_ack 4001", "challenge_ack 4001", "state", "state"]),
    ],
    ids=["rising", "the same", "falling"],
)
def test_a_listener_treats_further_syns_as_linux_does(numbers: list[int], expected: list[str]) -> None:
    network = simulation()
    told = []
    for number in numbers:
        (answer,) = answers(network, probe(4, 12, sequence=number))
        told.append(answer.outcome + (f" {opened(answer, 4)[TCP].ack}" if answer.packet else ""))
    assert told == expected


def test_a_reset_of_the_vantage_ends_what_was_half_open() -> None:
    network = simulation()
    assert answers(network, probe(4, 12, sequence=4000))[0].outcome == "syn_ack"
    assert answers(network, probe(4, 64, sequence=4001, flags="R")) == []
    assert answers(network, probe(4, 12, sequence=3000))[0].outcome == "syn_ack"


def test_a_stray_ack_is_reset_with_its_number() -> None:
    (answer,) = answers(simulation(), probe(4, 12, flags="A", ack=777))
    assert (answer.outcome, opened(answer, 4)[TCP].seq) == ("rst", 777)


def test_a_rate_limit_is_a_matter_of_time() -> None:
    network = simulation(icmp_rate="10/s", icmp_burst=2)
    outcomes = [answers(network, probe(4, 3), NOW + milliseconds * 1_000_000)[0].outcome for milliseconds in (0, 1, 2, 99, 150)]
    assert outcomes == ["time_exceeded", "time_exceeded", "rate_limited", "rate_limited", "time_exceeded"]


def test_loss_and_duplicates_are_the_share_that_was_asked_for() -> None:
    network = simulation(loss=0.2, duplicates=0.1, jitter_ms=5)
    outcomes = Counter(answer.outcome for number in range(5000) for answer in answers(network, probe(4, 3, sequence=number)))
    assert 900 < outcomes["lost"] < 1100
    assert 320 < outcomes["duplicate"] < 480


def test_the_same_seed_does_the_same_and_another_does_not() -> None:
    def run(seed: int) -> list[Answer]:
        network = simulation(seed=seed, hops=[8, 16], loss=0.2, jitter_ms=5, duplicates=0.1, forged=2, paths=4, balanced=[4])
        return [answer for number in range(300) for answer in answers(network, probe(4, number % 20 + 1, sequence=number))]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_equal_paths_differ_where_they_are_balanced_and_keep_a_flow() -> None:
    network = simulation(paths=8, balanced=[4])
    seen: dict[int, set[bytes]] = {3: set(), 4: set(), 5: set()}
    for ttl in seen:
        for source_port in range(40000, 40100):
            twice = {answers(network, probe(4, ttl, source_port=source_port))[0].responder for _ in range(2)}
            assert len(twice) == 1
            seen[ttl] |= twice
    assert {ttl: len(responders) for ttl, responders in seen.items()} == {3: 1, 4: 8, 5: 1}


def test_near_hops_are_shared_and_far_ones_are_not() -> None:
    network = simulation(shared=3)
    per_hop = {
        ttl: len({answers(network, probe(4, ttl, destination=f"198.18.{number}.1"))[0].responder for number in range(64)})
        for ttl in (1, 3, 11)
    }
    assert per_hop[1] == per_hop[3] == 1
    assert per_hop[11] > 50


@pytest.mark.parametrize("family", [4, 6])
def test_forgeries_of_every_kind_come_along_and_none_is_the_answer(family: int) -> None:
    told = answers(simulation(family, forged=10), probe(family, 4))
    assert [answer.outcome for answer in told] == ["time_exceeded"] + ["forged"] * 10
    assert len({answer.packet for answer in told}) == 11


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45" * 19,
        probe()[:39],
        bytes(IP(dst="198.18.0.9") / b"x"),
        probe()[:6] + b"\x20" + probe()[7:],
        b"\x60" + b"\0" * 60,
    ],
    ids=["empty", "short", "cut off", "no TCP", "fragment", "IPv6 of no TCP"],
)
def test_what_is_no_segment_is_nothing(packet: bytes) -> None:
    assert read_segment(packet) is None


def test_an_address_of_no_region_gets_nothing() -> None:
    assert answers(simulation(), probe(destination="192.0.2.77")) == []


HEAD = "description: x\nvantage: a\nhosts:\n  a:\n  b:\n    simulates:\n      regions:\n"


@pytest.mark.parametrize(
    ("region", "links", "expected"),
    [
        ("prefix: 198.18.0.0", "[a, b]", "8: hosts.b.simulates.regions.0.hops: is missing"),
        ("prefix: 198.18.0.1/8, hops: 3", "[a, b]", "8: hosts.b.simulates.regions.0.prefix"),
        ("prefix: 198.18.0.0/15, hops: 0", "[a, b]", "8: hosts.b.simulates.regions.0.hops.0"),
        ("prefix: 198.18.0.0/15, hops: 3, icmp_rate: 5", "[a, b]", "is not a rate such as"),
        ("prefix: 198.18.0.0/15, hops: 3", "[a, b]\n  - [a, b]", "6: hosts.b.simulates: 'b' plays networks behind its one link"),
        ("prefix: 198.18.0.0/15, hops: 3, unreachable: {hop: 2, do: no-route}", "[a, b]", "does not exist in IPv4"),
        ("prefix: 198.18.0.0/15, hops: [9, 3]", "[a, b]", "9 is more than 3"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_line(region: str, links: str, expected: str) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology(f"{HEAD}        - {{{region}}}\nlinks:\n  - {links}\n")
    assert expected in str(caught.value)


# In a lab.

SIMULATED = """
description: simulated networks for a test
vantage: client
hosts:
  client:
  cloud:
    simulates:
      regions:
        - {prefix: 198.18.0.0/16, hops: 9, rtt_ms: 20, silent: 4, mpls: 3}
        - {prefix: 2001:2::/48, hops: 9, rtt_ms: 20}
        - {prefix: 198.19.0.0/16, hops: 5, port: closed, forged: 3, duplicates: 0.5}
routers:
  gateway:
links:
  - [client, gateway, cloud]
"""


@pytest.fixture(scope="module")
def recorded() -> Iterator[Lab]:
    with_record = Lab(parse_topology(SIMULATED), record=True)
    try:
        with_record.start()
    except NamespaceError as error:
        pytest.skip(str(error))
    yield with_record
    with_record.close()


@pytest.mark.parametrize(
    ("destination", "hops", "port_state", "silent"),
    [("198.18.7.7", 10, "open", {5}), ("2001:2::77", 10, "open", set()), ("198.19.7.7", 6, "closed", set())],
)
def test_a_trace_shows_what_the_record_says(
    recorded: Lab, destination: str, hops: int, port_state: str, silent: set[int]
) -> None:
    ended = recorded.run(
        "client",
        [sys.executable, "-m", "nornir_tcptraceroute.probe"],
        input=json.dumps({"destination": destination, "names": "none"}),
    )
    assert ended.returncode == 0, ended.stderr
    trace = json.loads(ended.stdout)
    assert (trace["port_state"], len(trace["hops"])) == (port_state, hops)
    exchanges = [exchange for exchange in recorded.exchanges("cloud") if exchange.destination == destination]
    # The gateway is the first hop, and takes one from the TTL of what it passes on.
    for hop in trace["hops"][1:]:
        told = {exchange.responder for exchange in exchanges if exchange.ttl == hop["ttl"] - 1 and exchange.outcome != "forged"}
        assert told == set(hop["addresses"] if hop["ttl"] not in silent else told)
        assert bool(hop["addresses"]) == (hop["ttl"] not in silent)
    answered = [exchange for exchange in exchanges if exchange.outcome in ("time_exceeded", "syn_ack", "rst")]
    assert answered
    assert all(exchange.received <= exchange.due <= exchange.sent for exchange in answered)


def test_no_record_of_what_is_none(recorded: Lab) -> None:
    with pytest.raises(Exception, match="no record is kept of 'client'"):
        recorded.exchanges("client")
