"""What a simulated network does with a packet: a pure function of the scenario, the seed and the order of the packets.

No sockets and no clock: the time of a packet comes with it, and every answer is told with the time that it is due. Only rate
limits and a listener's state depend on those times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .packets import (
    ACK,
    FIN,
    RST,
    SYN,
    Segment,
    arrived,
    icmp_error,
    incoming_interface,
    label_stack,
    tcp_packet,
)

#: Nanoseconds in a millisecond and in a second.
MILLISECOND, SECOND = 1_000_000, 1_000_000_000
#: Types of ICMP errors by IP version.
TIME_EXCEEDED, UNREACHABLE = {4: 11, 6: 3}, {4: 3, 6: 1}
#: TTL that a system gives its packets.
INITIAL_TTL = 64
#: So many destinations, routers and half-open connections are remembered; then the memory of them begins anew.
MOST_REMEMBERED = 200_000
#: A listener answers repeated segments of a half-open connection so often at most (Linux: tcp_invalid_ratelimit).
CHALLENGE_PAUSE = SECOND // 2
#: A listener forgets a half-open connection.
HALF_OPEN_FOR = 60 * SECOND
#: Kinds of forged and malformed answers, in turn.
FORGERIES = (
    "sequence",
    "source_port",
    "destination",
    "identification",
    "truncated_quote",
    "checksum",
    "short",
    "noise",
    "reset",
    "open",
)


class Answer(NamedTuple):
    """A packet to send, or the silence in its place.

    Attributes:
        due: when, in nanoseconds of the clock that the segment's time was of.
        packet: from the IP header on; empty for none.
        outcome: one of ``OUTCOMES``.
        responder: address bytes of who answers, or would.
    """

    due: int
    packet: bytes
    outcome: str
    responder: bytes


OUTCOMES = (
    "time_exceeded",
    "unreachable",
    "syn_ack",
    "rst",
    "challenge_ack",
    "silent",
    "lost",
    "rate_limited",
    "filtered",
    "state",
    "duplicate",
    "forged",
)


def mixed(*numbers: int) -> int:
    """A number of 64 bits that depends on all of these and looks like none of them."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 29
        state = state * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 32
    return state


def _share(*numbers: int) -> float:
    return mixed(*numbers) / 2**64


class _Bucket:
    """Tokens of one router's ICMP rate limit."""

    __slots__ = ("filled_at", "tokens")

    def __init__(self, tokens: float, now: int) -> None:
        self.tokens = tokens
        self.filled_at = now

    def take(self, now: int, rate: float, burst: int) -> bool:
        self.tokens = min(burst, self.tokens + (now - self.filled_at) * rate / SECOND)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class _HalfOpen:
    """A connection that a listener has answered with SYN/ACK."""

    __slots__ = ("answered_at", "repeated", "sequence", "since")

    def __init__(self, sequence: int, now: int) -> None:
        self.sequence = sequence
        self.since = now
        self.answered_at = now
        self.repeated = False


class Destination:
    """A destination with the path to it.

    Arguments:
        region: the part of the scenario that it is in. address: its bytes. distance: TTL that reaches it.
    """

    __slots__ = ("address", "asked", "distance", "number", "region", "routers")

    def __init__(self, region: dict[str, Any], address: bytes, distance: int) -> None:
        self.region = region
        self.address = address
        self.distance = distance
        self.number = int.from_bytes(address[-8:], "big")
        self.routers: dict[tuple[int, int], bytes] = {}
        #: How many probes each TTL has got, which their fate depends on.
        self.asked: dict[int, int] = {}


class Simulation:
    """A network behind an interface.

    Arguments:
        scenario: as ``scenario.Simulator`` gives it, plain: ``seed``, ``routers`` (for each IP version, the first address of the
            routers' prefix as a number) and ``regions``.
    """

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._seed: int = scenario["seed"]
        self._routers = {int(family): number for family, number in scenario["routers"].items()}
        self._regions: list[dict[str, Any]] = scenario["regions"]
        self._destinations: dict[bytes, Destination] = {}
        self._buckets: dict[bytes, _Bucket] = {}
        self._half_open: dict[tuple[bytes, int, bytes, int], _HalfOpen] = {}

    # The path.

    def destination(self, address: bytes) -> Destination | None:
        """Where an address is, and how far; None where no part of the scenario has it."""
        known = self._destinations.get(address)
        if known is not None:
            return known
        number, family = int.from_bytes(address, "big"), 4 if len(address) == 4 else 6
        for region in self._regions:
            if region["family"] == family and region["first"] <= number <= region["last"]:
                nearest, furthest = region["hops"]
                distance = nearest + mixed(self._seed, number, 1) % (furthest - nearest + 1)
                _make_room(self._destinations)
                found = self._destinations[address] = Destination(region, address, distance)
                return found
        return None

    def router(self, destination: Destination, ttl: int, branch: int) -> bytes:
        """Address of the router that a TTL ends at, for a flow that takes this branch."""
        key = ttl, branch
        known = destination.routers.get(key)
        if known is not None:
            return known
        region = destination.region
        # Near routers are everybody's, and the further a router is the fewer destinations lie behind it.
        shared = ttl <= region["shared"]
        place = 0 if shared else destination.number >> max(0, 2 * (destination.distance - ttl - 1))
        balanced = branch if ttl in region["balanced"] else 0
        size = len(destination.address)
        spread = 20 if size == 4 else 60
        own = ttl << (spread - 8) | mixed(self._seed, ttl, place, balanced, not shared and region["first"]) % (1 << (spread - 8))
        address: bytes = (self._routers[4 if size == 4 else 6] + own).to_bytes(size, "big")
        destination.routers[key] = address
        return address

    def branch(self, destination: Destination, segment: Segment) -> int:
        """Which of the equal-cost paths the segment's flow takes."""
        paths: int = destination.region["paths"]
        if paths == 1:
            return 0
        source = int.from_bytes(segment.source[-8:], "big")
        return mixed(self._seed, source, segment.source_port, destination.number, segment.port) % paths

    # What becomes of a packet.

    def answers(self, segment: Segment, now: int) -> list[Answer]:
        """What comes back for a segment.

        Arguments:
            segment: as it came in, its TTL that of the first router's ingress. now: when, in nanoseconds.

        Returns:
            Answers in no order; one that sends nothing says why. None at all for what is no probe.
        """
        destination = self.destination(segment.destination)
        if destination is None:
            return []
        region, ttl = destination.region, segment.ttl
        if ttl >= destination.distance and not self._asks(segment):
            return []
        asked = destination.asked[ttl] = destination.asked.get(ttl, 0) + 1
        first = self._first_answer(destination, segment, now, asked)
        if not first.packet:
            return [first]
        answers = [first]
        if region["duplicates"] and _share(self._seed, destination.number, ttl, asked, 4) < region["duplicates"]:
            answers.append(first._replace(due=first.due + MILLISECOND, outcome="duplicate"))
        for number in range(region["forged"]):
            kind = FORGERIES[(asked * region["forged"] + number) % len(FORGERIES)]
            answers.append(self._forged(kind, destination, segment, now + number * 1000, asked))
        return answers

    def _asks(self, segment: Segment) -> bool:
        """Whether a segment that reaches the destination wants an answer: not what ends the connection of a SYN before it."""
        if segment.flags & SYN:
            return True
        known = self._half_open.pop(_flow(segment), None)
        return known is None and not segment.flags & (RST | FIN)

    def _first_answer(self, destination: Destination, segment: Segment, now: int, asked: int) -> Answer:
        region, ttl = destination.region, segment.ttl
        end = min(destination.distance, ttl)
        refuses = region["unreachable"]
        proxy, filtered = region["syn_proxy"], region["filtered_beyond"]
        where = min([end, *(place for place in (refuses and refuses["hop"], proxy, filtered) if place)])
        arrives = self._arrival(destination, now, where, ttl, asked)
        branch = self.branch(destination, segment)
        router = self.router(destination, where, branch) if where < destination.distance else destination.address
        if _share(self._seed, destination.number, ttl, asked, 2) < region["loss"]:
            return Answer(arrives, b"", "lost", router)
        reply_ttl = INITIAL_TTL - where + 1
        if ttl > where:
            # Something on the way took it out of the path: a probe that expires there, expires first.
            if where == proxy:
                return self._listener(segment, destination.address, INITIAL_TTL - where + 1, arrives, stateful=False)
            if where == filtered:
                return Answer(arrives, b"", "filtered", router)
            if refuses and where == refuses["hop"]:
                code = refuses["code"]
                return self._error(destination, segment, arrives, where, router, UNREACHABLE[segment.family], code)
        if where < destination.distance:
            return self._error(destination, segment, arrives, where, router, TIME_EXCEEDED[segment.family], 0)
        return self._host(destination, segment, arrives, reply_ttl)

    def _arrival(self, destination: Destination, now: int, where: int, ttl: int, asked: int) -> int:
        """When the answer of a hop is back at the vantage."""
        region = destination.region
        delays = region["delays_ms"]
        delay = delays[where - 1] if where <= len(delays) else region["rtt_ms"] * where / destination.distance
        if region["jitter_ms"]:
            delay += region["jitter_ms"] * _share(self._seed, destination.number, ttl, asked, 3)
        late = region["late"]
        if late and _share(self._seed, destination.number, ttl, asked, 5) < late["share"]:
            delay += late["ms"]
        return now + int(delay * MILLISECOND)

    def _error(
        self, destination: Destination, segment: Segment, due: int, where: int, router: bytes, kind: int, code: int
    ) -> Answer:
        region = destination.region
        outcome = "unreachable" if kind == UNREACHABLE[segment.family] else "time_exceeded"
        if where in region["silent"]:
            return Answer(due, b"", "silent", router)
        if region["icmp_rate"] and not self._may_answer(region, router, due):
            return Answer(due, b"", "rate_limited", router)
        translation = region["translation"]
        if translation and where > translation["hop"]:
            seen = arrived(
                segment,
                ttl=max(1, segment.ttl - where + 1),
                source=bytes.fromhex(translation["addresses"][str(segment.family)]),
                source_port=segment.source_port ^ translation["port_mask"],
            )
        else:
            seen = arrived(segment, ttl=max(1, segment.ttl - where + 1))
        # A quote of 8 bytes is one of 8 bytes behind the IP header (RFC 792).
        longest = segment.header_length + region["quote"] if region["quote"] else len(seen)
        quote = seen[: min(longest, 548 if segment.family == 4 else 1232)]
        objects = b""
        if where in region["mpls"]:
            labels = [16 + mixed(self._seed, int.from_bytes(router, "big"), position) % 1000000 for position in range(2)]
            objects += label_stack(labels, 1)
        if where in region["interfaces"]:
            objects += incoming_interface(where, segment.family, router, "eth{}".format(where))
        reply_ttl = INITIAL_TTL - where + 1
        packet = icmp_error(segment.family, router, segment.source, reply_ttl, kind, code, quote, objects)
        return Answer(due, packet, outcome, router)

    def _may_answer(self, region: dict[str, Any], router: bytes, now: int) -> bool:
        bucket = self._buckets.get(router)
        if bucket is None:
            _make_room(self._buckets)
            bucket = self._buckets[router] = _Bucket(region["icmp_burst"], now)
        return bucket.take(now, region["icmp_rate"], region["icmp_burst"])

    # The destination.

    def _host(self, destination: Destination, segment: Segment, due: int, reply_ttl: int) -> Answer:
        region, address = destination.region, destination.address
        state = region["ports"].get(str(segment.port), region["port"])
        if state == "filtered":
            return Answer(due, b"", "filtered", address)
        if state == "open" and segment.flags & (SYN | ACK | RST) == SYN:
            return self._listener(segment, address, reply_ttl, due, stateful=region["stateful"])
        return _reset(segment, address, reply_ttl, due)

    def _listener(self, segment: Segment, address: bytes, reply_ttl: int, due: int, *, stateful: bool) -> Answer:
        """An open port; stateful, with a half-open connection as Linux 6.18 treats it."""
        flow = _flow(segment)
        number = mixed(self._seed, segment.sequence if not stateful else 0, segment.source_port, segment.port) & 0xFFFFFFFF
        waiting = self._half_open.get(flow) if stateful else None
        if waiting is None or due - waiting.since > HALF_OPEN_FOR:
            _make_room(self._half_open)
            self._half_open[flow] = _HalfOpen(segment.sequence, due)
            packet = tcp_packet(
                segment, address, reply_ttl, sequence=number, acknowledgment=segment.sequence + 1, flags=SYN | ACK
            )
            return Answer(due, packet, "syn_ack", address)
        ahead = (segment.sequence - waiting.sequence) & 0xFFFFFFFF
        if ahead == 0:
            if waiting.repeated and due - waiting.answered_at < CHALLENGE_PAUSE:
                return Answer(due, b"", "state", address)
            waiting.repeated, waiting.answered_at = True, due
            packet = tcp_packet(
                segment, address, reply_ttl, sequence=number, acknowledgment=waiting.sequence + 1, flags=SYN | ACK
            )
            return Answer(due, packet, "syn_ack", address)
        if ahead < 65160:
            # A SYN inside the window: the listener resets what it had, and begins anew with the next one.
            del self._half_open[flow]
            return _reset(segment, address, reply_ttl, due)
        if waiting.repeated and due - waiting.answered_at < CHALLENGE_PAUSE:
            return Answer(due, b"", "state", address)
        waiting.repeated, waiting.answered_at = True, due
        packet = tcp_packet(segment, address, reply_ttl, sequence=number + 1, acknowledgment=waiting.sequence + 1, flags=ACK)
        return Answer(due, packet, "challenge_ack", address)

    # What is no answer.

    def _forged(self, kind: str, destination: Destination, segment: Segment, due: int, asked: int) -> Answer:
        """An answer that somebody off the path made up, or that is broken; it must change nothing."""
        chance = mixed(self._seed, destination.number, segment.ttl, asked, due & 0xFFFF, 6)
        forger = self.router(destination, segment.ttl, 1000 + chance % 50)
        family, at = segment.family, segment.header_length
        seen = bytearray(arrived(segment))
        if kind == "sequence":
            seen[at + 4 : at + 8] = (segment.sequence ^ (chance & 0xFFFFFFFF) ^ 0x10000000).to_bytes(4, "big")
        elif kind == "source_port":
            seen[at : at + 2] = (segment.source_port ^ 0x1111).to_bytes(2, "big")
            seen[at + 4 : at + 8] = (chance & 0xFFFFFFFF).to_bytes(4, "big")
        elif kind == "destination":
            seen[at - 1] ^= 0x55
            seen[at + 4 : at + 8] = (chance & 0xFFFFFFFF).to_bytes(4, "big")
        elif kind == "identification":
            seen[at + 4 : at + 8] = (chance & 0xFFFFFFFF).to_bytes(4, "big")
            seen[4:6] = (chance >> 32 & 0xFFFF).to_bytes(2, "big")
        elif kind == "truncated_quote":
            seen = seen[: at + 4]
        elif kind in ("reset", "open"):
            # In the destination's name, without knowing a number.
            flags, number = (RST | ACK, 0) if kind == "reset" else (SYN | ACK, chance & 0xFFFFFFFF)
            packet = tcp_packet(
                segment, destination.address, 57, sequence=number, acknowledgment=chance & 0xFFFFFFFF ^ 0x5A5A5A5A, flags=flags
            )
            return Answer(due, packet, "forged", destination.address)
        packet = icmp_error(family, forger, segment.source, 50, TIME_EXCEEDED[family], 0, bytes(seen[: at + 20]))
        if kind == "checksum":
            middle = 20 if family == 4 else 40
            packet = packet[: middle + 2] + bytes([packet[middle + 2] ^ 0xFF]) + packet[middle + 3 :]
        elif kind == "short":
            packet = packet[: (20 if family == 4 else 40) + 5]
        elif kind == "noise":
            packet = packet[: (20 if family == 4 else 40)] + (chance.to_bytes(8, "big") * 6)
        return Answer(due, packet, "forged", forger)


def _reset(segment: Segment, address: bytes, reply_ttl: int, due: int) -> Answer:
    """The RST of a system that has no such connection (RFC 9293 section 3.10.7.1)."""
    if segment.flags & ACK:
        packet = tcp_packet(segment, address, reply_ttl, sequence=segment.acknowledgment, acknowledgment=0, flags=RST)
    else:
        end = segment.sequence + segment.length
        packet = tcp_packet(segment, address, reply_ttl, sequence=0, acknowledgment=end, flags=RST | ACK)
    return Answer(due, packet, "rst", address)


def _flow(segment: Segment) -> tuple[bytes, int, bytes, int]:
    return segment.source, segment.source_port, segment.destination, segment.port


def _make_room(table: dict[Any, Any]) -> None:
    """Keep a table bounded: full, it begins anew."""
    if len(table) >= MOST_REMEMBERED:
        table.clear()
