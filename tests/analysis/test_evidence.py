"""What replies show of the path: findings at the right hop, nothing where nothing was rewritten, and no bytes that raise."""

from __future__ import annotations

import os
import random
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_tcptraceroute import Interface, Label, Modification, ProbeShape, Reply, Trace
from nornir_tcptraceroute.analysis import explain
from tests.strategies import EXAMPLE, traces
from tests.unit import packets
from tests.unit.virtual_network import DESTINATION, SOURCE, SOURCE_PORT

from .quoting_network import Change, extension_of, traced

CASES = int(os.environ.get("EVIDENCE_CASES", "100"))
HEADER = {4: 20, 6: 40}
#: The TCP options of a Linux SYN without its timestamp, by what they are at; 20 is where the TCP header ends.
MSS_AT, SACK_AT, TIMESTAMP_AT = 22, 24, 26


def from_hop(ttl: int, change: Callable[[bytes, int], bytes], until: int = 255) -> Change:
    """The change of a router whose next hop is the first to show it; ``until`` is the last that does.

    Arguments:
        ttl: of that hop. change: makes another packet of a packet and the length of its IP header.
    """
    return lambda at, probe: change(probe, HEADER[4 if probe[0] >> 4 == 4 else 6]) if ttl <= at <= until else probe


def tcp_bytes(at: int, data: bytes) -> Callable[[bytes, int], bytes]:
    """Write bytes into the TCP header, and mend its checksum."""

    def change(probe: bytes, header: int) -> bytes:
        start = header + at
        return mended(probe[:start] + data + probe[start + len(data) :], header)

    return change


def mended(probe: bytes, header: int) -> bytes:
    """The packet with its right TCP checksum."""
    addresses = probe[12:20] if header == 20 else probe[8:40]
    segment = probe[header : header + 16] + b"\0\0" + probe[header + 18 :]
    pseudo = addresses + struct.pack("!II", len(segment), packets.TCP)
    check = 0xFFFF ^ packets.sum_of(pseudo + segment)
    return probe[:header] + segment[:16] + check.to_bytes(2, "big") + segment[18:]


def tos(value: int) -> Callable[[bytes, int], bytes]:
    def change(probe: bytes, header: int) -> bytes:
        if header == 20:
            return probe[:1] + bytes([value]) + probe[2:]
        word = struct.unpack_from("!H", probe)[0] & 0xF00F | value << 4
        return struct.pack("!H", word) + probe[2:]

    return change


def addresses(source: str | None = None, destination: str | None = None) -> Callable[[bytes, int], bytes]:
    def change(probe: bytes, header: int) -> bytes:
        at, size = (12, 4) if header == 20 else (8, 16)
        first = packets.packed(source) if source else probe[at : at + size]
        second = packets.packed(destination) if destination else probe[at + size : at + 2 * size]
        return mended(probe[:at] + first + second + probe[at + 2 * size :], header)

    return change


def shifted(by: int) -> Callable[[bytes, int], bytes]:
    def change(probe: bytes, header: int) -> bytes:
        number = (struct.unpack_from("!I", probe, header + 4)[0] + by) % 2**32
        return tcp_bytes(4, number.to_bytes(4, "big"))(probe, header)

    return change


def ip_bytes(at: int, data: bytes) -> Callable[[bytes, int], bytes]:
    return lambda probe, _header: probe[:at] + data + probe[at + len(data) :]


def without_options(probe: bytes, header: int) -> bytes:
    """The packet with its TCP options cut out, not overwritten."""
    probe = probe[: header + 12] + b"\x50" + probe[header + 13 : header + 20] + probe[header + 40 :]
    at = 2 if header == 20 else 4
    length = len(probe) if header == 20 else len(probe) - 40
    return mended(probe[:at] + struct.pack("!H", length) + probe[at + 2 :], header)


def found(trace: Trace) -> list[tuple[Any, ...]]:
    """Every finding: at which hop, field, values, and after which hop; and whether the record holds it all."""
    explained = explain(trace)
    assert Trace.from_dict(explained.to_dict()) == explained
    assert explain(explained) == explained
    return [(hop.ttl, one.field, one.sent, one.seen, one.after) for hop in explained.hops for one in hop.modified or ()]


def notes(trace: Trace) -> list[tuple[int, str]]:
    return [(hop.ttl, note) for hop in explain(trace).hops for note in hop.notes or ()]


LINUX: dict[str, Any] = {"tcp_options": "linux"}
BOTH = pytest.mark.parametrize("family", [4, 6])
WITHOUT_TIMESTAMP = "sack-permitted, timestamp, window-scale 7"

REWRITES: dict[str, tuple[Callable[[bytes, int], bytes], dict[str, Any], list[tuple[str, str, str]]]] = {
    "dscp": (tos(8 << 2), {"tos": 46 << 2}, [("dscp", "46", "8")]),
    "ecn": (tos(46 << 2 | 3), {"tos": 46 << 2 | 2}, [("ecn", "2", "3")]),
    "both": (tos(0), {"tos": 0xB9}, [("dscp", "46", "0"), ("ecn", "1", "0")]),
    "source port": (tcp_bytes(0, b"\x04\0"), {}, [("source_port", str(SOURCE_PORT), "1024")]),
    "port": (tcp_bytes(2, b"\x1f\x90"), {}, [("port", "443", "8080")]),
    "acknowledgment": (tcp_bytes(8, b"\0\0\0\x09"), {}, [("acknowledgment", "0", "9")]),
    "flags": (tcp_bytes(13, b"\x02"), {"flags": "SYN,ECE,CWR"}, [("flags", "SYN,ECE,CWR", "SYN")]),
    "urgent": (tcp_bytes(18, b"\0\x05"), {}, [("urgent", "0", "5")]),
    "MSS": (tcp_bytes(MSS_AT, b"\x05\x78"), LINUX, [("mss", "{mss}", "1400")]),
    "MSS alone": (tcp_bytes(MSS_AT, b"\x05\x78"), {"tcp_options": "mss"}, [("mss", "{mss}", "1400")]),
    "MSS removed": (tcp_bytes(20, b"\x01" * 4), {"tcp_options": "mss"}, [("mss", "{mss}", "none")]),
    "SACK removed": (
        tcp_bytes(SACK_AT, b"\x01\x01"),
        LINUX,
        [("tcp_options", WITHOUT_TIMESTAMP, "timestamp, window-scale 7")],
    ),
    "scale": (
        tcp_bytes(39, b"\x02"),
        LINUX,
        [("tcp_options", WITHOUT_TIMESTAMP, "sack-permitted, timestamp, window-scale 2")],
    ),
    "all options": (
        tcp_bytes(20, b"\x01" * 20),
        LINUX,
        [("mss", "{mss}", "none"), ("tcp_options", WITHOUT_TIMESTAMP, "none")],
    ),
    "another option": (
        tcp_bytes(SACK_AT, b"\xfd\x0c\xf9\x89\x01\x02\x03\x04\x05\x06\x07\x08"),
        LINUX,
        [("tcp_options", WITHOUT_TIMESTAMP, "option 253 f9890102030405060708, window-scale 7")],
    ),
    "payload": (
        tcp_bytes(24, b"\0\0"),
        {"length": 100},
        [("payload", "25262728292a2b2c at byte 4", "00002728292a2b2c at byte 4")],
    ),
}


@BOTH
@pytest.mark.parametrize("evidence", ["notable", "all"])
@pytest.mark.parametrize("name", REWRITES)
def test_a_rewritten_field_is_found_at_the_first_hop_that_shows_it(family: int, evidence: str, name: str) -> None:
    change, options, findings = REWRITES[name]
    trace = traced(from_hop(4, change), family=family, evidence=evidence, **options)
    mss = {4: "1460", 6: "1440"}[family]
    seen = found(trace)
    if evidence == "all":
        # The timestamp that was sent is known there.
        seen = [(*row[:2], *(value.replace("timestamp 1:0", "timestamp") for value in row[2:4]), row[4]) for row in seen]
    assert seen == [(4, name, sent.format(mss=mss), now, 3) for name, sent, now in findings]


@BOTH
def test_translated_addresses_are_found(family: int) -> None:
    outside, inside = {4: ("203.0.113.7", "10.9.9.9"), 6: ("2001:db8:7::7", "2001:db8:9::99")}[family]
    for evidence in ("none", "notable", "all"):
        trace = traced(from_hop(3, addresses(outside, inside)), family=family, evidence=evidence)
        assert found(trace) == [(3, "source", SOURCE[family], outside, 2), (3, "address", DESTINATION[family], inside, 2)]


@BOTH
def test_a_shift_is_told_by_its_amount_where_the_packets_are_kept(family: int) -> None:
    change = from_hop(2, shifted(2**32 - 1000))
    ((ttl, field, sent, seen, after),) = found(traced(change, family=family, evidence="all"))
    assert (ttl, field, after, (int(seen) - int(sent)) % 2**32) == (2, "sequence", 1, 2**32 - 1000)
    ((_, note),) = notes(traced(change, family=family, evidence="all"))
    assert note.startswith("sequence shifted by 4294966296 between hop 1 (")
    for evidence in ("none", "notable"):
        ((ttl, field, sent, seen, after),) = found(traced(change, family=family, evidence=evidence))
        assert (ttl, field, sent, after) == (2, "sequence", "unknown", 1)


def test_a_rewritten_identification_and_window_are_told_with_their_values_where_they_are_kept() -> None:
    for family, name, change in (
        (4, "identification", ip_bytes(4, b"\0\0")),
        (6, "window", tcp_bytes(14, b"\0\0")),
    ):
        ((ttl, field, sent, seen, after),) = found(traced(from_hop(5, change), family=family))
        assert (ttl, field, sent, seen, after) == (5, name, "unknown", "0", 4)
        ((*_, sent, seen, _),) = found(traced(from_hop(5, change), family=family, evidence="all"))
        assert (sent.isdigit(), seen) == (True, "0")
    # IPv4 probes have one window, which is known.
    assert found(traced(from_hop(5, tcp_bytes(14, b"\x04\0")))) == [(5, "window", "64240", "1024", 4)]


@BOTH
def test_a_packet_that_became_shorter_is_found_with_what_it_lost(family: int) -> None:
    lengths = {4: ("60", "40"), 6: ("80", "60")}[family]
    mss = {4: "1460", 6: "1440"}[family]
    assert found(traced(from_hop(4, without_options), family=family, **LINUX)) == [
        (4, "length", *lengths, 3),
        (4, "mss", mss, "none", 3),
        (4, "tcp_options", WITHOUT_TIMESTAMP, "none", 3),
    ]


@pytest.mark.parametrize(("asked", "now"), [(True, b"\0\0"), (False, b"\x40\0")])
def test_the_dont_fragment_bit_is_found(asked: object, now: bytes) -> None:
    words = ("set", "clear") if asked else ("clear", "set")
    assert found(traced(from_hop(2, ip_bytes(6, now)), dont_fragment=asked)) == [(2, "dont_fragment", *words, 1)]


def test_how_routers_keep_their_own_copy_of_a_header_is_no_finding() -> None:
    """Length without the header or with it twice, length and identification with swapped bytes: BSD's of old."""
    for length in (20, 60, 0x2800):
        assert found(traced(from_hop(3, ip_bytes(2, length.to_bytes(2, "big"))), quote=8)) == []
    swapped = from_hop(3, lambda probe, _header: probe[:4] + probe[5:6] + probe[4:5] + probe[6:])
    assert found(traced(swapped, evidence="all")) == []


def test_a_flow_label_that_changes_is_found() -> None:
    change = from_hop(4, lambda probe, _header: probe[:1] + bytes([probe[1] & 0xF0]) + b"\xbe\xef" + probe[4:])
    assert found(traced(change, family=6)) == [(4, "flow_label", "1", str(0xBEEF), 3)]
    assert found(traced(change, family=6, evidence="all")) == [(4, "flow_label", "1", str(0xBEEF), 3)]


@BOTH
def test_a_checksum_that_nobody_mended_is_told(family: int) -> None:
    def clamped(probe: bytes, header: int) -> bytes:
        return probe[: header + MSS_AT] + b"\x03\xe8" + probe[header + MSS_AT + 2 :]

    rows = found(traced(from_hop(3, clamped), family=family, tcp_options="mss"))
    assert [row[:2] for row in rows] == [(3, "mss"), (3, "checksum")]
    assert rows[1][2] == "right"
    assert rows[1][3].endswith(", wrong")


@BOTH
def test_a_checksum_that_was_left_to_a_network_card_is_no_finding(family: int) -> None:
    """A kernel's own packet that no card has seen yet, as on veth: it holds the sum of the pseudo-header."""

    def unfinished(probe: bytes, header: int) -> bytes:
        addresses = probe[12:20] if header == 20 else probe[8:40]
        total = packets.sum_of(addresses + struct.pack("!II", len(probe) - header, packets.TCP))
        return tos(0)(probe[: header + 16] + total.to_bytes(2, "big") + probe[header + 18 :], header)

    # (The probe itself refuses a quote of which nothing but the checksum differs.)
    both = from_hop(1, lambda probe, header: unfinished(tcp_bytes(18, b"\0\1")(probe, header), header))
    assert [row[1] for row in found(traced(both, family=family, tos=4))] == ["dscp", "urgent"]


# The link.


@BOTH
def test_a_second_change_and_the_way_back_are_findings_and_what_stays_is_none(family: int) -> None:
    def change(ttl: int, probe: bytes) -> bytes:
        value = {1: 46, 2: 46, 3: 8, 4: 8, 5: 0}.get(ttl, 46)
        return tos(value << 2)(probe, HEADER[family])

    trace = traced(change, family=family, tos=46 << 2)
    assert found(trace) == [(3, "dscp", "46", "8", 2), (5, "dscp", "46", "0", 4), (6, "dscp", "46", "46", 5)]
    places = [explain(trace).hops[ttl - 1].address for ttl in (2, 4, 5)]
    assert [note for _, note in notes(trace)] == [
        "dscp 46 -> 8 between hop 2 ({}) and here".format(places[0]),
        "dscp 8 -> 0 between hop 4 ({}) and here".format(places[1]),
        "dscp 0 -> 46 between hop 5 ({}) and here".format(places[2]),
    ]


@BOTH
@pytest.mark.parametrize("evidence", ["none", "notable", "all"])
def test_a_sequence_that_is_shifted_back_is_told_so(family: int, evidence: str) -> None:
    trace = traced(from_hop(3, shifted(99), until=4), family=family, evidence=evidence)
    assert [(row[0], row[1], row[4]) for row in found(trace)] == [(3, "sequence", 2), (5, "sequence", 4)]
    assert notes(trace)[1][1].startswith("sequence as sent again between hop 4 (")


@BOTH
def test_what_the_first_hop_shows_came_before_every_hop(family: int) -> None:
    trace = traced(from_hop(1, tos(0)), family=family, tos=46 << 2)
    assert found(trace) == [(1, "dscp", "46", "0", None)]
    assert notes(trace) == [(1, "dscp 46 -> 0 before here")]


@BOTH
def test_hops_whose_quotes_are_too_short_widen_the_link_and_name_what_they_hide(family: int) -> None:
    clamp = from_hop(5, tcp_bytes(MSS_AT, b"\x05\x78"))

    def change(ttl: int, probe: bytes) -> bytes:
        return clamp(ttl, probe)[: HEADER[family] + 8] if ttl in (3, 4) else clamp(ttl, probe)

    explained = explain(traced(change, family=family, tcp_options="mss"))
    assert [hop.unseen for hop in explained.hops] == [
        *[()] * 2,
        *[("acknowledgment", "flags", "window", "urgent", "tcp_options")] * 2,
        *[()] * 2,
        None,
    ]
    assert [one.after for hop in explained.hops for one in hop.modified or ()] == [2]
    assert [hop.modified for hop in explained.hops[2:4]] == [(), ()]
    assert (explained.hops[-1].modified, explained.hops[-1].mpls, explained.hops[-1].notes) == (None, None, None)


@BOTH
@pytest.mark.parametrize(
    ("length", "unseen"),
    [
        (8, ("acknowledgment", "flags", "window", "urgent", "tcp_options", "payload")),
        # (An acknowledgment of 0 at the end looks like padding.)
        (12, ("acknowledgment", "flags", "window", "urgent", "tcp_options", "payload")),
        (13, ("flags", "window", "urgent", "tcp_options", "payload")),
        (14, ("window", "urgent", "tcp_options", "payload")),
        (16, ("urgent", "tcp_options", "payload")),
        (20, ("tcp_options", "payload")),
        (39, ("tcp_options", "payload")),
        (40, ("payload",)),
        (43, ("payload",)),
        (44, ()),
    ],
)
def test_what_a_quote_does_not_reach_is_named(family: int, length: int, unseen: tuple[str, ...]) -> None:
    whole = {4: 64, 6: 84}[family]
    trace = explain(traced(quote=length, family=family, length=whole, **LINUX))
    assert {hop.unseen for hop in trace.hops[:-1]} == {unseen}
    assert found(trace) == []


@BOTH
def test_padding_is_not_taken_for_the_probe(family: int) -> None:
    """A router that quotes some bytes, pads them to 128 and appends an extension."""
    labels = extension_of((1, 1, bytes.fromhex("18960101")))
    for length in range(8, 45):
        trace = explain(traced(quote=length, family=family, extension=labels, queries=1, **LINUX))
        assert found(trace) == [], length
        assert [hop.mpls for hop in trace.hops[:-1]] == [(Label(100704, 0, bottom=True, ttl=1),)] * 6


def test_an_mss_in_the_part_of_the_options_that_is_quoted_is_found() -> None:
    rows = found(traced(from_hop(3, tcp_bytes(MSS_AT, b"\x05\x78")), quote=28, **LINUX))
    assert rows == [(3, "mss", "1460", "1400", 2)]


# What routers tell of themselves.


@BOTH
def test_labels_and_interfaces_stand_in_their_hops_and_in_words(family: int) -> None:
    stack = bytes.fromhex("18960c05") + bytes.fromhex("00010140")
    name = b"\x0cge-0/0/1.0" + b"\0"
    extension = extension_of((1, 1, stack), (2, 0x0B, b"\0\0\0\x07" + name + b"\0\0\x05\xdc"))
    hop = explain(traced(family=family, extension=extension)).hops[0]
    assert hop.mpls == (Label(100704, 6, bottom=False, ttl=5), Label(16, 0, bottom=True, ttl=64))
    assert hop.interface == (Interface("incoming", 7, None, "ge-0/0/1.0", 1500),)
    assert hop.notes == ("MPLS 100704 tc 6 ttl 5 / 16 tc 0 ttl 64", "incoming interface ge-0/0/1.0 (ifIndex 7, MTU 1500)")


def test_an_extension_that_cannot_be_read_is_a_note() -> None:
    hop = explain(traced(extension=b"\x20\0\0\0\0\0\0\0")).hops[0]
    assert hop.notes == ("an ICMP extension that can't be read: with an object of an impossible length",)
    assert (hop.mpls, hop.modified) == ((), ())


def with_quoted_ttl(trace: Trace, ttl: int, quoted: int, **fields: Any) -> Trace:
    """The trace with another TTL quoted at a hop, in record and evidence."""

    def changed(reply: Reply) -> Reply:
        assert reply.quoted is not None
        evidence = None
        if reply.evidence is not None:
            data = bytearray(b64decode(reply.evidence))
            data[28 + 8 if trace.family == 4 else 8 + 7] = quoted
            evidence = b64encode(bytes(data)).decode()
        return replace(reply, quoted=replace(reply.quoted, ttl=quoted), evidence=evidence, **fields)

    hops = [
        replace(hop, replies=tuple(map(changed, hop.replies))) if hop.ttl == ttl and hop.replies[0].quoted else hop
        for hop in trace.hops
    ]
    return replace(trace, hops=tuple(hops))


@BOTH
def test_quoted_ttls_say_what_they_prove_and_no_more(family: int) -> None:
    trace = traced(family=family)
    assert found(with_quoted_ttl(trace, 3, 0)) == []
    assert notes(with_quoted_ttl(trace, 3, 0)) == [
        (3, "quotes TTL 0: the router before sent on what had run out, or this one quotes what it had decremented")
    ]
    assert found(with_quoted_ttl(trace, 4, 3)) == []
    assert notes(with_quoted_ttl(trace, 4, 3)) == [
        (4, "quotes TTL 3, where 1 is usual: a hidden MPLS label may have run out instead")
    ]
    # More than what was sent: nothing but a rewriting makes it.
    assert found(with_quoted_ttl(trace, 4, 5)) == [(4, "ttl", "4", "5", 3)]
    assert found(with_quoted_ttl(trace, 5, 250, kind="unreachable")) == [(5, "ttl", "5", "250", 4)]
    # A label tells why the TTL has not run out.
    labelled = traced(family=family, extension=extension_of((1, 1, bytes.fromhex("18960101"))))
    assert [note for ttl, note in notes(with_quoted_ttl(labelled, 4, 3)) if ttl == 4] == ["MPLS 100704 tc 0 ttl 1"]


def alike(trace: Trace, first: int, last: int, address: str, reply_ttl: int | None) -> Trace:
    """The trace with hops that one router answers."""

    def changed(reply: Reply) -> Reply:
        return replace(reply, address=address, reply_ttl=reply_ttl)

    hops = [
        replace(hop, address=address, addresses=(address,), replies=tuple(map(changed, hop.replies)))
        if first <= hop.ttl <= last
        else hop
        for hop in trace.hops
    ]
    return replace(trace, hops=tuple(hops))


def test_a_router_that_answers_many_ttls_is_told_at_the_first() -> None:
    trace = traced(hops=8)
    place = "between hop 2 ({}) and here".format(trace.hops[1].address)
    sentence = "answers for TTL 3 to {} from one distance: the TTL is set anew {}, or the probe loops here"
    assert notes(alike(trace, 3, 8, "10.0.3.1", 60)) == [(3, sentence.format(8, place))]
    assert notes(alike(trace, 3, 5, "10.0.3.1", 60)) == [(3, sentence.format(5, place))]
    assert notes(alike(trace, 1, 8, "10.0.3.1", 60)) == [(1, sentence.format(8, "before here").replace("TTL 3", "TTL 1"))]
    # Twice is what a router makes that sends on a TTL of 0.
    assert notes(alike(trace, 3, 4, "10.0.3.1", 60)) == []
    assert notes(alike(trace, 3, 8, "10.0.3.1", None)) == []
    assert found(alike(trace, 3, 8, "10.0.3.1", 60)) == []


@BOTH
def test_a_time_exceeded_of_the_destination_is_told(family: int) -> None:
    trace = traced(family=family, hops=8)
    hidden = alike(trace, 5, 8, DESTINATION[family], 60)
    assert [(ttl, note.partition(":")[0]) for ttl, note in notes(hidden)] == [
        (ttl, "time exceeded in the destination's name") for ttl in range(5, 9)
    ]


# What is not known is not compared.


def as_crafted(trace: Trace) -> Trace:
    return replace(trace, probe=replace(trace.probe, tcp_options="packet"))


@BOTH
@pytest.mark.parametrize("evidence", ["none", "notable", "all"])
def test_a_crafted_probe_has_no_findings_where_nothing_was_rewritten(family: int, evidence: str) -> None:
    for options in (LINUX, {"length": 600}, {"flags": "ACK"}):
        assert found(as_crafted(traced(family=family, evidence=evidence, **options))) == []


@BOTH
def test_of_a_crafted_probe_the_hops_are_compared_with_each_other(family: int) -> None:
    trace = as_crafted(traced(from_hop(4, tcp_bytes(MSS_AT, b"\x05\x78")), family=family, **LINUX))
    mss = {4: "1460", 6: "1440"}[family]
    assert found(trace) == [(4, "mss", mss, "1400", 3)]
    assert notes(trace)[0][1].startswith("mss {} -> 1400 between hop 3 (".format(mss))
    # What every hop shows alike may have been sent so.
    assert found(as_crafted(traced(from_hop(1, tcp_bytes(MSS_AT, b"\x05\x78")), family=family, **LINUX))) == []


@BOTH
def test_a_captured_trace_is_compared_with_its_packets_alone(family: int) -> None:
    """Of another tool: the shape says nothing of the options' values, and probes may have ports of their own."""
    shape = ProbeShape(flags="", tcp_options="other", length=0, tos=255, dont_fragment=False)
    trace = traced(from_hop(4, tos(0)), family=family, tos=46 << 2, evidence="all", **LINUX)
    captured = replace(trace, method="capture", probe=shape, source_port=7)
    assert found(captured) == [(4, "dscp", "46", "0", 3)]
    without = replace(trace, method="connect", packets=None, source_port=7, probe=replace(trace.probe, length=0, flags=""))
    assert found(without) == [(4, "dscp", "46", "0", 3)]
    # A part of the packets is no proof of the rest.
    assert trace.packets is not None
    assert found(replace(captured, packets=trace.packets[:8])) in ([], [(4, "dscp", "46", "0", 3)])


def test_an_unreachable_from_before_is_no_way_back() -> None:
    """A packet too big comes from where the packet was not yet rewritten."""
    trace = traced(from_hop(3, tos(0)), tos=46 << 2)
    reply = trace.hops[2].replies[0]
    assert reply.quoted is not None
    early = replace(
        reply, kind="unreachable", icmp_type=3, icmp_code=4, evidence=None, quoted=replace(reply.quoted, tos=184, ttl=4)
    )
    hops = list(trace.hops)
    hops[4] = replace(hops[4], replies=(*hops[4].replies, early))
    assert found(replace(trace, hops=tuple(hops))) == [(3, "dscp", "46", "0", 2)]


def test_two_ways_that_differ_are_told_once() -> None:
    """Half of a hop's probes go where the DSCP is cleared."""
    trace = traced(tos=46 << 2)
    hops = list(trace.hops)
    for index in (2, 3):
        first, *others = hops[index].replies
        assert first.quoted is not None
        cleared = replace(first, quoted=replace(first.quoted, tos=0), evidence=None)
        hops[index] = replace(hops[index], replies=(cleared, *others))
    assert found(replace(trace, hops=tuple(hops))) == [(3, "dscp", "46", "0", 2)]


def test_of_several_replies_each_is_compared() -> None:
    """The second probe of hop 3, and no other, went where the MSS is clamped."""
    asked: list[int] = []

    def change(ttl: int, probe: bytes) -> bytes:
        asked.append(ttl)
        clamped = asked.count(3) == 2 and ttl == 3
        return tcp_bytes(MSS_AT, b"\x05\x78")(probe, HEADER[4]) if clamped else probe

    trace = replace(traced(change, tcp_options="mss", evidence="all"), packets=None)
    assert found(trace)[0] == (3, "mss", "1460", "1400", 2)


def test_what_stands_behind_the_quoted_packet_is_not_the_probes() -> None:
    for family in (4, 6):
        assert found(traced(from_hop(3, lambda probe, _header: probe + b"junk"), family=family)) == []


def test_flows_of_their_own_have_labels_of_their_own() -> None:
    def change(ttl: int, probe: bytes) -> bytes:
        return probe[:3] + bytes([ttl]) + probe[4:]

    trace = traced(change, family=6)
    assert [row[1] for row in found(trace)] == ["flow_label"] * 5
    assert found(replace(trace, method="connect", source_port=None)) == []


# Clean networks.


CLEAN: list[dict[str, Any]] = [
    {"tcp_options": tcp_options, "length": length, "tos": value, "flags": flags, "dont_fragment": value > 0}
    for tcp_options in ("none", "mss", "linux")
    for length in (None, 700)
    for value in (0, 0xB9)
    for flags in ("SYN", "SYN,ECE,CWR", "ACK")
]


@pytest.mark.parametrize("part", range(10))
def test_a_hundred_traces_through_a_clean_network_show_nothing(part: int) -> None:
    for seed in range(100 * part, 100 * part + 100):
        chance = random.Random(seed)
        shape = chance.choice(CLEAN)
        path = {
            "loss": chance.choice((0.0, 0.1)),
            "duplicates": chance.choice((0.0, 0.1)),
            "jitter": chance.choice((0.0, 0.02)),
            "port": chance.choice(("open", "closed")),
        }
        trace = traced(
            family=chance.choice((4, 6)),
            quote=chance.choice((8, 12, 28, 64, 1500)),
            hops=chance.randrange(1, 10),
            queries=chance.randrange(1, 4),
            seed=seed,
            path=path,
            evidence=chance.choice(("none", "notable", "all")),
            **shape,
        )
        explained = explain(trace)
        for hop in explained.hops:
            assert not hop.mpls
            assert not hop.interface
            quoting = [reply for reply in hop.replies if reply.quoted]
            assert hop.modified == (() if quoting else None), (seed, hop)
            assert hop.notes == (() if quoting else None), (seed, hop)


# Hostile bytes.


BASE = traced(extension=extension_of((1, 1, bytes.fromhex("18960101")), (2, 0x04, b"\0\x01\0\0\x0a\0\0\1")), hops=3, **LINUX)
BASE_6 = traced(extension=extension_of((1, 1, bytes.fromhex("18960101"))), hops=3, family=6, evidence="all", **LINUX)


def with_evidence(trace: Trace, data: bytes, hop: int = 1) -> Trace:
    """The trace with other evidence in the first reply of a hop."""
    hops = list(trace.hops)
    first, *others = hops[hop].replies
    hops[hop] = replace(hops[hop], replies=(replace(first, evidence=b64encode(data).decode()), *others))
    return replace(trace, hops=tuple(hops))


def assert_bounded(trace: Trace) -> None:
    """It is explained, and the record takes it."""
    explained = explain(trace)
    assert Trace.from_dict(explained.to_dict()) == explained
    assert len(explained.hops) == len(trace.hops)
    # The other hops are what they are without it.
    assert (explained.hops[0].mpls, explained.hops[0].modified) == ((Label(100704, 0, bottom=True, ttl=1),), ())


def test_every_truncation_of_evidence_is_explained() -> None:
    for base in (BASE, BASE_6):
        evidence = b64decode(base.hops[1].replies[0].evidence or "")
        for end in range(len(evidence)):
            assert_bounded(with_evidence(base, evidence[:end]))


@settings(max_examples=CASES)
@given(st.sampled_from([BASE, BASE_6]), st.binary(max_size=300))
def test_random_evidence_is_explained(base: Trace, data: bytes) -> None:
    evidence = b64decode(base.hops[1].replies[0].evidence or "")
    at = 28 if base.family == 4 else 8
    assert_bounded(with_evidence(base, data))
    assert_bounded(with_evidence(base, evidence[:at] + data))


@settings(max_examples=CASES)
@given(
    st.sampled_from([BASE, BASE_6]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 20),
)
def test_mutated_evidence_is_explained(base: Trace, mutations: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(b64decode(base.hops[1].replies[0].evidence or ""))
    for at, value in mutations:
        data[at % len(data)] = value
    assert_bounded(with_evidence(base, bytes(data[: len(data) - cut])))


@settings(max_examples=CASES)
@given(traces())
def test_any_record_is_explained(trace: Trace) -> None:
    explained = explain(trace)
    assert Trace.from_dict(explained.to_dict()) == explained
    assert [hop.ttl for hop in explained.hops] == [hop.ttl for hop in trace.hops]


def test_a_record_that_was_explained_keeps_what_others_found() -> None:
    explained = explain(EXAMPLE)
    assert explained.hops[0].notes is not None
    assert explained.hops[0].notes[0] == "core1, in dc1"
    assert (explained.hops[0].network, explained.hops[0].device) == (EXAMPLE.hops[0].network, "core1")
    assert Modification("source", "192.0.2.10", "203.0.113.9", None) in (explained.hops[0].modified or ())


def test_options_that_scapy_cannot_read_are_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from scapy.layers import inet

    from nornir_tcptraceroute.analysis import evidence

    def failing(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr(inet, "TCP", failing)
    evidence._open_options.cache_clear()
    assert evidence._open_options(bytes.fromhex("020405b40402")) == ({"option 2": "05b4", "option 4": ""}, True)
    evidence._open_options.cache_clear()


def test_an_option_that_stands_twice_is_told_twice_and_an_impossible_one_ends_the_list() -> None:
    twice = tcp_bytes(20, bytes.fromhex("020405b4020405b401030307"))
    assert found(traced(from_hop(3, twice), **LINUX)) == [
        (3, "tcp_options", WITHOUT_TIMESTAMP, "mss again 1460, window-scale 7", 2)
    ]
    # One that claims more bytes than there are hides what stands behind it.
    broken = from_hop(3, tcp_bytes(SACK_AT, b"\x04\x30"))
    assert found(traced(broken, **LINUX)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0},
        {"address": "nowhere"},
        {"source": "%"},
        {"probe": replace(traced(tos=184).probe, length=39)},
        {"probe": replace(traced(tcp_options="linux", tos=184).probe, length=50)},
    ],
    ids=str,
)
def test_what_no_probe_of_ours_can_have_sent_is_compared_as_far_as_it_is_known(changes: dict[str, Any]) -> None:
    trace = replace(traced(from_hop(4, tos(0)), tos=184), **changes)
    assert (4, "dscp", "46", "0", 3) in found(trace)


def test_packets_that_are_none_are_passed_over() -> None:
    trace = traced(from_hop(4, tos(0)), tos=184, evidence="all")
    assert trace.packets is not None
    for data in (
        "!",
        "AAAA",
        b64encode(b"\x45" + bytes(19)).decode(),
        b64encode(b"\x45\0\0\x18" + bytes(5) + b"\6" + bytes(14)).decode(),
    ):
        broken = tuple(replace(packet, data=data) for packet in trace.packets)
        assert found(replace(trace, packets=broken)) == [(4, "dscp", "46", "0", 3)]
