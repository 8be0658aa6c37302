"""A network in virtual time: what a real path does to the probes of a tracer, decided by a seed, with the truth kept.

It stands where the engine and the kernel stand otherwise. Delays, loss, order, duplicates, silence, rate limits, the listener's
SYN_RECV state and the reset by the vantage's own kernel are modelled; bytes are not (``test_wire`` has those).
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

from nornir_tcptraceroute.probe.options import FLAG_BITS, TraceOptions
from nornir_tcptraceroute.probe.records import Trace
from nornir_tcptraceroute.probe.state import Endpoints, Probe
from nornir_tcptraceroute.probe.tracer import Event, Tracer
from nornir_tcptraceroute.probe.wire import IcmpError, ProbeBuilder, Quote, TcpReply

SYN, RST, ACK = FLAG_BITS["SYN"], FLAG_BITS["RST"], FLAG_BITS["ACK"]
SOURCE, DESTINATION = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "198.51.100.9", 6: "2001:db8:9::9"}
SOURCE_PORT, PORT = 40001, 443


def router_address(family: int, ttl: int, branch: int = 0) -> str:
    """The address of the router at a TTL."""
    return "10.{}.{}.1".format(branch, ttl) if family == 4 else "2001:db8:{:x}:{:x}::1".format(branch + 1, ttl)


@dataclass
class Router:
    """One hop: round-trip time in seconds from the vantage, whether it answers, and how often it may.

    ``rate`` is in answers per second; ``tokens`` is what part of an answer it may give when the first probe comes.
    """

    rtt: float
    silent: bool = False
    rate: Optional[float] = None
    tokens: float = 1.0
    branches: int = 1


@dataclass
class Path:
    """A path and its end.

    Attributes:
        port: ``open``, ``closed`` or ``filtered``.
        unreachable: (TTL from which every probe is refused, ICMP type, code), or None.
        loss: share of packets lost, each way. duplicates: share of replies that come twice.
        jitter: up to so many seconds are added to each way.
        shift: added to the sequence number from ``shift_from`` on, as a firewall does.
        translated: TTL from which quotes show another destination, as behind a stateless NAT; 0 for none.
        quote: bytes of the TCP header that routers quote.
    """

    routers: List[Router]
    rtt: float
    port: str = "open"
    unreachable: Optional[Tuple[int, int, int]] = None
    loss: float = 0.0
    duplicates: float = 0.0
    jitter: float = 0.0
    shift: int = 0
    shift_from: int = 1
    translated: int = 0
    quote: int = 8
    send_errors: float = 0.0

    @property
    def distance(self) -> int:
        """TTL at which a probe reaches the destination."""
        return len(self.routers) + 1


@dataclass
class Fate:
    """What became of a probe: when it was sent, and every answer that was delivered, with its time."""

    probe: Probe
    sent_at: float
    answers: List[Tuple[float, Union[IcmpError, TcpReply]]] = field(default_factory=list)


def _nothing(_network: VirtualNetwork, _probe: Probe) -> List[Any]:
    """Nobody forges replies."""
    return []


class VirtualNetwork:
    """Runs one tracer over a path; ``fates`` is the truth afterwards."""

    def __init__(self, path: Path, options: TraceOptions, seed: int = 0, *, family: int = 4, watched: bool = False) -> None:
        self.path = path
        self.family = family
        self.random = random.Random(seed)
        self.now = 1000.0
        self.fates: List[Fate] = []
        self.events: List[Event] = []
        self.forged: Callable[[VirtualNetwork, Probe], List[Any]] = _nothing
        endpoints = Endpoints(family, SOURCE[family], SOURCE_PORT, DESTINATION[family], PORT)
        self.builder = ProbeBuilder(options, family, SOURCE[family], DESTINATION[family], SOURCE_PORT, 1, 1)
        self.tracer = Tracer(
            options,
            endpoints,
            self.builder,
            entropy=lambda size: (
                self.random.randbytes(size)
                if hasattr(self.random, "randbytes")
                else bytes(self.random.getrandbits(8) for _ in range(size))
            ),
            watched=watched,
        )
        self._queue: List[Tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._tokens: Dict[int, Tuple[float, float]] = {}
        self._half_open: Optional[int] = None
        self._challenged_at = -1e9
        self._interrupt_at: Optional[float] = None

    # The vantage.

    def run(self, *, interrupt_at: Optional[float] = None) -> Trace:
        """Drive the tracer until it is done; a tracer that never ends fails after 100,000 steps."""
        if interrupt_at is not None:
            self._at(self.now + interrupt_at, lambda: self.tracer.end("interrupted", self.now))
        for _ in range(100_000):
            action = self.tracer.poll(self.now)
            self.events += self.tracer.events
            self.tracer.events = []
            if action is None:
                return self.tracer.record(vantage="v", interface=None, method="raw", started_at="2026-01-01T00:00:00.000Z")
            if isinstance(action, Probe):
                self._send(action)
                continue
            if self._queue and self._queue[0][0] <= action:
                self.now, _, happen = heapq.heappop(self._queue)
                happen()
            else:
                assert action > self.now, "the tracer asks to be woken in the past"
                assert action < 1e6, "the tracer waits for nothing"
                self.now = action
        raise AssertionError("the trace does not end")

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self.now), next(self._order), happen))

    def _send(self, probe: Probe) -> None:
        if self.random.random() < self.path.send_errors:
            self.tracer.failed(probe, "ENOBUFS", self.now)
            return
        self.tracer.sent(probe, self.now)
        fate = Fate(probe, self.now)
        self.fates.append(fate)
        for packet in self.forged(self, probe):
            self._at(self.now, partial(self._receive, packet))
        if not self._lost():
            self._travel(fate)
        self.now += 1e-6

    def _receive(self, packet: Union[IcmpError, TcpReply]) -> None:
        self.tracer.received(packet, self.now)

    def _lost(self) -> bool:
        return self.random.random() < self.path.loss

    def _deliver(self, fate: Fate, packet: Union[IcmpError, TcpReply], delay: float) -> None:
        copies = 2 if self.random.random() < self.path.duplicates else 1
        for _ in range(copies):
            if self._lost():
                continue
            when = self.now + delay + self.random.random() * self.path.jitter

            def happen(when: float = when) -> None:
                if self.tracer.stop_reason is None:
                    fate.answers.append((when, packet))
                self.tracer.received(packet, when)
                if isinstance(packet, TcpReply) and not packet.flags & RST and not self._lost():
                    # The vantage's kernel knows no such connection and resets it (RFC 9293 section 3.10.7.1).
                    number = packet.acknowledgment
                    self._at(self.now + self.path.rtt / 2, lambda: self._reset(number))

            self._at(when, happen)

    # The path.

    def _travel(self, fate: Fate) -> None:
        path, ttl = self.path, fate.probe.ttl
        if path.unreachable is not None and ttl >= path.unreachable[0]:
            at, kind, code = path.unreachable
            router = max(1, at - 1)
            self._icmp(fate, min(ttl, router), kind, code, self._router_rtt(router))
        elif ttl < path.distance:
            router_here = path.routers[ttl - 1]
            if not router_here.silent and self._may_answer(ttl, router_here):
                kind = 11 if self.family == 4 else 3
                self._icmp(fate, ttl, kind, 0, router_here.rtt)
        elif path.port != "filtered":
            delay = path.rtt / 2 + self.random.random() * path.jitter
            self._at(self.now + delay, lambda: self._arrive(fate))

    def _router_rtt(self, ttl: int) -> float:
        return self.path.routers[ttl - 1].rtt if ttl <= len(self.path.routers) else self.path.rtt

    def _may_answer(self, ttl: int, router: Router) -> bool:
        if router.rate is None:
            return True
        tokens, filled_at = self._tokens.get(ttl, (router.tokens, self.now))
        tokens = min(1.0, tokens + (self.now - filled_at) * router.rate)
        allowed = tokens >= 1.0
        self._tokens[ttl] = (tokens - 1.0 if allowed else tokens, self.now)
        return allowed

    def _icmp(self, fate: Fate, ttl: int, kind: int, code: int, rtt: float) -> None:
        probe, path = fate.probe, self.path
        sequence = probe.sequence
        if path.shift and ttl >= path.shift_from:
            sequence = (sequence + path.shift) % 2**32
        segment = self.builder.segment(sequence, probe.acknowledgment, probe.identification)[: path.quote]
        translated = path.translated and ttl >= path.translated
        quote = Quote(
            source=SOURCE[self.family],
            source_port=SOURCE_PORT,
            address="203.0.113.77" if translated else DESTINATION[self.family],
            port=8443 if translated else PORT,
            sequence=sequence,
            ttl=1,
            tos=0,
            identification=probe.identification if self.family == 4 or path.quote >= 16 else None,
            segment=segment,
        )
        branches = path.routers[ttl - 1].branches if ttl <= len(path.routers) else 1
        address = router_address(self.family, ttl, self.random.randrange(branches))
        exceeded = (self.family, kind) in ((4, 11), (6, 3))
        error = IcmpError("time_exceeded" if exceeded else "unreachable", address, kind, code, 64, None, quote, b"evidence")
        self._deliver(fate, error, rtt)

    # The destination.

    def _arrive(self, fate: Fate) -> None:
        """A SYN at the destination's kernel (measured on Linux 6.18 for several SYNs of one flow inside one round trip)."""
        probe = fate.probe
        if self.tracer.options.flag_bits & ACK:
            # Open or closed, a segment with ACK outside a connection is reset with its own number (RFC 9293 section 3.10.7).
            self._tcp(fate, RST, 0, sequence=probe.acknowledgment)
        elif self.path.port == "closed":
            self._tcp(fate, RST | ACK, probe.sequence + self.builder.sequence_length)
        elif self._half_open is None:
            self._half_open = probe.sequence
            self._tcp(fate, SYN | ACK, probe.sequence + 1)
        elif 0 < (probe.sequence - self._half_open) % 2**32 < 2**16:
            self._tcp(fate, RST | ACK, probe.sequence + 1)
        elif self.now - self._challenged_at >= 0.5:
            self._challenged_at = self.now
            self._tcp(fate, ACK, self._half_open + 1)

    def _tcp(self, fate: Fate, flags: int, acknowledgment: int, sequence: int = 77) -> None:
        family = self.family
        reply = TcpReply(
            DESTINATION[family], PORT, SOURCE[family], SOURCE_PORT, flags, sequence, acknowledgment % 2**32, 60, b"evidence"
        )
        self._deliver(fate, reply, self.path.rtt / 2)

    def _reset(self, acknowledgment: int) -> None:
        if self._half_open is not None and (self._half_open + 1) % 2**32 == acknowledgment % 2**32:
            self._half_open = None
