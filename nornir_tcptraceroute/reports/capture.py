"""Traces out of captured packets, our own or another tool's: finds the probes, matches the answers, records the hops. No I/O.

The probes are TCP segments that leave with a small TTL. What answers them is told by the probe's own matching, flow by flow.
Which flows are one trace is told by the probes: a tool that keeps its source port sends several TTLs from it, any other one TTL.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from itertools import groupby
from socket import AF_INET6, inet_ntop
from typing import NamedTuple

from ..probe.matching import Matcher
from ..probe.options import FLAG_BITS
from ..probe.recording import hop_record, path_end, port_state
from ..probe.records import MOST_PACKETS, Packet, ProbeShape, Trace
from ..probe.state import Answer, Endpoints, HopState, Probe
from ..probe.wire import (
    IcmpError,
    TcpReply,
    as_received,
    checksum,
    flag_names,
    ipv6_payload,
    read_icmpv4,
    read_icmpv6,
    read_tcp_over_ipv4,
    read_tcp_over_ipv6,
)

__all__ = ("MOST_KEPT", "Captured", "Traces")

#: A flow is a trace's if it begins with a TTL below this: systems send with 64 and more what is no probe.
LEAST_ORDINARY_TTL = 32
#: A pause of so many seconds ends a trace: one that keeps its source port may wait long for an answer, and the next trace has
#: another port; of tools that change it for each probe, only the pause tells where a trace ends.
LONGEST_PAUSE, LONGEST_PAUSE_BETWEEN_FLOWS = 300.0, 10.0
#: So many TTLs may come from one source port by chance, where each probe has a port that the system chose.
_MOST_BY_CHANCE = 3
#: A trace lasts so many seconds at most, and has so many queries for one TTL; what goes on is told as a further trace.
LONGEST_TRACE, MOST_QUERIES = 86400.0, 500
#: So many packets of traces, and bytes of theirs, are kept of a capture.
MOST_KEPT, MOST_KEPT_BYTES = 100_000, 1 << 27
#: So many further answers are kept for a hop; the others are counted.
_MOST_DUPLICATES = 8

_TCP, _ICMP, _ICMPV6 = 6, 1, 58
_SYN, _RST, _ACK, _FIN = (FLAG_BITS[name] for name in ("SYN", "RST", "ACK", "FIN"))
#: Kinds of TCP options, as they stand in a probe, by the name that the records have for them.
_OPTION_NAMES = {(): "none", (2,): "mss", (2, 4, 8, 1, 3): "linux"}


class Captured(NamedTuple):
    """A captured packet.

    Attributes:
        at_ns: when, in nanoseconds since 1970-01-01 UTC.
        data: its bytes from the IP header on.
    """

    at_ns: int
    data: bytes


class _Sent(NamedTuple):
    """A probe with its bytes from the IP header on."""

    probe: Probe
    data: bytes


class _Received(NamedTuple):
    """An answer with its bytes from the IP header on, and what of it only the moment of its receipt tells.

    Attributes:
        challenge: the destination has a connection half open with the probe's number, which is no answer to that probe alone.
        overtaken: a later probe may have been at the destination before.
    """

    answer: Answer
    data: bytes
    challenge: bool
    overtaken: bool


class _Flow:
    """The probes of one flow, and the answers to them. To the matcher it is what knows the bytes of the probes."""

    def __init__(self, endpoints: Endpoints, first: TcpReply, at: float) -> None:
        self.endpoints = endpoints
        self.flag_bits = first.flags
        self.began = self.last_at = at
        self.sent: list[_Sent] = []
        self._received: list[_Received] = []
        self._unconfirmed: list[_Received] = []
        self.counters: Counter[str] = Counter()
        # Whether the source went on with the connection; what the destination sends from then on answers that.
        self.connected = False
        self.queries: Counter[int] = Counter()
        self.acknowledgment = first.acknowledgment
        segment = _segment(first)
        self.sequence_length = len(segment) - (segment[12] >> 4) * 4 + sum(bool(first.flags & bit) for bit in (_SYN, _FIN))
        self._segments: dict[tuple[int, int, int], bytes] = {}
        # When each TTL was sent last.
        self._latest: dict[int, float] = {}
        # Nothing is left to chance: the numbers of the probes are known.
        self._matcher = Matcher(endpoints, self, first.flags, bytes)

    @property
    def key(self) -> tuple[Endpoints, int]:
        """What the flows of one trace share: all but the source port."""
        return self.endpoints._replace(source_port=0), self.flag_bits

    def takes(self, at: float) -> bool:
        """Whether a packet of that time still belongs to it."""
        return abs(at - self.last_at) <= LONGEST_PAUSE and 0 <= at - self.began + LONGEST_PAUSE <= LONGEST_TRACE

    def takes_probe(self, ttl: int, at: float) -> bool:
        """Whether a probe of that time still belongs to it, and the record of a trace has room for it."""
        if self.queries[ttl] >= MOST_QUERIES or len(self.sent) >= MOST_PACKETS // 2:
            return False
        # A tool that changes its source port may begin with the same one each time.
        again = list(self.queries) == [ttl] and abs(at - self.last_at) > LONGEST_PAUSE_BETWEEN_FLOWS
        return self.takes(at) and not again

    def send(self, segment: TcpReply, data: bytes, at: float) -> None:
        """Take in a probe."""
        ttl = segment.reply_ttl or 0
        identification = struct.unpack_from("!H", data, 4)[0]
        if self.endpoints.family == 6:
            identification = struct.unpack_from("!H", _segment(segment), 14)[0]
        probe = Probe(ttl, 1, segment.sequence, segment.acknowledgment, identification)
        probe.sent_at = at
        self.sent.append(_Sent(probe, data))
        self._latest[ttl] = at
        self.queries[ttl] += 1
        self.counters["sent"] += 1
        self.last_at = at
        self._segments[probe.sequence, probe.acknowledgment, identification] = _summed(_segment(segment), data)
        self._matcher.adopt(probe)

    def segment(self, sequence: int, acknowledgment: int, identification: int) -> bytes:
        """The TCP part of the probe with these numbers, see ``ProbeBuilder``."""
        return self._segments[sequence, acknowledgment, identification]

    def receive(self, packet: IcmpError | TcpReply, data: bytes, at: float) -> None:
        """Take in what may answer one of its probes."""
        self.last_at = at
        verdict = self._matcher.match(packet, at)
        for answer in verdict.answers:
            tcp = answer.packet if isinstance(answer.packet, TcpReply) else None
            overtaken = tcp is not None and bool(tcp.flags & _RST) and self._overtaken(answer.probe)
            # An answer that a later one confirms came with bytes of its own.
            own = data if answer.packet is packet else as_received(answer.packet, *self.endpoints[:2])
            self._received.append(_Received(answer, own, challenge=False, overtaken=overtaken))
        if verdict.outcome == "challenge_ack" and verdict.probe is not None:
            self._received.append(_Received(Answer(verdict.probe, packet, at), data, challenge=True, overtaken=False))
        elif verdict.probe is not None:
            answer = Answer(verdict.probe, packet, at, ("sequence",))
            self._unconfirmed.append(_Received(answer, data, challenge=False, overtaken=False))
        elif not verdict.answers:
            self.counters["ignored_" + verdict.outcome] += 1

    def _overtaken(self, probe: Probe) -> bool:
        """Whether a later probe may have reached the destination by now, see ``Matcher.was_last``."""
        return any(ttl >= probe.ttl and at > probe.sent_at for ttl, at in self._latest.items())

    @property
    def received(self) -> list[_Received]:
        """The answers, once all is taken in.

        An answer with another number than any probe's has to be confirmed by that to another probe. Of a flow with a single
        probe, the flow alone tells which it answers.
        """
        return [*self._received, *self._unconfirmed] if len(self.sent) == 1 else self._received


class Traces:
    """The traces of a capture: takes its packets in their order, and tells the traces at the end.

    Attributes:
        packets: how many were taken.
        full: whether ``MOST_KEPT`` packets belong to traces, so that no more are taken.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.full = False
        self._kept = self._kept_bytes = 0
        self._epoch_ns: int | None = None
        self._flows: dict[tuple[str, int, str, int], _Flow] = {}
        self._by_sequence: dict[int, _Flow] = {}
        self._all: list[_Flow] = []

    def add(self, captured: Captured) -> None:
        """Take the next packet, of whatever kind; most of a capture may have nothing to do with a trace."""
        self.packets += 1
        packet = read_packet(captured.data)
        if isinstance(packet, str):
            return
        if self._epoch_ns is None:
            self._epoch_ns = captured.at_ns
        # Counted from the first packet, a time fits a float to the nanosecond.
        at = (captured.at_ns - self._epoch_ns) / 1e9
        flow = (
            self._add_tcp(packet, captured.data, at)
            if isinstance(packet, TcpReply)
            else self._add_icmp(packet, captured.data, at)
        )
        if flow is not None:
            self._kept += 1
            self._kept_bytes += len(captured.data)
            self.full = self._kept >= MOST_KEPT or self._kept_bytes >= MOST_KEPT_BYTES

    def _add_tcp(self, segment: TcpReply, data: bytes, at: float) -> _Flow | None:
        there = segment.address, segment.port, segment.local_address, segment.local_port
        answered = self._flows.get((*there[2:], *there[:2]))
        if answered is not None and answered.takes(at):
            if answered.connected:
                return None
            answered.receive(segment, data, at)
            return answered
        flow, ttl = self._flows.get(there), segment.reply_ttl or 0
        if flow is not None and flow.takes(at) and segment.flags != flow.flag_bits:
            # The kernel's own part: RST for a SYN/ACK that it did not ask for, or the rest of a handshake that it did.
            flow.connected = flow.connected or not segment.flags & _RST
            return None
        if flow is None or not flow.takes_probe(ttl, at):
            if not 0 < ttl < LEAST_ORDINARY_TTL:
                return None
            flow = self._flows[there] = _Flow(_endpoints(segment), segment, at)
            self._all.append(flow)
        if not ttl:
            return None
        flow.send(segment, data, at)
        self._by_sequence[segment.sequence] = flow
        return flow

    def _add_icmp(self, error: IcmpError, data: bytes, at: float) -> _Flow | None:
        quote = error.quote
        if quote is None:
            return None
        flow = self._flows.get((quote.source, quote.source_port, quote.address, quote.port)) or self._by_sequence.get(
            quote.sequence
        )
        if flow is None or not flow.takes(at):
            return None
        flow.receive(error, data, at)
        return flow

    def traces(self, warnings: Sequence[str] = (), *, cut: bool = False) -> list[Trace]:
        """The traces so far, in the order of their first probes.

        Arguments:
            warnings: what the reader of each should know of the capture.
            cut: whether packets are missing at the end of the capture.
        """
        if self._epoch_ns is None:
            return []
        together = sorted(_together(self._all), key=lambda flows: flows[0].began)
        return [_trace(flows, self._epoch_ns, tuple(warnings), cut=cut) for flows in together]


def read_packet(packet: bytes) -> IcmpError | TcpReply | str:
    """Read a captured IP packet of either version: a TCP segment, or an ICMP error about one; or tell why it is neither.

    Arguments:
        packet: from the IP header on, padding of the link behind it allowed.
    """
    if len(packet) < 20:
        return "truncated"
    version = packet[0] >> 4
    if version == 6:
        return _read_ipv6(packet)
    if version != 4:
        return "other_protocol"
    total_length, fragment = struct.unpack_from("!H2xH", packet, 2)
    if total_length > len(packet):
        return "truncated"
    if fragment & 0x3FFF:
        return "fragment"
    # A total length of 0 is that of a packet which a network card was to cut up.
    packet = packet[: total_length or None]
    if packet[9:10] == bytes([_TCP]):
        return read_tcp_over_ipv4(packet)
    return read_icmpv4(packet) if packet[9:10] == bytes([_ICMP]) else "other_protocol"


def _read_ipv6(packet: bytes) -> IcmpError | TcpReply | str:
    if len(packet) < 40:
        return "truncated"
    payload_length, hop_limit = struct.unpack_from("!HxB", packet, 4)
    if 40 + payload_length > len(packet):
        return "truncated"
    packet = packet[: 40 + payload_length]
    place = ipv6_payload(packet)
    if isinstance(place, str):
        return place
    protocol, start = place
    source, address, payload = packet[8:24], packet[24:40], packet[start:]
    if protocol == _TCP:
        return read_tcp_over_ipv6(payload, inet_ntop(AF_INET6, source), inet_ntop(AF_INET6, address), hop_limit)
    if protocol != _ICMPV6:
        return "other_protocol"
    # A socket's kernel has done this: RFC 4443 section 2.3.
    if checksum(source + address + struct.pack("!II", len(payload), _ICMPV6) + payload):
        return "bad_checksum"
    return read_icmpv6(payload, inet_ntop(AF_INET6, source), hop_limit)


def _endpoints(segment: TcpReply) -> Endpoints:
    return Endpoints(6 if ":" in segment.address else 4, segment.address, segment.port, segment.local_address, segment.local_port)


def _segment(read: TcpReply) -> bytes:
    """The bytes from the TCP header on: those that a segment was read from have an IPv4 header, and no IPv6 header."""
    return read.data if ":" in read.address else read.data[(read.data[0] & 0x0F) * 4 :]


def _summed(segment: bytes, packet: bytes) -> bytes:
    """A probe's segment, to compare what is quoted of it with; zeros, unlike any quote, where a network card was to sum it up."""
    addresses = packet[8:40] if packet[0] >> 4 == 6 else packet[12:20]
    return bytes(20) if checksum(addresses + struct.pack("!II", len(segment), _TCP) + segment) else segment


# From flows to traces.


def _together(flows: Sequence[_Flow]) -> Iterator[list[_Flow]]:
    """The flows of each trace, in the order of their first probes."""
    ordered = sorted(flows, key=lambda flow: (flow.key, flow.began))
    for _key, group in groupby(ordered, key=lambda flow: flow.key):
        same, several = list(group), _Several()
        single = sum(len(flow.queries) == 1 for flow in same)
        for flow in same:
            # A system that chooses a port for each probe may choose one twice: few TTLs among many flows of one.
            by_chance = len(flow.queries) <= _MOST_BY_CHANCE and single > 2 * len(flow.queries)
            if len(flow.queries) > 1 and not by_chance:
                yield [flow]
            elif not several.add(flow):
                yield several.flows
                several = _Several()
                several.add(flow)
        if several.flows:
            yield several.flows


class _Several:
    """Flows of one TTL each that are one trace, in the order of time."""

    def __init__(self) -> None:
        self.flows: list[_Flow] = []
        self._queries: Counter[int] = Counter()
        self._packets = 0

    def add(self, flow: _Flow) -> bool:
        """Add a flow, if it goes on with the trace and the record of a trace has room for it; the first is always added."""
        queries = self._queries + flow.queries
        packets = self._packets + len(flow.sent) + len(flow.received)
        if self.flows:
            pause, lasts = flow.began - self.flows[-1].last_at, flow.last_at - self.flows[0].began
            if pause > LONGEST_PAUSE_BETWEEN_FLOWS or lasts > LONGEST_TRACE:
                return False
            if max(queries.values()) > MOST_QUERIES or packets > MOST_PACKETS:
                return False
        self.flows.append(flow)
        self._queries, self._packets = queries, packets
        return True


class _Findings:
    """What the answers of a trace say of its path."""

    def __init__(self, sent: Sequence[_Sent]) -> None:
        self.hops: dict[int, HopState] = {}
        self.matched = self.duplicates = self.challenges = 0
        self.tcp_distance: int | None = None
        self.furthest = 0
        self.open = self.closed = False
        self._unreachable: set[int] = set()
        for probe, _data in sent:
            hop = self.hops.setdefault(probe.ttl, HopState(probe.ttl))
            query = hop.new_query()
            query.probes.append(probe)
            probe.query = query.number

    def take(self, received: _Received) -> None:
        """Take the next answer in the order of time."""
        answer = received.answer
        probe, packet = answer.probe, answer.packet
        hop = self.hops[probe.ttl]
        query = hop.queries[probe.query - 1]
        if received.challenge:
            self.challenges += 1
            query.acknowledged = query.acknowledged or answer
            self._reached(probe.ttl, opened=True)
        elif probe.answered:
            self.duplicates += 1
            if len(hop.duplicates) < _MOST_DUPLICATES:
                hop.duplicates.append(answer)
        else:
            self.matched += 1
            probe.answered = hop.answered = True
            query.answer = answer
            if isinstance(packet, TcpReply):
                self._reached(probe.ttl, opened=packet.flags & (_SYN | _ACK | _RST) == _SYN | _ACK)
                self.closed = self.closed or (bool(packet.flags & _RST) and not received.overtaken)
            elif packet.kind == "unreachable":
                self._unreachable.add(probe.ttl)
            else:
                self.furthest = max(self.furthest, probe.ttl)

    def _reached(self, ttl: int, *, opened: bool) -> None:
        self.tcp_distance = ttl if self.tcp_distance is None else min(ttl, self.tcp_distance)
        self.open = self.open or opened

    def distance(self) -> int | None:
        """The TTL at which the path ends."""
        return path_end(self.tcp_distance, self._unreachable, self.furthest)

    def path(self, distance: int | None, *, cut: bool) -> list[int]:
        """The TTLs that belong to the path; where the capture was cut off, silence at its end says nothing."""
        ttls = sorted(ttl for ttl in self.hops if distance is None or ttl <= distance)
        while cut and distance is None and ttls and not self.hops[ttls[-1]].answered:
            ttls.pop()
        return ttls


def _trace(flows: Sequence[_Flow], epoch_ns: int, warnings: tuple[str, ...], *, cut: bool) -> Trace:
    sent = sorted((each for flow in flows for each in flow.sent), key=lambda each: each.probe.sent_at)
    received = sorted((each for flow in flows for each in flow.received), key=lambda each: each.answer.received_at)
    first, endpoints = sent[0], flows[0].endpoints
    findings = _Findings(sent)
    for each in received:
        findings.take(each)
    distance = findings.distance()
    stop_reason = "reached" if findings.tcp_distance is not None else "unreachable" if distance is not None else "max_ttl"
    if cut and stop_reason == "max_ttl":
        stop_reason = "interrupted"
    counters = sum((flow.counters for flow in flows), Counter[str]())
    counters += Counter(matched=findings.matched, duplicate=findings.duplicates, challenge_ack=findings.challenges)
    began_ns = epoch_ns + round((first.probe.sent_at) * 1e9)
    packets = _packets(sent, received, epoch_ns, began_ns // 1_000_000 * 1_000_000)
    ended_at = max([first.probe.sent_at, *(each.probe.sent_at for each in sent), *(each.answer.received_at for each in received)])
    if len({flow.endpoints.source_port for flow in flows}) > 1:
        warnings += ("The probes left from several source ports: where the path balances by flow, they went different ways.",)
    return Trace(
        destination=endpoints.address,
        address=endpoints.address,
        family=endpoints.family,
        port=endpoints.port,
        vantage=endpoints.source,
        source=endpoints.source,
        source_port=endpoints.source_port,
        interface=None,
        method="capture",
        probe=_shape(first.data, flows[0].flag_bits),
        started_at=_iso(began_ns),
        elapsed_ms=round(1000 * (ended_at - (first.probe.sent_at)), 3),
        reached=findings.tcp_distance is not None,
        port_state=port_state(
            endpoints.family,
            flows[0].flag_bits,
            findings.hops,
            distance,
            reached=findings.tcp_distance is not None,
            opened=findings.open,
            closed=findings.closed,
            asked_all=stop_reason == "max_ttl",
        ),
        stop_reason=stop_reason,
        hops=tuple(hop_record(findings.hops[ttl], "all") for ttl in findings.path(distance, cut=cut)),
        counters=dict(sorted(counters.items())),
        warnings=warnings,
        packets=packets,
    )


def _packets(sent: Sequence[_Sent], received: Sequence[_Received], epoch_ns: int, began_ns: int) -> tuple[Packet, ...]:
    packets = [(each.probe.sent_at, "sent", each.data) for each in sent]
    packets += [(each.answer.received_at, "received", each.data) for each in received]
    packets.sort(key=lambda packet: packet[0])
    return tuple(
        Packet(
            at_ms=round(max(0, epoch_ns + round(at * 1e9) - began_ns) / 1e6, 6),
            direction=direction,
            data=b64encode(data).decode("ascii"),
        )
        for at, direction, data in packets[:MOST_PACKETS]
    )


def _iso(at_ns: int) -> str:
    milliseconds = at_ns // 1_000_000
    whole = datetime.fromtimestamp(milliseconds // 1000, timezone.utc)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _shape(packet: bytes, flag_bits: int) -> ProbeShape:
    """How a probe looked."""
    if packet[0] >> 4 == 4:
        start, tos, dont_fragment = (packet[0] & 0x0F) * 4, packet[1], bool(packet[6] & 0x40)
    else:
        place = ipv6_payload(packet)
        start, tos, dont_fragment = 0 if isinstance(place, str) else place[1], packet[0] << 4 & 0xF0 | packet[1] >> 4, False
    options = packet[start + 20 : start + (packet[start + 12] >> 4) * 4]
    return ProbeShape(
        flags=flag_names(flag_bits),
        tcp_options=_OPTION_NAMES.get(tuple(_option_kinds(options)), "other"),
        length=len(packet),
        tos=tos,
        dont_fragment=dont_fragment,
    )


def _option_kinds(options: bytes) -> Iterator[int]:
    """The kinds of TCP options, up to the end of the list or to what is none (RFC 9293 section 3.1)."""
    at = 0
    while at < len(options) and options[at]:
        yield options[at]
        length = 1 if options[at] == 1 else options[at + 1] if at + 1 < len(options) else 0
        if not length or (options[at] != 1 and length < 2):
            return
        at += length
