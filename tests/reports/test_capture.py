"""Traces out of captured packets: ours in virtual networks, and those of other tools by what tells their probes apart."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.records import Hop, Reply, Trace
from nornir_tcptraceroute.probe.state import Probe
from nornir_tcptraceroute.probe.wire import IcmpError, TcpReply, as_sent
from nornir_tcptraceroute.reports.capture import LONGEST_PAUSE, LONGEST_PAUSE_BETWEEN_FLOWS, MOST_QUERIES, Captured, Traces
from tests.reports.captures import ACK, BASE, RST, SYN, Timed, error, probe, reply, trace
from tests.unit import packets
from tests.unit.packets import DESTINATION, ICMP, ICMPV6, ROUTER, TCP, VANTAGE
from tests.unit.virtual_network import DESTINATION as THERE
from tests.unit.virtual_network import PORT, SOURCE, SOURCE_PORT, Path, Router, VirtualNetwork

FIN, PSH = 1, 8


def rebuilt(timed: Sequence[Timed], *, cut: bool = False) -> list[Trace]:
    """The traces of packets, each of which is a record in order."""
    traces = Traces()
    for at, packet in timed:
        traces.add(Captured(BASE * 1_000_000_000 + round(at * 1e9), packet))
    records = traces.traces(cut=cut)
    assert [Trace.from_dict(record.to_dict()) for record in records] == records
    return records


def seen(record: Trace) -> list[str | None]:
    return [hop.address for hop in record.hops]


def times(record: Trace) -> list[list[float | None]]:
    return [[answer.rtt_ms for answer in hop.replies] for hop in record.hops]


# Ours, in networks of every kind.


def on_the_wire(packet: IcmpError | TcpReply, family: int) -> bytes:
    """What a reply of the virtual network is as bytes."""
    ttl = packet.reply_ttl or 0
    if isinstance(packet, TcpReply):
        ports = packet.port, packet.local_port
        segment = packets.tcp(
            packet.address, packet.local_address, ports, packet.sequence, packet.acknowledgment, flags=packet.flags
        )
        if family == 4:
            return packets.ipv4(packet.address, packet.local_address, TCP, segment, ttl=ttl)
        return packets.ipv6(packet.address, packet.local_address, TCP, segment, hop_limit=ttl)
    quote = packet.quote
    assert quote is not None
    segment = struct.pack("!HHI", quote.source_port, quote.port, quote.sequence) + quote.segment[8:]
    if family == 4:
        keywords: dict[str, Any] = {"ttl": quote.ttl, "tos": quote.tos, "identification": quote.identification}
        quoted = packets.ipv4(quote.source, quote.address, TCP, segment, **keywords)
        return packets.ipv4(packet.address, SOURCE[4], ICMP, packets.icmpv4(packet.type, packet.code, quoted), ttl=ttl)
    quoted = packets.ipv6(quote.source, quote.address, TCP, segment, hop_limit=quote.ttl, traffic_class=quote.tos)
    message = packets.icmpv6(packet.address, SOURCE[6], packet.type, packet.code, quoted)
    return packets.ipv6(packet.address, SOURCE[6], ICMPV6, message, hop_limit=ttl)


def traced(path: Path, seed: int, family: int, **options: Any) -> tuple[Trace, list[Timed]]:
    """A trace through a virtual network, and what was captured of it at the vantage."""
    asked = TraceOptions(**{"destination": THERE[family], "port": PORT, "tcp_options": "linux", **options})
    network = VirtualNetwork(path, asked, seed, family=family)
    record = network.run()
    timed: list[Timed] = []
    for fate in network.fates:
        sent: Probe = fate.probe
        built = network.builder.build(sent.ttl, sent.sequence, sent.acknowledgment, sent.identification)
        timed.append((fate.sent_at, as_sent(built)))
        timed += [(at, on_the_wire(packet, family)) for at, packet in fate.answers]
    return record, sorted(timed, key=lambda pair: pair[0])


def answers(hop: Hop) -> Counter[Reply]:
    """The answers of a hop, without what a capture can't tell: which query, how often it was asked, and whether it was late."""
    told = [answer for answer in hop.replies if answer.address is not None and answer.rtt_ms is not None and not answer.duplicate]
    return Counter(replace(answer, query=1, attempts=1, late=False, evidence=None, rtt_ms=None) for answer in told)


def assert_same_path(ours: Trace, captured: Trace) -> None:
    """The same hop table, as far as a capture tells; the record leaves out second answers to a query that was asked again."""
    assert seen(captured) == seen(ours)
    assert [hop.ttl for hop in captured.hops] == [hop.ttl for hop in ours.hops]
    assert (captured.port_state, captured.reached) == (ours.port_state, ours.reached)
    for one, other in zip(ours.hops, captured.hops, strict=True):
        assert answers(one) <= answers(other)
        rtts = [answer.rtt_ms for answer in other.replies if answer.rtt_ms is not None]
        for answer in one.replies:
            assert answer.rtt_ms is None or any(abs(answer.rtt_ms - rtt) <= 0.002 for rtt in rtts)


PATHS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "open": ({}, {}),
    "closed": ({"port": "closed"}, {}),
    "filtered": ({"port": "filtered"}, {"max_ttl": 9, "wait": 0.5}),
    "refused": ({"unreachable": (4, 3, 13)}, {}),
    "loss and duplicates": ({"loss": 0.1, "duplicates": 0.2, "jitter": 0.002}, {}),
    "shifted": ({"shift": 0x12345678, "shift_from": 2}, {}),
    "shifted, one at a time": ({"shift": 0x12345678, "shift_from": 3}, {"parallel": 1}),
    "translated": ({"translated": 3}, {}),
    "whole quotes": ({"quote": 60, "translated": 3}, {}),
    "ACK": ({}, {"flags": "ACK"}),
    "SYN and ACK": ({"port": "closed"}, {"flags": "SYN,ACK"}),
    "payload": ({"port": "closed", "quote": 200}, {"length": 200}),
    "one at a time": ({}, {"parallel": 1, "queries": 5}),
    "not reached": ({}, {"max_ttl": 3}),
    "from the middle": ({}, {"first_ttl": 3}),
}


# (What the virtual network translates to is an address of IPv4.)
CASES = [(case, family) for family in (4, 6) for case in PATHS if family == 4 or "translated" not in PATHS[case][0]]


@pytest.mark.parametrize(("case", "family"), CASES)
def test_our_trace_is_rebuilt(case: str, family: int) -> None:
    path, options = PATHS[case]
    if family == 6 and "unreachable" in path:
        path = {**path, "unreachable": (4, 1, 1)}
    routers = [Router(0.004 * ttl, silent=ttl == 2) for ttl in range(1, 5)]
    ours, timed = traced(Path(routers, 0.02, **path), 7, family, **options)
    (captured,) = rebuilt(timed)
    assert_same_path(ours, captured)
    assert captured.probe == ours.probe
    assert captured.source_port == SOURCE_PORT


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    family=st.sampled_from([4, 6]),
    routers=st.lists(st.tuples(st.floats(0.001, 0.05), st.booleans()), min_size=1, max_size=12),
    port=st.sampled_from(["open", "closed", "filtered"]),
    loss=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
    quote=st.sampled_from([8, 20, 28, 60]),
    parallel=st.sampled_from([1, 8]),
)
def test_our_traces_through_random_networks_are_rebuilt(
    seed: int, family: int, routers: list[tuple[float, bool]], port: str, loss: float, quote: int, parallel: int
) -> None:
    path = Path([Router(rtt, silent=silent) for rtt, silent in routers], 0.06, port=port, loss=loss, quote=quote)
    ours, timed = traced(path, seed, family, parallel=parallel, max_ttl=15, wait=1.0)
    (captured,) = rebuilt(timed)
    assert_same_path(ours, captured)


@pytest.mark.parametrize("family", [4, 6])
def test_what_a_capture_can_not_tell_has_its_documented_value(family: int) -> None:
    (record,) = rebuilt(trace(family))
    assert (record.destination, record.address) == (DESTINATION[family], DESTINATION[family])
    assert (record.vantage, record.source) == (VANTAGE[family], VANTAGE[family])
    assert (record.method, record.interface, record.started_at) == ("capture", None, "2023-11-14T22:13:20.000Z")
    assert record.elapsed_ms == 265
    assert record.counters == {"sent": 6, "matched": 6}
    assert [(packet.at_ms, packet.direction) for packet in record.packets or ()][:3] == [
        (0, "sent"),
        (5, "received"),
        (50, "sent"),
    ]
    assert {(answer.attempts, answer.late, answer.name) for hop in record.hops for answer in hop.replies} == {(1, False, None)}
    assert all(answer.evidence for hop in record.hops for answer in hop.replies)


# Other tools.


def sequential(
    numbers: str,
    *,
    family: int = 4,
    hops: int = 3,
    queries: int = 2,
    start: float = 0.0,
    flags: int = SYN,
    again: Mapping[int, int] = MappingProxyType({}),
) -> list[Timed]:
    """A trace of a tool that waits for each answer, whose probes differ in what ``numbers`` names.

    The port of a probe whose number is in ``again`` is that of another one.
    """
    timed: list[Timed] = []
    at, number = start, 0
    for ttl in range(1, hops + 1):
        for _query in range(queries):
            number += 1
            ports = (40001 + again.get(number, number) if "port" in numbers else 40001, 443)
            sequence = 9000 + 1000 * number if "sequence" in numbers else 5000
            identification = 100 + number if "identification" in numbers else 5840
            sent = probe(ttl, sequence, family=family, ports=ports, flags=flags, identification=identification)
            answer = error(sent, router=ttl, quote=8) if ttl < hops else reply(sequence + 1, family=family, ports=ports)
            timed += [(at, sent), (at + 0.005 * ttl, answer)]
            if ttl == hops:
                # The kernel knows nothing of the connection.
                kernel = probe(64, sequence + 1, family=family, ports=ports, flags=RST)
                timed.append((at + 0.005 * ttl + 0.00001, kernel))
            at += 0.05
    return timed


TOOLS = {
    "tcptraceroute": "identification",
    "tcptraceroute --track-port": "port, identification",
    "traceroute -T, mtr --tcp": "port, sequence",
    "a new number for each": "sequence",
    "nothing but time": "",
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tool", TOOLS)
def test_other_tools_are_understood(tool: str, family: int) -> None:
    (record,) = rebuilt(sequential(TOOLS[tool], family=family))
    assert seen(record) == [f"203.0.113.{n}" if family == 4 else f"2001:db8:f::{n}" for n in (1, 2)] + [DESTINATION[family]]
    assert times(record) == [[5, 5], [10, 10], [15, 15]]
    assert (record.port_state, record.stop_reason, record.counters) == ("open", "reached", {"sent": 6, "matched": 6})
    assert bool(record.warnings) is ("port" in TOOLS[tool])


@pytest.mark.parametrize("again", [{14: 5}, {1: 20}, {20: 19}, {14: 5, 9: 5}, {2: 3, 11: 12, 17: 9}], ids=str)
def test_a_port_that_is_chosen_twice_by_chance_makes_no_trace_of_its_own(again: dict[int, int]) -> None:
    (record,) = rebuilt(sequential("port, sequence", hops=10, again=again))
    assert (len(record.hops), record.port_state, record.counters["matched"]) == (10, "open", 20)


@pytest.mark.parametrize("numbers", ["identification", "port, identification", "port, sequence", "sequence"])
def test_answers_that_overtake_one_another_go_to_their_probes(numbers: str) -> None:
    """As traceroute sends 16 probes at once; whatever differs in the probes tells their answers apart."""
    timed = sequential(numbers, hops=5)[:16]
    sent, received = timed[::2], timed[1::2]
    order = random.Random(3).sample(range(8), 8)
    mixed = [(0.001 * number, packet) for number, (_at, packet) in enumerate(sent)]
    mixed += [(0.1 + 0.01 * place, received[number][1]) for place, number in enumerate(order)]
    (record,) = rebuilt(mixed)
    assert seen(record) == [f"203.0.113.{number}" for number in (1, 2, 3, 4)]
    expected = [round(1000 * (0.1 + 0.01 * order.index(number) - 0.001 * number), 3) for number in range(8)]
    assert [rtt for hop in times(record) for rtt in hop] == expected


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_that_the_tool_makes_is_one_answer(family: int) -> None:
    """As mtr --tcp does: the kernel goes on with the handshake, and the server may speak first."""
    sent, ports = probe(2, 500, family=family, ports=(33001, 22)), (33001, 22)
    there = [(0.011, ACK), (0.02, PSH | ACK), (0.03, FIN | ACK)]
    timed = [
        (0.0, first := probe(1, 77, family=family, ports=(33000, 22))),
        (0.001, error(first)),
        (0.005, sent),
        (0.010, reply(501, family=family, ports=ports)),
        (0.0101, probe(2, 501, family=family, ports=ports, flags=ACK)),
        *((at, reply(501, family=family, ports=ports, flags=flags)) for at, flags in there),
        (0.04, probe(2, 501, family=family, ports=ports, flags=FIN | ACK)),
    ]
    (record,) = rebuilt(timed)
    assert times(record) == [[1], [5]]
    assert record.counters == {"sent": 2, "matched": 2}


def test_a_sequence_shifted_for_each_connection_is_told_by_the_connection() -> None:
    timed = []
    for number, shift in enumerate((5, 77777, 1234567890)):
        ports = (40000 + number, 443)
        timed.append((number * 0.1, probe(1, 1000, ports=ports, identification=9)))
        shifted = probe(1, 1000 + shift, ports=ports, identification=9)
        timed.append((number * 0.1 + 0.002, error(shifted, quote=8)))
    (record,) = rebuilt(timed)
    assert times(record) == [[2, 2, 2]]
    assert {answer.altered for answer in record.hops[0].replies} == {("sequence",)}


@pytest.mark.parametrize("numbers", ["identification", "port, sequence", "sequence"])
def test_behind_address_translation_the_number_tells(numbers: str) -> None:
    timed = sequential(numbers, hops=3)
    place = [number for number, (_at, packet) in enumerate(timed) if packet[9] == ICMP and packet[15] == 2]
    for number in place:
        at, packet = timed[number]
        quoted = packet[28:44] + bytes([203, 0, 113, 77]) + packet[48:]
        timed[number] = (at, packets.ipv4("203.0.113.2", VANTAGE[4], ICMP, packets.icmpv4(11, 0, quoted)))
    (record,) = rebuilt(timed)
    assert times(record)[1] == [10, 10]
    for answer in record.hops[1].replies:
        assert answer.altered == ("address",)
        assert answer.quoted is not None
        assert answer.quoted.address == "203.0.113.77"


def test_a_checksum_that_a_network_card_was_to_fill_in_is_no_contradiction() -> None:
    sent = probe(1, 500)
    pseudo = packets.sum_of(packets.pseudo_header(VANTAGE[4], DESTINATION[4], TCP, 20))
    unsummed = sent[:36] + struct.pack("!H", pseudo) + sent[38:]
    (record,) = rebuilt([(0, unsummed), (0.001, error(sent))])
    assert times(record) == [[1]]


@pytest.mark.parametrize(
    ("flags", "state"), [(SYN | ACK, "open"), (RST | ACK, "closed"), (RST, "unknown")], ids=["SYN/ACK", "RST/ACK", "RST"]
)
@pytest.mark.parametrize("numbers", ["identification", "port, sequence"])
def test_the_port_is_told_as_by_the_probe(numbers: str, flags: int, state: str) -> None:
    timed = [
        (at, reply(int.from_bytes(packet[28:32], "big"), ports=struct.unpack_from("!HH", packet, 20)[::-1], flags=flags))
        if packet[9] == TCP and packet[33] == SYN | ACK
        else (at, packet)
        for at, packet in sequential(numbers)
    ]
    (record,) = rebuilt(timed)
    assert (record.port_state, record.reached) == (state if state != "unknown" else "filtered", state != "unknown")


@pytest.mark.parametrize(
    ("kind", "code", "state", "stop"),
    [(3, 13, "filtered", "unreachable"), (3, 1, "unreachable", "unreachable"), (11, 0, "unknown", "max_ttl")],
)
def test_a_path_that_ends_before_the_destination(kind: int, code: int, state: str, stop: str) -> None:
    sent = [probe(ttl, 1000 - ttl) for ttl in (1, 2, 3)]
    timed = [(0, sent[0]), (0.01, error(sent[0])), (0.1, sent[1]), (0.2, sent[2])]
    timed += [(0.11, error(sent[1], router=2, kind=kind, code=code)), (0.21, error(sent[2], router=2, kind=kind, code=code))]
    (record,) = rebuilt(timed)
    assert (record.port_state, record.stop_reason, record.reached) == (state, stop, False)
    assert len(record.hops) == (3 if stop == "max_ttl" else 2)


@pytest.mark.parametrize(("cut", "state", "stop", "hops"), [(0, "filtered", "max_ttl", 4), (1, "unknown", "interrupted", 1)])
def test_silence_at_the_end_says_nothing_where_the_capture_is_cut_off(cut: int, state: str, stop: str, hops: int) -> None:
    sent = [probe(ttl, 1000 - ttl) for ttl in (1, 2, 3, 4)]
    timed = [(0.1 * number, packet) for number, packet in enumerate(sent)]
    (record,) = rebuilt([*timed[:1], (0.01, error(sent[0])), *timed[1:]], cut=bool(cut))
    assert (record.port_state, record.stop_reason, len(record.hops)) == (state, stop, hops)


# Which probes are one trace.


def test_traces_at_the_same_time_are_told_apart() -> None:
    mixed = sorted([*trace(4), *trace(4, start=0.003, port=50000), *trace(6, start=0.001), *sequential("port, sequence")])
    ordinary = [(0.02, probe(64, 1, ports=(1234, 443))), (0.03, reply(2, ports=(1234, 443))), (0.04, b"\x45"), (0.05, b"")]
    records = rebuilt(sorted([*mixed, *ordinary]))
    assert [(record.family, record.source_port, len(record.hops)) for record in records] == [
        (4, 40001, 3),
        (4, 40002, 3),
        (6, 40001, 3),
        (4, 50000, 3),
    ]


@pytest.mark.parametrize(
    ("numbers", "pause", "traces"),
    [
        ("port, sequence", LONGEST_PAUSE_BETWEEN_FLOWS - 1, 1),
        ("port, sequence", LONGEST_PAUSE_BETWEEN_FLOWS + 1, 2),
        ("identification", LONGEST_PAUSE - 1, 1),
        ("identification", LONGEST_PAUSE + 1, 2),
    ],
)
def test_a_pause_ends_a_trace(numbers: str, pause: float, traces: int) -> None:
    records = rebuilt([*sequential(numbers), *sequential(numbers, start=pause + 0.265)])
    assert [[len(hop.replies) for hop in record.hops] for record in records] == [[4 // traces] * 3] * traces


@pytest.mark.parametrize("numbers", ["identification, sequence", "port, sequence"])
def test_more_queries_than_a_record_holds_are_further_traces(numbers: str) -> None:
    records = rebuilt(sequential(numbers, hops=2, queries=MOST_QUERIES + 20))
    assert sum(record.counters["sent"] for record in records) == 2 * (MOST_QUERIES + 20)
    assert all(len(hop.replies) <= MOST_QUERIES for record in records for hop in record.hops)


def test_a_clock_that_was_set_breaks_nothing() -> None:
    timed = trace()
    for shift in (-1e6, 1e6, 86400, -3600):
        assert rebuilt([*timed[:5], *((at + shift, packet) for at, packet in timed[5:])])


def test_what_others_forge_into_a_capture_is_counted_and_changes_nothing() -> None:
    timed = trace()
    flow = DESTINATION[4], VANTAGE[4]
    forged = packets.ipv4(*flow, TCP, packets.tcp(*flow, (443, 40001), 5, 4711, flags=SYN | ACK))
    quoted = probe(1, 424242, identification=4242)
    (record,) = rebuilt([*timed[:3], (0.051, forged), (0.051, error(quoted, router=66)), *timed[3:]])
    (honest,) = rebuilt(timed)
    assert record.hops == honest.hops
    assert record.counters == {**honest.counters, "ignored_wrong_acknowledgment": 1, "ignored_wrong_sequence": 1}


@pytest.mark.parametrize("family", [4, 6])
def test_a_damaged_answer_is_none(family: int) -> None:
    timed = trace(family)
    at, packet = timed[1]
    (record,) = rebuilt([timed[0], (at, packet[:-1] + bytes([packet[-1] ^ 1])), *timed[2:]])
    assert record.hops[0].loss == 0.5


def test_fragments_are_no_answers() -> None:
    sent = probe(1, 500)
    message = packets.icmpv4(11, 0, sent)
    part = packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, message, fragment=0x2000)
    (record,) = rebuilt([(0, sent), (0.01, part)])
    assert record.hops[0].address is None
