# BSD-3-Clause, see LICENSE
"""What a trace knows while it runs: its flow, and for each hop the queries, their probes and the answers."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional, Tuple, Union

from .wire import IcmpError, TcpReply

__all__ = ("Answer", "Endpoints", "HopState", "Packet", "Probe", "Query")

Packet = Union[IcmpError, TcpReply]


class Endpoints(NamedTuple):
    """The flow of a trace: IP version, and addresses as literals without a zone."""

    family: int
    source: str
    source_port: int
    address: str
    port: int


class Probe:
    """One packet: its place in the trace, its numbers, and its times in seconds of the caller's clock.

    ``sent_at`` is infinite before it is sent, ``given_up_at`` None before it is given up.
    """

    __slots__ = ("acknowledgment", "answered", "given_up_at", "identification", "query", "sent_at", "sequence", "ttl")

    def __init__(self, ttl: int, query: int, sequence: int, acknowledgment: int, identification: int) -> None:
        self.ttl = ttl
        self.query = query
        self.sequence = sequence
        self.acknowledgment = acknowledgment
        self.identification = identification
        self.sent_at = math.inf
        self.given_up_at: Optional[float] = None
        self.answered = False


class Answer(NamedTuple):
    """A reply with the probe that it answers, when the host received it, and what the path had rewritten in the quoted probe."""

    probe: Probe
    packet: Packet
    received_at: float
    altered: Tuple[str, ...] = ()

    @property
    def late(self) -> bool:
        """Whether it came after its probe had been given up."""
        return self.probe.given_up_at is not None and self.received_at > self.probe.given_up_at

    @property
    def untimed(self) -> bool:
        """Whether its time says nothing of the path.

        A router looks for its neighbour for seconds before it calls it unreachable, and a SYN/ACK that is late may be the
        destination's retransmission (RFC 6298 section 2: after 1 s).
        """
        packet = self.packet
        return packet.kind == "unreachable" if isinstance(packet, IcmpError) else self.late

    @property
    def round_trip(self) -> float:
        """Seconds from the probe's sending to the answer."""
        return max(0.0, self.received_at - self.probe.sent_at)


class Query:
    """One query of a hop: its probes in the order of sending, and what became of it.

    ``outstanding``: probes that are waited for. ``answer``: the first that came. ``acknowledged``: a reply that proves that a
    probe arrived, and answers another.
    """

    __slots__ = ("acknowledged", "answer", "error", "number", "outstanding", "probes")

    def __init__(self, number: int) -> None:
        self.number = number
        self.probes: List[Probe] = []
        self.outstanding = 0
        self.answer: Optional[Answer] = None
        self.acknowledged: Optional[Answer] = None
        self.error: Optional[str] = None


class HopState:
    """One TTL: its queries, and the answers beyond the first of each probe.

    ``queued``: the query that a probe is about to be sent for. ``unanswered``: how many queries have no answer.
    ``answered``: a probe was answered. ``responsive``: something else tells that the hop does answer, so that silence is worth a
    further question.
    """

    __slots__ = ("answered", "duplicates", "last_sent_at", "queries", "queued", "responsive", "ttl", "unanswered")

    def __init__(self, ttl: int) -> None:
        self.ttl = ttl
        self.queries: List[Query] = []
        self.duplicates: List[Answer] = []
        self.last_sent_at = -math.inf
        self.queued: Optional[Query] = None
        self.unanswered = 0
        self.answered = False
        self.responsive = False

    @property
    def probes(self) -> int:
        """How many probes were sent to this TTL."""
        return sum(len(query.probes) for query in self.queries)

    @property
    def answers(self) -> List[Answer]:
        """The first answer of each query, in the order of the queries."""
        return [query.answer for query in self.queries if query.answer is not None]

    def new_query(self) -> Query:
        """Begin the next query."""
        query = Query(len(self.queries) + 1)
        self.queries.append(query)
        self.unanswered += 1
        return query
