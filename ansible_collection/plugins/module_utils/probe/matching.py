# BSD-3-Clause, see LICENSE
"""Which probe a reply answers: gives each probe its numbers, and believes a reply only for numbers that nobody else can know."""

from __future__ import annotations

import math
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Protocol, Set, Tuple

from .options import FLAG_BITS
from .state import Answer, Endpoints, Packet, Probe
from .wire import IcmpError, TcpReply

__all__ = ("Matcher", "Shape", "Verdict")

_SYN, _RST, _ACK = FLAG_BITS["SYN"], FLAG_BITS["RST"], FLAG_BITS["ACK"]
_MODULUS = 1 << 32
#: A probe's sequence number is less than the one before by 1 to this.
_LARGEST_STEP = 1024
#: A probe's identification is at least this.
_LEAST_IDENTIFICATION = 1024
#: So many quotes that may have been shifted are kept until they are confirmed.
_MOST_SUSPECTS = 256
#: What of a flow a NAT may have rewritten, as a quote and a record name it.
_FLOW_FIELDS = ("source", "source_port", "address", "port")
#: Bytes of a TCP header without options.
_SHORTEST_HEADER = 20


class Shape(Protocol):
    """What all probes of a flow share, such as a ``ProbeBuilder`` knows.

    Attributes:
        acknowledgment: what a probe without ACK carries as acknowledgment number.
        sequence_length: how much of the sequence space a probe takes (RFC 9293 section 3.4): payload, SYN and FIN.
    """

    acknowledgment: int
    sequence_length: int

    def segment(self, sequence: int, acknowledgment: int, identification: int) -> bytes:
        """The TCP part of the probe with these numbers."""


class Verdict(NamedTuple):
    """What a packet is to a trace.

    Attributes:
        outcome: ``matched``; ``challenge_ack``: the destination has a connection half open with the number of ``probe``;
            ``unconfirmed_sequence``: it may be the answer to ``probe`` with a shifted number; or why it is none, ``wrong_...``.
        probe: see above, else None.
        answers: for ``matched``; more than one where it confirms what earlier ones were.
    """

    outcome: str
    probe: Optional[Probe] = None
    answers: Tuple[Answer, ...] = ()


class Matcher:
    """The probes of one trace by their numbers.

    Arguments:
        endpoints: the flow.
        shape: of the same flow's probes.
        flag_bits: TCP flags of the probes.
        entropy: gives that many random bytes.
    """

    def __init__(self, endpoints: Endpoints, shape: Shape, flag_bits: int, entropy: Callable[[int], bytes]) -> None:
        self._endpoints = endpoints
        self._flow = endpoints.source, endpoints.source_port, endpoints.address, endpoints.port
        self._shape = shape
        self._flag_bits = flag_bits
        self._entropy = entropy
        self._sequence = self._random(4)
        # A probe's acknowledgment number differs from its sequence number by this, so that a RST tells which probe it answers.
        self._acknowledgment_offset = self._random(4)
        self._by_sequence: Dict[int, Probe] = {}
        self._by_identification: Dict[int, Probe] = {}
        self._shifts: Set[int] = set()
        self._suspects: Dict[int, List[Answer]] = {}

    def _random(self, size: int) -> int:
        return int.from_bytes(self._entropy(size), "big")

    @property
    def sequences(self) -> Iterable[int]:
        """The sequence numbers of all probes so far."""
        return self._by_sequence

    def new_probe(self, ttl: int, query: int) -> Probe:
        """Make a probe with numbers of its own.

        Sequence numbers fall: a destination that waits for our RST answers a higher one as if the port were closed, and to a
        stateful firewall small steps look like one connection being opened.
        """
        numbers = self._random(4)
        self._sequence = (self._sequence - 1 - (numbers >> 16) % _LARGEST_STEP) % _MODULUS
        acknowledgment = self._shape.acknowledgment
        if self._flag_bits & _ACK:
            acknowledgment = (self._sequence + self._acknowledgment_offset) % _MODULUS
        # The kernel replaces an identification of 0, and a TCP window (see ``wire``) should not look like a closed one.
        identification = numbers & 0xFFFF
        while identification < _LEAST_IDENTIFICATION or identification in self._by_identification:
            identification = self._random(2)
        probe = Probe(ttl, query, self._sequence, acknowledgment, identification)
        self._by_sequence[probe.sequence] = probe
        self._by_identification[identification] = probe
        return probe

    def adopt(self, probe: Probe) -> None:
        """Take in a probe that has its numbers already, such as one of another tool, which may share some with others.

        Probes are adopted in the order of their sending: of several that nothing in an answer tells apart, it answers the last.
        """
        # What it replaces is taken out first, so that the order stays that of the sending.
        self._by_sequence.pop(probe.sequence, None)
        self._by_sequence[probe.sequence] = probe
        self._by_identification[probe.identification] = probe
        self._acknowledgment_offset = probe.acknowledgment - probe.sequence

    def forget(self, probe: Probe) -> None:
        """Take back a probe that could not be sent."""
        del self._by_sequence[probe.sequence]
        del self._by_identification[probe.identification]

    def match(self, packet: Packet, at: float) -> Verdict:
        """Tell what a packet is to this trace.

        Arguments:
            packet: as ``wire`` read it. at: when the host received it, in seconds of the caller's clock.
        """
        return self._match_icmp(packet, at) if isinstance(packet, IcmpError) else self._match_tcp(packet, at)

    def was_last(self, probe: Probe, at: float) -> bool:
        """Whether no probe that may have reached the destination was sent between this one and its answer.

        A destination that waits for our RST resets a probe with a higher number, which is one that a later probe has overtaken.
        So a RST says "closed" for certain only where no later probe can have been there before.
        """
        return not any(other.ttl >= probe.ttl and probe.sent_at < other.sent_at <= at for other in self._by_sequence.values())

    def _match_icmp(self, error: IcmpError, at: float) -> Verdict:
        quote = error.quote
        quoted = quote.source, quote.source_port, quote.address, quote.port
        altered: Tuple[str, ...] = ()
        if quoted != self._flow:
            altered = tuple(name for name, told, ours in zip(_FLOW_FIELDS, quoted, self._flow) if told != ours)
        probe = self._by_sequence.get(quote.sequence)
        if probe is not None and quote.identification not in (None, probe.identification):
            other = self._by_identification.get(quote.identification or 0)
            if other is not None:
                # Two probes claim it: they share their sequence number, or it was shifted onto another's.
                probe = other if other.sequence == quote.sequence else None
            else:
                altered += ("identification" if self._endpoints.family == 4 else "window",)
        if probe is not None and probe.sent_at < math.inf:
            if not altered and self._checksum_contradicts(probe, error):
                return Verdict("wrong_checksum")
            # Whatever else was rewritten, nobody off the path can know this number: it is a NAT.
            return Verdict("matched", answers=(Answer(probe, error, at, altered),))
        return Verdict("wrong_" + altered[0]) if altered else self._match_shifted(error, at)

    def _match_shifted(self, error: IcmpError, at: float) -> Verdict:
        """A quote of another sequence number that has the identification of a probe: a firewall may have shifted the number.

        16 random bits are too few to believe it at once. A firewall shifts a whole flow by the same number, so two probes have to
        agree on that number, which takes the 32 bits that a forger lacks.
        """
        quote = error.quote
        probe = self._by_identification.get(quote.identification) if quote.identification is not None else None
        if probe is None or probe.sent_at == math.inf:
            return Verdict("wrong_sequence")
        shift = (quote.sequence - probe.sequence) % _MODULUS
        answer = Answer(probe, error, at, ("sequence",))
        if shift in self._shifts:
            return Verdict("matched", answers=(answer,))
        earlier = self._suspects.get(shift, [])
        if any(suspect.probe is not probe for suspect in earlier):
            self._shifts.add(shift)
            del self._suspects[shift]
            return Verdict("matched", answers=(*earlier, answer))
        if sum(map(len, self._suspects.values())) >= _MOST_SUSPECTS:
            return Verdict("wrong_sequence")
        self._suspects[shift] = [*earlier, answer]
        return Verdict("unconfirmed_sequence", probe)

    def _checksum_contradicts(self, probe: Probe, error: IcmpError) -> bool:
        """Whether the quoted checksum is not the probe's although all that it covers is."""
        quoted = error.quote.segment
        if len(quoted) < _SHORTEST_HEADER:
            return False
        ours = self._shape.segment(probe.sequence, probe.acknowledgment, probe.identification)
        if len(quoted) < (ours[12] >> 4) * 4:
            return False
        return quoted[16:18] != ours[16:18] and quoted[:16] + quoted[18:] == ours[:16] + ours[18 : len(quoted)]

    def _match_tcp(self, reply: TcpReply, at: float) -> Verdict:
        if (reply.local_address, reply.local_port, reply.address, reply.port) != self._flow:
            return Verdict("wrong_flow")
        probe = self._acknowledged(reply)
        if probe is None:
            return Verdict("wrong_acknowledgment")
        if reply.flags == _ACK and self._flag_bits & _SYN:
            # RFC 9293 section 3.10.7.4: the answer to a further SYN of a flow that is being opened. It carries the first number.
            return Verdict("challenge_ack", probe)
        return Verdict("matched", answers=(Answer(probe, reply, at),))

    def _acknowledged(self, reply: TcpReply) -> Optional[Probe]:
        """The probe that a segment answers by its numbers (RFC 9293 section 3.10.7)."""
        candidates = []
        if reply.flags & _ACK:
            # A RST acknowledges all of the probe, a SYN/ACK the SYN alone unless it takes the payload (RFC 7413).
            candidates = [reply.acknowledgment - 1, reply.acknowledgment - self._shape.sequence_length]
            if reply.flags & _RST:
                candidates.reverse()
        if self._flag_bits & _ACK:
            candidates.append(reply.sequence - self._acknowledgment_offset)
        for sequence in candidates:
            probe = self._by_sequence.get(sequence % _MODULUS)
            if probe is not None and probe.sent_at < math.inf:
                return probe
        return None
