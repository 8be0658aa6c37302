# BSD-3-Clause, see LICENSE
"""From what a trace knows of its hops and packets to their records. Pure functions."""

from __future__ import annotations

import math
from binascii import b2a_base64
from typing import AbstractSet, Dict, Iterable, List, Mapping, Optional, Set, Tuple, Union

from .options import FLAG_BITS
from .record_class import replaced
from .records import MOST_PACKETS, Hop, Packet, Quoted, Reply, RoundTrip
from .state import Answer, Endpoints, HopState, Probe, Query
from .wire import ProbeBuilder, Quote, TcpReply, as_received, as_sent, flag_names

__all__ = ("hop_record", "packet_records", "path_end", "port_state")

_SYN, _RST, _ACK = FLAG_BITS["SYN"], FLAG_BITS["RST"], FLAG_BITS["ACK"]
#: ICMP codes by which a firewall says that it refuses (RFC 1122 3.2.2.1, RFC 1812 5.2.7.1; RFC 4443 3.1), by IP version.
_REFUSALS = {4: {(3, 9), (3, 10), (3, 13)}, 6: {(1, 1), (1, 5), (1, 6)}}


def hop_record(hop: HopState, evidence: str) -> Hop:
    """The record of a hop as it stands.

    Arguments:
        hop: what is known. evidence: which replies keep their bytes: ``none``, ``notable`` or ``all``.
    """
    acknowledgments = [query.acknowledged for query in hop.queries if query.acknowledged is not None and query.answer is None]
    answers = sorted([*hop.answers, *acknowledgments, *hop.duplicates], key=lambda answer: answer.received_at)
    addresses = tuple(dict.fromkeys(answer.packet.address for answer in answers))
    kept = _kept(answers, evidence)
    firsts = [_query_record(query, kept) for query in hop.queries if query.probes or query.error]
    duplicates = [_answer_record(answer, kept, duplicate=True) for answer in hop.duplicates]
    sent = [reply for reply in firsts if reply.kind != "send_error"]
    return Hop(
        ttl=hop.ttl,
        address=addresses[0] if addresses else None,
        addresses=addresses,
        name=None,
        replies=(*firsts, *duplicates),
        rtt_ms=RoundTrip.of([reply.rtt_ms for reply in firsts if reply.rtt_ms is not None]),
        loss=round(sum(reply.kind == "timeout" for reply in sent) / len(sent), 4) if sent else None,
        silence=_silence(hop),
    )


def path_end(tcp_distance: Optional[int], unreachable: AbstractSet[int], furthest: int) -> Optional[int]:
    """The TTL at which the path ends, as far as it is known: where the destination, or an unreachable, answered first.

    Arguments:
        tcp_distance: lowest TTL that the destination answered for; None where it did not.
        unreachable: TTLs that an unreachable came for. furthest: highest TTL that a time exceeded came for.
    """
    if tcp_distance is not None:
        return tcp_distance
    # An unreachable from a TTL that others have passed is not the end (one of several paths, or one moment).
    return min((ttl for ttl in unreachable if ttl > furthest), default=None)


def port_state(
    family: int,
    flag_bits: int,
    hops: Mapping[int, HopState],
    end: Optional[int],
    *,
    reached: bool,
    opened: bool,
    closed: bool,
    asked_all: bool,
) -> str:
    """What a trace says of the destination's port, one of ``PORT_STATES``.

    Arguments:
        family: 4 or 6. flag_bits: TCP flags of the probes.
        hops: by their TTLs, up to the last one asked. end: where the path ends, see ``path_end``.
        reached: whether the destination answered with TCP. opened, closed: whether it said so.
        asked_all: whether the trace ended because the last TTL had been asked.
    """
    if reached:
        if flag_bits & (_SYN | _ACK | _RST) != _SYN:
            # A RST to anything but a SYN comes from open and closed ports alike (RFC 9293 section 3.10.7).
            return "unknown"
        return "open" if opened else "closed" if closed else "unknown"
    if end is not None:
        refusals = _REFUSALS[family]
        refused = any(
            not isinstance(answer.packet, TcpReply) and (answer.packet.type, answer.packet.code) in refusals
            for answer in hops[end].answers
        )
        return "filtered" if refused else "unreachable"
    if not asked_all or not hops:
        return "unknown"
    # Silence up to the end. An answer from the last TTL of all says that the path is longer than what was asked.
    return "unknown" if hops[max(hops)].answered else "filtered"


def packet_records(
    probes: Iterable[Probe], answers: Iterable[Answer], builder: ProbeBuilder, endpoints: Endpoints, began: float
) -> Tuple[Packet, ...]:
    """The records of a trace's packets in the order of their times, the first ``MOST_PACKETS`` of them.

    Arguments:
        probes: all that were sent. answers: all that were received.
        builder: that made the probes, and makes them again. endpoints: the flow.
        began: the start that the times count from, in seconds of the clock that probes and answers have.
    """
    packets: List[Tuple[float, Union[Probe, Answer]]] = [(probe.sent_at, probe) for probe in probes]
    packets += [(answer.received_at, answer) for answer in answers]
    packets.sort(key=lambda entry: entry[0])
    return tuple(
        Packet(round(1000 * max(0.0, at - began), 3), *_packet_bytes(packet, builder, endpoints))
        for at, packet in packets[:MOST_PACKETS]
    )


def _packet_bytes(packet: Union[Probe, Answer], builder: ProbeBuilder, endpoints: Endpoints) -> Tuple[str, str]:
    """Direction and bytes, base64."""
    if isinstance(packet, Probe):
        built = builder.build(packet.ttl, packet.sequence, packet.acknowledgment, packet.identification)
        return "sent", _base64(as_sent(built))
    return "received", _base64(as_received(packet.packet, endpoints.family, endpoints.source))


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _kept(answers: List[Answer], evidence: str) -> Set[int]:
    """Which packets keep their bytes, by identity. Answers come in the order of their receipt."""
    if evidence == "none":
        return set()
    if evidence == "all":
        return {id(answer.packet) for answer in answers}
    first: Dict[Tuple[str, str, int], Answer] = {}
    for answer in answers:
        packet = answer.packet
        kind, detail = ("tcp", packet.flags) if isinstance(packet, TcpReply) else (packet.kind, packet.code)
        first.setdefault((packet.address, kind, detail), answer)
    return {id(answer.packet) for answer in first.values()}


def _query_record(query: Query, kept: Set[int]) -> Reply:
    if query.answer is not None:
        return _answer_record(query.answer, kept, attempts=len(query.probes))
    if query.acknowledged is not None:
        # That a probe arrived is known, and not when it was answered.
        return replaced(_answer_record(query.acknowledged, kept, attempts=len(query.probes)), rtt_ms=None)
    if query.error is not None:
        return Reply(query=query.number, kind="send_error", error=query.error)
    return Reply(query=query.number, kind="timeout", attempts=len(query.probes))


def _quoted(quote: Quote) -> Optional[Quoted]:
    """The quote's record; None for one that came to a connection: the kernel has kept its IP header."""
    if not quote.segment:
        return None
    return Quoted(quote.ttl, quote.tos, quote.source, quote.source_port, quote.address, quote.port)


def _answer_record(answer: Answer, kept: Set[int], *, attempts: int = 1, duplicate: bool = False) -> Reply:
    packet = answer.packet
    evidence = _base64(packet.data) if id(packet) in kept and packet.data else None
    rtt_ms = round(1000 * answer.round_trip, 3)
    if isinstance(packet, TcpReply):
        return Reply(
            query=answer.probe.query,
            kind="tcp",
            address=packet.address,
            rtt_ms=None if answer.untimed else rtt_ms,
            reply_ttl=packet.reply_ttl,
            tcp_flags=flag_names(packet.flags),
            attempts=attempts,
            late=answer.late,
            duplicate=duplicate,
            evidence=evidence,
        )
    return Reply(
        query=answer.probe.query,
        kind=packet.kind,
        address=packet.address,
        rtt_ms=rtt_ms,
        reply_ttl=packet.reply_ttl,
        icmp_type=packet.type,
        icmp_code=packet.code,
        mtu=packet.mtu,
        quoted=_quoted(packet.quote),
        altered=answer.altered,
        attempts=attempts,
        late=answer.late,
        duplicate=duplicate,
        evidence=evidence,
    )


def _silence(hop: HopState) -> Optional[str]:
    """What the unanswered probes of a hop turned out to be, see ``Hop.silence``."""
    probes = [probe for query in hop.queries for probe in query.probes]
    if all(probe.answered for probe in probes):
        return None
    if not hop.answered:
        return "silent"
    probes.sort(key=lambda probe: probe.sent_at)
    # A rate limit is a matter of time alone: what came too soon after the last answer is silent, what came later is answered.
    answered_gaps: List[float] = [math.inf]
    silent_gaps: List[float] = []
    last_answered: Optional[float] = None
    for probe in probes:
        if last_answered is not None:
            (answered_gaps if probe.answered else silent_gaps).append(probe.sent_at - last_answered)
        elif not probe.answered:
            return "lost"
        if probe.answered:
            last_answered = probe.sent_at
    by_time = max(silent_gaps) < min(answered_gaps)
    return "rate_limited" if by_time and len(answered_gaps) + len(silent_gaps) > 2 else "lost"
