"""ICMP errors opened: packets of real routers field by field, extensions as the RFCs have them, and bytes that are neither."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapReader

from nornir_tcptraceroute import Interface, Label
from nornir_tcptraceroute.analysis.datagrams import Datagram, read_datagram
from nornir_tcptraceroute.analysis.icmp_messages import IcmpMessage, open_icmp
from tests.unit import packets

from .quoting_network import extension_of

CAPTURES = Path(__file__).parent.parent / "captures"
#: 100 in the daily run; `EVIDENCE_CASES=20000` makes 10^5 of the five tests here and in test_evidence.py.
CASES = int(os.environ.get("EVIDENCE_CASES", "100"))
UDP_QUOTE = packets.ipv4("192.0.2.1", "198.51.100.9", packets.UDP, bytes(20), ttl=1)


def captured(name: str) -> list[Datagram]:
    """The IP packets of a capture: over Ethernet, or over PPP, there with MPLS before some."""
    read = []
    with RawPcapReader(str(CAPTURES / name)) as reader:
        frames = [data for data, _ in reader]
    for data in frames:
        at = 14 if not data.startswith(b"\xff\x03") else {b"\0\x21": 4, b"\x02\x81": 8}[data[2:4]]
        datagram = read_datagram(data[at:])
        assert datagram is not None
        read.append(datagram)
    return read


def errors(name: str) -> list[IcmpMessage]:
    """The ICMP errors of a capture."""
    opened = [open_icmp(one.transport, one.family) for one in captured(name) if one.protocol in (packets.ICMP, packets.ICMPV6)]
    return [message for message in opened if message is not None]


def quoted(message: IcmpMessage) -> Datagram:
    datagram = read_datagram(message.quoted)
    assert datagram is not None
    return datagram


def test_the_label_stacks_of_a_path_of_2004() -> None:
    messages = errors("mpls-traceroute.pcap")
    assert [(message.type, message.code) for message in messages] == [(11, 0)] * 6 + [(3, 3)] * 3
    labels = [[(one.label, one.traffic_class, one.bottom, one.ttl) for one in message.labels] for message in messages]
    assert labels == [[(100704, 0, True, 1)]] * 3 + [[(102672, 0, True, 1)]] * 3 + [[]] * 3
    assert not any(message.unread or message.interfaces for message in messages)
    assert [quoted(message).identification for message in messages] == list(range(42316, 42325))
    for number, message in enumerate(messages):
        datagram = quoted(message)
        assert (datagram.family, datagram.protocol, datagram.ttl, datagram.length) == (4, packets.UDP, 1, 40)
        assert (datagram.source, datagram.address) == (packets.packed("12.4.4.4"), packets.packed("12.1.1.1"))
        assert struct.unpack("!HH", datagram.transport[:4]) == (42315, 33435 + number)


def test_the_interface_that_a_router_tells() -> None:
    (message,) = errors("icmp-rfc5837.pcap")
    name = "This-is-the-name-of-the-Interface-that-we-are-looking-for-[:-)]"
    assert len(name) == 63
    assert message.interfaces == (Interface("incoming", 15, "10.10.10.10", name, None),)
    assert (message.type, message.code, message.labels, message.unread) == (11, 0, (), ())
    assert (quoted(message).identification, quoted(message).ttl) == (42321, 1)


def test_a_label_stack_of_two_where_the_length_of_the_quote_is_junk() -> None:
    (message,) = errors("icmp-icmp-ttl-exceeded-mpls.pcap")
    assert message.labels == (Label(29657, 0, bottom=False, ttl=1), Label(25437, 0, bottom=True, ttl=1))
    assert message.unread == ()
    assert (quoted(message).protocol, quoted(message).ttl, quoted(message).identification) == (packets.ICMP, 2, 46230)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("udp-icmp-ttl-exceeded.pcap", (4, packets.UDP, 1, 36, "192.168.1.5", "8.8.8.8")),
        (
            "udp-icmp6-ttl-exceeded.pcap",
            (6, packets.UDP, 1, 52, "2a04:8ec0:0:164:620c:e59a:daf8:21e9", "2001:4860:4860::8888"),
        ),
    ],
)
def test_a_plain_error_is_its_quote(name: str, expected: tuple[int, int, int, int, str, str]) -> None:
    (message,) = errors(name)
    datagram = quoted(message)
    family, protocol, ttl, length, source, address = expected
    assert (datagram.family, datagram.protocol, datagram.ttl, datagram.length) == (family, protocol, ttl, length)
    assert (datagram.source, datagram.address) == (packets.packed(source), packets.packed(address))
    assert message[3:] == (False, (), (), ())


def with_extension(extension: bytes, *, told: bool = True, family: int = 4) -> IcmpMessage:
    """A time exceeded that carries this behind a quote of 128 bytes."""
    body = UDP_QUOTE.ljust(128, b"\0") + extension
    if family == 4:
        message = packets.icmpv4(11, 0, body, rest=bytes([0, 32 if told else 0, 0, 0]))
    else:
        message = packets.icmpv6("2001:db8::1", "2001:db8::2", 3, 0, body, rest=bytes([16 if told else 0, 0, 0, 0]))
    opened = open_icmp(message, family)
    assert opened is not None
    return opened


def name_of(name: bytes) -> bytes:
    """A name as RFC 5837 section 4.3 has it: with its length, which counts itself, and filled up with zeros."""
    padded = name + b"\0" * (-(len(name) + 1) % 4)
    return bytes([len(padded) + 1]) + padded


INDEX, MTU = (7).to_bytes(4, "big"), (9000).to_bytes(4, "big")
IPV4, IPV6 = b"\0\x01\0\0" + bytes([192, 0, 2, 1]), b"\0\x02\0\0" + packets.packed("2001:db8::1")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", ["told", "not told"])
@pytest.mark.parametrize(
    ("subtype", "data", "interface"),
    [
        (0x0F, INDEX + IPV4 + name_of(b"ge-0/0/1.100") + MTU, Interface("incoming", 7, "192.0.2.1", "ge-0/0/1.100", 9000)),
        (0x4C, INDEX + IPV6, Interface("incoming_sub_ip", 7, "2001:db8::1")),
        (0x83, name_of(b"x") + MTU, Interface("outgoing", name="x", mtu=9000)),
        (0xC4, IPV4, Interface("next_hop", address="192.0.2.1")),
        (0x02, name_of(b"a\x1b[31m\xff"), Interface("incoming", name="a\\x1b[31m\\xff")),
        (0x00, b"", Interface("incoming")),
    ],
    ids=str,
)
def test_an_interface_is_told_with_what_is_there(
    family: int, length: str, subtype: int, data: bytes, interface: Interface
) -> None:
    opened = with_extension(extension_of((2, subtype, data)), told=length == "told", family=family)
    assert opened.interfaces == (interface,)
    assert (opened.unread, opened.labels) == ((), ())


@pytest.mark.parametrize(
    ("subtype", "data"),
    [
        (0x08, b"\0\0\0"),
        (0x04, b"\0\x03\0\0" + bytes(16)),
        (0x04, IPV4[:-1]),
        (0x02, b""),
        (0x02, b"\0aaa"),
        (0x02, b"\x08aaa"),
        (0x02, b"\x50" + bytes(79)),
        (0x01, b"\0\0"),
    ],
    ids=str,
)
def test_an_interface_that_is_cut_off_spoils_only_itself(subtype: int, data: bytes) -> None:
    stack = (1, 1, bytes.fromhex("18960101"))
    opened = with_extension(extension_of((2, subtype, data), stack))
    assert opened.interfaces == ()
    assert [label.label for label in opened.labels] == [100704]
    assert opened.unread == ("with interface information that is cut off",)


LABELLED = extension_of((1, 1, bytes.fromhex("18960101")))


@pytest.mark.parametrize(
    ("extension", "reason"),
    [
        (b"\x20", "cut off"),
        (b"\x10" + LABELLED[1:], "of version 1"),
        (LABELLED[:-1] + b"\x02", "of a wrong checksum"),
        (b"\x20\0\0\0", "empty"),
        (b"\x20\0\0\0" + b"\0\x03\x01\x01", "with an object of an impossible length"),
        (b"\x20\0\0\0" + b"\0\xff\x01\x01", "with an object of an impossible length"),
        (b"\x20\0\0\0" + b"\0\x04\x09\x09\0", "with an object of an impossible length"),
        (extension_of((1, 1, b"\0\0\0")), "with a label stack that is cut off"),
        (extension_of((1, 1, b"")), "with a label stack that is cut off"),
    ],
    ids=str,
)
def test_what_cannot_be_read_of_an_extension_is_told(extension: bytes, reason: str) -> None:
    opened = with_extension(extension)
    assert opened.unread == (reason,)
    assert (opened.labels, opened.interfaces) == ((), ())
    # The quote is there all the same.
    assert quoted(opened).length == len(UDP_QUOTE)


def test_a_checksum_of_zero_was_not_computed_and_unknown_objects_are_passed_over() -> None:
    extension = extension_of((99, 1, b"12345678"), (1, 1, bytes.fromhex("18960101")))
    opened = with_extension(extension[:2] + b"\0\0" + extension[4:])
    assert ([label.label for label in opened.labels], opened.unread) == ([100704], ())


def test_a_long_quote_is_no_extension() -> None:
    payload = bytes(0x21 + index % 93 for index in range(400))
    body = packets.ipv4("192.0.2.1", "198.51.100.9", packets.UDP, payload)
    opened = open_icmp(packets.icmpv4(11, 0, body), 4)
    assert opened == IcmpMessage(11, 0, body)


@pytest.mark.parametrize(("family", "kind"), [(4, 0), (4, 8), (4, 5), (6, 128), (6, 135), (6, 0)])
def test_what_is_no_error_is_not_opened(family: int, kind: int) -> None:
    assert open_icmp(bytes([kind]) + bytes(100), family) is None


def test_a_packet_too_big_carries_no_extension() -> None:
    body = UDP_QUOTE.ljust(128, b"\0") + LABELLED
    assert open_icmp(packets.icmpv6("2001:db8::1", "2001:db8::2", 2, 0, body, rest=b"\0\0\x05\0"), 6) == IcmpMessage(2, 0, body)


NAMES = sorted(path.name for path in CAPTURES.glob("*.pcap"))


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_of_a_capture_is_opened_or_refused(name: str) -> None:
    opened = 0
    for datagram in captured(name):
        for end in range(len(datagram.transport)):
            message = open_icmp(datagram.transport[:end], datagram.family)
            opened += message is not None
            if message is not None:
                read_datagram(message.quoted)
    assert opened > 0


@settings(max_examples=CASES)
@given(st.sampled_from([4, 6]), st.binary(max_size=300))
@example(4, b"\x0b" + bytes(7))
def test_random_bytes_are_opened_or_refused(family: int, data: bytes) -> None:
    for first in (data, bytes([11 if family == 4 else 3, 0]) + data):
        message = open_icmp(first, family)
        if message is not None:
            read_datagram(message.quoted)


@settings(max_examples=CASES)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 2, 2, 3]), st.integers(0, 255), st.binary(max_size=80)), max_size=6))
def test_random_objects_are_bounded(objects: list[tuple[int, int, bytes]]) -> None:
    message = with_extension(extension_of(*objects))
    assert len(message.labels) <= 100
    for interface in message.interfaces:
        name = interface.name or ""
        assert len(name) <= 253
        assert name.isascii()
        assert name.isprintable()
