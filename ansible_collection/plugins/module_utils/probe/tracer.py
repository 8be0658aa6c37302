# BSD-3-Clause, see LICENSE
"""One trace as a state machine without sockets and clocks: what to send next, what a reply means, when to stop.

``poll`` tells what to do: send a probe, wait until a time, or nothing more. ``sent``, ``failed``, ``received`` and ``end``
feed it. Times are seconds of one monotonic clock, whichever the caller has; a test's may be virtual.

The rules, in the order of a trace's life:

* First each TTL is asked once, in parallel, up to ``parallel`` hops beyond the furthest answer. Where no answer comes for a
  while, the window widens, so that silent hops cost one wait for all of them together.
* When the end of the path is known, or nothing moves, the remaining queries follow in rounds a round trip apart.
* The destination's queries go out one after another, each once the one before is answered: several SYNs of one flow inside one
  round trip get one answer. A closed port answers each, so there they go at once.
* The destination answered for TTL n while n-1 is silent: n-1 is asked again, before n is believed to be the distance. Each time a
  probe to n follows at once. If that is answered, the one before it has not reached the destination, which would then be waiting
  for our RST; if it is not, neither says anything.
* A hop that has answered and falls silent is asked again later, one query at a time, before its silence is called loss.
* A probe is given up after ``wait``, or sooner: once a later hop has answered, after two of the longest round trips seen.
"""

from __future__ import annotations

import math
import os
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple, Union

from .matching import Matcher
from .options import FLAG_BITS, TraceOptions
from .recording import hop_record, packet_records, path_end, port_state
from .records import MOST_PACKETS, Hop, ProbeShape, Trace
from .records import Packet as PacketRecord
from .state import Answer, Endpoints, HopState, Packet, Probe, Query
from .wire import ProbeBuilder, TcpReply, flag_names

__all__ = ("Event", "Tracer")

#: Shortest time in seconds after which a probe is given up; slow routers take tens of milliseconds to make an ICMP error.
_LEAST_PATIENCE = 0.1
#: A hop that has not answered gets at least this from its first probe on: its router may be slower than the path behind it.
_LEAST_CHANCE = 0.25
#: The least for probes beyond the furthest answer, where nothing tells how long the round trip is.
_LEAST_TAIL_PATIENCE = 1.0
#: Longest round trips that a probe waits for, behind and beyond the furthest answer.
_PATIENCE, _TAIL_PATIENCE = 2, 10
#: Shortest and longest time between the rounds of one hop.
_LEAST_SPACING, _MOST_SPACING = 0.01, 0.5
#: The least beyond the furthest answer: where the round trip is not known, haste would only burden the destination.
_LEAST_TAIL_SPACING = 0.2
#: How often a query is asked again after its first probe, and how long after the last one at least (doubling). Many routers send
#: ten ICMP errors a second: a tenth of a second to the dot would reach them too soon as often as not.
_REPEATS, _REPEAT_AFTER, _LONGEST_PAUSE = 2, 0.11, 0.8
#: How many probes to TTL n-1 are known not to have reached the destination before n is believed to be the distance; the same
#: where the path has lost others; and how many may be sent for that without an outcome.
_CONFIRMATIONS, _LOSSY_CONFIRMATIONS, _MOST_INCONCLUSIVE = 4, 6, 6
#: Probes beyond its queries that the destination gets to tell whether its port is open.
_PORT_REPEATS = 3
#: How long nothing moves before the window widens, and the most that this grows to.
_LEAST_STALL, _MOST_STALL = 0.15, 1.0
#: Send errors in a row, without any success, that end a trace.
_FATAL_ERRORS = 3
#: So many further answers are kept for a hop; the others are counted.
_MOST_DUPLICATES = 8
#: A SYN/ACK repeated so much later is the destination's retransmission: it has not seen our kernel's RST.
_RETRANSMISSION = 0.5

#: What counts the packets that belong to a trace.
_PACKET_COUNTERS = ("sent", "matched", "late", "duplicate", "challenge_ack")

_SYN, _RST, _ACK = FLAG_BITS["SYN"], FLAG_BITS["RST"], FLAG_BITS["ACK"]


class Event(NamedTuple):
    """Something that happened in a trace, for whoever watches it.

    Attributes:
        kind: ``sent``, ``send_error``, ``reply``, ``ignored``, ``given_up`` or ``hop``.
        ttl, query: of the probe concerned; 0 where none is.
        text: one line for a person.
        hop: for ``hop``, the record of the next hop in order, which is complete now.
    """

    kind: str
    ttl: int
    query: int
    text: str
    hop: Optional[Hop] = None


class Tracer:
    """The state of one trace.

    Arguments:
        options: what is asked.
        endpoints: the flow.
        builder: of the same flow's probes; it knows their bytes and the sequence space they take.
        entropy: gives that many random bytes; the numbers that nobody off the path can guess come from it.
        watched: whether to collect events.
        separate: whether each probe is a flow of its own, as a connection is; then ``answered`` takes the place of ``received``.
    """

    def __init__(
        self,
        options: TraceOptions,
        endpoints: Endpoints,
        builder: ProbeBuilder,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        watched: bool = False,
        separate: bool = False,
    ) -> None:
        self.options = options
        self.endpoints = endpoints
        self.builder = builder
        self.counters: Dict[str, int] = {}
        self.events: List[Event] = []
        self.stop_reason: Optional[str] = None
        self._watched = watched
        self._separate = separate
        self._matcher = Matcher(endpoints, builder, options.flag_bits, entropy)
        self._outstanding: Dict[int, Probe] = {}
        self._hops: Dict[int, HopState] = {}
        self._ready: List[Tuple[int, Query]] = []
        self._next_ttl = options.first_ttl
        self._furthest = options.first_ttl - 1
        self._tcp_distance: Optional[int] = None
        self._reached_at: Optional[float] = None
        self._unreachable: Set[int] = set()
        self._open = self._closed = False
        self._longest_rtt: Optional[float] = None
        self._rounds = options.parallel == 1
        self._widened = 0
        self._stalls = 0
        self._moved_at = -math.inf
        self._started_at: Optional[float] = None
        self._deadline = math.inf
        self._ended_at: Optional[float] = None
        self._errors_in_row = 0
        self._told = options.first_ttl - 1
        self._warnings: List[str] = []
        # The answers whose bytes are asked for; a query's record has room for one.
        self._answers: Optional[List[Answer]] = [] if options.evidence == "all" else None
        self._changed = True
        self._wake = -math.inf

    # What to do next.

    def poll(self, now: float) -> Union[Probe, float, None]:
        """Tell what to do: send this probe, do nothing until that time unless something is received, or (None) the trace is over.

        Arguments:
            now: seconds of the caller's monotonic clock, never less than in the call before.
        """
        if self._started_at is None:
            self._started_at = self._moved_at = now
            if self.options.deadline is not None:
                self._deadline = now + self.options.deadline
        while self.stop_reason is None:
            if now >= self._deadline:
                self.end("deadline", now)
                break
            probe = self._next_ready()
            if probe is not None:
                return probe
            if not self._changed and now < self._wake:
                return min(self._wake, self._deadline)
            self._plan(now)
            self._tell_hops()
            if not self._ready and self._wake == math.inf:
                self.end(self._natural_end(), now)
        return None

    def _next_ready(self) -> Optional[Probe]:
        while self._ready:
            ttl, query = self._ready.pop(0)
            distance = self._distance()
            if distance is None or ttl <= distance:
                return self._matcher.new_probe(ttl, query.number)
            # The end of the path came to be known while this one waited for its turn.
            self._hops[ttl].queued = None
        return None

    @property
    def sequences(self) -> Iterable[int]:
        """The sequence numbers of all probes so far."""
        return self._matcher.sequences

    # What happened.

    def sent(self, probe: Probe, at: float) -> None:
        """The probe that ``poll`` gave was handed to the network at this time."""
        probe.sent_at = at
        hop, query = self._place(probe)
        hop.queued = None
        query.error = None
        query.probes.append(probe)
        query.outstanding += 1
        hop.last_sent_at = at
        self._outstanding[probe.sequence] = probe
        self._errors_in_row = 0
        self._changed = True
        self._count("sent")
        if self._watched:
            self._tell(
                "sent", probe, "sent, sequence {:#010x}, identification {:#06x}".format(probe.sequence, probe.identification)
            )

    def failed(self, probe: Probe, error: str, at: float) -> None:
        """The probe that ``poll`` gave could not be sent.

        Arguments:
            error: name of the system's error, such as ``ENETUNREACH``.
            at: when, in seconds of the caller's clock.
        """
        hop, query = self._place(probe)
        hop.queued = None
        self._matcher.forget(probe)
        if not query.probes:
            query.error = error
        self._errors_in_row += 1
        self._changed = True
        self._count("send_errors")
        if self._watched:
            self._tell("send_error", probe, "not sent: {}".format(error))
        if self._errors_in_row >= _FATAL_ERRORS:
            self.end("error", at)

    def received(self, packet: Packet, at: float) -> str:
        """Take in a packet that may answer a probe of this trace.

        Arguments:
            packet: as ``wire`` read it.
            at: when the host received it, in seconds of the caller's clock.

        Returns:
            ``matched``, ``duplicate`` or ``late``; or why it was ignored: it then changed nothing but a counter.
        """
        if self.stop_reason is not None:
            return "after_end"
        verdict = self._matcher.match(packet, at)
        outcome = verdict.outcome
        for answer in verdict.answers:
            outcome = self._take(answer)
            self._count(outcome)
            self._keep(answer)
        if verdict.answers:
            return outcome
        if verdict.probe is not None:
            # It is no answer, but the hop is there: asking it again is worth while.
            self._hops[verdict.probe.ttl].responsive = self._changed = True
            if outcome == "challenge_ack":
                query, answer = self._place(verdict.probe)[1], Answer(verdict.probe, packet, at)
                query.acknowledged = query.acknowledged or answer
                self._keep(answer)
                self._open = True
                self._reached(verdict.probe.ttl, at)
        self._count("challenge_ack" if outcome == "challenge_ack" else "ignored_" + outcome)
        if self._watched:
            self.events.append(Event("ignored", 0, 0, "{} ignored: {}".format(_described(packet), outcome)))
        return outcome

    def answered(self, probe: Probe, packet: Packet, at: float) -> str:
        """Take in the answer to a probe that is known to be its own, because it came to the probe's own connection.

        Arguments and what is returned: as for ``received``.
        """
        if self.stop_reason is not None:
            return "after_end"
        outcome = self._take(Answer(probe, packet, at))
        self._count(outcome)
        return outcome

    def end(self, reason: str, at: float) -> None:
        """End the trace now; what was not answered is not waited for.

        Arguments:
            reason: one of the record's stop reasons, such as ``interrupted``.
            at: when, in seconds of the caller's clock.
        """
        if self.stop_reason is None:
            self.stop_reason = reason
            self._ended_at = at
            self._tell_hops()

    # Answers.

    def _take(self, answer: Answer) -> str:
        probe, packet = answer.probe, answer.packet
        hop, query = self._place(probe)
        if probe.answered:
            self._duplicate(hop, query, answer)
            return "duplicate"
        probe.answered = self._changed = True
        if self._outstanding.pop(probe.sequence, None) is not None:
            query.outstanding -= 1
        if query.answer is None:
            query.answer = answer
            hop.unanswered -= 1
        if not hop.answered:
            hop.answered = True
            self._moved_at = max(self._moved_at, answer.received_at)
            self._stalls = self._widened = 0
        if isinstance(packet, TcpReply):
            self._answered_by_destination(packet, answer)
        elif packet.kind == "unreachable":
            self._unreachable.add(probe.ttl)
        else:
            self._furthest = max(self._furthest, probe.ttl)
        if not answer.untimed:
            self._longest_rtt = max(self._longest_rtt or 0.0, answer.round_trip)
        if self._watched:
            late, altered = ", late" if answer.late else "", ", altered: " + ", ".join(answer.altered) if answer.altered else ""
            self._tell(
                "reply", probe, "{} after {:.3f} ms{}{}".format(_described(packet), 1000 * answer.round_trip, late, altered)
            )
        return "late" if answer.late else "matched"

    def _keep(self, answer: Answer) -> None:
        if self._answers is not None and len(self._answers) < MOST_PACKETS:
            self._answers.append(answer)

    def _answered_by_destination(self, reply: TcpReply, answer: Answer) -> None:
        self._reached(answer.probe.ttl, answer.received_at)
        if reply.flags & (_SYN | _ACK | _RST) == _SYN | _ACK:
            self._open = True
        elif reply.flags & _RST and (self._separate or self._matcher.was_last(answer.probe, answer.received_at)):
            self._closed = True

    def _duplicate(self, hop: HopState, query: Query, answer: Answer) -> None:
        if len(hop.duplicates) < _MOST_DUPLICATES:
            hop.duplicates.append(answer)
        packet, first = answer.packet, query.answer
        repeated = isinstance(packet, TcpReply) and packet.flags & (_SYN | _ACK) == _SYN | _ACK
        if repeated and first is not None and answer.received_at - first.received_at > _RETRANSMISSION:
            self._warn(
                "The destination repeated its SYN/ACK, so it has not received this host's RST: "
                "a firewall that drops outgoing RSTs leaves half-open connections there."
            )

    def _reached(self, ttl: int, at: float) -> None:
        if self._reached_at is None:
            self._reached_at = at
        if self._tcp_distance is None or ttl < self._tcp_distance:
            self._tcp_distance = ttl
            self._changed = True

    # Planning.

    def _distance(self) -> Optional[int]:
        """The TTL at which the path ends, as far as it is known: where the destination, or an unreachable, answered first."""
        if self._tcp_distance is None and not self._unreachable:
            return None
        return path_end(self._tcp_distance, self._unreachable, self._furthest)

    def _last_ttl(self) -> int:
        """The highest TTL that may be asked."""
        gap_limit = self.options.gap_limit
        furthest = max([self._furthest, *self._unreachable])
        return min(self.options.max_ttl, furthest + gap_limit) if gap_limit else self.options.max_ttl

    def _overdue_at(self, probe: Probe, furthest: int) -> float:
        """When a probe is given up, in seconds of the caller's clock."""
        sent_at, wait, longest = probe.sent_at, self.options.wait, self._longest_rtt
        hop = self._hops[probe.ttl]
        if longest is None:
            return sent_at + wait
        if hop.answered:
            return sent_at + min(wait, max(_LEAST_PATIENCE, _PATIENCE * longest))
        if probe.ttl > furthest:
            return sent_at + min(wait, max(_LEAST_TAIL_PATIENCE, _TAIL_PATIENCE * longest))
        first_sent_at = hop.queries[0].probes[0].sent_at if hop.queries[0].probes else sent_at
        patient = max(sent_at + max(_LEAST_PATIENCE, _PATIENCE * longest), first_sent_at + _LEAST_CHANCE)
        return min(sent_at + wait, patient)

    def _spacing(self, ttl: int, distance: Optional[int]) -> float:
        """Seconds between the rounds of a hop."""
        if self.options.parallel == 1 or (ttl == distance and self._closed):
            return 0.0
        least = _LEAST_SPACING if distance is not None or ttl <= self._furthest else _LEAST_TAIL_SPACING
        return min(_MOST_SPACING, max(least, self._longest_rtt or 0.0))

    def _plan(self, now: float) -> None:
        """Give up what is overdue, queue all that may be sent now, and set the time of the next look."""
        self._changed = False
        self._wake = math.inf
        self._give_up(now)
        distance = self._distance()
        if distance is not None:
            self._rounds = True
        else:
            self._widen(now)
        last = self._last_ttl() if distance is None else distance
        doubted = self._doubted(distance)
        one_by_one = distance if doubted is not None or self._one_answer_a_round_trip() else None
        # How many queries of a hop may have been asked by now.
        queries = self.options.queries if self._rounds else 1
        for hop in self._hops.values():
            if hop.ttl == one_by_one:
                self._plan_destination(hop, doubted, now)
            elif hop.queued is None and (hop.unanswered or len(hop.queries) < queries) and hop.ttl <= last and hop is not doubted:
                self._plan_hop(hop, queries, distance, now)
        # A lower TTL first: where both reach the destination, it is the lower one that gets the answer.
        self._ready.sort(key=lambda entry: entry[0])
        if self.options.parallel == 1:
            self._one_at_a_time(distance)

    def _give_up(self, now: float) -> None:
        distance = self._distance()
        furthest = max(self._furthest, distance or 0)
        least = min(_LEAST_PATIENCE, self.options.wait)
        for probe in list(self._outstanding.values()):
            if distance is not None and probe.ttl > distance:
                # Beyond the end of the path nobody waits for it.
                continue
            if probe.sent_at + least > now:
                # No probe is given up sooner, and those behind it were sent later.
                self._wake = min(self._wake, probe.sent_at + least)
                break
            overdue = self._overdue_at(probe, furthest)
            if overdue > now:
                self._wake = min(self._wake, overdue)
                continue
            del self._outstanding[probe.sequence]
            self._place(probe)[1].outstanding -= 1
            probe.given_up_at = now
            if self._watched:
                self._tell("given_up", probe, "given up after {:.0f} ms".format((now - probe.sent_at) * 1000))

    def _widen(self, now: float) -> None:
        """Ask the TTLs of the window for the first time, and widen it where nothing moves."""
        last = self._last_ttl()
        if self.options.parallel == 1:
            if all(self._settled(hop) for hop in self._hops.values()) and self._next_ttl <= last:
                self._ask(self._next_ttl)
            return
        if (self._next_ttl <= last or not self._rounds) and now >= self._moved_at + self._stall():
            self._widened += self.options.parallel
            self._stalls += 1
            self._moved_at = now
            self._rounds = True
        limit = min(last, self._furthest + self.options.parallel + self._widened)
        while self._next_ttl <= limit:
            self._ask(self._next_ttl)
        if self._next_ttl > last and all(hop.answered for hop in self._hops.values()):
            self._rounds = True
        if self._next_ttl <= last or not self._rounds:
            self._wake = min(self._wake, self._moved_at + self._stall())

    def _stall(self) -> float:
        """How long nothing may move before the window widens, in seconds; longer each time."""
        return min(_MOST_STALL, max(_LEAST_STALL, _PATIENCE * (self._longest_rtt or 0.0)) * (1 << self._stalls))

    def _ask(self, ttl: int) -> None:
        hop = self._hops[ttl] = HopState(ttl)
        self._queue(hop, hop.new_query())
        self._next_ttl = ttl + 1

    def _plan_destination(self, hop: HopState, doubted: Optional[HopState], now: float) -> None:
        """Ask the destination once more if it is free to answer, and with it the hop before that may be the end itself."""
        resume_at = self._destination_free_at(hop)
        if resume_at > now:
            self._wake = min(self._wake, resume_at)
            return
        query = self._next_query(hop)
        if doubted is not None and doubted.queued is None:
            self._queue(doubted, self._least_asked(doubted))
            query = query or hop.queries[-1]
        if query is not None:
            self._queue(hop, query)

    def _plan_hop(self, hop: HopState, queries: int, distance: Optional[int], now: float) -> None:
        """Ask a hop of which no query is queued for the next round, or else again for what it has left unanswered."""
        if len(hop.queries) < queries:
            self._queue_at(hop, None, hop.last_sent_at + self._spacing(hop.ttl, distance), now)
        if not hop.unanswered or hop.queued is not None:
            return
        repeatable = [query for query in hop.queries if self._may_repeat(hop, query)]
        if not repeatable:
            return
        # One at a time: two of a hop at once would meet the same limit of its router.
        due_at, _number, query = min(
            (query.probes[-1].sent_at + _REPEAT_AFTER * 2 ** (len(query.probes) - 1), query.number, query) for query in repeatable
        )
        self._queue_at(hop, query, max(due_at, hop.last_sent_at + _REPEAT_AFTER), now)

    def _one_answer_a_round_trip(self) -> bool:
        """Whether the destination answers one probe of the flow at a time: a SYN to a port that is not known to be closed."""
        if self._tcp_distance is None or self.options.flag_bits & (_SYN | _ACK | _RST) != _SYN:
            return False
        return self._open or not self._closed

    def _destination_free_at(self, hop: HopState) -> float:
        """When the destination may be asked again, in seconds of the caller's clock.

        That is as soon as the last probe since its first answer is answered, and infinity while the answer may still come. Where
        it stayed away, our kernel's RST may have been lost, and the destination waits for it; it says so only after half a second
        and more, so the pauses grow.
        """
        since = [probe for query in hop.queries for probe in query.probes if probe.sent_at >= (self._reached_at or 0.0)]
        if hop.queued is not None or any(probe.sequence in self._outstanding for probe in since):
            return math.inf
        silent = 0
        for probe in sorted(since, key=lambda probe: probe.sent_at):
            silent = 0 if probe.answered else silent + 1
        return hop.last_sent_at + min(_LONGEST_PAUSE, _REPEAT_AFTER * (1 << silent - 1)) if silent else 0.0

    def _next_query(self, hop: HopState) -> Optional[Query]:
        if len(hop.queries) < self.options.queries:
            return hop.new_query()
        repeated = next((query for query in hop.queries if self._may_repeat(hop, query)), None)
        return hop.queries[-1] if repeated is None and self._port_doubted(hop) else repeated

    def _port_doubted(self, hop: HopState) -> bool:
        """Whether the destination answered and it is not certain yet whether the port is open; it is then asked a little more."""
        return not self._open and not self._closed and hop.probes < self.options.queries + _PORT_REPEATS

    def _may_repeat(self, hop: HopState, query: Query) -> bool:
        """Whether a query without an answer is to be asked again: its hop has answered others."""
        if query.answer is not None or query.outstanding or query is hop.queued or not (hop.answered or hop.responsive):
            return False
        return 0 < len(query.probes) <= _REPEATS

    def _doubted(self, distance: Optional[int]) -> Optional[HopState]:
        """The silent hop before the end of the path that may be the end itself, as long as it is worth asking; else None."""
        hop = self._hops.get(distance - 1) if distance is not None else None
        if hop is None or hop.answered:
            return None
        if len(hop.queries) < self.options.queries:
            return hop
        # A probe is known not to have reached the destination if the next one that did was answered.
        later = sorted(
            (probe.sent_at, probe.answered)
            for ttl, other in self._hops.items()
            if ttl > hop.ttl
            for query in other.queries
            for probe in query.probes
        )
        confirmed = inconclusive = 0
        for sent_at in (probe.sent_at for query in hop.queries for probe in query.probes):
            answered = next((answered for at, answered in later if at > sent_at), False)
            confirmed, inconclusive = confirmed + answered, inconclusive + (not answered)
        wanted = _LOSSY_CONFIRMATIONS if self._lossy() else _CONFIRMATIONS
        return hop if confirmed < wanted and inconclusive < _MOST_INCONCLUSIVE else None

    def _lossy(self) -> bool:
        """Whether a hop that answers has left a probe unanswered."""
        return any(
            hop.answered
            and any(probe.given_up_at is not None and not probe.answered for query in hop.queries for probe in query.probes)
            for hop in self._hops.values()
        )

    def _least_asked(self, hop: HopState) -> Query:
        if len(hop.queries) < self.options.queries:
            return hop.new_query()
        return min(hop.queries, key=lambda query: len(query.probes))

    def _settled(self, hop: HopState) -> bool:
        """Whether no more is to be asked of this hop, and no answer waited for."""
        distance = self._distance()
        if len(hop.queries) < self.options.queries or hop is self._doubted(distance):
            return False
        if hop.ttl == distance and self._one_answer_a_round_trip() and self._port_doubted(hop):
            return False
        if not hop.unanswered:
            return True
        return hop.queued is None and not any(
            (query.answer is None and query.outstanding) or self._may_repeat(hop, query) for query in hop.queries
        )

    def _one_at_a_time(self, distance: Optional[int]) -> None:
        """With ``parallel`` 1: keep the first that is ready, and nothing while a probe is waited for."""
        waiting = any(distance is None or probe.ttl <= distance for probe in self._outstanding.values())
        keep = [] if waiting else sorted(self._ready, key=lambda entry: (entry[0], entry[1].number))[:1]
        for entry in self._ready:
            if entry not in keep:
                self._unqueue(*entry)
        self._ready = keep

    def _unqueue(self, ttl: int, query: Query) -> None:
        hop = self._hops[ttl]
        hop.queued = None
        if not query.probes and query.error is None:
            hop.queries.remove(query)
            hop.unanswered -= 1

    def _queue_at(self, hop: HopState, query: Optional[Query], at: float, now: float) -> None:
        if at > now:
            self._wake = min(self._wake, at)
        else:
            self._queue(hop, query or hop.new_query())

    def _queue(self, hop: HopState, query: Query) -> None:
        hop.queued = query
        self._ready.append((hop.ttl, query))

    def _natural_end(self) -> str:
        if self._tcp_distance is not None:
            return "reached"
        if self._distance() is not None:
            return "unreachable"
        return "gap_limit" if self._last_ttl() < self.options.max_ttl else "max_ttl"

    # Telling.

    def _place(self, probe: Probe) -> Tuple[HopState, Query]:
        hop = self._hops[probe.ttl]
        return hop, hop.queries[probe.query - 1]

    def _count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    def _tell(self, kind: str, probe: Probe, text: str) -> None:
        self.events.append(Event(kind, probe.ttl, probe.query, "ttl {} query {}: {}".format(probe.ttl, probe.query, text)))

    def _tell_hops(self) -> None:
        """Tell the watcher of each hop, in order, that is complete by now."""
        if not self._watched:
            return
        over = self.stop_reason is not None
        for ttl in self._path():
            if ttl <= self._told:
                continue
            if not over and not self._settled(self._hops[ttl]):
                break
            distance = self._distance()
            if (
                not over
                and distance is not None
                and ttl == distance
                and ttl - 1 in self._hops
                and not self._settled(self._hops[ttl - 1])
            ):
                break
            self._told = ttl
            self.events.append(
                Event("hop", ttl, 0, "ttl {} complete".format(ttl), hop_record(self._hops[ttl], self.options.evidence))
            )

    # The record.

    def record(
        self,
        *,
        vantage: str,
        interface: Optional[str],
        method: str,
        started_at: str,
        began: Optional[float] = None,
        warnings: Tuple[str, ...] = (),
    ) -> Trace:
        """The trace as it stands; call it when ``poll`` has said that it is over.

        Arguments:
            vantage: name of this host. interface: asked for, or None. method: the transport's name.
            started_at: wall clock at the start, ISO 8601 in UTC. began: the same moment in seconds of the caller's clock; by
                default that of the first ``poll``.
            warnings: what the caller has to say; the tracer's own follow.
        """
        options, flow = self.options, self.endpoints
        started = self._started_at or 0.0
        hops = tuple(hop_record(self._hops[ttl], self.options.evidence) for ttl in self._path())
        own = list(self._warnings)
        if self.counters.get("sent") and not any(hop.answered for hop in self._hops.values()):
            own.append("Nothing answered, not even the first hop: a firewall of this host may drop the probes or their answers.")
        packets = self._packets(started if began is None else began) if self._answers is not None else None
        left_out = sum(self.counters.get(name, 0) for name in _PACKET_COUNTERS) - len(packets) if packets is not None else 0
        if left_out:
            own.append("A record holds {} packets: the last {} are left out.".format(MOST_PACKETS, left_out))
        return Trace(
            destination=options.destination,
            address=flow.address,
            family=flow.family,
            port=flow.port,
            vantage=vantage,
            source=flow.source,
            source_port=None if self._separate else flow.source_port,
            interface=interface,
            method=method,
            probe=ProbeShape(
                flags=options.flags,
                tcp_options="system" if self._separate else options.tcp_options if options.packet is None else "packet",
                length=None if self._separate else self.builder.length,
                tos=options.tos,
                dont_fragment=options.dont_fragment,
            ),
            started_at=started_at,
            elapsed_ms=round(1000 * ((self._ended_at or started) - started), 3),
            reached=self._tcp_distance is not None,
            port_state=self._port_state(),
            stop_reason=self.stop_reason or "interrupted",
            hops=hops,
            counters=dict(sorted(self.counters.items())),
            warnings=(*warnings, *own),
            packets=packets,
        )

    def _packets(self, began: float) -> Tuple[PacketRecord, ...]:
        probes = [probe for hop in self._hops.values() for query in hop.queries for probe in query.probes]
        return packet_records(probes, self._answers or [], self.builder, self.endpoints, began)

    def _path(self) -> List[int]:
        """The TTLs that belong to the path."""
        distance = self._distance()
        ttls = sorted(ttl for ttl in self._hops if distance is None or ttl <= distance)
        if self.stop_reason in ("interrupted", "deadline", "error"):
            # What was asked ahead, and had no time to answer, would read as silent hops.
            while ttls and self._undecided(self._hops[ttls[-1]]):
                ttls.pop()
        return ttls

    def _undecided(self, hop: HopState) -> bool:
        return not hop.answered and not any(query.error for query in hop.queries) and not self._settled(hop)

    def _port_state(self) -> str:
        return port_state(
            self.endpoints.family,
            self.options.flag_bits,
            self._hops,
            self._distance(),
            reached=self._tcp_distance is not None,
            opened=self._open,
            closed=self._closed,
            asked_all=self.stop_reason in ("max_ttl", "gap_limit"),
        )


def _described(packet: Packet) -> str:
    """A reply for a person: what it is and who sent it."""
    if isinstance(packet, TcpReply):
        return "{} from {}".format(flag_names(packet.flags) or "TCP without flags", packet.address)
    return "ICMP {} (type {} code {}) from {}".format(packet.kind, packet.type, packet.code, packet.address)
