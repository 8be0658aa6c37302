"""The headers of an IP packet, whole or quoted: what of them is there, field by field. Pure functions.

Quotes come from the network: each length is checked before the field behind it is read.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ("Datagram", "Segment", "read_datagram", "read_segment")

TCP = 6
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
#: What RFC 792 guarantees of a quoted transport header, and TCP's own header without options.
_SHORTEST, _TCP_HEADER = 8, 20
_CHECKSUM_AT = 16
#: IPv6 extension headers that may stand before the TCP header, with their unit of length (RFC 8200 section 4, RFC 4302 2.2).
_EXTENSION_UNITS = {0: 8, 43: 8, 60: 8, 135: 8, 51: 4}
_FRAGMENT = 44
_MOST_EXTENSIONS = 8


class Datagram(NamedTuple):
    """An IP header, and the bytes behind it.

    Attributes:
        family: 4 or 6.
        tos: type of service or traffic class.
        length: of the whole packet in bytes, as the header says.
        identification, fragment: of IPv4 (``fragment``: flags and offset as they stand); None for IPv6.
        flow_label: of IPv6; None for IPv4.
        ttl: TTL or hop limit.
        protocol: of the transport header, behind IPv6's extension headers.
        source, address: as bytes.
        transport: the bytes from the transport header on, as far as they are there, padding cut off where the length tells it.
        plain: whether the transport header follows the IP header at once.
    """

    family: int
    tos: int
    length: int
    identification: int | None
    fragment: int | None
    flow_label: int | None
    ttl: int
    protocol: int
    source: bytes
    address: bytes
    transport: bytes
    plain: bool

    @property
    def whole(self) -> bool:
        """Whether every byte of the packet is there."""
        return self.plain and len(self.transport) == self.length - (20 if self.family == 4 else 40)


class Segment(NamedTuple):
    """A TCP header as far as it is there; None for what is not.

    Attributes:
        source_port, port, sequence, acknowledgment, flags, window, checksum, urgent: fields of the header.
        options: the options, or as much of them as is there.
        options_whole: whether all of them are there.
        payload: what is there behind the header; None where nothing can be.
    """

    source_port: int
    port: int
    sequence: int
    acknowledgment: int | None = None
    flags: int | None = None
    window: int | None = None
    checksum: int | None = None
    urgent: int | None = None
    options: bytes | None = None
    options_whole: bool = False
    payload: bytes | None = None


def read_datagram(data: bytes) -> Datagram | None:
    """Read an IP packet of either version that may be cut off anywhere behind its IP header; None for what is none.

    Arguments:
        data: bytes from the IP header on.
    """
    version = data[0] >> 4 if data else 0
    if version == 4:
        return _read_ipv4(data)
    return _read_ipv6(data) if version == 6 else None


def _read_ipv4(data: bytes) -> Datagram | None:
    if len(data) < _IPV4.size:
        return None
    first, tos, length, identification, fragment, ttl, protocol, _, source, address = _IPV4.unpack_from(data)
    at = (first & 0x0F) * 4
    if not _IPV4.size <= at <= len(data) or fragment & 0x1FFF:
        return None
    transport = _trimmed(data, at, length)
    return Datagram(4, tos, length, identification, fragment, None, ttl, protocol, source, address, transport, at == _IPV4.size)


def _read_ipv6(data: bytes) -> Datagram | None:
    if len(data) < _IPV6.size:
        return None
    word, payload_length, following, ttl, source, address = _IPV6.unpack_from(data)
    at, seen = _IPV6.size, 0
    while following in _EXTENSION_UNITS or following == _FRAGMENT:
        seen += 1
        if seen > _MOST_EXTENSIONS or len(data) < at + 8:
            return None
        if following == _FRAGMENT:
            if struct.unpack_from("!H", data, at + 2)[0] & 0xFFF8:
                return None
            following, at = data[at], at + 8
        else:
            unit = _EXTENSION_UNITS[following]
            following, at = data[at], at + (data[at + 1] + (1 if unit == 8 else 2)) * unit
    length = _IPV6.size + payload_length
    tos, flow_label = word >> 20 & 0xFF, word & 0xFFFFF
    transport = _trimmed(data, at, length)
    return Datagram(6, tos, length, None, None, flow_label, ttl, following, source, address, transport, seen == 0)


def _trimmed(data: bytes, at: int, length: int) -> bytes:
    """The bytes from the transport header on, without what a router padded them with (RFC 4884 section 4.1: zeros).

    A length that leaves no room for RFC 792's eight bytes is one that the router has changed in its copy of the header.
    """
    return data[at : length if length >= at + _SHORTEST else None]


def read_segment(transport: bytes, *, padded: bool = False) -> Segment | None:
    """Read a TCP segment that may be cut off anywhere behind its first eight bytes; None for what is shorter.

    Arguments:
        transport: bytes from the TCP header on.
        padded: whether zeros at the end may be a router's padding: they are then taken for nothing.
    """
    if padded:
        transport = transport.rstrip(b"\0").ljust(_SHORTEST, b"\0")
        if len(transport) > _CHECKSUM_AT:
            # No router ends a quote behind the checksum: what is zero there is the urgent pointer.
            transport = transport.ljust(_TCP_HEADER, b"\0")
    if len(transport) < _SHORTEST:
        return None
    if len(transport) < _TCP_HEADER:
        return _read_part(transport)
    source_port, port, sequence, acknowledgment, offset, flags, window, checksum, urgent = _TCP.unpack_from(transport)
    header = (offset >> 4) * 4
    if header < _TCP_HEADER:
        # No TCP header has less: what follows the first eight bytes is not the probe's.
        return Segment(source_port, port, sequence)
    payload = transport[header:] if len(transport) > header else b"" if len(transport) == header else None
    return Segment(
        source_port,
        port,
        sequence,
        acknowledgment,
        flags,
        window,
        checksum,
        urgent,
        transport[_TCP_HEADER:header],
        len(transport) >= header,
        payload,
    )


def _read_part(transport: bytes) -> Segment:
    source_port, port, sequence = struct.unpack_from("!HHI", transport)
    if len(transport) < 14:
        acknowledgment = struct.unpack_from("!I", transport, 8)[0] if len(transport) >= 12 else None
        return Segment(source_port, port, sequence, acknowledgment)
    if transport[12] >> 4 < 5:
        return Segment(source_port, port, sequence)
    acknowledgment, flags = struct.unpack_from("!I", transport, 8)[0], transport[13]
    window = struct.unpack_from("!H", transport, 14)[0] if len(transport) >= 16 else None
    checksum = struct.unpack_from("!H", transport, 16)[0] if len(transport) >= 18 else None
    return Segment(source_port, port, sequence, acknowledgment, flags, window, checksum)
