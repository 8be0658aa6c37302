# BSD-3-Clause, see LICENSE
"""One event loop that drives any number of tracers over the sockets that they share.

All that touches the network or a clock on a trace's way happens here; what to do is the tracer's business (``tracer.py``).
"""

from __future__ import annotations

import errno
import heapq
import math
import os
import select
import socket
import time
from collections import deque
from itertools import count
from typing import Callable, Deque, Dict, List, Optional, Set, Tuple, Union

from .errors import TransportError
from .flow import Flow
from .records import Trace
from .resolver import safe_name
from .state import Endpoints, Probe
from .tracer import Event, Tracer
from .transports.raw import METHOD, RawTransport, Received
from .wire import IcmpError, ProbeBuilder, TcpReply

__all__ = ("Engine", "Event")

#: Probes per second, and how many may leave at once: of the process, and to one destination.
PROCESS_RATE, PROCESS_BURST = 5000.0, 256
DESTINATION_RATE, DESTINATION_BURST = 500.0, 64
#: Errors that say "not now": a queue is full. Tried again so often, after so many seconds.
_TRANSIENT = (errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM)
_TRIES, _TRY_AFTER = 5, 0.01
#: A wall clock that moved so much against the monotonic one, in seconds, was set; the kernel's stamps around it are not used.
_CLOCK_STEP = 0.0005
#: A stamp older than this, in seconds, is not believed.
_OLDEST_STAMP = 10.0

_FlowKey = Tuple[str, int, str, int]


class Pacer:
    """A token bucket.

    Arguments:
        rate: tokens per second. burst: how many may be taken at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._filled_at: Optional[float] = None

    def next_at(self, now: float) -> float:
        """When a token is there: now, or a later time. Seconds of the caller's monotonic clock."""
        if self._filled_at is not None:
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return now if self._tokens >= 1 else now + (1 - self._tokens) / self.rate

    def take(self) -> None:
        """Take a token that ``next_at`` promised."""
        self._tokens -= 1


class Running:
    """One trace in an engine: its tracer, and what the loop has to remember for it."""

    __slots__ = ("began", "due_at", "flow", "on_event", "on_trace", "pending", "started_at", "tracer", "tries", "try_at")

    def __init__(self, flow: Flow, on_trace: Callable[[Trace], None], on_event: Optional[Callable[[Event], None]]) -> None:
        self.flow = flow
        self.on_trace = on_trace
        self.on_event = on_event
        wall, monotonic = time.time_ns(), time.monotonic()
        milliseconds = wall // 1_000_000
        # The same moment by both clocks: the record's other times count from it.
        self.started_at = "{}.{:03d}Z".format(
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000)), milliseconds % 1000
        )
        self.began = monotonic - wall % 1_000_000 / 1e9
        endpoints = Endpoints(flow.family, flow.source, flow.source_port, flow.address, flow.options.port)
        label_and_timestamp = int.from_bytes(os.urandom(8), "big")
        builder = ProbeBuilder(
            flow.options,
            flow.family,
            flow.source,
            flow.address,
            flow.source_port,
            flow_label=label_and_timestamp & 0xFFFFF or 1,
            timestamp=label_and_timestamp >> 32,
        )
        self.tracer = Tracer(flow.options, endpoints, builder, watched=on_event is not None)
        self.pending: Optional[Probe] = None
        self.tries = 0
        self.try_at = 0.0
        self.due_at = math.inf

    @property
    def key(self) -> _FlowKey:
        """The flow, as its replies name it."""
        flow = self.flow
        return flow.address, flow.options.port, flow.source, flow.source_port


class Engine:
    """Drives traces until they have ended.

    Everything but ``add``, ``withdraw`` and ``interrupt`` belongs to the thread that calls ``run``. The callbacks run in that
    thread and must not block it.

    Raises:
        TransportError: no file descriptors are left.
    """

    def __init__(self) -> None:
        self._transports: Dict[int, RawTransport] = {}
        self._receivers: Dict[int, Tuple[RawTransport, socket.socket]] = {}
        try:
            self._poll = select.epoll()
        except OSError as error:
            raise _refused(error) from None
        try:
            self._wake_read, self._wake_write = os.pipe()
        except OSError as error:
            self._poll.close()
            raise _refused(error) from None
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poll.register(self._wake_read, select.EPOLLIN)
        self._inbox: Deque[Running] = deque()
        self._withdrawn: Deque[Flow] = deque()
        self._interrupted = False
        self._running: Set[Running] = set()
        self._by_flow: Dict[_FlowKey, Running] = {}
        self._by_port: Dict[int, Running] = {}
        self._by_sequence: Dict[int, Running] = {}
        self._due: List[Tuple[float, int, Running]] = []
        self._order = count()
        self._pacer = Pacer(PROCESS_RATE, PROCESS_BURST)
        self._destinations: Dict[str, Pacer] = {}
        self._clock_offset = self._wall_minus_monotonic()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def open(self, family: int) -> None:
        """Open the raw sockets of an IP version, once; ``run`` opens what is missing, this is for who drops privileges before.

        Raises:
            PrivilegeError: the process lacks CAP_NET_RAW.
            TransportError: the system refused for another reason.
        """
        if family in self._transports:
            return
        transport = RawTransport(family)
        self._transports[family] = transport
        for receiver in transport.receivers:
            self._receivers[receiver.fileno()] = transport, receiver
            self._poll.register(receiver.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Close all sockets, and the flows of traces that have not ended."""
        for running in [*self._running, *self._inbox]:
            running.flow.close()
        for transport in self._transports.values():
            transport.close()
        self._poll.close()
        wake_write, self._wake_write = self._wake_write, -1
        os.close(self._wake_read)
        os.close(wake_write)

    def add(self, flow: Flow, on_trace: Callable[[Trace], None], on_event: Optional[Callable[[Event], None]] = None) -> None:
        """Begin a trace; from any thread. The engine closes the flow when the trace has ended.

        Arguments:
            flow: from ``open_flow``.
            on_trace: called with the record when the trace has ended.
            on_event: called with each event of the trace.
        """
        self._inbox.append(Running(flow, on_trace, on_event))
        self._wake()

    def withdraw(self, flow: Flow) -> None:
        """End the trace of a flow as ``interrupted``, if there is one; from any thread."""
        self._withdrawn.append(flow)
        self._wake()

    def interrupt(self) -> None:
        """End all traces as ``interrupted``; from any thread or a signal handler."""
        self._interrupted = True
        self._wake()

    @property
    def idle(self) -> bool:
        """Whether no trace is open or waiting to begin."""
        return not self._running and not self._inbox

    def _wake(self) -> None:
        if self._wake_write < 0:
            # Closed; the number may be another file's by now.
            return
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            # The pipe is full, so the loop is going to wake up.
            return

    def run(self) -> None:
        """Drive all traces that were added, and those added meanwhile, until none is left."""
        while True:
            self._take_in()
            for running in self._take_due(time.monotonic()):
                self._advance(running)
            if self.idle:
                return
            timeout = self._due[0][0] - time.monotonic() if self._due else None
            self._clock_offset = self._wall_minus_monotonic()
            touched: Set[Running] = set()
            for number, _events in self._poll.poll(None if timeout is None else max(0.0, timeout)):
                if number == self._wake_read:
                    os.read(self._wake_read, 4096)
                else:
                    self._receive(number, touched)
            for running in touched:
                self._advance(running)

    def _take_in(self) -> None:
        """Begin what was added, and end what was withdrawn."""
        while self._inbox:
            running = self._inbox.popleft()
            transport = self._open_for(running)
            transport.listen(running.flow.source_port)
            self._running.add(running)
            self._by_flow[running.key] = running
            self._by_port[running.flow.source_port] = running
            self._due_at(0.0, running)
        while self._withdrawn:
            flow = self._withdrawn.popleft()
            for running in [one for one in self._running if one.flow is flow]:
                self._interrupt(running)
        if self._interrupted:
            self._interrupted = False
            for running in list(self._running):
                self._interrupt(running)

    def _open_for(self, running: Running) -> RawTransport:
        self.open(running.flow.family)
        return self._transports[running.flow.family]

    def _interrupt(self, running: Running) -> None:
        if running in self._running:
            running.tracer.end("interrupted", time.monotonic())
            self._finish(running)

    def _due_at(self, at: float, running: Running) -> None:
        # A trace stands in the queue with the earliest of its times; at that, it says itself when the next one is.
        if at < running.due_at:
            running.due_at = at
            heapq.heappush(self._due, (at, next(self._order), running))

    def _take_due(self, now: float) -> List[Running]:
        taken = []
        while self._due and self._due[0][0] <= now:
            at, _order, running = heapq.heappop(self._due)
            if at == running.due_at:
                running.due_at = math.inf
                taken.append(running)
        return taken

    # Sending.

    def _advance(self, running: Running) -> None:
        """Do what a trace has to do now, and send one probe at most: the answer to the last may tell that no more are needed."""
        if running not in self._running:
            return
        now = time.monotonic()
        if running.pending is None:
            action = running.tracer.poll(now)
            if action is None:
                self._finish(running)
                return
            if isinstance(action, float):
                self._due_at(action, running)
            else:
                running.pending = action
        if running.pending is not None:
            ready_at = max(running.try_at, self._pacer.next_at(now), self._destination(running.flow.address).next_at(now))
            if ready_at <= now:
                self._send(running, running.pending)
            self._due_at(ready_at, running)
        self._report(running)

    def _destination(self, address: str) -> Pacer:
        pacer = self._destinations.get(address)
        if pacer is None:
            pacer = self._destinations[address] = Pacer(DESTINATION_RATE, DESTINATION_BURST)
        return pacer

    def _send(self, running: Running, probe: Probe) -> None:
        flow, tracer = running.flow, running.tracer
        packet = tracer.builder.build(probe.ttl, probe.sequence, probe.acknowledgment, probe.identification)
        # An answer may be there before ``send`` returns, so the probe can be found from here on.
        self._by_sequence[probe.sequence] = running
        sent_at = time.monotonic()
        try:
            self._transports[flow.family].send(packet, flow.address, flow.source, flow.device_index)
        except OSError as error:
            if error.errno in _TRANSIENT and running.tries < _TRIES:
                running.tries += 1
                running.try_at = sent_at + _TRY_AFTER * running.tries
                return
            del self._by_sequence[probe.sequence]
            running.pending, running.tries = None, 0
            tracer.failed(probe, errno.errorcode.get(error.errno or 0, "E{}".format(error.errno)), sent_at)
            return
        self._pacer.take()
        self._destination(flow.address).take()
        running.pending, running.tries = None, 0
        tracer.sent(probe, sent_at)

    # Receiving.

    def _receive(self, number: int, touched: Set[Running]) -> None:
        transport, receiver = self._receivers[number]
        arrived = transport.receive(receiver)
        wall, monotonic = time.time_ns(), time.monotonic()
        # A clock that was set since the loop went to sleep says nothing of how old a stamp is.
        stepped = abs(wall / 1e9 - monotonic - self._clock_offset) > _CLOCK_STEP
        for received in arrived:
            packet = received.packet
            if isinstance(packet, str):
                continue
            running = self._whose(packet)
            if running is None:
                continue
            running.tracer.received(packet, _received_at(received, wall, monotonic, stepped=stepped))
            touched.add(running)

    def _whose(self, packet: Union[IcmpError, TcpReply]) -> Optional[Running]:
        """The trace that a packet may belong to; the tracer looks closer, and counts why if it does not."""
        if isinstance(packet, TcpReply):
            key = packet.address, packet.port, packet.local_address, packet.local_port
            return self._by_flow.get(key) or self._by_port.get(packet.local_port)
        quote = packet.quote
        key = quote.address, quote.port, quote.source, quote.source_port
        return self._by_flow.get(key) or self._by_sequence.get(quote.sequence) or self._by_port.get(quote.source_port)

    @staticmethod
    def _wall_minus_monotonic() -> float:
        return time.time_ns() / 1e9 - time.monotonic()

    # Ending.

    def _report(self, running: Running) -> None:
        if running.on_event is None:
            return
        events, running.tracer.events = running.tracer.events, []
        for event in events:
            running.on_event(event)

    def _finish(self, running: Running) -> None:
        flow, tracer = running.flow, running.tracer
        self._running.discard(running)
        transport = self._transports[flow.family]
        transport.forget(flow.source_port)
        del self._by_flow[running.key]
        if self._by_port.get(flow.source_port) is running:
            del self._by_port[flow.source_port]
        for sequence in tracer.sequences:
            if self._by_sequence.get(sequence) is running:
                del self._by_sequence[sequence]
        if not any(other.flow.address == flow.address for other in self._running):
            self._destinations.pop(flow.address, None)
        flow.close()
        self._report(running)
        running.on_trace(
            tracer.record(
                vantage=safe_name(socket.gethostname()),
                interface=flow.interface,
                method=METHOD,
                started_at=running.started_at,
                began=running.began,
                warnings=self._warnings(running),
            )
        )

    def _warnings(self, running: Running) -> Tuple[str, ...]:
        warnings = []
        length, asked = running.tracer.builder.length, running.flow.options.length
        if asked is not None and length > asked:
            warnings.append("length {} is less than the headers take: probes were {} bytes long.".format(asked, length))
        dropped = self._transports[running.flow.family].dropped
        if dropped:
            warnings.append(
                "This host dropped up to {} replies that came faster than they were read; silent hops may have answered.".format(
                    dropped
                )
            )
        return tuple(warnings)


def _refused(error: OSError) -> TransportError:
    return TransportError("No event loop can be had: {}; close files or raise their limit".format(error.strerror))


def _received_at(received: Received, wall: int, monotonic: float, *, stepped: bool) -> float:
    """When the host received a packet, on the monotonic clock: the kernel's stamp tells how long it has waited for Python."""
    if received.stamp_ns is None or stepped:
        return monotonic
    age = (wall - received.stamp_ns) / 1e9
    return monotonic - age if 0 <= age <= _OLDEST_STAMP else monotonic
