"""Packets as other hosts send them, built byte by byte from the RFCs, so that the probe is not tested against itself."""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, inet_pton
from typing import Tuple

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58

#: Address pairs by IP version: the host that probes, the destination, and a router between.
VANTAGE = {4: "192.0.2.10", 6: "2001:db8::10"}
DESTINATION = {4: "198.51.100.80", 6: "2001:db8:1::80"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:f::1"}


def packed(address: str) -> bytes:
    """An address literal of either version as bytes."""
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def sum_of(data: bytes) -> int:
    """The ones' complement sum of 16-bit words, by the remainder that it is (RFC 1071 section 2)."""
    total = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    return total % 0xFFFF or (0xFFFF if total else 0)


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    """RFC 9293 section 3.1 and RFC 8200 section 8.1; both sum to the same for the same fields."""
    return packed(source) + packed(destination) + struct.pack("!II", length, protocol)


def tcp(
    source: str,
    destination: str,
    ports: Tuple[int, int],
    sequence: int,
    acknowledgment: int = 0,
    *,
    flags: int = 0x02,
    options: bytes = b"",
    payload: bytes = b"",
    window: int = 64240,
) -> bytes:
    """A TCP segment with its checksum; options are padded with zeros to a multiple of four bytes."""
    options += b"\0" * (-len(options) % 4)
    header = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgment, (20 + len(options)) // 4 << 4, flags, window, 0, 0)
    segment = header + options + payload
    check = 0xFFFF ^ sum_of(pseudo_header(source, destination, TCP, len(segment)) + segment)
    return segment[:16] + struct.pack("!H", check) + segment[18:]


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0,
    fragment: int = 0,
    options: bytes = b"",
    check: bool = True,
) -> bytes:
    """An IPv4 packet; options of up to 40 bytes, a multiple of four. ``check`` False leaves the header checksum 0."""
    words, length = 5 + len(options) // 4, 20 + len(options) + len(payload)
    header = struct.pack("!BBHHHBBH", 0x40 | words, tos, length, identification, fragment, ttl, protocol, 0)
    header += packed(source) + packed(destination) + options
    if check:
        header = header[:10] + struct.pack("!H", 0xFFFF ^ sum_of(header)) + header[12:]
    return header + payload


def ipv6(
    source: str, destination: str, following: int, payload: bytes, *, hop_limit: int = 64, traffic_class: int = 0, label: int = 0
) -> bytes:
    """An IPv6 packet."""
    start = struct.pack("!IHBB", 6 << 28 | traffic_class << 20 | label, len(payload), following, hop_limit)
    return start + packed(source) + packed(destination) + payload


def icmpv4(kind: int, code: int, body: bytes, *, rest: bytes = b"\0\0\0\0") -> bytes:
    """An ICMP message with its checksum; ``rest`` is the second word of the header."""
    check = 0xFFFF ^ sum_of(bytes([kind, code]) + rest + body)
    return struct.pack("!BBH", kind, code, check) + rest + body


def icmpv6(source: str, destination: str, kind: int, code: int, body: bytes, *, rest: bytes = b"\0\0\0\0") -> bytes:
    """An ICMPv6 message with its checksum over the pseudo-header."""
    pseudo = pseudo_header(source, destination, ICMPV6, 8 + len(body))
    check = 0xFFFF ^ sum_of(pseudo + bytes([kind, code]) + rest + body)
    return struct.pack("!BBH", kind, code, check) + rest + body
