"""Where a port is blocked: the trace of the blocked port beside one that works. Pure functions.

What a router's silence means depends on where it filters. One that filters what it forwards (Linux: the chain FORWARD) has looked
at the TTL before, so it still answers a probe that expires at it, and everything behind it is silent. One that filters what
arrives (Linux: prerouting; an incoming access list elsewhere) is silent itself. From outside both look the same, so the verdict
names both ends of the link, and which of them it is likely to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..probe.records import Hop, Reply, Trace

if TYPE_CHECKING:
    from .tcp_answers import TcpAnswer

__all__ = (
    "PAIRS",
    "REASONS",
    "VERDICTS",
    "Block",
    "Place",
    "doubtful",
    "goes_further",
    "incomparable",
    "locate_block",
    "locate_block_in_records",
    "with_notes",
)

#: What became of the port.
VERDICTS = ("open", "closed", "dropped", "rejected", "substituted", "unknown")
#: Why nothing can be said.
REASONS = (
    "paths_differ",
    "nothing_works",
    "too_few_answers",
    "incomplete",
    "other_destination",
    "too_long",
    "working_substituted",
    "not_a_syn",
)

#: A port is only called dropped where its silence would be mere loss less often than this.
_CHANCE = 0.01
#: So many pairs of traces have to show a reply that comes from one hop nearer, before it is believed: the ways back may differ.
PAIRS = 4
#: TTLs that systems begin with.
_INITIAL_TTLS = (64, 128, 255)
#: Errors by which the kernel tells that a local filter refused a probe.
_LOCAL_REFUSALS = {"EPERM", "EACCES"}

#: ICMP destination unreachable in words, by family and code (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1; RFC 4443 3.1).
_UNREACHABLE = {
    4: (
        "network unreachable",
        "host unreachable",
        "protocol unreachable",
        "port unreachable",
        "fragmentation needed",
        "source route failed",
        "destination network unknown",
        "destination host unknown",
        "source host isolated",
        "network administratively prohibited",
        "host administratively prohibited",
        "network unreachable for this type of service",
        "host unreachable for this type of service",
        "communication administratively prohibited",
        "host precedence violation",
        "precedence cutoff in effect",
    ),
    6: (
        "no route to destination",
        "communication administratively prohibited",
        "beyond scope of source address",
        "address unreachable",
        "port unreachable",
        "source address failed ingress/egress policy",
        "reject route to destination",
    ),
}


@dataclass(frozen=True)
class Place:
    """A hop.

    Attributes:
        ttl: its TTL; 0 is the vantage itself.
        address: of the router there; None where none is known.
        role: ``vantage``, ``router`` or ``destination``.
        device: name of the inventory's device that the address belongs to; None where the trace was not labelled or has none.
    """

    ttl: int
    address: str | None
    role: str = "router"
    device: str | None = None

    @property
    def text(self) -> str:
        """As a sentence names it."""
        if self.role == "vantage":
            return "the vantage itself"
        if self.role == "destination":
            return f"the destination itself (hop {self.ttl})"
        told = ", ".join(text for text in (self.device, self.address) if text)
        return f"hop {self.ttl} ({told})" if told else f"hop {self.ttl}"


@dataclass(frozen=True)
class Block:
    """The verdict on a port.

    Attributes:
        verdict: ``open``; ``closed``: by the destination's own RST, so not blocked; ``dropped``, ``rejected`` or ``substituted``
            (answered by something else in the destination's name); ``unknown``.
        sentence: the verdict for a person.
        reason: one of ``REASONS`` where the verdict is unknown, else None.
        passes: the last place that the probes are known to have reached, and where they were not yet blocked.
        blocks: the next place that is known; the block is at one of these two or between them. None where not known.
        likely: which place it most likely is; None where nothing speaks for one of them.
        how: in words, such as ``port unreachable (ICMP type 3 code 3)`` or ``RST``; None for what was neither rejected nor
            substituted.
        icmp_type, icmp_code: of a rejection.
        notes: what else a reader should know, one sentence each.
    """

    verdict: str
    sentence: str
    reason: str | None = None
    passes: Place | None = None
    blocks: Place | None = None
    likely: Place | None = None
    how: str | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_blocked(self) -> bool | None:
        """Whether something on the way keeps the probes from the destination; None where that is unknown."""
        return None if self.verdict == "unknown" else self.verdict in {"dropped", "rejected", "substituted"}

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return {**asdict(self), "notes": list(self.notes), "is_blocked": self.is_blocked}


class _Path:
    """What a trace shows of its path.

    Attributes:
        routers: addresses that answered time exceeded, by TTL; the destination's own are not among them.
        translated: TTLs at which the destination's own address answered time exceeded: a router behind a translation.
        last: the highest TTL that such an answer came for; 0 for none.
        distance: the TTL at which TCP answered in the destination's name; None where it did not.
        refusal: the hop's TTL and the ICMP unreachable that ended the path; None where none did.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.hops: dict[int, Hop] = {hop.ttl: hop for hop in trace.hops}
        self.first = min(self.hops, default=1)
        self.routers: dict[int, tuple[str, ...]] = {}
        self.translated: set[int] = set()
        refusals: dict[int, Reply] = {}
        distances = []
        for hop in trace.hops:
            exceeded = [reply.address for reply in hop.replies if reply.kind == "time_exceeded" and reply.address]
            addresses = tuple(dict.fromkeys(address for address in exceeded if address != trace.address))
            if addresses:
                self.routers[hop.ttl] = addresses
            if trace.address in exceeded:
                self.translated.add(hop.ttl)
            if any(reply.kind == "tcp" for reply in hop.replies):
                distances.append(hop.ttl)
            for reply in hop.replies:
                if reply.kind == "unreachable":
                    refusals.setdefault(hop.ttl, reply)
        self.distance = min(distances, default=None)
        self.last = max((*self.routers, *self.translated), default=0)
        # An unreachable for a TTL that others have passed ends nothing.
        ends = [(ttl, reply) for ttl, reply in sorted(refusals.items()) if ttl > self.last]
        self.refusal = ends[0] if ends and self.distance is None else None

    @property
    def complete(self) -> bool:
        """Whether the trace ended by itself."""
        return self.trace.stop_reason not in {"deadline", "interrupted", "error"}

    def place(self, ttl: int) -> Place | None:
        """The hop as a place; None for one that lies before the first that was asked."""
        if ttl <= 0:
            return Place(0, None, "vantage")
        if ttl < self.first:
            return None
        return self.router(ttl)

    def router(self, ttl: int, address: str | None = None) -> Place:
        """The router at a TTL, by the address given, or by the first that answered there."""
        address = address or self.routers.get(ttl, (None,))[0]
        hop = self.hops.get(ttl)
        return Place(ttl, address, device=hop.device if hop is not None and hop.address == address else None)

    def answers(self) -> list[Reply]:
        """The TCP replies, in the destination's name."""
        if self.distance is None:
            return []
        return [reply for reply in self.hops[self.distance].replies if reply.kind == "tcp"]

    @property
    def answer_ttl(self) -> int | None:
        """TTL that the TCP replies arrived with; None where they don't agree or don't tell."""
        told = {reply.reply_ttl for reply in self.answers()}
        return told.pop() if len(told) == 1 else None


def _way_back(ttl: int | None) -> int | None:
    """How far away a sender is, from the TTL that its packet arrived with, as if its system began with a usual one."""
    if ttl is None or ttl < 1:
        return None
    return next(initial for initial in _INITIAL_TTLS if initial >= ttl) - ttl + 1


def _syn_acks(path: _Path) -> list[TcpAnswer]:
    """The headers of the SYN/ACKs."""
    from .tcp_answers import open_answer

    opened = [open_answer(reply, path.trace.family) for reply in path.answers() if reply.tcp_flags == "SYN,ACK"]
    return [answer for answer in opened if answer is not None]


def _by_syn_proxy(path: _Path) -> bool:
    """Whether the SYN/ACK offers no window, as a SYN proxy's does."""
    return any(answer.window == 0 for answer in _syn_acks(path))


def _differences(one: _Path, other: _Path) -> list[int]:
    """The TTLs that show the paths to be two: other routers there, or the same router at another TTL."""
    found = {ttl for ttl in one.routers.keys() & other.routers.keys() if not set(one.routers[ttl]) & set(other.routers[ttl])}
    places = {address: ttl for ttl, addresses in other.routers.items() for address in addresses}
    for ttl, addresses in one.routers.items():
        # A router that shows up twice in one trace (a loop, a zero-TTL bug) is at both places.
        found |= {
            min(ttl, places[address])
            for address in addresses
            if address in places and places[address] != ttl and address not in other.routers.get(ttl, ())
        }
    return sorted(found)


def _together(one: _Path, other: _Path, ttl: int) -> bool:
    """Whether two paths are the same at a TTL, as far as both show it: judged by the nearest hop up to it that both show."""
    shown = [each for each in one.routers.keys() & other.routers.keys() if each <= ttl]
    if not shown:
        return not any(each <= ttl for each in _differences(one, other))
    nearest = max(shown)
    if not set(one.routers[nearest]) & set(other.routers[nearest]):
        return False
    return not any(nearest <= each <= ttl for each in _differences(one, other))


def _flows_agree(one: _Path, other: _Path, ttl: int) -> bool:
    """Whether what two traces show up to a TTL may be one way.

    Where each probe is a flow of its own, as with connections, a trace is a mixture of all equal paths.
    """
    if one.trace.source_port is not None and other.trace.source_port is not None:
        return True
    return all(len({*one.routers.get(each, ()), *other.routers.get(each, ())}) <= 1 for each in range(1, ttl + 1))


def _parts(trace: Trace, beside: Trace) -> tuple[str, str]:
    """What the sentence calls the two probes: their ports, or their flags where the ports are the same."""
    if trace.port != beside.port:
        return str(trace.port), str(beside.port)
    names = [f"{each.probe.flags.replace(',', '/') or 'a segment without flags'} to {each.port}" for each in (trace, beside)]
    return names[0], names[1]


def _icmp_words(family: int, kind: int, code: int) -> str:
    if (family, kind) in {(4, 3), (6, 1)} and code < len(_UNREACHABLE[family]):
        return f"{_UNREACHABLE[family][code]} (ICMP{'v6' if family == 6 else ''} type {kind} code {code})"
    return f"ICMP{'v6' if family == 6 else ''} type {kind} code {code}"


def locate_block(blocked: Trace, working: Trace, more: Sequence[tuple[Trace, Trace]] = ()) -> Block:
    """Tell where on its way a port is blocked, and no more than the two traces prove.

    Arguments:
        blocked: the trace of the port in question, by SYN.
        working: a trace to the same address from the same vantage, to a port that works, or by ACK to the same port.
        more: further pairs of such traces over other source ports. They are needed for one case alone, see ``doubtful``.

    Returns:
        The verdict.
    """
    return _Judgement(blocked, working, more).block()


def locate_block_in_records(blocked: Mapping[str, Any], working: Mapping[str, Any]) -> dict[str, Any]:
    """``locate_block`` from JSON types to JSON types.

    Arguments:
        blocked, working: the traces as ``Trace.to_dict`` gives them.

    Raises:
        RecordError: one of them is no trace.
    """
    return locate_block(Trace.from_dict(blocked), Trace.from_dict(working)).to_dict()


def doubtful(blocked: Trace, working: Trace) -> bool:
    """Whether the answer to the blocked port may come from the last router before the destination.

    Such an answer comes for the same TTL as the destination's own would, and only the TTL that it arrives with tells it from
    one. A way back of another length does the same, so ``locate_block`` believes it where four pairs of traces agree.
    """
    path, beside = _Path(blocked), _Path(working)
    if path.distance is None or path.distance != beside.distance or path.distance < 2:
        return False
    far = path.distance
    routers = [reply for each in (path, beside) if far - 1 in each.hops for reply in each.hops[far - 1].replies]
    backs = {_way_back(reply.reply_ttl) for reply in routers if reply.kind == "time_exceeded"}
    return (
        _way_back(path.answer_ttl) == far - 1
        and _way_back(beside.answer_ttl) == far
        and backs == {far - 1}
        and _together(path, beside, far - 1)
    )


def incomparable(blocked: Trace, working: Trace) -> bool:
    """Whether both are answered, and the ways there differ up to the nearer of the two, so that the answers can't be compared."""
    path, beside = _Path(blocked), _Path(working)
    if path.distance is None or beside.distance is None:
        return False
    nearer = min(path.distance, beside.distance) - 1
    return not (_together(path, beside, nearer) and _flows_agree(path, beside, nearer))


def goes_further(trace: Trace, other: Trace) -> bool:
    """Whether a trace shows its probes to have come further than those of another to the same port."""

    def reach(path: _Path) -> tuple[bool, bool, int]:
        return path.distance is not None, path.refusal is not None, path.last

    return reach(_Path(trace)) > reach(_Path(other))


class _Judgement:
    """One verdict in the making."""

    def __init__(self, blocked: Trace, working: Trace, more: Sequence[tuple[Trace, Trace]]) -> None:
        self.path, self.beside = _Path(blocked), _Path(working)
        self.more = more
        self.name, self.other = _parts(blocked, working)
        self.address = blocked.address
        self.differences = _differences(self.path, self.beside)
        self.notes: list[str] = []

    def block(self) -> Block:
        blocked, working = self.path.trace, self.beside.trace
        if (blocked.address, blocked.family) != (working.address, working.family):
            return self._unknown(
                "other_destination", f"{self.name} was traced to {blocked.address}, and {self.other} to {working.address}"
            )
        flags = set(blocked.probe.flags.split(","))
        if "SYN" not in flags or flags & {"ACK", "RST"}:
            return self._unknown("not_a_syn", "it was not traced by SYN, and only a SYN opens a connection")
        if self.path.distance is not None:
            return self._answered(self.path.distance)
        if self.path.refusal is not None:
            return self._refused(*self.path.refusal)
        return self._silent()

    # Sentences.

    def _say(self, verdict: str, sentence: str, **places: Any) -> Block:
        return Block(verdict, sentence, notes=tuple(self.notes), **places)

    def _unknown(self, reason: str, why: str, **places: Any) -> Block:
        return self._say("unknown", f"Where {self.name} is blocked can't be told: {why}", reason=reason, **places)

    def _success(self) -> str:
        """How far the working one comes."""
        beside = self.beside
        if beside.distance is not None:
            return f"{self.other} reaches {self.address}"
        place = beside.place(beside.last)
        if beside.last and place is not None:
            return f"{self.other} comes as far as {place.text}"
        return f"{self.other} is answered by nothing"

    # An answer in the destination's name.

    def _answered(self, distance: int) -> Block:
        answer = self._first_answer(self.path)
        self._compare_answers()
        found = self._translated() or self._nearer(distance) or self._by_last_router(distance) or self._by_proxy(distance)
        if found is not None:
            return found
        if self.beside.distance is not None and self.beside.distance < distance and not self.differences:
            self.notes.append(
                f"{self.other} is answered for TTL {self.beside.distance} already, and {self.name} for TTL {distance}: "
                f"two hosts or routers answer under {self.address}."
            )
        apart = incomparable(self.path.trace, self.beside.trace)
        if apart:
            self.notes.append(
                f"{self.other} takes another way (equal-cost paths), so the answer to {self.name} could not be compared."
            )
        state = self.path.trace.port_state
        if state == "open":
            return self._say("open", f"{self.name} is open at {self.address}: nothing blocks it")
        if state == "closed":
            whose = "a RST that may be" if apart or self.beside.distance is None else "a RST of"
            return self._say(
                "closed", f"{self.name} is closed at {self.address}, which refuses it by {whose} its own: nothing blocks it"
            )
        return self._unknown("incomplete", f"{self.address} answers with {answer.tcp_flags}, which tells neither open nor closed")

    @staticmethod
    def _first_answer(path: _Path) -> Reply:
        return path.answers()[0]

    def _compare_answers(self) -> None:
        """Notes on what differs between the two answers; a reason to look closer, and no proof."""
        if _by_syn_proxy(self.path):
            self.notes.append(f"The SYN/ACK of {self.name} has window 0: a SYN proxy sends it before it asks the server.")
        if self.beside.distance is None:
            self.notes.append(f"{self.other} is not answered, so the answer to {self.name} could not be compared.")
            return
        mine, others = self.path.answers(), self.beside.answers()
        if self.path.answer_ttl != self.beside.answer_ttl and None not in {self.path.answer_ttl, self.beside.answer_ttl}:
            self.notes.append(
                f"The answer to {self.name} arrives with TTL {self.path.answer_ttl}, that to {self.other} "
                f"with {self.beside.answer_ttl}."
            )
        times = [[reply.rtt_ms for reply in replies if reply.rtt_ms is not None] for replies in (mine, others)]
        if all(times) and max(times[0]) * 2 < min(times[1]) and min(times[1]) - max(times[0]) > 2:
            self.notes.append(
                f"The answer to {self.name} takes {max(times[0]):.1f} ms at most, that to {self.other} {min(times[1]):.1f} ms "
                "at least."
            )
        opened = [next(iter(_syn_acks(path)), None) for path in (self.path, self.beside)]
        if (
            opened[0] is not None
            and opened[1] is not None
            and (opened[0].mss, opened[0].options) != (opened[1].mss, opened[1].options)
        ):
            self.notes.append(
                f"The SYN/ACK of {self.name} offers MSS {opened[0].mss} and {', '.join(opened[0].options) or 'no options'}, that "
                f"of {self.other} MSS {opened[1].mss} and {', '.join(opened[1].options) or 'no options'}."
            )

    def _substituted(self, passes: Place | None, blocks: Place | None, likely: Place | None) -> Block:
        flags = (self._first_answer(self.path).tcp_flags or "TCP without flags").replace(",", "/")
        who = likely.text if likely is not None else "something before it"
        if likely is not None and likely == passes and blocks is not None:
            who = f"{likely.text} or between it and {blocks.text}"
        return self._say(
            "substituted",
            f"{self._success()}; {self.name} is answered ({flags}) in its place by {who}",
            passes=passes,
            blocks=blocks,
            likely=likely,
            how=flags,
        )

    def _translated(self) -> Block | None:
        """Routers of this path answer under the destination's address, and those of the working one under their own: DNAT."""
        path, beside = self.path, self.beside
        begins = min(path.translated, default=None)
        if begins is None or begins in beside.translated or begins not in beside.routers:
            return None
        if not _together(path, beside, begins - 1):
            return None
        self.notes.append(
            f"From hop {begins} on, routers on the way of {self.name} answer under {self.address}: "
            "its destination is translated there."
        )
        place = beside.router(begins)
        return self._substituted(path.place(begins - 1), place, place)

    def _nearer(self, distance: int) -> Block | None:
        """The answer comes for a TTL at which a router still passes the working one on."""
        path, beside = self.path, self.beside
        if not any(ttl >= distance for ttl in beside.routers) or (beside.distance is not None and beside.distance <= distance):
            return None
        if not _together(path, beside, distance - 1) or not _flows_agree(path, beside, distance - 1):
            return None
        straight = distance == path.first == 1 or (distance - 1 in path.routers and distance - 1 in beside.routers)
        mine, others = _way_back(path.answer_ttl), _way_back(beside.answer_ttl)
        if mine is not None and mine == others:
            # The same way back: the same host, over a shorter way there.
            self.notes.append(f"{self.name} is answered for TTL {distance}, {self.other} for {beside.distance}: the ways differ.")
            return None
        nearer = mine is not None and others is not None and mine < others
        if not straight and not nearer:
            return None
        passes = path.place(distance - 1)
        blocks = beside.place(distance)
        router = passes is not None and passes.role == "router"
        return self._substituted(passes, blocks, passes if router else blocks)

    def _by_last_router(self, distance: int) -> Block | None:
        """The answer comes for the destination's TTL, and from one hop nearer."""
        if not doubtful(self.path.trace, self.beside.trace):
            return None
        pairs = [(self.path.trace, self.beside.trace), *self.more]
        if len(pairs) >= PAIRS and all(doubtful(blocked, working) for blocked, working in pairs):
            passes = self.path.place(distance - 1)
            if passes is not None and passes.address is None:
                passes = self.beside.place(distance - 1)
            return self._substituted(passes, Place(distance, self.address, "destination"), passes)
        self.notes.append(f"The answer to {self.name} may come from hop {distance - 1}, or its way back is one hop shorter.")
        return None

    def _by_proxy(self, distance: int) -> Block | None:
        """A SYN/ACK with window 0: a SYN proxy, which opens the window once it has reached the server itself."""
        beside = self.beside
        if not _by_syn_proxy(self.path):
            return None
        if beside.distance == distance and beside.answer_ttl == self.path.answer_ttl and not _by_syn_proxy(beside):
            # It is where the destination is.
            return None
        passes = self.path.place(distance - 1)
        return self._substituted(passes, beside.router(distance), passes if distance > 1 else None)

    # A refusal.

    def _refused(self, ttl: int, reply: Reply) -> Block:
        family = self.path.trace.family
        kind, code, address = reply.icmp_type or 0, reply.icmp_code or 0, reply.address
        words = _icmp_words(family, kind, code)
        if (family, kind, code) == (4, 3, 4) or (family, kind) == (6, 2):
            mtu = f" (MTU {reply.mtu})" if reply.mtu else ""
            return self._unknown(
                "too_long",
                f"the probes are too long for a link behind {Place(ttl, address).text}{mtu}: trace with shorter ones",
                passes=self.path.place(self.path.last),
            )
        here = self._rejecter(ttl, address)
        passes = self.path.place(here.ttl - 1)
        also = self.beside.refusal
        if also is not None and (also[1].address, also[1].icmp_type, also[1].icmp_code) == (address, kind, code):
            self.notes.append(f"{self.other} is rejected in the same way, so it is not for the port alone.")
        elif self.beside.distance is None:
            self.notes.append(f"{self.other} does not reach {self.address} either.")
        return self._say(
            "rejected",
            f"{self._success()}; {self.name} is rejected by {here.text}: {words}",
            passes=passes,
            blocks=here,
            likely=here,
            how=words,
            icmp_type=kind,
            icmp_code=code,
        )

    def _rejecter(self, ttl: int, address: str | None) -> Place:
        """Which hop an ICMP unreachable comes from: one that forwards answers for a TTL beyond its own."""
        path, beside = self.path, self.beside
        if address == self.address:
            if beside.distance is not None and beside.distance > ttl:
                self.notes.append(
                    f"It is sent under {self.address} although {self.other} shows that to be {beside.distance} hops away."
                )
                return path.router(max(ttl - 1, 1))
            return Place(ttl, address, "destination")
        for shown in (path, beside):
            own = [each for each, addresses in shown.routers.items() if address in addresses and each <= ttl]
            if own:
                return shown.router(max(own), address)
        before = path.routers.get(ttl - 1)
        if before and ttl not in beside.routers:
            return path.router(ttl, address)
        if before:
            self.notes.append(f"{address} is hop {ttl - 1} ({before[0]}) or hop {ttl} under another of its addresses.")
        return path.router(ttl, address)

    # Silence.

    def _silent(self) -> Block:
        path, beside = self.path, self.beside
        refused = self._refused_at_home()
        if refused is not None:
            return refused
        last = path.last
        passes = path.place(last)
        if not path.complete:
            return self._unknown("incomplete", f"its trace was ended early ({path.trace.stop_reason})", passes=passes)
        if last and last == max(path.hops):
            return self._unknown(
                "incomplete", f"routers still answer at the last TTL ({last}): trace with a larger max_ttl", passes=passes
            )
        if beside.distance is not None and last >= beside.distance:
            return self._unknown(
                "working_substituted",
                f"{self.other} is answered for TTL {beside.distance} already, which {self.name} passes: they take different "
                f"ways, or something answers {self.other} in the place of {self.address}",
                passes=passes,
            )
        if not beside.complete and beside.distance is None:
            return self._unknown(
                "incomplete", f"the trace of {self.other} was ended early ({beside.trace.stop_reason})", passes=passes
            )
        if not _together(path, beside, last):
            first = self.differences[0]
            shared = path.place(max((ttl for ttl in path.routers if ttl < first), default=0))
            self.notes.append(f"Both pass {shared.text}." if shared is not None and shared.ttl else "They differ from the start.")
            return self._unknown(
                "paths_differ",
                f"it is last seen at {passes.text if passes else 'no hop'}, and {self.other} takes another way from hop {first} "
                "on, as routers share flows among equal paths by their ports",
                passes=passes,
            )
        if any(ttl <= last for ttl in self.differences):
            listed = ", ".join(str(ttl) for ttl in self.differences if ttl <= last)
            self.notes.append(f"The two take different ways at hop {listed} and meet again before the block (equal-cost paths).")
        return self._dropped(last, passes)

    def _dropped(self, last: int, passes: Place | None) -> Block:
        beside = self.beside
        beyond = [ttl for ttl in sorted({*beside.routers, *beside.translated}) if ttl > last]
        ends = [beside.router(ttl, None if ttl in beside.routers else self.address) for ttl in beyond]
        if beside.distance is not None:
            ends.append(Place(beside.distance, self.address, "destination"))
        if not ends:
            return self._unknown(
                "nothing_works",
                f"{self.other} is answered no further either: name a port that works, or the destination is down",
                passes=passes,
            )
        chance = 1.0
        for far in ends:
            chance *= self._chance_of_silence(far)
            if chance < _CHANCE:
                break
        else:
            return self._unknown(
                "too_few_answers",
                f"{self._success()}, but too few answers come to tell its silence from loss: ask more queries",
                passes=passes,
            )
        between = [ttl for ttl in range(last + 1, far.ttl) if ttl >= self.path.first]
        if between:
            listed = f"hop {between[0]}" if len(between) == 1 else f"hops {between[0]} to {between[-1]}"
            self.notes.append(f"What {listed} answered does not tell more.")
        likely = self._likely_dropper(passes, far)
        where = f"before {far.text}" if passes is None else f"between {passes.text} and {far.text}"
        # Of a router's answers only a filter that reads quotes could take those for one port; the destination's have that port.
        back = ", or its answers on the way back" if far.role == "destination" else ""
        sentence = f"{self._success()}; {self.name} is dropped silently {where}{back}"
        return self._say("dropped", sentence, passes=passes, blocks=far, likely=likely)

    def _likely_dropper(self, passes: Place | None, far: Place) -> Place | None:
        if passes is None:
            return None
        if passes.role == "vantage":
            # A filter of the vantage itself would have refused the probes with an error.
            return far if far.ttl == 1 else None
        if far.ttl != passes.ttl + 1:
            return None
        if far.role == "destination":
            self.notes.append(
                f"Either {passes.text} drops what it forwards, or the destination ignores what arrives, or a router on the way "
                "back drops the answers."
            )
            return None
        self.notes.append(
            f"Most likely {passes.text} drops what it forwards, as such a router still answers for its own TTL; "
            f"else {far.text} drops what arrives."
        )
        return passes

    def _chance_of_silence(self, far: Place) -> float:
        """How likely a place, had the probes come there, would have answered none, from how it answers the working ones."""
        hop = self.beside.hops[far.ttl]
        if hop.silence == "rate_limited":
            return 1.0
        asked = [reply for reply in hop.replies if not reply.duplicate and reply.kind != "send_error"]
        answers = sum(reply.kind != "timeout" for reply in asked)
        # One answer and one silence are taken to be possible, however few there were.
        share = (answers + 0.5) / (sum(reply.attempts for reply in asked) + 1)
        mine = [hop for ttl, hop in self.path.hops.items() if ttl == far.ttl or (ttl > far.ttl and far.role == "destination")]
        probes = sum(reply.attempts for hop in mine for reply in hop.replies if reply.kind == "timeout")
        return float((1 - min(share, 1.0)) ** probes)

    def _refused_at_home(self) -> Block | None:
        """The vantage's own kernel would not send."""
        replies = [reply for hop in self.path.trace.hops for reply in hop.replies]
        errors = {reply.error for reply in replies if reply.kind == "send_error"}
        if not replies or not errors or any(reply.kind != "send_error" for reply in replies):
            return None
        named = ", ".join(sorted(error or "" for error in errors))
        if not errors <= _LOCAL_REFUSALS:
            return self._unknown("incomplete", f"the vantage could not send the probes ({named})")
        home = Place(0, None, "vantage")
        return self._say(
            "dropped",
            f"{self._success()}; {self.name} is dropped by the vantage itself: its kernel refuses to send it ({named})",
            passes=None,
            blocks=home,
            likely=home,
        )


def with_notes(block: Block, notes: Sequence[str]) -> Block:
    """The same verdict with further notes."""
    return replace(block, notes=(*block.notes, *notes))
