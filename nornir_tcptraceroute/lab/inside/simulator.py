"""The process behind a simulating host's interface: reads packets there, and answers as ``simulation`` says, when it says.

It keeps a record of what it did, one ``EXCHANGE`` for each packet that came in and each further one that it sent. Times are of
the system's wall clock, nanoseconds: when the kernel received the packet, when the answer was due, and when it was handed over.
"""

from __future__ import annotations

import heapq
import select
import socket
import struct
import time
from itertools import count
from typing import Any, BinaryIO

from .packets import Segment, read_segment
from .simulation import OUTCOMES, Answer, Simulation

#: Received, due, sent (0: never), sequence number, TTL, outcome's number, IP version, source port, port; destination, responder.
EXCHANGE = struct.Struct("=QQQIBBBxHH4x16s16s")

_ETHERNET, _IPV4, _IPV6 = 14, 0x0800, 0x86DD
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _PACKET_OUTGOING = 33, 35, 4
_TIMESPEC = struct.Struct("@ll")
_RECEIVE_BUFFER = 64 << 20
_LONGEST_FRAME = 65535
_ANCILLARY_ROOM = 64
#: So many packets at most are read before answers that are due are sent.
_BATCH = 64
_SECOND = 1_000_000_000
#: So many bytes of record are held back at most.
_RECORD_BUFFER = 1 << 20
#: Seconds without anything to do in which there is time to write.
_QUIET = 0.001


class Simulator:
    """Plays a network behind an interface.

    Arguments:
        interface: its name, in this network namespace.
        scenario: for ``Simulation``.
        record: open for writing, or None.

    Raises:
        OSError: no packet socket can be had.
    """

    def __init__(self, interface: str, scenario: dict[str, Any], record: BinaryIO | None) -> None:
        self._simulation = Simulation(scenario)
        self._record = record
        self._sockets = [self._open(interface, protocol) for protocol in (_IPV4, _IPV6)]
        self._due: list[tuple[int, int, socket.socket, bytes, bytes]] = []
        self._order = count()

    def close(self) -> None:
        """Close all files."""
        for each in self._sockets:
            each.close()
        if self._record is not None:
            self._record.close()

    @staticmethod
    def _open(interface: str, protocol: int) -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(protocol))
        opened.bind((interface, protocol))
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            # In a user namespace the system's limit holds.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return opened

    def run(self) -> None:
        """Play for ever."""
        while True:
            now = time.time_ns()
            while self._due and self._due[0][0] <= now:
                self._send(now)
                now = time.time_ns()
            timeout = (self._due[0][0] - now) / _SECOND if self._due else None
            if self._record is not None and (timeout is None or timeout > _QUIET):
                # Whoever reads the record once it is quiet finds all of it; the lab's end leaves no time for it.
                self._record.flush()
            # Unlike epoll's, this timeout is exact to some tens of microseconds; there are two descriptors.
            ready, _, _ = select.select(self._sockets, [], [], timeout)
            for each in ready:
                self._receive(each)

    def _receive(self, receiver: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                frame, ancillary, _, place = receiver.recvmsg(_LONGEST_FRAME, _ANCILLARY_ROOM)
            except BlockingIOError:
                return
            if place[2] == _PACKET_OUTGOING:
                continue
            segment = read_segment(frame[_ETHERNET:])
            if segment is None:
                continue
            received = time.time_ns()
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack_from(data)
                    received = seconds * _SECOND + nanoseconds
            for answer in self._simulation.answers(segment, received):
                self._plan(receiver, frame, segment, received, answer)

    def _plan(self, sender: socket.socket, frame: bytes, segment: Segment, received: int, answer: Answer) -> None:
        told = EXCHANGE.pack(
            received,
            answer.due,
            0,
            segment.sequence,
            segment.ttl,
            OUTCOMES.index(answer.outcome),
            segment.family,
            segment.source_port,
            segment.port,
            segment.destination,
            answer.responder,
        )
        if not answer.packet:
            self._tell(told)
            return
        # Back to where the packet came from.
        back = frame[6:12] + frame[0:6] + frame[12:14] + answer.packet
        heapq.heappush(self._due, (answer.due, next(self._order), sender, back, told))

    def _send(self, now: int) -> None:
        _, _, sender, frame, told = heapq.heappop(self._due)
        try:
            sender.send(frame)
        except OSError:
            # The interface's queue is full, or it went down: as lost as on a real path, and told as never sent.
            self._tell(told)
            return
        self._tell(told[:16] + now.to_bytes(8, "little" if struct.pack("=H", 1) == b"\1\0" else "big") + told[24:])

    def _tell(self, told: bytes) -> None:
        if self._record is not None:
            self._record.write(told)


def open_simulator(interface: str, scenario: dict[str, Any], record: str | None) -> Simulator:
    """Be ready to play: what comes in from here on is answered once ``run`` is called.

    Arguments:
        interface, scenario: as for ``Simulator``. record: path of the file for the record, or None.

    Raises:
        OSError: no packet socket can be had, or the file can't be written.
    """
    return Simulator(interface, scenario, open(record, "wb", buffering=_RECORD_BUFFER) if record else None)  # noqa: PTH123
