# BSD-3-Clause, see LICENSE
"""Bytes to fields and back: builds the probes, reads replies and what they quote. Pure functions, no sockets.

Everything read here comes from the network: each length is checked before the field behind it is read, and a packet
that is not a whole, valid answer to a TCP probe is refused with the name of the reason, never with an exception.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple, Optional, Tuple, Union

from .options import FLAG_BITS, TraceOptions

__all__ = (
    "IcmpError",
    "ProbeBuilder",
    "Quote",
    "TcpReply",
    "as_received",
    "as_sent",
    "checksum",
    "flag_names",
    "ipv6_payload",
    "read_icmpv4",
    "read_icmpv6",
    "read_tcp_over_ipv4",
    "read_tcp_over_ipv6",
)

TCP = 6
_ICMPV6 = 58
_TCP_HEADER = struct.Struct("!HHIIBBHHH")
#: Type of service, total length, identification, flags and fragment offset, TTL, protocol, source, destination.
_IPV4_HEADER = struct.Struct("!xBHHHBB2x4s4s")
_PORTS_AND_SEQUENCE = struct.Struct("!HHI")
_NUMBERS = struct.Struct("!II")
_WORD = struct.Struct("!H")
#: What RFC 792 guarantees of the quoted TCP header: ports and sequence number.
_SHORTEST_QUOTE = 8
#: IPv6 extension headers that may stand before the TCP header, with their unit of length (RFC 8200 section 4, RFC 4302 2.2).
_EXTENSION_UNITS = {0: 8, 43: 8, 60: 8, 135: 8, 51: 4}
_FRAGMENT = 44
_MOST_EXTENSIONS = 8

_MAXIMUM_SEGMENT = {4: 1460, 6: 1440}
#: The window that Linux offers in its SYN; 0 is refused by some firewalls. IPv6 probes carry their identification there.
_WINDOW = {4: 64240, 6: 0}


class Quote(NamedTuple):
    """The probe as an ICMP error quotes it.

    Attributes:
        source, source_port, address, port: the quoted flow.
        sequence: TCP sequence number.
        ttl: TTL or hop limit. tos: type of service or traffic class, 0 to 255.
        identification: of the IPv4 header; for IPv6, which has none there, the TCP window; None where the quote ends before it.
        segment: the quoted bytes from the TCP header on, at least 8; padding and extensions cut off.
    """

    source: str
    source_port: int
    address: str
    port: int
    sequence: int
    ttl: int
    tos: int
    identification: Optional[int]
    segment: bytes


class IcmpError(NamedTuple):
    """An ICMP error about a TCP packet: time exceeded, destination unreachable or packet too big.

    Attributes:
        kind: ``time_exceeded`` or ``unreachable`` (packet too big is one of these).
        address: who sent it.
        type, code: as in the ICMP header.
        reply_ttl: TTL or hop limit that it arrived with; None where the system did not tell.
        mtu: next-hop MTU in bytes; None where the error carries none.
        quote: the packet that it is about.
        data: the bytes that it was read from.
    """

    kind: str
    address: str
    type: int
    code: int
    reply_ttl: Optional[int]
    mtu: Optional[int]
    quote: Quote
    data: bytes


class TcpReply(NamedTuple):
    """A TCP segment to one of this host's addresses.

    Attributes:
        address, port: its source. local_address, local_port: its destination.
        flags: bits of the TCP header, see ``FLAG_BITS``.
        sequence, acknowledgment: numbers of the TCP header.
        reply_ttl: TTL or hop limit that it arrived with; None where the system did not tell.
        data: the bytes that it was read from.
    """

    address: str
    port: int
    local_address: str
    local_port: int
    flags: int
    sequence: int
    acknowledgment: int
    reply_ttl: Optional[int]
    data: bytes


def checksum(data: bytes, initial: int = 0) -> int:
    """The Internet checksum (RFC 1071): 0 over data that holds its own, right checksum.

    Arguments:
        data: the bytes; an odd last one is padded with zero.
        initial: a sum to start from, such as that of a pseudo-header.
    """
    if len(data) % 2:
        data += b"\0"
    # As one number to the base 65536, its remainder by 65535 is the sum of its digits with all carries brought around
    # (RFC 1071 section 2), several times faster than adding them up. Of the two zeros, only nothing at all sums up to the first.
    total = int.from_bytes(data, "big") + initial
    return 65535 - (total % 65535 or (65535 if total else 0))


def flag_names(bits: int) -> str:
    """TCP flags by name in the order of the header's bits: 0x12 is ``SYN,ACK``."""
    return ",".join(name for name, bit in FLAG_BITS.items() if bits & bit)


def _pseudo_sum(addresses: bytes, protocol: int, length: int) -> int:
    """The sum over the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1), not yet folded."""
    return int.from_bytes(addresses, "big") % 65535 + protocol + length


def _tcp_options(kind: str, family: int, timestamp: int) -> bytes:
    maximum_segment = struct.pack("!BBH", 2, 4, _MAXIMUM_SEGMENT[family])
    if kind == "none":
        return b""
    if kind == "mss":
        return maximum_segment
    # The order of a Linux SYN: MSS, SACK permitted, timestamps, no-operation, window scale 7.
    return maximum_segment + struct.pack("!BBBBIIBBBB", 4, 2, 8, 10, timestamp, 0, 1, 3, 3, 7)


def _shaped_packet(
    options: TraceOptions, family: int, addresses: bytes, ports: Tuple[int, int], flow_label: int, timestamp: int
) -> Tuple[bytes, bytes]:
    """IP header and segment of a packet as the options shape it; what ``build`` fills in is zero."""
    tcp_options = _tcp_options(options.tcp_options, family, timestamp)
    headers = (20 if family == 4 else 40) + 20 + len(tcp_options)
    length = max(headers, options.length or 0)
    payload = bytes(ord("!") + index % 93 for index in range(length - headers))
    tcp_header = _TCP_HEADER.pack(*ports, 0, 0, (20 + len(tcp_options)) // 4 << 4, options.flag_bits, _WINDOW[family], 0, 0)
    segment = tcp_header + tcp_options + payload
    if family == 4:
        fragment = 0x4000 if options.dont_fragment else 0
        header = struct.pack("!BBHHHBBH", 0x45, options.tos, length, 0, fragment, 0, TCP, 0)
    else:
        header = struct.pack("!IHBB", 6 << 28 | options.tos << 20 | flow_label, len(segment), TCP, 0)
    return header + addresses, segment


def _crafted_packet(packet: str, addresses: bytes, ports: Tuple[int, int]) -> Tuple[int, bytes, bytes]:
    """Acknowledgment number, IP header and segment of a crafted packet; what ``build`` fills in is zero."""
    from .template import read_template

    template = read_template(packet)
    header, segment = template.header, template.segment
    acknowledgment, offset, flags, window, urgent = struct.unpack_from("!IBBH2xH", segment, 8)
    if template.family == 4:
        header = header[:10] + b"\0\0" + addresses + header[20:]
    else:
        header = header[:8] + addresses + header[40:]
        window = 0
    tcp_header = _TCP_HEADER.pack(*ports, 0, 0, offset, flags, window, 0, urgent)
    return acknowledgment, header, tcp_header + segment[20:]


class ProbeBuilder:
    """Builds the probes of one trace: the same packet each time but for TTL, numbers, identification and checksum.

    With the option ``packet`` it is that packet, with its IP options or extension headers, flow label, TCP options, window (in
    IPv4), urgent pointer and payload.

    Arguments:
        options: shape of the probes.
        family: 4 or 6.
        source, address: address literals without a zone.
        source_port: of every probe.
        flow_label: of every probe, 20 bits; IPv6 only (RFC 6437 section 3: one flow, one label). timestamp: value for the
            timestamps option, 32 bits. A crafted packet has its own.

    Attributes:
        length: of the whole IP packet in bytes.
        acknowledgment: what a probe without ACK carries as acknowledgment number.
        sequence_length: how much of the sequence space a probe takes (RFC 9293 section 3.4): payload, SYN and FIN.
    """

    def __init__(
        self, options: TraceOptions, family: int, source: str, address: str, source_port: int, flow_label: int, timestamp: int
    ) -> None:
        kind = AF_INET if family == 4 else AF_INET6
        addresses = inet_pton(kind, source) + inet_pton(kind, address)
        ports = source_port, options.port
        if options.packet is None:
            self.acknowledgment = 0
            header, segment = _shaped_packet(options, family, addresses, ports, flow_label, timestamp)
        else:
            self.acknowledgment, header, segment = _crafted_packet(options.packet, addresses, ports)
        self.length = len(header) + len(segment)
        flags = options.flag_bits
        payload_length = len(segment) - (segment[12] >> 4) * 4
        self.sequence_length = payload_length + bool(flags & FLAG_BITS["SYN"]) + bool(flags & FLAG_BITS["FIN"])
        self._family = family
        self._packet = bytearray(header + segment)
        self._tcp_at = len(header)
        # Summed once: a probe adds its own numbers.
        self._sum = 0xFFFF ^ checksum(segment, _pseudo_sum(addresses, TCP, len(segment)))

    def build(self, ttl: int, sequence: int, acknowledgment: int, identification: int) -> bytes:
        """One probe as bytes from the IP header on; the kernel fills in the IPv4 header checksum.

        Arguments:
            ttl: 1 to 255.
            sequence, acknowledgment: 32 bits each.
            identification: 16 bits, not 0 (the kernel would replace it); of the IPv4 header, or else the TCP window.
        """
        packet, at = self._packet, self._tcp_at
        total = self._sum + (sequence >> 16) + (sequence & 0xFFFF) + (acknowledgment >> 16) + (acknowledgment & 0xFFFF)
        if self._family == 6:
            total += identification
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        _NUMBERS.pack_into(packet, at + 4, sequence, acknowledgment)
        _WORD.pack_into(packet, at + 16, ~total & 0xFFFF)
        if self._family == 4:
            _WORD.pack_into(packet, 4, identification)
            packet[8] = ttl
        else:
            _WORD.pack_into(packet, at + 14, identification)
            packet[7] = ttl
        return bytes(packet)

    def segment(self, sequence: int, acknowledgment: int, identification: int) -> bytes:
        """The TCP part of the probe with these numbers."""
        return self.build(1, sequence, acknowledgment, identification)[self._tcp_at :]


def as_sent(packet: bytes) -> bytes:
    """A probe as it left this host: the kernel fills in the IPv4 header's checksum."""
    if packet[0] >> 4 == 6:
        return packet
    header_length = (packet[0] & 0x0F) * 4
    check = checksum(packet[:10] + b"\0\0" + packet[12:header_length])
    return packet[:10] + struct.pack("!H", check) + packet[12:]


def as_received(reply: Union[IcmpError, TcpReply], family: int, local_address: str) -> bytes:
    """A reply from its IP header on.

    A raw IPv6 socket delivers none (RFC 3542 section 3), so it is rebuilt from what the kernel told: addresses, length, next
    header and hop limit. Traffic class, flow label and extension headers are not known.

    Arguments:
        family: 4 or 6. local_address: that it came to, a literal without a zone.
    """
    if family == 4:
        return reply.data
    following = _ICMPV6 if isinstance(reply, IcmpError) else TCP
    start = struct.pack("!IHBB", 6 << 28, len(reply.data), following, reply.reply_ttl or 0)
    return start + inet_pton(AF_INET6, reply.address) + inet_pton(AF_INET6, local_address) + reply.data


def read_tcp_over_ipv4(packet: bytes) -> Union[TcpReply, str]:
    """Read a TCP segment as a raw IPv4 socket delivers it, IP header included; or tell why it is none."""
    header_length = _ipv4_header_length(packet)
    if isinstance(header_length, str):
        return header_length
    if packet[9] != TCP:
        return "other_protocol"
    return _read_tcp(packet[header_length:], AF_INET, packet[12:16], packet[16:20], packet[8], packet)


def read_tcp_over_ipv6(segment: bytes, source: str, local_address: str, hop_limit: Optional[int]) -> Union[TcpReply, str]:
    """Read a TCP segment as a raw IPv6 socket delivers it, without the IP header; or tell why it is none.

    Arguments:
        source, local_address: the IPv6 header's addresses without a zone. hop_limit: of that header, if known.
    """
    return _read_tcp(segment, AF_INET6, inet_pton(AF_INET6, source), inet_pton(AF_INET6, local_address), hop_limit, segment)


def read_icmpv4(packet: bytes) -> Union[IcmpError, str]:
    """Read an ICMP error about a TCP packet as a raw IPv4 socket delivers it, IP header included; or tell why it is none."""
    header_length = _ipv4_header_length(packet)
    if isinstance(header_length, str):
        return header_length
    message = packet[header_length:]
    if len(message) < 8:
        return "truncated"
    if checksum(message):
        return "bad_checksum"
    kind, code = message[0], message[1]
    if kind not in (3, 11):
        return "other_icmp"
    if (kind, code) == (11, 1):
        return "reassembly_timeout"
    quoted = _rfc4884_quote(message, message[5] * 4, 20 + _SHORTEST_QUOTE)
    quote = _read_ipv4_quote(quoted)
    if isinstance(quote, str):
        return quote
    mtu = _WORD.unpack_from(message, 6)[0] if (kind, code) == (3, 4) else 0
    what = "time_exceeded" if kind == 11 else "unreachable"
    return IcmpError(what, inet_ntop(AF_INET, packet[12:16]), kind, code, packet[8], mtu or None, quote, packet)


def read_icmpv6(message: bytes, source: str, hop_limit: Optional[int]) -> Union[IcmpError, str]:
    """Read an ICMPv6 error about a TCP packet as a raw IPv6 socket delivers it; or tell why it is none.

    The kernel has verified the checksum of what an ICMPv6 socket delivers (RFC 3542 section 3.1).

    Arguments:
        message: from the ICMPv6 header on. source: its sender without a zone. hop_limit: it came with, if known.
    """
    if len(message) < 8:
        return "truncated"
    kind, code = message[0], message[1]
    if kind not in (1, 2, 3):
        return "other_icmp"
    if (kind, code) == (3, 1):
        return "reassembly_timeout"
    quoted = _rfc4884_quote(message, message[4] * 8, 40 + _SHORTEST_QUOTE) if kind != 2 else message[8:]
    quote = _read_ipv6_quote(quoted)
    if isinstance(quote, str):
        return quote
    mtu = struct.unpack_from("!I", message, 4)[0] if kind == 2 else 0
    what = "time_exceeded" if kind == 3 else "unreachable"
    return IcmpError(what, source, kind, code, hop_limit, mtu or None, quote, message)


def _ipv4_header_length(packet: bytes) -> Union[int, str]:
    """Length of the header of an IPv4 packet, which holds it whole; or why it is none."""
    if len(packet) < 20:
        return "truncated"
    version, words = divmod(packet[0], 16)
    if version != 4 or words < 5 or words * 4 > len(packet):
        return "malformed"
    return words * 4


def _read_tcp(segment: bytes, kind: int, source: bytes, address: bytes, ttl: Optional[int], data: bytes) -> Union[TcpReply, str]:
    if len(segment) < 20:
        return "truncated"
    port, local_port, sequence, acknowledgment, offset, flags, _window, claimed, _urgent = _TCP_HEADER.unpack_from(segment)
    if (offset >> 4) * 4 < 20 or (offset >> 4) * 4 > len(segment):
        return "malformed"
    pseudo = _pseudo_sum(source + address, TCP, len(segment))
    # A segment that never left this machine (loopback, veth) may carry the sum of the pseudo-header alone: its sender
    # left the rest to a network card (checksum offload).
    if checksum(segment, pseudo) and claimed != 0xFFFF ^ checksum(b"", pseudo):
        return "bad_checksum"
    return TcpReply(
        inet_ntop(kind, source), port, inet_ntop(kind, address), local_port, flags, sequence, acknowledgment, ttl, data
    )


def _rfc4884_quote(message: bytes, length: int, shortest: int) -> bytes:
    """The quoted datagram of an ICMP error, without the extensions behind it (RFC 4884 section 4).

    A length that leaves no room for headers is none: those bytes were unused before RFC 4884, and some routers left junk there.
    """
    quoted = message[8:]
    return quoted[:length] if shortest <= length <= len(quoted) else quoted


def _read_ipv4_quote(quoted: bytes) -> Union[Quote, str]:
    header_length = _ipv4_header_length(quoted)
    if isinstance(header_length, str):
        return "bad_quote"
    tos, total_length, identification, fragment, ttl, protocol, source, address = _IPV4_HEADER.unpack_from(quoted)
    if protocol != TCP:
        return "other_protocol"
    if fragment & 0x1FFF:
        return "fragment"
    segment = _quoted_segment(quoted, header_length, total_length)
    if isinstance(segment, str):
        return segment
    source_port, port, sequence = _PORTS_AND_SEQUENCE.unpack_from(segment)
    return Quote(
        inet_ntop(AF_INET, source),
        source_port,
        inet_ntop(AF_INET, address),
        port,
        sequence,
        ttl,
        tos,
        identification,
        segment,
    )


def _read_ipv6_quote(quoted: bytes) -> Union[Quote, str]:
    if len(quoted) < 40 or quoted[0] >> 4 != 6:
        return "bad_quote"
    first_word, payload_length, _following, hop_limit = struct.unpack_from("!IHBB", quoted)
    place = ipv6_payload(quoted)
    if isinstance(place, str):
        return "bad_quote" if place == "truncated" else place
    protocol, at = place
    if protocol != TCP:
        return "other_protocol"
    segment = _quoted_segment(quoted, at, 40 + payload_length)
    if isinstance(segment, str):
        return segment
    source_port, port, sequence = _PORTS_AND_SEQUENCE.unpack_from(segment)
    window = _WORD.unpack_from(segment, 14)[0] if len(segment) >= 16 else None
    return Quote(
        inet_ntop(AF_INET6, quoted[8:24]),
        source_port,
        inet_ntop(AF_INET6, quoted[24:40]),
        port,
        sequence,
        hop_limit,
        first_word >> 20 & 0xFF,
        window,
        segment,
    )


def ipv6_payload(packet: bytes) -> Union[Tuple[int, int], str]:
    """What an IPv6 packet of at least 40 bytes carries behind its extension headers, and where; or why that can't be told.

    Returns:
        The protocol number and the offset of its header; or ``truncated``, or ``fragment`` for one that is not the first.
    """
    following, at = packet[6], 40
    for _extension in range(_MOST_EXTENSIONS + 1):
        if following not in _EXTENSION_UNITS and following != _FRAGMENT:
            return following, at
        if len(packet) < at + 8:
            break
        if following == _FRAGMENT:
            if struct.unpack_from("!H", packet, at + 2)[0] & 0xFFF8:
                return "fragment"
            following, at = packet[at], at + 8
        else:
            unit = _EXTENSION_UNITS[following]
            following, at = packet[at], at + (packet[at + 1] + (1 if unit == 8 else 2)) * unit
    return "truncated"


def _quoted_segment(quoted: bytes, at: int, total_length: int) -> Union[bytes, str]:
    """The quoted TCP bytes, without what a router padded them with (RFC 4884 section 4.1: zeros up to 128 bytes)."""
    if total_length >= at + _SHORTEST_QUOTE:
        quoted = quoted[:total_length]
    segment = quoted[at:]
    if len(segment) < _SHORTEST_QUOTE:
        return "bad_quote"
    if not any(segment[_SHORTEST_QUOTE:]):
        segment = segment[:_SHORTEST_QUOTE]
    return segment
