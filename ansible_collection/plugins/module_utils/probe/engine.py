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
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from .errors import PrivilegeError, ProbeError, TransportError
from .flow import Flow
from .options import TraceOptions, connect_obstacles
from .pacing import PROCESS_RATE, Pacing
from .privileges import explain_missing
from .record_class import replaced
from .records import Trace
from .resolver import safe_name
from .state import Endpoints, Probe
from .tracer import Event, Tracer
from .transports.raw import RawTransport
from .wire import IcmpError, ProbeBuilder, TcpReply

if TYPE_CHECKING:
    # Loaded where it is opened: with the privilege for raw sockets it is not needed.
    from .transports.connect import ConnectTransport

__all__ = ("Engine", "Event")

#: Errors that say "not now": a queue is full. Tried again so often, after so many seconds.
_TRANSIENT = (errno.ENOBUFS, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_TRIES, _TRY_AFTER = 5, 0.01
#: A wall clock that moved so much against the monotonic one, in seconds, was set; the kernel's stamps around it are not used.
_CLOCK_STEP = 0.0005
#: A stamp older than this, in seconds, is not believed.
_OLDEST_STAMP = 10.0

#: Half of what a system call that sends may take, in seconds.
_LONGEST_HALF_CALL = 0.00002
#: So many random bytes are asked for at once.
_RANDOM_POOL = 4096
#: So many probes at most leave before what has arrived is read.
_SENDS = 64
#: So many entries of the queue of times at least may be of the past.
_PAST = 64

_FlowKey = Tuple[str, int, str, int]
_Transport = Union[RawTransport, "ConnectTransport"]


class _RandomBytes:
    """The system's random bytes, asked for many at once: each probe takes a few."""

    __slots__ = ("_at", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def __call__(self, size: int) -> bytes:
        if self._at + size > len(self._pool):
            self._pool, self._at = os.urandom(max(size, _RANDOM_POOL)), 0
        taken = self._pool[self._at : self._at + size]
        self._at += size
        return taken


class _Added(NamedTuple):
    """A trace that is to begin; see ``Engine.add``."""

    flow: Flow
    on_trace: Callable[[Trace], None]
    on_event: Optional[Callable[[Event], None]]
    on_refused: Optional[Callable[[ProbeError], None]]


class Running:
    """One trace in an engine: its tracer, and what the loop has to remember for it."""

    __slots__ = (
        "began",
        "due_at",
        "flow",
        "on_event",
        "on_trace",
        "pending",
        "queued",
        "started_at",
        "tracer",
        "transport",
        "tries",
        "try_at",
    )

    def __init__(
        self,
        flow: Flow,
        transport: _Transport,
        on_trace: Callable[[Trace], None],
        on_event: Optional[Callable[[Event], None]],
        entropy: Callable[[int], bytes],
    ) -> None:
        self.flow = flow
        self.transport = transport
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
        label_and_timestamp = int.from_bytes(entropy(8), "big")
        options = flow.options
        if not isinstance(transport, RawTransport):
            options = replaced(options, wait=min(options.wait, transport.longest_wait))
        builder = ProbeBuilder(
            options,
            flow.family,
            flow.source,
            flow.address,
            flow.source_port,
            flow_label=label_and_timestamp & 0xFFFFF or 1,
            timestamp=label_and_timestamp >> 32,
        )
        self.tracer = Tracer(
            options,
            endpoints,
            builder,
            entropy=entropy,
            watched=on_event is not None,
            separate=not isinstance(transport, RawTransport),
        )
        self.pending: Optional[Probe] = None
        self.queued = False
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

    Arguments:
        rate: probes per second of all traces together; infinite is no limit.

    Raises:
        TransportError: no file descriptors are left.
    """

    def __init__(self, rate: float = PROCESS_RATE) -> None:
        self._transports: Dict[Tuple[str, int], _Transport] = {}
        self._receivers: Dict[int, Tuple[RawTransport, socket.socket]] = {}
        self._connecting: Dict[int, ConnectTransport] = {}
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
        self._inbox: Deque[_Added] = deque()
        self._withdrawn: Deque[Flow] = deque()
        self._interrupted = False
        # Its length counts; unlike a number with a lock, a signal handler may change it at any moment.
        self._holders: Deque[None] = deque()
        self._running: Dict[Flow, Running] = {}
        self._by_flow: Dict[_FlowKey, Running] = {}
        self._by_port: Dict[int, Running] = {}
        self._by_sequence: Dict[int, Running] = {}
        self._due: List[Tuple[float, int, Running]] = []
        self._order = count()
        self._ready: Deque[Running] = deque()
        self._sent: List[Running] = []
        self._pacing = Pacing(rate)
        self._entropy = _RandomBytes()
        self._vantage = safe_name(socket.gethostname())
        self._clock_offset = self._wall_minus_monotonic()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def open(self, flow: Flow) -> str:
        """Open what the trace of a flow needs, once; ``run`` opens what is missing, this is for who drops privileges before.

        Returns:
            The method that the trace will be measured by, ``raw`` or ``connect``.

        Raises:
            PrivilegeError: the process lacks CAP_NET_RAW, and the trace can't do without.
            TransportError: the system refused for another reason.
        """
        return self.prepare(flow.options, flow.family)

    def prepare(self, options: TraceOptions, family: int) -> str:
        """As ``open``, for a flow that is to be opened later.

        Arguments:
            options: what is asked.
            family: the IP version that it may turn out to have, 4 or 6.
        """
        return self._transport(options, family).method

    @property
    def rate(self) -> float:
        """Probes per second of all traces together; infinite is no limit. May be changed at any time, from any thread."""
        return self._pacing.process.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._pacing.change(rate)

    def _transport(self, options: TraceOptions, family: int) -> _Transport:
        method = options.method
        known = self._transports.get((method, family))
        if known is not None and (method != "auto" or isinstance(known, RawTransport) or not connect_obstacles(options)):
            return known
        if method == "connect":
            transport: _Transport = self._open_connect(family)
        else:
            try:
                transport = self._open_raw(family)
            except PrivilegeError:
                if method == "raw" or connect_obstacles(options):
                    raise
                transport = self._open_connect(family)
        self._transports[method, family] = transport
        return transport

    def _open_raw(self, family: int) -> RawTransport:
        known = self._transports.get(("raw", family))
        if isinstance(known, RawTransport):
            return known
        opened = RawTransport(family)
        self._transports["raw", family] = opened
        for receiver in opened.receivers:
            self._receivers[receiver.fileno()] = opened, receiver
            self._poll.register(receiver.fileno(), select.EPOLLIN)
        return opened

    def _open_connect(self, family: int) -> ConnectTransport:
        from .transports.connect import ConnectTransport

        known = self._transports.get(("connect", family))
        if isinstance(known, ConnectTransport):
            return known
        opened = ConnectTransport(family)
        self._transports["connect", family] = opened
        self._connecting[opened.fileno()] = opened
        self._poll.register(opened.fileno(), select.EPOLLIN)
        return opened

    def close(self) -> None:
        """Close all sockets, and the flows of traces that have not ended."""
        for flow in [*self._running, *(added.flow for added in self._inbox)]:
            flow.close()
        for transport in set(self._transports.values()):
            transport.close()
        self._poll.close()
        wake_write, self._wake_write = self._wake_write, -1
        os.close(self._wake_read)
        os.close(wake_write)

    def add(
        self,
        flow: Flow,
        on_trace: Callable[[Trace], None],
        on_event: Optional[Callable[[Event], None]] = None,
        on_refused: Optional[Callable[[ProbeError], None]] = None,
    ) -> None:
        """Begin a trace; from any thread. The engine closes the flow when the trace has ended.

        Arguments:
            flow: from ``open_flow``.
            on_trace: called with the record when the trace has ended.
            on_event: called with each event of the trace.
            on_refused: called where no socket could be had for the trace; without it, ``run`` raises the problem.
        """
        self._inbox.append(_Added(flow, on_trace, on_event, on_refused))
        self._wake()

    def hold(self) -> None:
        """Have ``run`` go on although there is nothing to do, until ``release``: more is going to be added. From any thread."""
        self._holders.append(None)

    def release(self) -> None:
        """Undo one ``hold``; from any thread or a signal handler."""
        self._holders.pop()
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
            sent, self._sent = self._sent, []
            for running in sent:
                self._advance(running)
            for running in self._take_due(time.monotonic()):
                self._advance(running)
            ready_at = self._send_ready()
            if self.idle and not self._holders:
                return
            self._clock_offset = self._wall_minus_monotonic()
            touched: Set[Running] = set()
            for number, _events in self._poll.poll(self._timeout(ready_at)):
                if number == self._wake_read:
                    os.read(self._wake_read, 4096)
                elif number in self._connecting:
                    self._receive_connected(self._connecting[number], touched)
                else:
                    self._receive(number, touched)
            for running in touched:
                self._advance(running)

    def _timeout(self, ready_at: float) -> Optional[float]:
        """How long nothing needs to be done unless something arrives, in seconds; None for ever."""
        if self._sent:
            # What was sent last is looked at again at once, and what has arrived meanwhile before it.
            return 0.0
        times = [ready_at]
        if self._due:
            times.append(self._due[0][0])
        now = time.monotonic()
        for transport in self._connecting.values():
            transport.expire(now)
            times.append(transport.expires_at)
        earliest = min(times)
        return None if earliest == math.inf else max(0.0, earliest - now)

    def _take_in(self) -> None:
        """Begin what was added, and end what was withdrawn."""
        while self._inbox:
            # It stays there until it is open: who closes the engine closes it as well.
            flow, on_trace, on_event, on_refused = self._inbox[0]
            try:
                transport = self._transport(flow.options, flow.family)
            except ProbeError as problem:
                if on_refused is None:
                    raise
                self._inbox.popleft()
                flow.close()
                on_refused(problem)
                continue
            running = Running(flow, transport, on_trace, on_event, self._entropy)
            self._inbox.popleft()
            self._running[flow] = running
            self._pacing.begin(flow.address)
            if isinstance(transport, RawTransport):
                transport.listen(flow.source_port)
                self._by_flow[running.key] = running
                self._by_port[flow.source_port] = running
            self._due_at(0.0, running)
        while self._withdrawn:
            self._interrupt(self._withdrawn.popleft())
        if self._interrupted:
            self._interrupted = False
            for flow in list(self._running):
                self._interrupt(flow)

    def _interrupt(self, flow: Flow) -> None:
        running = self._running.get(flow)
        if running is not None:
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
        """Ask a trace what it has to do now, and if that is a probe, let it wait for its turn."""
        if running.flow not in self._running or running.queued:
            return
        if running.pending is None:
            action = running.tracer.poll(time.monotonic())
            if action is None:
                self._finish(running)
                return
            if isinstance(action, float):
                self._due_at(action, running)
            else:
                running.pending = action
        if running.pending is not None:
            running.queued = True
            self._ready.append(running)
        self._report(running)

    def _send_ready(self) -> float:
        """Send what waits for its turn, of each trace one probe at most: the answer to it may tell that no more are needed.

        Returns:
            When there is more to send: a time that has passed, a later one where the process's rate is spent, or infinity.
        """
        for _turn in range(_SENDS):
            if not self._ready:
                return math.inf
            now = time.monotonic()
            ready_at = self._pacing.process.next_at(now)
            if ready_at > now:
                return ready_at
            running = self._ready.popleft()
            running.queued = False
            probe, flow = running.pending, running.flow
            if probe is None or flow not in self._running:
                continue
            ready_at = max(running.try_at, self._pacing.ready_at(flow.address, probe.ttl, now))
            if ready_at > now:
                # It lets the others go first.
                self._due_at(ready_at, running)
                continue
            self._send(running, probe)
            self._sent.append(running)
        return 0.0 if self._ready else math.inf

    def _send(self, running: Running, probe: Probe) -> None:
        tracer = running.tracer
        try:
            sent_at = self._emit(running, probe)
        except OSError as error:
            now = time.monotonic()
            if error.errno in _TRANSIENT and running.tries < _TRIES:
                running.tries += 1
                running.try_at = now + _TRY_AFTER * running.tries
                return
            self._by_sequence.pop(probe.sequence, None)
            running.pending, running.tries = None, 0
            tracer.failed(probe, errno.errorcode.get(error.errno or 0, "E{}".format(error.errno)), now)
            return
        self._pacing.take(running.flow.address, probe.ttl)
        running.pending, running.tries = None, 0
        tracer.sent(probe, sent_at)

    @staticmethod
    def _left_at(before: float) -> float:
        """When a probe left that was handed to the kernel at this time, and taken by now: half-way, as far as that is known.

        What is longer than a system call takes was this process waiting for a processor, before or after.
        """
        return before + min((time.monotonic() - before) / 2, _LONGEST_HALF_CALL)

    def _emit(self, running: Running, probe: Probe) -> float:
        """Hand a probe to the kernel; returns when it left, in seconds of the monotonic clock."""
        flow, transport = running.flow, running.transport
        if not isinstance(transport, RawTransport):
            return self._left_at(transport.send(flow, probe))
        # An answer may be there before ``send`` returns, so the probe can be found from here on.
        self._by_sequence[probe.sequence] = running
        packet = running.tracer.builder.build(probe.ttl, probe.sequence, probe.acknowledgment, probe.identification)
        before = time.monotonic()
        transport.send(packet, flow.address, flow.source, flow.device_index)
        return self._left_at(before)

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
            running.tracer.received(packet, _received_at(received.stamp_ns, wall, monotonic, stepped=stepped))
            touched.add(running)

    def _receive_connected(self, transport: ConnectTransport, touched: Set[Running]) -> None:
        told = transport.receive()
        wall, monotonic = time.time_ns(), time.monotonic()
        stepped = abs(wall / 1e9 - monotonic - self._clock_offset) > _CLOCK_STEP
        for connected in told:
            running, probe = self._running[connected.flow], connected.probe
            at = _received_at(connected.stamp_ns, wall, monotonic, stepped=stepped)
            if connected.round_trip is not None:
                at = min(at, probe.sent_at + connected.round_trip)
            running.tracer.answered(probe, connected.packet, at)
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
        flow, tracer, transport = running.flow, running.tracer, running.transport
        del self._running[flow]
        self._pacing.end(flow.address)
        if not isinstance(transport, RawTransport):
            transport.forget(flow)
        else:
            transport.forget(flow.source_port)
            del self._by_flow[running.key]
            if self._by_port.get(flow.source_port) is running:
                del self._by_port[flow.source_port]
            for sequence in tracer.sequences:
                if self._by_sequence.get(sequence) is running:
                    del self._by_sequence[sequence]
        flow.close()
        if len(self._due) > 2 * len(self._running) + _PAST:
            # What has ended would stand there, with all that is known of it, until the time that it had waited for.
            self._due = [entry for entry in self._due if entry[2].flow in self._running and entry[0] == entry[2].due_at]
            heapq.heapify(self._due)
        self._report(running)
        running.on_trace(
            tracer.record(
                vantage=self._vantage,
                interface=flow.interface,
                method=transport.method,
                started_at=running.started_at,
                began=running.began,
                warnings=_warnings(running),
            )
        )


def _warnings(running: Running) -> Tuple[str, ...]:
    warnings = []
    if not isinstance(running.transport, RawTransport):
        return (running.transport.limits.format(explain_missing()),) if running.flow.options.method == "auto" else ()
    length, asked = running.tracer.builder.length, running.flow.options.length
    if asked is not None and length > asked:
        warnings.append("length {} is less than the headers take: probes were {} bytes long.".format(asked, length))
    dropped = running.transport.dropped
    if dropped:
        warnings.append(
            "This host dropped up to {} replies that came faster than they were read; silent hops may have answered.".format(
                dropped
            )
        )
    return tuple(warnings)


def _refused(error: OSError) -> TransportError:
    return TransportError("No event loop can be had: {}; close files or raise their limit".format(error.strerror))


def _received_at(stamp_ns: Optional[int], wall: int, monotonic: float, *, stepped: bool) -> float:
    """When the host received a packet, on the monotonic clock: the kernel's stamp tells how long it has waited for Python."""
    if stamp_ns is None or stepped:
        return monotonic
    age = (wall - stamp_ns) / 1e9
    return monotonic - age if 0 <= age <= _OLDEST_STAMP else monotonic
