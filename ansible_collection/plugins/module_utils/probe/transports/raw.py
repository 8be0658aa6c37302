# BSD-3-Clause, see LICENSE
"""How packets leave and arrive with CAP_NET_RAW: for one IP version, one socket that sends and two that receive.

A raw socket of its own for each trace would get a copy of every reply to all of them, so the traces of a process share these;
a kernel filter keeps other traffic away from Python.
"""

from __future__ import annotations

import errno
import socket
import struct
from array import array
from typing import Dict, List, NamedTuple, Optional, Set, Tuple, Union

from ..errors import PrivilegeError, TransportError
from ..privileges import explain_missing
from ..wire import IcmpError, TcpReply, read_icmpv4, read_icmpv6, read_tcp_over_ipv4, read_tcp_over_ipv6

__all__ = ("RawTransport", "Received")

# Numbers that Python's socket module lacks (asm-generic/socket.h, linux/in.h, linux/icmp.h, linux/icmpv6.h).
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_RXQ_OVFL, _SO_ATTACH_FILTER = 33, 35, 40, 26
_IP_RECVERR, _IPV6_RECVERR, _IP_PKTINFO = 11, 25, 8
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_INTERFACE = 10, 23, 4
_SOL_RAW, _ICMP_FILTER = 255, 1
_SOL_ICMPV6, _ICMPV6_FILTER = 58, 1
_TIMESPEC = struct.Struct("@ll")
# A plain number: an operation with a flag of the socket module makes an object each time.
_TRUNCATED = int(socket.MSG_TRUNC)
_COUNTER = struct.Struct("@I")

#: Room for replies that wait while Python is busy: 8 MiB hold some 10,000, the system's default 256.
_RECEIVE_BUFFER = 8 << 20
#: More than an ICMP error may carry (RFC 1812 4.3.2.3: 576 bytes; with IPv6 the minimum MTU, 1280).
_LONGEST_REPLY = 2048
_ANCILLARY_ROOM = 256
#: Up to so many ports are listed in the kernel filter; beyond, it takes the range between the lowest and the highest.
_LISTED_PORTS = 64
#: So many packets at most are read before the caller gets to look at them.
_BATCH = 256

# Classic BPF (linux/filter.h): operation codes that the filters use.
_LOAD_HALF, _LOAD_HALF_INDEXED, _LOAD_BYTE_INDEXED, _LOAD_HEADER_LENGTH = 0x28, 0x48, 0x50, 0xB1
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_OR_EQUAL, _RETURN = 0x15, 0x25, 0x35, 0x06
_ALL = 0xFFFFFFFF


class Received(NamedTuple):
    """A packet with the kernel's wall-clock time of its receipt in nanoseconds; None where the kernel gave none."""

    packet: Union[IcmpError, TcpReply, str]
    stamp_ns: Optional[int]


class RawTransport:
    """The raw sockets of one IP version.

    Arguments:
        family: 4 or 6.

    Attributes:
        method: the transport's name in records.
        family: as given.
        dropped: packets that the kernel threw away because Python did not read in time. Newer kernels look whether there is
            room before they ask the filter, and so count packets here that were none of ours.

    Raises:
        PrivilegeError: the process lacks CAP_NET_RAW.
        TransportError: the system refused for another reason.
    """

    method = "raw"

    def __init__(self, family: int) -> None:
        self.family = family
        self.dropped = 0
        self._ports: Dict[int, int] = {}
        #: The ports that the filter lets through where it has a range; an empty one where it has a list.
        self._let_through = range(0)
        self._sockets: List[socket.socket] = []
        self._drops: Dict[int, int] = {}
        try:
            self._open()
        except OSError as error:
            self.close()
            if error.errno in (errno.EPERM, errno.EACCES):
                raise PrivilegeError(explain_missing()) from None
            raise TransportError("No raw IPv{} socket can be opened: {}".format(family, error.strerror)) from None

    def _open(self) -> None:
        kind = socket.AF_INET if self.family == 4 else socket.AF_INET6
        # IPPROTO_RAW: the whole header is ours, in IPv6 as in IPv4.
        self._sender = self._socket(kind, socket.IPPROTO_RAW)
        # Without this, a full queue of the interface drops packets and reports them as sent.
        if self.family == 4:
            self._sender.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            self._sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        # What was learned of the path's MTU is what a probe may be out to measure: the interface's own is the only limit.
        if self.family == 4:
            self._sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_INTERFACE)
        else:
            self._sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_INTERFACE)
        self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._icmp = self._socket(kind, socket.IPPROTO_ICMP if self.family == 4 else socket.IPPROTO_ICMPV6)
        self._tcp = self._socket(kind, socket.IPPROTO_TCP)
        if self.family == 4:
            self._icmp.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("@I", _ALL & ~(1 << 3 | 1 << 11)))
            _attach(self._icmp, _QUOTES_TCP)
        else:
            blocked = [_ALL] * 8
            blocked[0] &= ~(1 << 1 | 1 << 2 | 1 << 3)
            self._icmp.setsockopt(_SOL_ICMPV6, _ICMPV6_FILTER, struct.pack("@8I", *blocked))
        self._filter_ports()
        for receiver in self.receivers:
            self._prepare(receiver)

    def _socket(self, kind: int, protocol: int) -> socket.socket:
        made = socket.socket(kind, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(made)
        return made

    def _prepare(self, receiver: socket.socket) -> None:
        try:
            receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            # CAP_NET_ADMIN is not needed: the system's limit is less room, and what is lost is counted.
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        if self.family == 6:
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    @property
    def receivers(self) -> Tuple[socket.socket, socket.socket]:
        """The sockets to wait on."""
        return self._icmp, self._tcp

    def close(self) -> None:
        """Close all sockets."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def listen(self, port: int) -> None:
        """Let TCP segments to this local port through the kernel filter."""
        self._ports[port] = self._ports.get(port, 0) + 1
        # A range is made anew only where it has to be wider: with thousands of ports that would cost more than the probes.
        if port not in self._let_through:
            self._filter_ports()

    def forget(self, port: int) -> None:
        """Undo one ``listen`` for the port."""
        self._ports[port] -= 1
        if not self._ports[port]:
            del self._ports[port]
        if len(self._ports) <= _LISTED_PORTS:
            self._filter_ports()

    def _filter_ports(self) -> None:
        ports = set(self._ports)
        self._let_through = range(min(ports), max(ports) + 1) if len(ports) > _LISTED_PORTS else range(0)
        _attach(self._tcp, _port_filter(self.family, ports))

    def send(self, packet: bytes, address: str, source: str, device_index: int) -> None:
        """Hand a whole IP packet to the kernel.

        Arguments:
            packet: from the IP header on.
            address: its destination. source: its source.
            device_index: interface that it must leave through; 0 where the route decides.

        Raises:
            OSError: the system's refusal: no route, queue full (ENOBUFS), firewall (EPERM), too long (EMSGSIZE).
        """
        if self.family == 4:
            # The route is chosen for this source, so that a policy by source address holds for the probes as for the application.
            control = struct.pack("@i4s4s", device_index, socket.inet_aton(source), b"\0" * 4)
            self._sender.sendmsg([packet], [(socket.IPPROTO_IP, _IP_PKTINFO, control)], 0, (address, 0))
        else:
            # Where the route is asked for with a source, IPv6 takes the interface for a wish. The header has the source anyway.
            control = socket.inet_pton(socket.AF_INET6, "::" if device_index else source) + struct.pack("@I", device_index)
            place = (address, 0, 0, device_index)
            self._sender.sendmsg([packet], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, control)], 0, place)

    def receive(self, receiver: socket.socket) -> List[Received]:
        """Read what has arrived at one of ``receivers``, without waiting; an empty list when there is no more."""
        arrived: List[Received] = []
        for _message in range(_BATCH):
            try:
                data, ancillary, flags, place = receiver.recvmsg(_LONGEST_REPLY, _ANCILLARY_ROOM)
            except BlockingIOError:
                break
            except OSError as error:
                # An error that the kernel reports for an earlier packet of the socket; the next read succeeds.
                if error.errno in (errno.EBADF, errno.ENOTSOCK):
                    raise
                continue
            stamp, hop_limit, local_address = self._ancillary(receiver, ancillary)
            if flags & _TRUNCATED:
                arrived.append(Received("too_long", stamp))
            elif self.family == 4:
                reader = read_icmpv4 if receiver is self._icmp else read_tcp_over_ipv4
                arrived.append(Received(reader(data), stamp))
            else:
                source = place[0].partition("%")[0]
                if receiver is self._icmp:
                    arrived.append(Received(read_icmpv6(data, source, hop_limit), stamp))
                elif local_address is None:
                    arrived.append(Received("no_local_address", stamp))
                else:
                    arrived.append(Received(read_tcp_over_ipv6(data, source, local_address, hop_limit), stamp))
        return arrived

    def _ancillary(
        self, receiver: socket.socket, ancillary: List[Tuple[int, int, bytes]]
    ) -> Tuple[Optional[int], Optional[int], Optional[str]]:
        stamp: Optional[int] = None
        hop_limit: Optional[int] = None
        local_address: Optional[str] = None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                stamp = seconds * 1_000_000_000 + nanoseconds
            elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) >= _COUNTER.size:
                number = receiver.fileno()
                total = _COUNTER.unpack_from(data)[0]
                self.dropped += total - self._drops.get(number, 0)
                self._drops[number] = total
            elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT and len(data) >= 4:
                hop_limit = struct.unpack_from("@i", data)[0]
            elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= 16:
                local_address = socket.inet_ntop(socket.AF_INET6, data[:16])
        return stamp, hop_limit, local_address


def _instruction(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("@HBBI", code, when_true, when_false, value)


#: ICMP over IPv4 whose quoted packet is TCP: the protocol field lies 8 + 9 bytes behind the outer header.
_QUOTES_TCP = [
    _instruction(_LOAD_HEADER_LENGTH, 0),
    _instruction(_LOAD_BYTE_INDEXED, 17),
    _instruction(_JUMP_EQUAL, socket.IPPROTO_TCP, 0, 1),
    _instruction(_RETURN, _ALL),
    _instruction(_RETURN, 0),
]


def _port_filter(family: int, ports: Set[int]) -> List[bytes]:
    """Let TCP segments to these destination ports through."""
    if family == 4:
        load = [_instruction(_LOAD_HEADER_LENGTH, 0), _instruction(_LOAD_HALF_INDEXED, 2)]
    else:
        load = [_instruction(_LOAD_HALF, 2)]
    verdicts = [_instruction(_RETURN, 0), _instruction(_RETURN, _ALL)]
    if len(ports) <= _LISTED_PORTS:
        tests = [_instruction(_JUMP_EQUAL, port, len(ports) - index) for index, port in enumerate(sorted(ports))]
    else:
        tests = [
            _instruction(_JUMP_GREATER_OR_EQUAL, min(ports), 0, 1),
            _instruction(_JUMP_GREATER, max(ports), 0, 1),
        ]
    return load + tests + verdicts


def _attach(receiver: socket.socket, program: List[bytes]) -> None:
    code = array("B", b"".join(program))
    address, _length = code.buffer_info()
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), address))
