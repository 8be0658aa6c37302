# BSD-3-Clause, see LICENSE
"""How probes leave and answers arrive without any privilege: each probe is a TCP connection that the kernel opens.

The socket's TTL is the probe's. A router's ICMP error is read from the socket's error queue (ip(7), IP_RECVERR); what it says
of the probe is known from the socket that it came to, so nobody can forge it who has not guessed port and sequence number of
the kernel. A connection that is made is reset at once. A socket lives less than a second: then the kernel would send its SYN
again (RFC 6298 section 2), and an answer could be to either.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import struct
import time
from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from ..errors import TransportError
from ..flow import Flow
from ..options import FLAG_BITS
from ..state import Probe
from ..wire import IcmpError, Quote, TcpReply, checksum

__all__ = ("ConnectTransport", "Connected")

#: Seconds that a probe's socket lives, and that its answer is waited for.
_LIFETIME, _LONGEST_WAIT = 0.95, 0.9
_LIMITS = (
    "Measured by connections, each probe a flow of its own: answers after 0.9 s, reply TTLs and what routers quote are not seen, "
    "because {}."
)

# Numbers that Python's socket module lacks (linux/in.h, linux/in6.h, asm-generic/socket.h, linux/errqueue.h, linux/tcp.h).
_IP_RECVERR, _IPV6_RECVERR, _SO_TIMESTAMPNS = 11, 25, 35
_IP_RECVERR_RFC4884, _IPV6_RECVERR_RFC4884 = 26, 31
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_PROBE = 10, 23, 0, 3
_ORIGIN_ICMP, _ORIGIN_ICMPV6 = 2, 3
_EXTENDED_ERROR = struct.Struct("@IBBBBII")
_TIMESPEC = struct.Struct("@ll")
#: Where struct tcp_info has tcpi_rtt (microseconds) and tcpi_total_retrans.
_RTT_AT, _RETRANSMISSIONS_AT, _TCP_INFO_LENGTH = 68, 100, 104
_LINGER_NOT = struct.pack("@ii", 1, 0)
_LONGEST_QUOTE, _ANCILLARY_ROOM = 2048, 512
#: So many sockets at most are looked at before the caller gets to see their answers.
_BATCH = 256
_OPENED = FLAG_BITS["SYN"] | FLAG_BITS["ACK"]
_REFUSED = FLAG_BITS["RST"] | FLAG_BITS["ACK"]


class Connected(NamedTuple):
    """What became of a probe's connection.

    Attributes:
        flow: of the trace. probe: of that flow.
        packet: the answer, without the fields that the kernel keeps to itself.
        stamp_ns: wall-clock time in nanoseconds at which the kernel received an ICMP error; None where it gave none.
        round_trip: seconds, where the kernel measured it; None where it did not.
    """

    flow: Flow
    probe: Probe
    packet: Union[IcmpError, TcpReply]
    stamp_ns: Optional[int]
    round_trip: Optional[float]


class _Attempt:
    """A connection that is being opened."""

    __slots__ = ("expires_at", "flow", "number", "opened", "probe")

    def __init__(self, flow: Flow, probe: Probe, opened: socket.socket, expires_at: float) -> None:
        self.flow = flow
        self.probe = probe
        self.opened = opened
        self.number = opened.fileno()
        self.expires_at = expires_at


class ConnectTransport:
    """The connections of one IP version that are being opened.

    Arguments:
        family: 4 or 6.

    Attributes:
        method: the transport's name in records.
        longest_wait: for an answer, in seconds.
        limits: what a record says that was measured in this way for want of a privilege; ``{}`` stands for what is missing.
        family: as given.
        dropped: always 0: the kernel keeps an answer with its socket.

    Raises:
        TransportError: no file descriptors are left.
    """

    method = "connect"
    longest_wait = _LONGEST_WAIT
    limits = _LIMITS

    def __init__(self, family: int) -> None:
        self.family = family
        self.dropped = 0
        try:
            self._poll = select.epoll()
        except OSError as error:
            raise TransportError(
                "No event loop can be had: {}; close files or raise their limit".format(error.strerror)
            ) from None
        self._attempts: Dict[int, _Attempt] = {}
        self._of_flow: Dict[Flow, Set[_Attempt]] = {}
        self._by_age: Deque[_Attempt] = deque()

    def fileno(self) -> int:
        """To wait on: readable when a connection has an answer."""
        return self._poll.fileno()

    def close(self) -> None:
        """Give up all connections."""
        for attempt in list(self._attempts.values()):
            self._drop(attempt)
        self._poll.close()

    def send(self, flow: Flow, probe: Probe) -> float:
        """Begin a connection whose SYN has the probe's TTL.

        Arguments:
            flow: of the trace. probe: its TTL counts; its numbers are the tracer's alone.

        Returns:
            When the kernel was asked to send, in seconds of the monotonic clock.

        Raises:
            OSError: the system's refusal: no route, no port (EADDRNOTAVAIL), no file descriptor (EMFILE), firewall (EPERM).
        """
        opened = socket.socket(socket.AF_INET if self.family == 4 else socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._prepare(opened, flow, probe.ttl)
            place = (flow.address, flow.options.port)
            asked_at = time.monotonic()
            number = opened.connect_ex(place if self.family == 4 else (*place, 0, flow.device_index))
            _refuse(number)
            self._poll.register(opened.fileno(), select.EPOLLOUT | select.EPOLLERR)
        except BaseException:
            opened.close()
            raise
        attempt = _Attempt(flow, probe, opened, asked_at + _LIFETIME)
        self._attempts[attempt.number] = attempt
        self._of_flow.setdefault(flow, set()).add(attempt)
        self._by_age.append(attempt)
        return asked_at

    def _prepare(self, opened: socket.socket, flow: Flow, ttl: int) -> None:
        options = flow.options
        # What is open at the end is reset, without a FIN and without data.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if flow.interface is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(flow.interface) + b"\0")
        if self.family == 4:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, options.tos)
            opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            discovery = _PMTUDISC_PROBE if options.dont_fragment else _PMTUDISC_DONT
            opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, discovery)
            _where_known(opened, socket.IPPROTO_IP, _IP_RECVERR_RFC4884)
            opened.bind((flow.source, 0))
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, options.tos)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            _where_known(opened, socket.IPPROTO_IPV6, _IPV6_RECVERR_RFC4884)
            opened.bind((flow.source, 0, 0, flow.device_index))

    def receive(self) -> List[Connected]:
        """What became of connections, without waiting; an empty list when there is no more to tell."""
        told = []
        for number, _events in self._poll.poll(0, _BATCH):
            attempt = self._attempts[number]
            answer = self._answer(attempt)
            self._drop(attempt)
            if answer is not None:
                told.append(answer)
        return told

    @property
    def expires_at(self) -> float:
        """When ``expire`` has something to do, in seconds of the monotonic clock; infinity for never."""
        return self._by_age[0].expires_at if self._by_age else math.inf

    def expire(self, now: float) -> None:
        """Close the sockets whose time is over, before the kernel sends their SYN again."""
        while self._by_age and (self._by_age[0].expires_at <= now or self._by_age[0].opened.fileno() < 0):
            self._drop(self._by_age.popleft())

    def forget(self, flow: Flow) -> None:
        """Give up the connections of a trace."""
        for attempt in self._of_flow.pop(flow, set()):
            self._drop(attempt)

    def _drop(self, attempt: _Attempt) -> None:
        if attempt.opened.fileno() < 0:
            return
        del self._attempts[attempt.number]
        self._of_flow.get(attempt.flow, set()).discard(attempt)
        # Closing takes it out of the poll as well.
        attempt.opened.close()

    def _answer(self, attempt: _Attempt) -> Optional[Connected]:
        opened, flow, probe = attempt.opened, attempt.flow, attempt.probe
        # The error first: reading the queue clears it.
        number = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        queued = self._queued(attempt)
        if queued is not None:
            packet, stamp = queued
            return Connected(flow, probe, packet, stamp, None)
        if number == 0:
            rtt, retransmissions = _tcp_info(opened)
            # An answer to a SYN that was sent twice may be to either.
            return Connected(flow, probe, self._segment(opened, flow, _OPENED), None, None if retransmissions else rtt)
        if number == errno.ECONNREFUSED:
            return Connected(flow, probe, self._segment(opened, flow, _REFUSED), None, None)
        # ETIMEDOUT and what this host says of itself: no answer of the path.
        return None

    @staticmethod
    def _segment(opened: socket.socket, flow: Flow, flags: int) -> TcpReply:
        local_port: int = opened.getsockname()[1]
        return TcpReply(flow.address, flow.options.port, flow.source, local_port, flags, 0, 0, None, b"")

    def _queued(self, attempt: _Attempt) -> Optional[Tuple[IcmpError, Optional[int]]]:
        """The ICMP error in the socket's error queue, and when the kernel received it."""
        try:
            quoted, ancillary, _flags, _place = attempt.opened.recvmsg(_LONGEST_QUOTE, _ANCILLARY_ROOM, socket.MSG_ERRQUEUE)
        except OSError:
            # Nothing is queued (EAGAIN), or the error that is pending says the same once more.
            return None
        stamp: Optional[int] = None
        found: Optional[IcmpError] = None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                stamp = seconds * 1_000_000_000 + nanoseconds
            elif (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
                found = _icmp_error(data, quoted, attempt.flow, attempt.opened.getsockname()[1])
        return None if found is None else (found, stamp)


def _where_known(opened: socket.socket, level: int, option: int) -> None:
    """Ask for something that kernels before 5.9 don't have: without it, extensions of ICMP errors are not found."""
    try:
        opened.setsockopt(level, option, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


def _refuse(number: int) -> None:
    if number not in (0, errno.EINPROGRESS):
        raise OSError(number, os.strerror(number))


def _icmp_error(data: bytes, quoted: bytes, flow: Flow, local_port: int) -> Optional[IcmpError]:
    """An ICMP error as the kernel tells of it; None for an error of this host's own.

    Arguments:
        data: struct sock_extended_err and the address behind it.
        quoted: the message from the quoted TCP header on, extensions included.
        flow, local_port: of the connection.
    """
    if len(data) < _EXTENDED_ERROR.size + 8:
        return None
    _number, origin, kind, code, _pad, info, extensions_at = _EXTENDED_ERROR.unpack_from(data)
    place = data[_EXTENDED_ERROR.size :]
    if origin == _ORIGIN_ICMP:
        if kind not in (3, 11):
            return None
        mtu = info if (kind, code) == (3, 4) else 0
        address = socket.inet_ntop(socket.AF_INET, place[4:8])
    elif origin == _ORIGIN_ICMPV6 and len(place) >= 24:
        if kind not in (1, 2, 3):
            return None
        mtu = info if kind == 2 else 0
        address = socket.inet_ntop(socket.AF_INET6, place[8:24])
    else:
        return None
    what = "time_exceeded" if (origin, kind) in ((_ORIGIN_ICMP, 11), (_ORIGIN_ICMPV6, 3)) else "unreachable"
    # The upper half of the word holds flags.
    rebuilt = _rebuilt(flow, address, kind, code, info, quoted, struct.unpack("@HH", struct.pack("@I", extensions_at))[0])
    # All that is known of the quoted packet: that the kernel has found this connection by it.
    quote = Quote(flow.source, local_port, flow.address, flow.options.port, 0, 0, 0, None, b"")
    return IcmpError(what, address, kind, code, None, mtu or None, quote, rebuilt)


def _rebuilt(flow: Flow, address: str, kind: int, code: int, info: int, quoted: bytes, extensions_at: int) -> bytes:
    """The error's bytes, as the raw transport would have them: from the IP header on, IPv6 from the ICMPv6 header on.

    The headers are rebuilt from what is known, with a TTL of 0 that says so; what follows the quoted IP header was received.

    Arguments:
        info: the rest of the ICMP header, such as an MTU.
        extensions_at: where extensions begin in what is quoted (RFC 4884); 0 for none.
    """
    options = flow.options
    if flow.family == 4:
        fragment = 0x4000 if options.dont_fragment else 0
        inner = _ipv4_header(options.tos, max(40, len(quoted) + 20), fragment, 1, socket.IPPROTO_TCP, flow.source, flow.address)
        length = (len(inner) + extensions_at) // 4 if extensions_at else 0
        message = struct.pack("!BBHBBH", kind, code, 0, 0, length, info & 0xFFFF) + inner + quoted
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        return _ipv4_header(0, 20 + len(message), 0, 0, socket.IPPROTO_ICMP, address, flow.source) + message
    ends = socket.inet_pton(socket.AF_INET6, flow.source) + socket.inet_pton(socket.AF_INET6, flow.address)
    inner = struct.pack("!IHBB", 6 << 28 | options.tos << 20, max(20, len(quoted)), socket.IPPROTO_TCP, 1) + ends
    length = (len(inner) + extensions_at) // 8 if extensions_at else 0
    rest = struct.pack("!I", info) if kind == 2 else struct.pack("!BBH", length, 0, 0)
    return struct.pack("!BBH", kind, code, 0) + rest + inner + quoted


def _ipv4_header(tos: int, length: int, fragment: int, ttl: int, protocol: int, source: str, address: str) -> bytes:
    ends = socket.inet_aton(source) + socket.inet_aton(address)
    header = struct.pack("!BBHHHBBH", 0x45, tos, length, 0, fragment, ttl, protocol, 0) + ends
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:]


def _tcp_info(opened: socket.socket) -> Tuple[float, int]:
    """The round trip of the handshake in seconds, and how often a segment was sent again (tcp(7), TCP_INFO)."""
    told = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_LENGTH)
    return struct.unpack_from("@I", told, _RTT_AT)[0] / 1e6, struct.unpack_from("@I", told, _RETRANSMISSIONS_AT)[0]
