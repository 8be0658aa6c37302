"""An ICMP error opened: the packet that it quotes, and what its extensions tell of the router (RFC 4884, with Scapy).

The quoted packet may be of any protocol. Where the objects of an extension begin and end is read here, length by length; what is
in one is read by Scapy, which never sees more than that one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from ..probe.records import Interface, Label
from ..probe.resolver import safe_name
from ..probe.wire import checksum

__all__ = ("IcmpMessage", "open_icmp")

#: Errors that may carry extensions (RFC 4884 section 4), by family: types, and where the length of the quote stands in what unit.
_EXTENSIBLE = {4: ((3, 11, 12), 5, 4), 6: ((1, 3), 4, 8)}
_ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
_HEADER = 8
#: Before RFC 4884 a router that appended an extension quoted so many bytes, and told no length (RFC 4884 section 5.1).
_UNTOLD_LENGTH = 128
#: Less than the smallest headers is no length: those bytes were unused once, and some routers left junk there.
_SHORTEST_QUOTE = {4: 28, 6: 48}
_VERSION = 2
_LABEL_STACK = (1, 1)
_INTERFACE_INFORMATION = 2
_ROLES = ("incoming", "incoming_sub_ip", "outgoing", "next_hop")
#: What names of interfaces have in them beside letters, digits, dots and dashes.
_PUNCTUATION = re.compile(r"([/:@()\[\]+, ])")
#: As many as a record holds.
_MOST = 100


class IcmpMessage(NamedTuple):
    """An ICMP error.

    Attributes:
        type, code: as in the ICMP header.
        quoted: the packet that it is about, from its IP header on, as far as it is quoted.
        padded: whether zeros at the end of ``quoted`` may be padding (RFC 4884 section 4.1).
        labels: MPLS label stack that the packet arrived with, top first (RFC 4950); empty where none is told.
        interfaces: interfaces of the router (RFC 5837); empty where none is told.
        unread: why an extension, or a part of one, could not be read, one reason each; empty where all could.
    """

    type: int
    code: int
    quoted: bytes
    padded: bool = False
    labels: tuple[Label, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    unread: tuple[str, ...] = ()


def open_icmp(message: bytes, family: int) -> IcmpMessage | None:
    """Open an ICMP or ICMPv6 error, whatever protocol it quotes.

    Arguments:
        message: the bytes from the ICMP header on; anything at all may stand there.
        family: 4 for ICMP (RFC 792), 6 for ICMPv6 (RFC 4443).

    Returns:
        What it holds; None for what is no ICMP error.
    """
    if len(message) < _HEADER or message[0] not in _ERRORS[family]:
        return None
    kind, code, quoted = message[0], message[1], message[_HEADER:]
    kinds, at, unit = _EXTENSIBLE[family]
    if kind not in kinds:
        return IcmpMessage(kind, code, quoted)
    length = message[at] * unit
    told = _SHORTEST_QUOTE[family] <= length <= len(quoted)
    if told and not quoted[length:]:
        return IcmpMessage(kind, code, quoted, padded=True)
    # Where the length is no use, or tells another thing than where the extension begins, that is where it began before RFC 4884.
    faults = {end: _fault(quoted[end:]) for end in ([length] if told else []) + [_UNTOLD_LENGTH]}
    end = next((end for end, fault in faults.items() if not fault), None)
    if end is not None:
        labels, interfaces, unread = _open_extension(quoted[end:])
        return IcmpMessage(kind, code, quoted[:end], padded=True, labels=labels, interfaces=interfaces, unread=unread)
    if told:
        return IcmpMessage(kind, code, quoted[:length], padded=True, unread=(faults[length],))
    # Nothing said that there is an extension, and there is none: a router quotes as much as it likes (RFC 1812 section 4.3.2.3).
    return IcmpMessage(kind, code, quoted)


def _fault(extension: bytes) -> str:
    """Why this is no extension structure (RFC 4884 section 7); empty where it is one."""
    if len(extension) < 4:
        return "cut off"
    if extension[0] >> 4 != _VERSION:
        return "of version {}".format(extension[0] >> 4)
    # All zeros where its sender has not computed one.
    if extension[2:4] != b"\0\0" and checksum(extension):
        return "of a wrong checksum"
    return "" if len(extension) >= 8 else "empty"


@lru_cache(maxsize=1024)
def _open_extension(extension: bytes) -> tuple[tuple[Label, ...], tuple[Interface, ...], tuple[str, ...]]:
    """Labels, interfaces and what could not be read of an extension structure. The replies of one hop mostly carry the same."""
    labels: list[Label] = []
    interfaces: list[Interface] = []
    unread: list[str] = []
    for kind, subtype, data in _objects(extension):
        if data is None:
            unread.append("with an object of an impossible length")
        elif (kind, subtype) == _LABEL_STACK:
            labels += _guarded(_read_labels, data, unread, "with a label stack that is cut off") or ()
        elif kind == _INTERFACE_INFORMATION:
            interfaces += _guarded(_read_interface, data, unread, "with interface information that is cut off") or ()
    return tuple(labels[:_MOST]), tuple(interfaces[:_MOST]), tuple(dict.fromkeys(unread))


def _objects(extension: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """Class, subtype and bytes (header included) of each object (RFC 4884 section 8); no bytes where its length is impossible."""
    at = 4
    while at < len(extension):
        if len(extension) < at + 4:
            yield 0, 0, None
            return
        length, kind, subtype = struct.unpack_from("!HBB", extension, at)
        if length < 4 or at + length > len(extension):
            yield kind, subtype, None
            return
        yield kind, subtype, extension[at : at + length]
        at += length


def _guarded(read: Callable[[bytes], Any], data: bytes, unread: list[str], reason: str) -> Any:
    """What a reader makes of hostile bytes, or None and the reason among what could not be read."""
    try:
        return read(data)
    except Exception:  # noqa: BLE001 - Scapy promises nothing of what it raises at bytes that are not as they should be
        unread.append(reason)
        return None


def _read_labels(data: bytes) -> tuple[Label, ...]:
    """Entries of a label stack, of four bytes each (RFC 4950 section 5)."""
    from scapy.contrib.mpls import MPLS

    if len(data) % 4 or len(data) == 4:
        raise ValueError(len(data))
    entries = (MPLS(data[at : at + 4]) for at in range(4, min(len(data), 4 * _MOST + 4), 4))
    return tuple(Label(entry.label, entry.cos, bool(entry.s), entry.ttl) for entry in entries)


def _read_interface(data: bytes) -> tuple[Interface, ...]:
    """One interface (RFC 5837 section 4)."""
    told = _interface_information()(data)
    if told.has_ipaddr and told.afi not in (1, 2):
        raise ValueError(told.afi)
    address = None if not told.has_ipaddr else str(told.ip4 if told.afi == 1 else told.ip6)
    name = None
    if told.has_ifname:
        # The length counts itself, and zeros fill it up to a multiple of four (section 4.3).
        if not 0 < told.ifname_len <= 64 or len(told.ifname) != told.ifname_len - 1:
            raise ValueError(told.ifname_len)
        name = _interface_name(told.ifname)
    index = told.ifindex if told.has_ifindex else None
    return (Interface(_ROLES[told.classtype], index, address, name, told.mtu if told.has_mtu else None),)


def _interface_name(name: bytes) -> str:
    """The name without its padding, escaped but for what names of interfaces are made of, such as ``ge-0/0/1.100``."""
    pieces = _PUNCTUATION.split(name.rstrip(b"\0").decode("utf-8", "surrogateescape"))
    return "".join(piece if _PUNCTUATION.fullmatch(piece) else safe_name(piece) for piece in pieces)


@lru_cache(maxsize=1)
def _interface_information() -> Any:
    """Scapy's class for RFC 5837's object, with the length of the name as the RFC has it: that octet counts itself."""
    from scapy.fields import ConditionalField, StrLenField
    from scapy.layers.inet import ICMPExtension_InterfaceInformation
    from scapy.packet import Packet

    def field(described: Any) -> Any:
        if described.name != "ifname":
            return described
        name = StrLenField("ifname", b"", length_from=lambda packet: max(0, packet.ifname_len - 1))
        return ConditionalField(name, lambda packet: packet.has_ifname == 1)

    fields = [field(described) for described in ICMPExtension_InterfaceInformation.fields_desc]
    return type("InterfaceInformation", (Packet,), {"name": "Interface Information Object", "fields_desc": fields})
