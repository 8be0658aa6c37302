# BSD-3-Clause, see LICENSE
"""Where the packets of a trace leave and go: destination resolved, route asked, source port reserved. Sends nothing."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Iterator, List, Optional, Tuple, Union

from .errors import ProbeError, ResolveError, RouteError, TransportError
from .options import TraceOptions
from .resolver import forbidden, resolve

__all__ = ("Flow", "open_flow")

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

# Route netlink (rtnetlink(7), linux/rtnetlink.h).
_NETLINK_HEADER = struct.Struct("=IHHII")
_ROUTE_MESSAGE = struct.Struct("=BBBBBBBBI")
_TYPE_AT = 7
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _NEW_ROUTE, _GET_ROUTE = 2, 24, 26
_REQUEST = 1
_DESTINATION, _SOURCE, _OUTPUT_INTERFACE, _PREFERRED_SOURCE = 1, 2, 4, 7

#: Type of a route that leads to a broadcast address.
_BROADCAST = 3
# linux/sockios.h, linux/if.h.
_GET_INTERFACE_FLAGS, _UP = 0x8913, 1
#: So many interfaces at most are listed in an error.
_LISTED_INTERFACES = 20

_ROUTE_ERRORS = {
    errno.ENETUNREACH: "no route leads there",
    errno.EHOSTUNREACH: "the route says that it is unreachable",
    errno.EACCES: "the route prohibits it",
    errno.EINVAL: "the route discards it, or cannot lead there",
    errno.ENETDOWN: "the interface is down",
}


class Flow:
    """The flow of one trace, with its source port held by a bound socket until ``close``.

    The socket never listens or connects, so the kernel answers a SYN/ACK to it with a RST and nothing stays half-open.

    Attributes:
        options: what was asked.
        family: 4 or 6.
        address, source: address literals without a zone.
        source_port: of every probe.
        device: name of the interface that the route leads through.
        interface: as asked for, or None where the route decides.
        device_index: number of ``device`` where packets are bound to it (asked for, or a link-local address), else 0.
    """

    def __init__(
        self,
        options: TraceOptions,
        family: int,
        address: str,
        source: str,
        source_port: int,
        device: str,
        device_index: int,
        reservation: Optional[socket.socket],
    ) -> None:
        self.options = options
        self.family = family
        self.address = address
        self.source = source
        self.source_port = source_port
        self.device = device
        self.interface = options.interface
        self.device_index = device_index
        self._reservation = reservation

    def close(self) -> None:
        """Free the source port."""
        if self._reservation is not None:
            self._reservation.close()

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def open_flow(options: TraceOptions, *, reserve: bool = True) -> Flow:
    """Resolve the destination, ask the kernel for the route, and reserve the source port.

    A name with several addresses gives the first that there is a route to.

    Arguments:
        options: what is asked.
        reserve: False goes on with a source port that another socket holds; its connections to the same destination may suffer.

    Raises:
        ResolveError: the destination or the source has no address of the family.
        RouteError: no such interface, no route, a destination that is never traced to, or a source that is not this host's.
        TransportError: the source port is taken, or no socket could be had.
    """
    interface_index = _interface_index(options.interface) if options.interface else 0
    sources = resolve(options.source, options.family) if options.source else []
    families = {version for version, _address in sources}
    # A source of both versions leaves the choice to the destination.
    candidates = resolve(options.destination, families.pop() if len(families) == 1 else options.family)
    problems: List[ProbeError] = []
    for family, address in candidates:
        try:
            wanted = next((source for version, source in sources if version == family), None)
            return _open(options, family, address, wanted, interface_index, reserve=reserve)
        except (ResolveError, RouteError) as error:
            problems.append(error)
    raise problems[0]


def _open(
    options: TraceOptions, family: int, address: str, wanted: Optional[str], interface_index: int, *, reserve: bool
) -> Flow:
    shown = options.destination if options.destination == address else "{} ({})".format(options.destination, address)
    refusal = forbidden(address, family)
    if refusal:
        raise RouteError("{} is never traced to: {}; give the address of one host".format(shown, refusal))
    address, _percent, zone = address.partition("%")
    wanted_source, _percent, source_zone = (wanted or "").partition("%")
    bound = {index for index in (interface_index, _zone_index(zone), _zone_index(source_zone)) if index}
    if len(bound) > 1:
        raise RouteError("{} can't be traced to through two interfaces at once: let interface and zones agree".format(shown))
    bound_index = bound.pop() if bound else 0
    if wanted_source:
        _check_local(family, wanted_source, bound_index)
    # With a source as well, IPv6 takes the interface for a wish; ``RawTransport.send`` leaves the source out for the same reason.
    routed_by_source = wanted_source if family == 4 or not bound_index else ""
    device_index, preferred = _route(family, address, routed_by_source, bound_index, shown)
    source = wanted_source or preferred
    if not source:
        raise RouteError("{} can't be traced to: this host has no IPv{} address for that route".format(shown, family))
    device = _interface_name(device_index)
    # The last that can fail, so that no port stays reserved when it does.
    reservation, port = _reserve(family, source, device_index, options.source_port, reserve=reserve)
    return Flow(
        options,
        family,
        address,
        source,
        port,
        device,
        device_index if bound_index or _is_link_local(family, address) else 0,
        reservation,
    )


def _interface_index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        known = [each for _number, each in _interfaces()]
        listed = ", ".join(known[:_LISTED_INTERFACES]) + (", ..." if len(known) > _LISTED_INTERFACES else "")
        raise RouteError("{} is not an interface of this host: choose from {}".format(name, listed)) from None


def _interfaces() -> List[Tuple[int, str]]:
    try:
        return socket.if_nameindex()
    except OSError as error:
        raise TransportError("The interfaces of this host can't be listed: {}".format(error.strerror)) from None


def _zone_index(zone: str) -> int:
    """A zone is the name or the number of an interface (RFC 4007 section 11.2)."""
    if zone.isdigit() and int(zone) in (number for number, _name in _interfaces()):
        return int(zone)
    return _interface_index(zone) if zone else 0


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        raise RouteError("Interface {} went away while the route was asked for: try again".format(index)) from None


def _is_link_local(family: int, address: str) -> bool:
    packed = socket.inet_pton(_FAMILIES[family], address)
    return family == 6 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def _place(family: int, address: str, port: int, index: int) -> Union[Tuple[str, int], Tuple[str, int, int, int]]:
    if family == 4:
        return address, port
    return address, port, 0, index if _is_link_local(family, address) else 0


def _socket(family: int, kind: int, protocol: int = 0) -> socket.socket:
    try:
        return socket.socket(family, kind, protocol)
    except OSError as error:
        raise TransportError("No socket can be opened to prepare a trace: {}".format(error.strerror)) from None


def _check_local(family: int, source: str, index: int) -> None:
    foreign = RouteError("{} is not an address of this host: give one of its own as source, or none".format(source))
    # A socket may be bound to the unspecified address and to groups, which are no sources all the same.
    if forbidden(source, family):
        raise foreign
    with _socket(_FAMILIES[family], socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(_place(family, source, 0, index))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise TransportError("{} can't be used as source: {}".format(source, error.strerror)) from None
            raise foreign from None


def _reserve(family: int, source: str, index: int, port: Optional[int], *, reserve: bool) -> Tuple[Optional[socket.socket], int]:
    reservation = _socket(_FAMILIES[family], socket.SOCK_STREAM)
    try:
        reservation.bind(_place(family, source, port or 0, index))
    except OSError as error:
        reservation.close()
        if error.errno != errno.EADDRINUSE or port is None:
            raise TransportError("No source port could be reserved at {}: {}".format(source, error.strerror)) from None
        if not reserve:
            return None, port
        raise TransportError("Source port {} is in use at {}: choose another, or leave it free".format(port, source)) from None
    bound_port: int = reservation.getsockname()[1]
    return reservation, bound_port


def _route(family: int, address: str, source: str, index: int, shown: str) -> Tuple[int, str]:
    """The interface and source address that the kernel would use, as ``ip route get`` tells.

    Arguments:
        source: address that the route is for, or empty. index: of the interface that it has to lead through, or 0.
        shown: the destination as errors name it.

    Returns:
        Number of the interface, and the preferred source; empty where the route has none.
    """
    kind = _FAMILIES[family]
    attributes = [(_DESTINATION, socket.inet_pton(kind, address))]
    if source:
        attributes.append((_SOURCE, socket.inet_pton(kind, source)))
    if index:
        attributes.append((_OUTPUT_INTERFACE, struct.pack("=I", index)))
    bits = 32 if family == 4 else 128
    body = _ROUTE_MESSAGE.pack(kind, bits, bits if source else 0, 0, 0, 0, 0, 0, 0)
    body += b"".join(_ATTRIBUTE.pack(4 + len(value), number) + value for number, value in attributes)
    request = _NETLINK_HEADER.pack(_NETLINK_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body
    with _socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        try:
            netlink.bind((0, 0))
            netlink.send(request)
            answer = netlink.recv(65536)
        except OSError as error:
            raise TransportError("The kernel can't be asked for the route to {}: {}".format(shown, error.strerror)) from None
    kind_of_answer = _NETLINK_HEADER.unpack_from(answer)[1]
    if kind_of_answer != _NEW_ROUTE:
        number = -struct.unpack_from("=i", answer, _NETLINK_HEADER.size)[0] if kind_of_answer == _ERROR else errno.EIO
        start = " from {}".format(source) if source else ""
        through = " through {}".format(_interface_name(index)) if index else ""
        why = _ROUTE_ERRORS.get(number, os.strerror(number))
        if number == errno.ENETUNREACH and index and not _is_up(_interface_name(index)):
            raise RouteError("{} can't be traced to{}{}: the interface is down; bring it up".format(shown, start, through))
        raise RouteError("{} can't be traced to{}{}: {}; check this host's routes".format(shown, start, through, why))
    if answer[_NETLINK_HEADER.size + _TYPE_AT] == _BROADCAST:
        raise RouteError("{} is never traced to: the broadcast address of a network; give the address of one host".format(shown))
    told = dict(_attributes(answer[_NETLINK_HEADER.size + _ROUTE_MESSAGE.size :]))
    output, preferred = told.get(_OUTPUT_INTERFACE), told.get(_PREFERRED_SOURCE)
    if output is None:
        raise RouteError("{} can't be traced to: its route leads through no interface; check this host's routes".format(shown))
    return struct.unpack("=I", output)[0], socket.inet_ntop(kind, preferred) if preferred else ""


def _is_up(name: str) -> bool:
    # Needed by this refusal alone.
    import fcntl

    with _socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked, _GET_INTERFACE_FLAGS, struct.pack("16s24x", os.fsencode(name)))
        except OSError:
            # It went away meanwhile.
            return False
    return bool(struct.unpack_from("=H", answer, 16)[0] & _UP)


def _attributes(data: bytes) -> Iterator[Tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, number = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield number & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
