"""Quoted headers, read as far as they are there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.analysis.datagrams import Segment, read_datagram, read_segment
from tests.unit import packets

OPTIONS = bytes.fromhex("020405b401030307")
SEGMENT = packets.tcp("2001:db8::1", "2001:db8::2", (40001, 443), 0x01020304, 5, options=OPTIONS, payload=b"abc", window=777)


def ipv6(following: int, body: bytes) -> bytes:
    return packets.ipv6("2001:db8::1", "2001:db8::2", following, body, hop_limit=3, traffic_class=0xB9, label=0xABCDE)


HOP_BY_HOP = bytes([6, 1]) + bytes(14)
AUTHENTICATION = bytes([6, 2]) + bytes(14)
FIRST_FRAGMENT = bytes([6, 0, 0, 1]) + bytes(4)


@pytest.mark.parametrize(
    ("following", "before"),
    [
        (6, b""),
        (0, HOP_BY_HOP),
        (60, bytes([43, 0]) + bytes(6) + bytes([6, 0]) + bytes(6)),
        (51, AUTHENTICATION),
        (44, FIRST_FRAGMENT),
    ],
)
def test_the_transport_header_is_found_behind_ipv6_extension_headers(following: int, before: bytes) -> None:
    packet = ipv6(following, before + SEGMENT)
    datagram = read_datagram(packet)
    assert datagram is not None
    assert (datagram.protocol, datagram.transport) == (6, SEGMENT)
    assert (datagram.ttl, datagram.tos, datagram.flow_label, datagram.length) == (3, 0xB9, 0xABCDE, len(packet))
    assert (datagram.plain, datagram.whole) == (not before, not before)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x55" + bytes(60),
        ipv6(0, b"\6\0\0"),
        ipv6(44, bytes([6, 0, 0, 0x11]) + bytes(4) + SEGMENT),
        ipv6(0, b"\0\0".ljust(8, b"\0") * 20),
        packets.ipv4("192.0.2.1", "192.0.2.2", 6, SEGMENT, fragment=5),
        b"\x44" + bytes(60),
        b"\x4f" + bytes(30),
    ],
)
def test_what_is_no_whole_header_is_none(packet: bytes) -> None:
    assert read_datagram(packet) is None


def test_a_segment_is_read_as_far_as_it_is_there() -> None:
    seen = [read_segment(SEGMENT[:length]) for length in range(len(SEGMENT) + 1)]
    assert seen[:8] == [None] * 8
    assert all(segment is not None and segment[:3] == (40001, 443, 0x01020304) for segment in seen[8:])
    filled = [sum(value is not None for value in segment or ()) for segment in seen]
    # Never less than before, each field once it is whole: `options_whole` counts always, `payload` from the end of the header on.
    assert filled == sorted(filled)
    names = Segment._fields
    first = {name: next(at for at, one in enumerate(seen) if one and one[names.index(name)] is not None) for name in names}
    assert (first["acknowledgment"], first["flags"], first["window"], first["checksum"], first["urgent"]) == (12, 14, 16, 18, 20)
    assert (first["options"], first["payload"]) == (20, 28)
    assert [segment.options_whole for segment in seen[27:29] if segment] == [False, True]
    whole = seen[-1]
    assert whole is not None
    assert whole == Segment(40001, 443, 0x01020304, 5, 2, 777, whole.checksum, 0, OPTIONS, options_whole=True, payload=b"abc")


@pytest.mark.parametrize("length", [14, 16, 20, 31])
def test_a_header_shorter_than_any_is_not_the_probes(length: int) -> None:
    junk = SEGMENT[:12] + b"\x40" + SEGMENT[13:length]
    assert read_segment(junk) == Segment(40001, 443, 0x01020304)


@given(st.binary(max_size=120))
def test_random_bytes_are_read_or_none(data: bytes) -> None:
    for packet in (data, b"\x45" + data, struct.pack("!IHB", 6 << 28, len(data), 0) + data):
        datagram = read_datagram(packet)
        if datagram is not None:
            read_segment(datagram.transport)
            read_segment(datagram.transport, padded=True)
