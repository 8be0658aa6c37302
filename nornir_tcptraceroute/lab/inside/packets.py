"""Bytes of the packets that a simulated network reads and sends. Pure functions, no sockets.

Beside the probe's own ``wire`` and apart from it: what the probe sends and reads shall be judged by something else than itself.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ICMP, TCP, ICMPV6 = 1, 6, 58
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
#: Class and type of the MPLS label stack object (RFC 4950 section 3), class of the interface information object (RFC 5837 4).
MPLS_CLASS, MPLS_TYPE, INTERFACE_CLASS = 1, 1, 2
#: A quote is filled up to so many bytes before extensions follow (RFC 4884 section 5.1).
SHORTEST_EXTENDED_QUOTE = 128
#: An ICMPv6 error is not longer than the least MTU of IPv6 (RFC 4443 section 2.4), an ICMP error than 576 bytes (RFC 1812
#: section 4.3.2.3).
LONGEST_ERROR = {4: 576, 6: 1280}
#: Flag, index, address, name, as RFC 5837 section 4.1 lays out the type of the object; role 0 is the incoming interface.
INDEX, ADDRESS, NAME, MTU = 0x08, 0x04, 0x02, 0x01
ADDRESS_FAMILIES = {4: 1, 6: 2}

_TCP_HEADER = struct.Struct("!HHIIBBHHH")


class Segment(NamedTuple):
    """A TCP segment that came in, and the packet around it.

    Attributes:
        family: 4 or 6. source, destination: address bytes. ttl: TTL or hop limit. header_length: of the IP header.
        source_port, port, sequence, acknowledgment, flags: of the TCP header.
        length: what the segment takes of the sequence space (RFC 9293 section 3.4).
        packet: all its bytes from the IP header on.
    """

    family: int
    source: bytes
    destination: bytes
    ttl: int
    header_length: int
    source_port: int
    port: int
    sequence: int
    acknowledgment: int
    flags: int
    length: int
    packet: bytes


def checksum(data: bytes, initial: int = 0) -> int:
    """The Internet checksum (RFC 1071).

    Arguments:
        data: the bytes; an odd last one is padded with zero. initial: a sum to start from.
    """
    # Bytes as one number to the base 65536: its remainder by 65535 is their sum with all carries brought around.
    if len(data) % 2:
        data += b"\0"
    total = (int.from_bytes(data, "big") + initial) % 65535
    return 65535 - total if total else (0xFFFF if not any(data) and not initial else 0)


def read_segment(packet: bytes) -> Segment | None:
    """Read a packet from its IP header on; None for what is no whole, unfragmented TCP segment."""
    if len(packet) < 40:
        return None
    version = packet[0] >> 4
    if version == 4:
        header_length = (packet[0] & 15) * 4
        total = int.from_bytes(packet[2:4], "big")
        if packet[9] != TCP or header_length < 20 or int.from_bytes(packet[6:8], "big") & 0x3FFF or total > len(packet):
            return None
        source, destination, ttl = packet[12:16], packet[16:20], packet[8]
    elif version == 6:
        header_length = 40
        total = 40 + int.from_bytes(packet[4:6], "big")
        if packet[6] != TCP or total > len(packet):
            return None
        source, destination, ttl = packet[8:24], packet[24:40], packet[7]
    else:
        return None
    if total < header_length + 20:
        return None
    # A short frame is padded by Ethernet.
    packet = packet[:total]
    source_port, port, sequence, acknowledgment, offset, flags, _, _, _ = _TCP_HEADER.unpack_from(packet, header_length)
    payload = total - header_length - (offset >> 4) * 4
    if payload < 0 or offset >> 4 < 5:
        return None
    length = payload + bool(flags & SYN) + bool(flags & FIN)
    return Segment(
        version, source, destination, ttl, header_length, source_port, port, sequence, acknowledgment, flags, length, packet
    )


def ip_packet(family: int, protocol: int, source: bytes, destination: bytes, ttl: int, payload: bytes) -> bytes:
    """An IP packet around a payload whose own checksum is right already."""
    if family == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + source + destination + payload
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, protocol, 0, source, destination)
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def _pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    return source + destination + struct.pack("!II", length, protocol)


def tcp_packet(segment: Segment, source: bytes, ttl: int, *, sequence: int, acknowledgment: int, flags: int) -> bytes:
    """A TCP answer to a segment, whole, with an MSS option where it is a SYN.

    Arguments:
        segment: what is answered. source: who answers, or in whose name. ttl: that the answer arrives with.
    """
    options = b"\x02\x04\x05\xb4" if flags & SYN else b""
    header = _TCP_HEADER.pack(
        segment.port,
        segment.source_port,
        sequence & 0xFFFFFFFF,
        acknowledgment & 0xFFFFFFFF,
        (20 + len(options)) // 4 << 4,
        flags,
        0 if flags & RST else 65160,
        0,
        0,
    )
    body = header + options
    total = checksum(_pseudo_header(source, segment.source, TCP, len(body)) + body)
    body = body[:16] + total.to_bytes(2, "big") + body[18:]
    return ip_packet(segment.family, TCP, source, segment.source, ttl, body)


def arrived(segment: Segment, *, ttl: int = 1, source: bytes = b"", source_port: int | None = None) -> bytes:
    """The packet as a router on the way saw it.

    Arguments:
        ttl: that it arrived with there.
        source, source_port: what a translation before that router had made of them; as they were unless given.
    """
    packet = bytearray(segment.packet)
    at = segment.header_length
    if source_port is not None:
        packet[at : at + 2] = source_port.to_bytes(2, "big")
    if segment.family == 6:
        packet[7] = ttl
        if source:
            packet[8:24] = source
        return bytes(packet)
    packet[8] = ttl
    if source:
        packet[12:16] = source
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(bytes(packet[:at])).to_bytes(2, "big")
    return bytes(packet)


def label_stack(labels: list[int], ttl: int) -> bytes:
    """An extension object with an MPLS label stack (RFC 4950 section 3), top first."""
    entries = b"".join(
        (label << 12 | (position == len(labels) - 1) << 8 | ttl).to_bytes(4, "big") for position, label in enumerate(labels)
    )
    return struct.pack("!HBB", 4 + len(entries), MPLS_CLASS, MPLS_TYPE) + entries


def incoming_interface(index: int, family: int, address: bytes, name: str) -> bytes:
    """An extension object that tells of the interface that the packet came in by (RFC 5837 section 4.1)."""
    told = name.encode("ascii")
    told += b"\0" * (-(len(told) + 1) % 4)
    body = struct.pack("!IHH", index, ADDRESS_FAMILIES[family], 0) + address + bytes([len(told) + 1]) + told
    return struct.pack("!HBB", 4 + len(body), INTERFACE_CLASS, INDEX | ADDRESS | NAME) + body


def icmp_error(
    family: int, router: bytes, destination: bytes, reply_ttl: int, kind: int, code: int, quote: bytes, objects: bytes = b""
) -> bytes:
    """An ICMP or ICMPv6 error, whole.

    Arguments:
        router: who sends it. destination: who gets it. reply_ttl: that it arrives with.
        kind, code: of the ICMP header. quote: what it quotes. objects: extension objects (RFC 4884), none for none.
    """
    length_field = b"\0\0\0\0"
    if objects:
        quote = quote[: LONGEST_ERROR[family] - 200].ljust(SHORTEST_EXTENDED_QUOTE, b"\0")
        unit = 4 if family == 4 else 8
        quote += b"\0" * (-len(quote) % unit)
        words = len(quote) // unit
        length_field = bytes([0, words, 0, 0]) if family == 4 else bytes([words, 0, 0, 0])
        structure = b"\x20\0\0\0" + objects
        quote += b"\x20\0" + checksum(structure).to_bytes(2, "big") + objects
    message = bytes([kind, code, 0, 0]) + length_field + quote
    pseudo_header = b"" if family == 4 else _pseudo_header(router, destination, ICMPV6, len(message))
    total = checksum(pseudo_header + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    return ip_packet(family, ICMP if family == 4 else ICMPV6, router, destination, reply_ttl, message)
