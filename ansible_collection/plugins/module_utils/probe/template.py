# BSD-3-Clause, see LICENSE
"""A packet that somebody crafted, read as the template of a trace's probes; or the rule that it breaks."""

from __future__ import annotations

import struct
from binascii import Error, a2b_base64, b2a_base64
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

__all__ = ("RULE", "Template", "read_template")

_LONGEST = 65535
#: What the option's value must be, as the end of the sentence "... is not ...".
RULE = "base64 of an IPv4 or IPv6 packet with a TCP header, of at most {} bytes".format(_LONGEST)

_TCP = 6
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS = 0, 43, 44, 60
#: More extension headers are not read in quotes either.
_MOST_EXTENSIONS = 8
#: IPv4 options of one byte, and those of source routes (RFC 791 section 3.1).
_END_OF_OPTIONS, _NO_OPERATION = 0, 1
_SOURCE_ROUTES = (131, 137)


class Template(NamedTuple):
    """A packet as a trace's probes are to be.

    Attributes:
        family: 4 or 6.
        source, address: literals; empty where the packet leaves them open, with the unspecified address.
        source_port, port: of the TCP header; 0 where the packet leaves them open.
        flags: bits of the TCP header. tos: type of service or traffic class. dont_fragment: IPv4 alone has it.
        header: the IP header with its options or extension headers. segment: from the TCP header on.
    """

    family: int
    source: str
    address: str
    source_port: int
    port: int
    flags: int
    tos: int
    dont_fragment: bool
    header: bytes
    segment: bytes


def read_template(text: object) -> Template:
    """Read the option ``packet``.

    Arguments:
        text: base64 of the packet from its IP header on.

    Raises:
        ValueError: with the rule that it breaks, as the end of the sentence "... is not ...".
    """
    data = _decoded(text)
    if data[0] >> 4 == 4:
        header_length = _ipv4_header_length(data)
    elif data[0] >> 4 == 6:
        header_length = _ipv6_header_length(data)
    else:
        raise ValueError(RULE)
    segment = data[header_length:]
    if len(segment) < 20 or not 20 <= (segment[12] >> 4) * 4 <= len(segment):
        raise ValueError("a packet with a whole TCP header")
    ipv4 = data[0] >> 4 == 4
    kind, at, size = (AF_INET, 12, 4) if ipv4 else (AF_INET6, 8, 16)
    source, address = data[at : at + size], data[at + size : at + 2 * size]
    source_port, port = struct.unpack_from("!HH", segment)
    return Template(
        family=4 if ipv4 else 6,
        source=inet_ntop(kind, source) if any(source) else "",
        address=inet_ntop(kind, address) if any(address) else "",
        source_port=source_port,
        port=port,
        flags=segment[13],
        tos=data[1] if ipv4 else struct.unpack_from("!H", data)[0] >> 4 & 0xFF,
        dont_fragment=ipv4 and bool(data[6] & 0x40),
        header=data[:header_length],
        segment=segment,
    )


def _decoded(text: object) -> bytes:
    if not isinstance(text, str) or not text.isascii() or len(text) > (_LONGEST + 2) // 3 * 4:
        raise ValueError(RULE)
    try:
        data = a2b_base64(text)
    except Error:
        raise ValueError(RULE) from None
    # Python's reader skips what is no base64.
    if not data or b2a_base64(data, newline=False) != text.encode("ascii"):
        raise ValueError(RULE)
    return data


def _check_length(told: int, data: bytes) -> None:
    if told != len(data):
        raise ValueError("a whole packet: its IP header tells of {} bytes, and it has {}".format(told, len(data)))


def _check_tcp(protocol: int) -> None:
    if protocol != _TCP:
        raise ValueError("a TCP packet: behind its IP header comes protocol {}".format(protocol))


def _fragment() -> ValueError:
    return ValueError("a whole packet: it is a fragment")


def _source_routed() -> ValueError:
    # What the destination is, and whether it may be traced to, would be the route's to say.
    return ValueError("a packet to its destination alone: it has a source route")


def _ipv4_header_length(data: bytes) -> int:
    if len(data) < 20:
        raise ValueError("a whole packet: an IPv4 header has at least 20 bytes, and it has {}".format(len(data)))
    length = (data[0] & 0x0F) * 4
    if length < 20:
        raise ValueError("a packet with an IPv4 header in order: its length says {} bytes".format(length))
    _check_length(struct.unpack_from("!H", data, 2)[0], data)
    if struct.unpack_from("!H", data, 6)[0] & 0x3FFF:
        raise _fragment()
    _check_tcp(data[9])
    _check_ipv4_options(data[20:length])
    return length


def _check_ipv4_options(options: bytes) -> None:
    at = 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        if options[at] in _SOURCE_ROUTES:
            raise _source_routed()
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            raise ValueError("a packet with IPv4 options in order: option {} does not end in the header".format(options[at]))
        at += length


def _ipv6_header_length(data: bytes) -> int:
    if len(data) < 40:
        raise ValueError("a whole packet: an IPv6 header has 40 bytes, and it has {}".format(len(data)))
    _check_length(40 + struct.unpack_from("!H", data, 4)[0], data)
    following, at = data[6], 40
    for _extension in range(_MOST_EXTENSIONS):
        if following not in (_HOP_BY_HOP, _DESTINATION_OPTIONS):
            break
        if len(data) < at + 8:
            raise ValueError("a packet with a whole TCP header")
        following, at = data[at], at + (data[at + 1] + 1) * 8
    if following == _ROUTING:
        raise _source_routed()
    if following == _FRAGMENT:
        raise _fragment()
    _check_tcp(following)
    return at
