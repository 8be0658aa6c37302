"""Bytes and fields: probes as the RFCs have them, replies read or refused for a reason, and no input that raises."""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe import wire
from nornir_tcptraceroute.probe.options import FLAG_BITS, TraceOptions
from nornir_tcptraceroute.probe.wire import IcmpError, ProbeBuilder, Quote, TcpReply

from . import packets
from .packets import DESTINATION, ICMP, ROUTER, TCP, UDP, VANTAGE

PORTS = (40001, 443)
SEQUENCE, IDENTIFICATION = 0x89ABCDEF, 0x1234
REASONS = {
    "truncated",
    "malformed",
    "other_protocol",
    "bad_checksum",
    "other_icmp",
    "reassembly_timeout",
    "bad_quote",
    "fragment",
}
#: A SYN of Linux, the longest that the quotes carry here.
OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")
Read = Union[IcmpError, TcpReply, str]


def probe(family: int, *, flags: int = 0x02, options: bytes = OPTIONS, payload: bytes = b"", **header: Any) -> bytes:
    """The packet that the errors here are about, as it stands at the router."""
    source, destination = VANTAGE[family], DESTINATION[family]
    segment = packets.tcp(source, destination, PORTS, SEQUENCE, flags=flags, options=options, payload=payload)
    if family == 4:
        return packets.ipv4(
            source, destination, TCP, segment, **{"ttl": 1, "identification": IDENTIFICATION, "tos": 184, **header}
        )
    return packets.ipv6(source, destination, TCP, segment, **{"hop_limit": 1, "traffic_class": 184, **header})


def error(
    family: int,
    quoted: bytes,
    kind: Optional[int] = None,
    code: int = 0,
    *,
    rest: bytes = b"\0\0\0\0",
    outer_options: bytes = b"",
) -> Read:
    """Read an ICMP error (by default time exceeded) that quotes these bytes."""
    if family == 4:
        message = packets.icmpv4(11 if kind is None else kind, code, quoted, rest=rest)
        return wire.read_icmpv4(packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, message, ttl=250, options=outer_options))
    message = packets.icmpv6(ROUTER[6], VANTAGE[6], 3 if kind is None else kind, code, quoted, rest=rest)
    return wire.read_icmpv6(message, ROUTER[6], 250)


def quote_of(read: Read) -> Quote:
    """The quote of an error that must have been read."""
    assert isinstance(read, IcmpError), read
    return read.quote


def assert_whole(quote: Quote, family: int) -> None:
    """The quote tells the probe, whatever was around it."""
    assert quote[:5] == (VANTAGE[family], PORTS[0], DESTINATION[family], PORTS[1], SEQUENCE)
    assert (quote.ttl, quote.tos) == (1, 184)
    # IPv6 has no identification; the window stands for it where the quote reaches so far.
    second_key = IDENTIFICATION if family == 4 else 64240 if len(quote.segment) >= 16 else None
    assert quote.identification == second_key


# Probes.


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("keywords", "tcp_options"),
    [
        ({}, b""),
        ({"tcp_options": "mss"}, {4: "020405b4", 6: "020405a0"}),
        (
            {"tcp_options": "linux", "dont_fragment": True, "tos": 3},
            {4: "020405b40402080a07060504" + "00000000" + "01030307", 6: "020405a00402080a07060504" + "00000000" + "01030307"},
        ),
        ({"length": 41, "tos": 255}, b""),
        ({"length": 1501, "flags": "SYN,ECE,CWR"}, b""),
        ({"length": 40, "tcp_options": "mss", "flags": "ACK"}, {4: "020405b4", 6: "020405a0"}),
        ({"length": 65535, "flags": ""}, b""),
    ],
    ids=str,
)
def test_a_probe_is_what_the_rfcs_say(family: int, keywords: Dict[str, Any], tcp_options: Any) -> None:
    asked = TraceOptions(destination=DESTINATION[family], port=PORTS[1], **keywords)
    options = bytes.fromhex(tcp_options[family]) if tcp_options else b""
    headers = (20 if family == 4 else 40) + 20 + len(options)
    payload = bytes(33 + number % 93 for number in range(max(0, (asked.length or 0) - headers)))
    builder = ProbeBuilder(
        asked, family, VANTAGE[family], DESTINATION[family], PORTS[0], flow_label=0xABCDE, timestamp=0x07060504
    )
    for ttl, sequence, acknowledgment in ((1, 0, 0), (255, 0xFFFFFFFF, 0xFFFFFFFF), (7, SEQUENCE, 0x01020304)):
        segment = packets.tcp(
            VANTAGE[family],
            DESTINATION[family],
            PORTS,
            sequence,
            acknowledgment,
            flags=asked.flag_bits,
            window=64240 if family == 4 else 0xBEEF,
            options=options,
            payload=payload,
        )
        addresses = VANTAGE[family], DESTINATION[family]
        if family == 4:
            fragment = 0x4000 if asked.dont_fragment else 0
            # The kernel fills in the header's checksum.
            expected = packets.ipv4(
                *addresses, TCP, segment, ttl=ttl, tos=asked.tos, identification=0xBEEF, fragment=fragment, check=False
            )
        else:
            expected = packets.ipv6(*addresses, TCP, segment, hop_limit=ttl, traffic_class=asked.tos, label=0xABCDE)
        assert builder.build(ttl, sequence, acknowledgment, 0xBEEF) == expected
        assert builder.segment(sequence, acknowledgment, 0xBEEF) == segment
    assert builder.length == headers + len(payload)
    assert builder.sequence_length == len(payload) + (1 if "SYN" in asked.flags else 0)


def test_syn_and_fin_take_one_number_each() -> None:
    lengths = {
        flags: ProbeBuilder(
            TraceOptions(destination=DESTINATION[4], flags=flags), 4, VANTAGE[4], DESTINATION[4], 1, 0, 0
        ).sequence_length
        for flags in ("", "ACK", "SYN", "FIN", "SYN,FIN", "RST,PSH,URG,ECE,CWR")
    }
    assert lengths == {"": 0, "ACK": 0, "SYN": 1, "FIN": 1, "SYN,FIN": 2, "RST,PSH,URG,ECE,CWR": 0}


def test_flags_are_named_in_the_order_of_their_bits() -> None:
    assert wire.flag_names(0) == ""
    assert wire.flag_names(0x12) == "SYN,ACK"
    assert wire.flag_names(0xFF) == ",".join(FLAG_BITS)


@given(st.binary(max_size=200))
def test_the_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    assert wire.checksum(data) == 0xFFFF ^ packets.sum_of(data)


# ICMP errors.

V4_KINDS = {3: "unreachable", 11: "time_exceeded"}
V6_KINDS = {1: "unreachable", 2: "unreachable", 3: "time_exceeded"}
REASSEMBLY = {4: (11, 1), 6: (3, 1)}


@pytest.mark.parametrize("family", [4, 6])
def test_each_icmp_type_and_code(family: int) -> None:
    kinds = V4_KINDS if family == 4 else V6_KINDS
    for kind in range(256):
        for code in (*range(17), 255):
            read = error(family, probe(family), kind, code)
            if (kind, code) == REASSEMBLY[family]:
                assert read == "reassembly_timeout"
            elif kind not in kinds:
                assert read == "other_icmp"
            else:
                assert isinstance(read, IcmpError)
                assert read[:6] == (kinds[kind], ROUTER[family], kind, code, 250, None)
                assert_whole(read.quote, family)


@pytest.mark.parametrize(
    ("family", "kind", "code", "rest", "mtu"),
    [
        (4, 3, 4, "00000578", 1400),
        (4, 3, 4, "00000000", None),
        (4, 3, 4, "0010ffff", 65535),
        (4, 3, 3, "00000578", None),
        (4, 11, 0, "00000578", None),
        (6, 2, 0, "00000500", 1280),
        (6, 2, 0, "ffffffff", 2**32 - 1),
        (6, 2, 0, "00000000", None),
        (6, 1, 0, "00000500", None),
        (6, 3, 0, "00000500", None),
    ],
)
def test_only_an_error_about_size_tells_the_mtu(family: int, kind: int, code: int, rest: str, mtu: Optional[int]) -> None:
    read = error(family, probe(family), kind, code, rest=bytes.fromhex(rest))
    assert isinstance(read, IcmpError)
    assert read.mtu == mtu


@pytest.mark.parametrize("family", [4, 6])
def test_eight_quoted_tcp_bytes_are_enough_and_fewer_are_none(family: int) -> None:
    whole, header = probe(family), 20 if family == 4 else 40
    for length in range(len(whole) + 1):
        read = error(family, whole[:length])
        if length < header + 8:
            assert read == "bad_quote", length
        else:
            quote = quote_of(read)
            assert_whole(quote, family)
            segment = whole[header:length]
            # What follows may be padding as long as it is all zeros.
            assert quote.segment == (segment if any(segment[8:]) else segment[:8])


@pytest.mark.parametrize("words", range(5, 16))
@pytest.mark.parametrize("where", ["outer", "quoted"])
def test_ip_options_of_each_length(words: int, where: str) -> None:
    options = b"\x01" * (words - 5) * 4
    quoted = probe(4)
    if where == "quoted":
        shape: Dict[str, Any] = {"ttl": 1, "tos": 184, "identification": IDENTIFICATION}
        quoted = packets.ipv4(VANTAGE[4], DESTINATION[4], TCP, quoted[20:], options=options, **shape)
        for length in range(len(quoted)):
            read = error(4, quoted[:length])
            assert (read == "bad_quote") == (length < words * 4 + 8)
    read = error(4, quoted, outer_options=options if where == "outer" else b"")
    assert_whole(quote_of(read), 4)
    assert isinstance(read, IcmpError)
    assert read.reply_ttl == 250


@pytest.mark.parametrize("words", range(16))
def test_a_header_length_that_cannot_be_is_refused(words: int) -> None:
    first = bytes([0x40 | words])
    quoted = probe(4, options=b"")
    read = error(4, first + quoted[1:])
    if words == 5:
        assert_whole(quote_of(read), 4)
    elif words < 5 or words * 4 + 8 > len(quoted):
        assert read == "bad_quote"
    else:
        # A longer header moves the ports: another packet than ours, but a readable one.
        assert quote_of(read).sequence != SEQUENCE
    outer = packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(11, 0, quoted))
    refused = wire.read_icmpv4(first + outer[1:])
    assert isinstance(refused, IcmpError) if words == 5 else refused in {"malformed", "bad_checksum", "truncated"}


EXTENSIONS = {
    "hop-by-hop": (0, 8, 1),
    "routing": (43, 8, 1),
    "destination options": (60, 8, 1),
    "mobility": (135, 8, 1),
    "authentication": (51, 4, 2),
}


def extended(chain: List[Tuple[int, bytes]], last: int = TCP) -> bytes:
    """The IPv6 probe with these extension headers: number of each, and its bytes behind the next-header field."""
    segment = probe(6)[40:]
    numbers = [number for number, _ in chain] + [last]
    payload = b"".join(bytes([numbers[place + 1]]) + body for place, (_, body) in enumerate(chain)) + segment
    return packets.ipv6(VANTAGE[6], DESTINATION[6], numbers[0], payload, hop_limit=1, traffic_class=184)


@pytest.mark.parametrize("name", EXTENSIONS)
@pytest.mark.parametrize("units", [0, 1, 2, 3])
def test_each_ipv6_extension_header_in_its_own_unit_of_length(name: str, units: int) -> None:
    number, unit, first = EXTENSIONS[name]
    if number == 51 and units == 0:
        units = 4  # An authentication header has 8 bytes at least (RFC 4302 section 2.2).
    body = bytes([units]) + b"\x5a" * ((units + first) * unit - 2)
    quoted = extended([(number, body)])
    quote = quote_of(error(6, quoted))
    assert_whole(quote, 6)
    assert quote.segment == probe(6)[40:]
    header = 40 + 1 + len(body)
    assert {error(6, quoted[:length]) for length in range(header + 8)} == {"bad_quote"}


@pytest.mark.parametrize("count", range(10))
def test_eight_extension_headers_are_walked_and_no_more(count: int) -> None:
    kinds = [0, 60, 43, 51, 135, 60, 60, 60, 60]
    chain = [(number, bytes([1 if number == 51 else 0]) + b"\0" * (10 if number == 51 else 6)) for number in kinds[:count]]
    read = error(6, extended(chain))
    if count > 8:
        assert read == "bad_quote"
    else:
        assert_whole(quote_of(read), 6)


@pytest.mark.parametrize(
    ("family", "quoted", "expected"),
    [
        pytest.param(4, probe(4, fragment=0x2000), None, id="first fragment, more to come"),
        pytest.param(4, probe(4, fragment=0x4000), None, id="don't fragment"),
        pytest.param(4, probe(4, fragment=0x0001), "fragment", id="later fragment"),
        pytest.param(4, probe(4, fragment=0x1000), "fragment", id="fragment in the second half"),
        pytest.param(4, probe(4, fragment=0x3FFF), "fragment", id="fragment, all bits"),
        pytest.param(6, extended([(44, b"\0\0\x01\0\0\0\x01")]), None, id="IPv6, first fragment"),
        pytest.param(6, extended([(44, b"\0\0\x06\0\0\0\x01")]), None, id="IPv6, reserved bits"),
        pytest.param(6, extended([(44, b"\0\0\x08\0\0\0\x01")]), "fragment", id="IPv6, later fragment"),
        pytest.param(6, extended([(0, b"\0" * 7), (44, b"\0\xff\xf8\0\0\0\x01")]), "fragment", id="IPv6, later, behind options"),
        pytest.param(6, extended([], last=59), "other_protocol", id="IPv6, no next header"),
        pytest.param(6, extended([], last=50), "other_protocol", id="IPv6, encrypted"),
        pytest.param(6, extended([], last=UDP), "other_protocol", id="IPv6, UDP"),
        pytest.param(6, extended([(0, b"\0" * 7)], last=UDP), "other_protocol", id="IPv6, UDP behind options"),
        pytest.param(4, packets.ipv4(VANTAGE[4], DESTINATION[4], UDP, b"\0" * 40), "other_protocol", id="UDP"),
        pytest.param(4, packets.ipv4(VANTAGE[4], DESTINATION[4], ICMP, b"\0" * 40), "other_protocol", id="ICMP"),
        pytest.param(4, b"\x65" + probe(4)[1:], "bad_quote", id="an IPv6 version in IPv4"),
        pytest.param(6, b"\x45" + probe(6)[1:], "bad_quote", id="an IPv4 version in IPv6"),
    ],
)
def test_what_a_quote_may_be(family: int, quoted: bytes, expected: Optional[str]) -> None:
    read = error(family, quoted)
    if expected is None:
        assert_whole(quote_of(read), family)
    else:
        assert read == expected


def test_a_jumbo_or_wrong_payload_length_cuts_nothing() -> None:
    whole = probe(6)
    for claimed in (0, 1, 7, 65535):
        read = error(6, whole[:4] + struct.pack("!H", claimed) + whole[6:])
        assert quote_of(read).segment == whole[40:]


# RFC 4884: a length in words of 4 (ICMP) or 8 bytes (ICMPv6), and extensions behind the padded quote.

LABELS = bytes.fromhex("2000dff9" + "00080101" + "18960101")


def with_extensions(family: int, length: Optional[int], extensions: bytes, room: int = 128) -> Read:
    """An error whose quote is padded with zeros to ``room``; its length field tells ``length`` bytes, or by default the truth."""
    quoted = probe(family)
    padded = quoted + b"\0" * (room - len(quoted))
    unit = 4 if family == 4 else 8
    words = (len(padded) if length is None else length) // unit
    rest = bytes([0, words, 0, 0]) if family == 4 else bytes([words, 0, 0, 0])
    return error(family, padded + extensions, rest=rest)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("length", "extensions", "room"),
    [
        pytest.param(None, LABELS, 128, id="right"),
        pytest.param(None, b"", 128, id="right, no extension"),
        pytest.param(None, LABELS, 256, id="right, a longer field"),
        pytest.param(0, LABELS, 128, id="absent, extension at 128 (section 5.5)"),
        pytest.param(0, b"", 128, id="absent, padding alone"),
        pytest.param(8, LABELS, 128, id="too short for a header"),
        pytest.param(1000, LABELS, 128, id="beyond the end"),
        pytest.param(None, b"\x10" + LABELS[1:], 128, id="extension of version 1"),
        pytest.param(None, LABELS[:4] + b"\0\0\x01\x01", 128, id="object of length 0"),
        pytest.param(None, LABELS[:4] + b"\0\x03\x01\x01", 128, id="object of length 3"),
        pytest.param(None, LABELS[:4] + b"\0\x04\x01\x01", 128, id="object of length 4"),
        pytest.param(None, LABELS[:4] + b"\xff\xff\x01\x01", 128, id="object of length 65535"),
        pytest.param(None, b"\x20\0\0\1" + LABELS[4:], 128, id="extension with a bad checksum"),
        pytest.param(None, LABELS[:4] + struct.pack("!HBB", 260, 1, 1) + LABELS[8:] * 64, 128, id="64 labels"),
        pytest.param(None, LABELS + b"junk" * 100, 128, id="junk behind"),
        pytest.param(None, LABELS[:2], 128, id="cut extension"),
    ],
)
def test_extensions_never_touch_the_quote(family: int, length: Optional[int], extensions: bytes, room: int) -> None:
    quote = quote_of(with_extensions(family, length, extensions, room))
    assert_whole(quote, family)
    assert quote.segment == probe(family)[20 if family == 4 else 40 :]


@pytest.mark.parametrize("family", [4, 6])
def test_every_length_field_leaves_the_flow_readable(family: int) -> None:
    for words in range(256):
        read = with_extensions(family, words * (4 if family == 4 else 8), LABELS)
        assert_whole(quote_of(read), family)


def test_padding_of_a_short_quote_is_no_part_of_the_segment() -> None:
    for family, header in ((4, 20), (6, 40)):
        quoted = probe(family)[: header + 8]
        assert quote_of(error(family, quoted + b"\0" * 92)).segment == quoted[header:]


def test_packet_too_big_has_no_length_field() -> None:
    read = error(6, probe(6), 2, 0, rest=struct.pack("!I", 0x06000500))
    assert quote_of(read).segment == probe(6)[40:]


# TCP replies.


def reply(family: int, *, flags: int = 0x12, options: bytes = b"", payload: bytes = b"", **header: Any) -> bytes:
    """A segment from the destination: with its header for IPv4, without for IPv6, as raw sockets deliver it."""
    ports = PORTS[1], PORTS[0]
    source, destination = DESTINATION[family], VANTAGE[family]
    segment = packets.tcp(source, destination, ports, 7, SEQUENCE + 1, flags=flags, options=options, payload=payload)
    return packets.ipv4(source, destination, TCP, segment, ttl=57, **header) if family == 4 else segment


def read_tcp(family: int, data: bytes) -> Read:
    if family == 4:
        return wire.read_tcp_over_ipv4(data)
    return wire.read_tcp_over_ipv6(data, DESTINATION[6], VANTAGE[6], 57)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("flags", range(256))
def test_a_tcp_reply_is_read(family: int, flags: int) -> None:
    data = reply(family, flags=flags, options=OPTIONS[: flags % 5 * 4], payload=b"x" * (flags % 3))
    assert read_tcp(family, data) == TcpReply(
        DESTINATION[family], PORTS[1], VANTAGE[family], PORTS[0], flags, 7, SEQUENCE + 1, 57, data
    )


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (changed(reply(4), 23, 0), "bad_checksum"),
        (changed(reply(4), 15, 99), "bad_checksum"),
        (reply(4)[:-1], "truncated"),
        (reply(4, payload=b"abc")[:-1], "bad_checksum"),
        (reply(4)[:39], "truncated"),
        (reply(4)[:19], "truncated"),
        (changed(reply(4), 0, 0x65), "malformed"),
        (changed(reply(4), 0, 0x44), "malformed"),
        (changed(reply(4), 0, 0x4F), "malformed"),
        (changed(reply(4), 32, 0x40), "malformed"),
        (changed(reply(4), 32, 0x60), "malformed"),
        (changed(reply(4), 9, UDP), "other_protocol"),
        (b"", "truncated"),
        (b"E", "truncated"),
    ],
)
def test_a_segment_that_is_none_is_refused(data: bytes, expected: str) -> None:
    assert read_tcp(4, data) == expected


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_sender_may_leave_the_checksum_to_its_network_card(family: int, wrong: int) -> None:
    data = reply(family, payload=b"hello")
    at = 20 if family == 4 else 0
    left = packets.sum_of(packets.pseudo_header(DESTINATION[family], VANTAGE[family], TCP, len(data) - at))
    data = data[: at + 16] + struct.pack("!H", left ^ wrong) + data[at + 18 :]
    read = read_tcp(family, data)
    assert read == "bad_checksum" if wrong else isinstance(read, TcpReply)


def test_every_bit_of_a_segment_is_covered_by_the_checksum() -> None:
    data = reply(6, payload=b"payload")
    for bit in range(len(data) * 8):
        read = read_tcp(6, changed(data, bit // 8, data[bit // 8] ^ 1 << bit % 8))
        assert read in {"bad_checksum", "malformed"}, bit


def test_every_bit_of_an_icmp_message_is_covered_by_the_checksum() -> None:
    packet = packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(11, 0, probe(4)))
    for bit in range(20 * 8, len(packet) * 8):
        assert wire.read_icmpv4(changed(packet, bit // 8, packet[bit // 8] ^ 1 << bit % 8)) == "bad_checksum", bit


def test_an_unknown_hop_limit_stays_unknown() -> None:
    message = packets.icmpv6(ROUTER[6], VANTAGE[6], 3, 0, probe(6))
    for read in (wire.read_icmpv6(message, ROUTER[6], None), wire.read_tcp_over_ipv6(reply(6), DESTINATION[6], VANTAGE[6], None)):
        assert not isinstance(read, str)
        assert read.reply_ttl is None


# Seeds: what made other tools crash, hang or believe a forgery, each by the name under which it is known.

HEADER = packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, b"")


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        pytest.param(wire.read_icmpv4(b"\x45"), "truncated", id="scapy: one byte of a packet"),
        pytest.param(wire.read_icmpv4(HEADER), "truncated", id="an IP header and nothing else"),
        pytest.param(error(4, b""), "bad_quote", id="OpenBSD traceroute 2026: an ICMP header that quotes nothing"),
        pytest.param(error(6, b""), "bad_quote", id="the same over IPv6"),
        pytest.param(error(4, b"\x4f" + probe(4)[1:28]), "bad_quote", id="mtr 0.95: quoted IHL of 15 in 28 bytes"),
        pytest.param(
            wire.read_icmpv4(changed(packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(11, 0, probe(4))), 22, 0)),
            "bad_checksum",
            id="mtr 0.95: ICMP with a wrong checksum",
        ),
        pytest.param(error(4, probe(4), 11, 1), "reassembly_timeout", id="trippy 979: time exceeded, code 1"),
        pytest.param(error(6, probe(6), 3, 1), "reassembly_timeout", id="trippy 979 over IPv6"),
        pytest.param(error(4, probe(4, payload=b"x" * 500)), None, id="trippy 1561: more than 63 bytes"),
        pytest.param(
            error(4, packets.ipv4(VANTAGE[4], DESTINATION[4], TCP, probe(4)[20:], options=b"\x44\x28" + b"\xff" * 38)),
            None,
            id="CVE-2022-23093: 40 bytes of quoted IP options",
        ),
        pytest.param(
            error(4, probe(4), outer_options=b"\x07\x27\x04" + b"\xff" * 37), None, id="CVE-2010-2529: outer record route option"
        ),
        pytest.param(read_tcp(4, reply(4, options=b"\x01" * 40)), None, id="an option walker that never ends on 40 NOPs"),
        pytest.param(read_tcp(4, reply(4, options=b"\x08\x00" * 20)), None, id="a TCP option of length 0"),
        pytest.param(error(4, probe(4, options=b"\xfe\x00" * 20)), None, id="a quoted TCP option of length 0"),
        pytest.param(error(6, extended([(60, b"\xff" + b"\0" * 6)])), "bad_quote", id="an extension header beyond the quote"),
        pytest.param(
            error(6, extended([(51, b"\xff" + b"\0" * 6)])), "bad_quote", id="an authentication header beyond the quote"
        ),
        pytest.param(error(6, probe(6)[:40] + b"\0" * 8), None, id="a quoted TCP header of zeros"),
    ],
)
def test_seeds(read: Read, expected: Optional[str]) -> None:
    assert read == expected if expected else not isinstance(read, str)


# Any bytes at all.

Reader = Callable[[bytes], Read]
READERS: Dict[str, Reader] = {
    "read_icmpv4": wire.read_icmpv4,
    "read_icmpv6": lambda data: wire.read_icmpv6(data, ROUTER[6], 1),
    "read_tcp_over_ipv4": wire.read_tcp_over_ipv4,
    "read_tcp_over_ipv6": lambda data: wire.read_tcp_over_ipv6(data, DESTINATION[6], VANTAGE[6], None),
}
VALID: Dict[str, List[bytes]] = {
    "read_icmpv4": [
        packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(11, 0, probe(4))),
        packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(3, 4, probe(4)[:28], rest=b"\0\0\x05\0"), options=b"\x01" * 40),
        packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(11, 0, probe(4).ljust(128, b"\0") + LABELS, rest=b"\0\x20\0\0")),
    ],
    "read_icmpv6": [
        packets.icmpv6(ROUTER[6], VANTAGE[6], 3, 0, probe(6)),
        packets.icmpv6(ROUTER[6], VANTAGE[6], 1, 4, extended([(0, b"\0" * 7), (44, b"\0" * 7), (51, b"\x01" + b"\0" * 10)])),
        packets.icmpv6(ROUTER[6], VANTAGE[6], 3, 0, probe(6).ljust(128, b"\0") + LABELS, rest=b"\x10\0\0\0"),
    ],
    "read_tcp_over_ipv4": [reply(4), reply(4, options=OPTIONS, payload=b"data")],
    "read_tcp_over_ipv6": [reply(6), reply(6, options=OPTIONS, payload=b"data")],
}


def assert_allowed(read: Read, data: bytes) -> None:
    """One of the documented outcomes, and what was read is of a piece with the bytes that it was read from."""
    if isinstance(read, str):
        assert read in REASONS
        return
    assert read.data == data
    if isinstance(read, IcmpError):
        quote = read.quote
        assert len(quote.segment) >= 8
        assert quote.segment in data
        assert struct.unpack_from("!HHI", quote.segment) == (quote.source_port, quote.port, quote.sequence)
        assert read.kind in {"time_exceeded", "unreachable"}
        assert read.mtu is None or read.mtu > 0


@pytest.mark.parametrize("name", READERS)
def test_every_truncation_is_refused_or_read_as_less_of_the_same(name: str) -> None:
    for data in VALID[name]:
        whole = READERS[name](data)
        assert not isinstance(whole, str)
        for length in range(len(data)):
            read = READERS[name](data[:length])
            assert_allowed(read, data[:length])
            if isinstance(read, IcmpError):
                assert isinstance(whole, IcmpError)
                assert read.quote[:7] == whole.quote[:7]
                assert read.quote.identification in (whole.quote.identification, None)
                assert whole.quote.segment.startswith(read.quote.segment)
            else:
                assert isinstance(read, str)


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=300))
def test_no_bytes_raise(name: str, data: bytes) -> None:
    assert_allowed(READERS[name](data), data)


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """A valid packet with a few bytes changed, put in or taken out; its ICMP checksum put right in half of the cases."""
    data = bytearray(draw(st.sampled_from(VALID[name])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        taken, put = draw(st.integers(0, 3)), draw(st.binary(max_size=3))
        data[at : at + taken] = put
    if name == "read_icmpv4" and len(data) >= 24 and draw(st.booleans()):
        start = (data[0] & 15) * 4
        if 20 <= start <= len(data) - 8:
            data[start + 2 : start + 4] = b"\0\0"
            data[start + 2 : start + 4] = struct.pack("!H", 0xFFFF ^ packets.sum_of(bytes(data[start:])))
    return bytes(data)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_no_change_of_a_valid_packet_raises(name: str, data: st.DataObject) -> None:
    packet = data.draw(mutated(name))
    assert_allowed(READERS[name](packet), packet)


@st.composite
def shapes(draw: st.DrawFn) -> Tuple[int, TraceOptions]:
    """An IP version, and the shape of a probe."""
    family = draw(st.sampled_from([4, 6]))
    return family, TraceOptions(
        destination=DESTINATION[family],
        port=draw(st.integers(1, 65535)),
        flags=",".join(draw(st.sets(st.sampled_from(sorted(FLAG_BITS))))),
        tcp_options=draw(st.sampled_from(["none", "mss", "linux"])),
        length=draw(st.none() | st.integers(40, 1500)),
        tos=draw(st.integers(0, 255)),
        dont_fragment=draw(st.booleans()),
    )


@given(
    shapes(),
    st.integers(1, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(1, 65535),
    st.integers(1, 255),
    st.integers(8, 1500),
)
def test_what_was_built_is_read_back_from_a_quote(
    shape: Tuple[int, TraceOptions], port: int, sequence: int, acknowledgment: int, identification: int, ttl: int, quoted: int
) -> None:
    family, asked = shape
    builder = ProbeBuilder(asked, family, VANTAGE[family], DESTINATION[family], port, flow_label=1, timestamp=2**32 - 1)
    packet = builder.build(ttl, sequence, acknowledgment, identification)
    assert len(packet) == builder.length
    header = 20 if family == 4 else 40
    quote = quote_of(error(family, packet[: header + quoted]))
    assert quote[:8] == (
        VANTAGE[family],
        port,
        DESTINATION[family],
        asked.port,
        sequence,
        ttl,
        asked.tos,
        identification if family == 4 or len(quote.segment) >= 16 else None,
    )
    # The end of a segment of zeros is as good as none.
    assert builder.segment(sequence, acknowledgment, identification).startswith(quote.segment)
    assert len(quote.segment) in {8, min(quoted, len(packet) - header)}
    # The destination's own system takes the probe for a valid segment.
    if family == 4:
        assert isinstance(wire.read_tcp_over_ipv4(packet), TcpReply)
    else:
        assert isinstance(wire.read_tcp_over_ipv6(packet[40:], VANTAGE[6], DESTINATION[6], ttl), TcpReply)
