# BSD-3-Clause, see LICENSE
"""Trace, Hop and Reply: the structured records that cross from the probe to everything else, to and from JSON.

Field names are those of the field (RFCs, RIPE Atlas, scamper); times are in the unit that the name ends with.
The JSON Schema of the same records is ``trace.schema.json`` beside the package's other data.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from .errors import RecordError
from .record_class import record_class

__all__ = (
    "PORT_STATES",
    "REPLY_KINDS",
    "SCHEMA",
    "STOP_REASONS",
    "Hop",
    "Interface",
    "Label",
    "Modification",
    "Network",
    "Packet",
    "ProbeShape",
    "Quoted",
    "Reply",
    "RoundTrip",
    "Trace",
)

#: The version of the records.
SCHEMA = 1
REPLY_KINDS = ("time_exceeded", "tcp", "unreachable", "timeout", "send_error")
PORT_STATES = ("open", "closed", "filtered", "unreachable", "unknown")
STOP_REASONS = ("reached", "unreachable", "max_ttl", "gap_limit", "deadline", "interrupted", "error")
SILENCES = ("silent", "rate_limited", "lost")
ALTERED = ("source", "source_port", "address", "port", "sequence", "identification", "window")
DIRECTIONS = ("sent", "received")
#: So many packets at most in one trace: the probes of 255 hops of 50 queries, and their answers.
MOST_PACKETS = 30000
INTERFACE_ROLES = ("incoming", "incoming_sub_ip", "outgoing", "next_hop")


@record_class(frozen=True)
class Quoted:
    """What an ICMP error quotes of the probe: how the probe looked when it reached the router.

    Attributes:
        ttl: TTL or hop limit of the quoted packet; 1 where the router decremented nothing before it answered.
        tos: type of service or traffic class of the quoted packet.
        source, source_port: the quoted source, other than the probe's where a NAT on the path rewrote it.
        address, port: the quoted destination, likewise.
    """

    ttl: int
    tos: int
    source: str
    source_port: int
    address: str
    port: int


@record_class(frozen=True)
class Reply:
    """What became of one query.

    Attributes:
        query: number of the query in its hop, from 1.
        kind: ``time_exceeded``, ``tcp``, ``unreachable`` (also IPv6 packet too big), ``timeout`` or ``send_error``.
        address: who answered; None for a timeout or send error.
        name: the address's name in DNS, escaped; None where not looked up or not found.
        rtt_ms: round-trip time in milliseconds; None also where a TCP reply's time says nothing: a late SYN/ACK may be repeated.
        reply_ttl: TTL or hop limit that the reply arrived with.
        icmp_type, icmp_code: of an ICMP reply (RFC 792, RFC 4443).
        tcp_flags: flags of a TCP reply, such as ``SYN,ACK``.
        mtu: next-hop MTU in bytes that a "fragmentation needed" or "packet too big" told (RFC 1191, RFC 4443).
        quoted: the probe as an ICMP reply quotes it.
        altered: what the path had rewritten in the quoted probe: any of ``source``, ``source_port``, ``address``, ``port``,
            ``sequence``, ``identification`` and ``window``.
        attempts: probes sent for this query; more than one where it was asked again.
        late: the answer came after the query had been given up.
        duplicate: a further answer to a probe that had been answered before.
        error: name of the system's error for a send error, such as ``ENETUNREACH``.
        evidence: the reply's bytes from its IP header on (IPv6: from the ICMPv6 or TCP header on), base64.
    """

    query: int
    kind: str
    address: Optional[str] = None
    name: Optional[str] = None
    rtt_ms: Optional[float] = None
    reply_ttl: Optional[int] = None
    icmp_type: Optional[int] = None
    icmp_code: Optional[int] = None
    tcp_flags: Optional[str] = None
    mtu: Optional[int] = None
    quoted: Optional[Quoted] = None
    altered: Tuple[str, ...] = ()
    attempts: int = 1
    late: bool = False
    duplicate: bool = False
    error: Optional[str] = None
    evidence: Optional[str] = None


@record_class(frozen=True)
class RoundTrip:
    """The round-trip times of a hop's replies in milliseconds; ``stddev`` is that of the population."""

    min: float
    avg: float
    max: float
    stddev: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Optional[RoundTrip]:
        """Sum up round-trip times in milliseconds; None for none."""
        if not times:
            return None
        mean = math.fsum(times) / len(times)
        deviation = math.sqrt(math.fsum((time - mean) ** 2 for time in times) / len(times))
        return cls(round(min(times), 3), round(mean, 3), round(max(times), 3), round(deviation, 3))


@record_class(frozen=True)
class Label:
    """One entry of the MPLS label stack that the probe arrived with (RFC 3032 section 2.1, RFC 4950).

    Attributes:
        label: 20 bits.
        traffic_class: 3 bits (RFC 5462).
        bottom: whether it is the last of the stack.
        ttl: of the entry.
    """

    label: int
    traffic_class: int
    bottom: bool
    ttl: int


@record_class(frozen=True)
class Interface:
    """An interface of the router that its answer tells of (RFC 5837).

    Attributes:
        role: ``incoming``: the probe arrived there; ``incoming_sub_ip``: a component of that one; ``outgoing``: it would have
            left there; ``next_hop``: the address that it would have gone to.
        index: ifIndex of the router (RFC 2863). address: IP address. name: ifName, escaped. mtu: in bytes. None where not told.
    """

    role: str
    index: Optional[int] = None
    address: Optional[str] = None
    name: Optional[str] = None
    mtu: Optional[int] = None


@record_class(frozen=True)
class Modification:
    """A field of the probe that the path has rewritten on the way to a hop.

    Attributes:
        field: its name, such as ``dscp`` or ``source_port``.
        sent: the value that the probe left with. seen: the value that the hop quotes. Both are text, for a reader.
        after: TTL of the last hop before that saw the field as it had been; None where no hop before showed it.
    """

    field: str
    sent: str
    seen: str
    after: Optional[int]


@record_class(frozen=True)
class Network:
    """What network an address is in.

    Attributes:
        kind: ``loopback``, ``link_local``, ``private``, ``shared``, ``benchmarking``, ``documentation`` or ``public``.
        name: of the user's network with the longest prefix that holds the address; None for none.
        prefix: that prefix.
        asn: number of the autonomous system that announces it; None where not looked up or not found.
        organization: name of that system, escaped.
    """

    kind: str
    name: Optional[str] = None
    prefix: Optional[str] = None
    asn: Optional[int] = None
    organization: Optional[str] = None


@record_class(frozen=True)
class Packet:
    """A packet of a trace, sent or received.

    Attributes:
        at_ms: when, in milliseconds since ``Trace.started_at``.
        direction: ``sent`` or ``received``.
        data: its bytes from the IP header on, base64.
    """

    at_ms: float
    direction: str
    data: str


@record_class(frozen=True)
class Hop:
    """One TTL of the path.

    Attributes:
        ttl: TTL or hop limit of the probes.
        address: the first that answered; None for a silent hop.
        addresses: all that answered, in the order of their first answers.
        name: name of ``address``.
        replies: one for each query in order, then duplicates.
        rtt_ms: round-trip times of the answers.
        loss: share of the queries that stayed without an answer, 0 to 1; None where none was sent.
        silence: None where every probe was answered; ``silent`` where none was; else what the unanswered ones turned out to be:
            ``rate_limited`` (each had followed the hop's last answer sooner than any answered one) or ``lost``.

    What follows is what the analysis found, None before it has looked and where it has nothing to look at:

        mpls: the label stack that the probe arrived with, top first.
        interface: the router's interfaces that its answer tells of.
        modified: what had been rewritten in the probe, where this hop is the first to show it.
        unseen: the fields that this hop's quotes are too short to show.
        network: the network of ``address``.
        device: name of the inventory's device that ``address`` belongs to.
        notes: all of this as short sentences, for a reader.
    """

    ttl: int
    address: Optional[str]
    addresses: Tuple[str, ...]
    name: Optional[str]
    replies: Tuple[Reply, ...]
    rtt_ms: Optional[RoundTrip]
    loss: Optional[float]
    silence: Optional[str] = None
    mpls: Optional[Tuple[Label, ...]] = None
    interface: Optional[Tuple[Interface, ...]] = None
    modified: Optional[Tuple[Modification, ...]] = None
    unseen: Optional[Tuple[str, ...]] = None
    network: Optional[Network] = None
    device: Optional[str] = None
    notes: Optional[Tuple[str, ...]] = None


@record_class(frozen=True)
class ProbeShape:
    """How every probe of a trace looked: its flags, TCP options, IP length in bytes, TOS byte and don't-fragment bit.

    ``tcp_options`` is ``packet`` for a crafted probe and ``system`` where the kernel chose; then the length is not known (None).
    """

    flags: str
    tcp_options: str
    length: Optional[int]
    tos: int
    dont_fragment: bool


@record_class(frozen=True)
class Trace:
    """A whole trace, plain data.

    Attributes:
        schema: version of this form.
        destination: as it was asked for.
        address, family, port: where the probes went.
        vantage: name of the host that they left from.
        source, source_port, interface: how they left; source_port None where each probe had its own; interface None where the
            route decided.
        method: transport, ``raw`` or ``connect``.
        probe: their shape.
        started_at: wall clock at the start, ISO 8601 in UTC.
        elapsed_ms: from the first probe to the end, milliseconds.
        reached: whether the destination itself answered.
        port_state: ``open``, ``closed``, ``filtered``, ``unreachable`` or ``unknown``.
        stop_reason: why the trace ended.
        hops: one for each TTL from the first to the last probed that belongs to the path.
        counters: packets sent, matched and ignored, by reason.
        warnings: sentences that the reader should know before believing the rest.
        packets: every probe and every answer to one, in the order of their times; None unless all evidence was asked for.
    """

    destination: str
    address: str
    family: int
    port: int
    vantage: str
    source: str
    source_port: Optional[int]
    interface: Optional[str]
    method: str
    probe: ProbeShape
    started_at: str
    elapsed_ms: float
    reached: bool
    port_state: str
    stop_reason: str
    hops: Tuple[Hop, ...]
    counters: Mapping[str, int]
    warnings: Tuple[str, ...] = ()
    packets: Optional[Tuple[Packet, ...]] = None
    schema: int = SCHEMA

    def to_dict(self) -> Dict[str, Any]:
        """The record as JSON types, as ``trace.schema.json`` describes it."""
        record: Dict[str, Any] = _plain(self)
        return record

    def to_json(self) -> str:
        """The same as JSON on one line; without the step between, in two thirds of the time."""
        # Who takes records in Python alone needs no encoder.
        import json

        return json.dumps(self, default=_fields, separators=(",", ":"), check_circular=False)

    @classmethod
    def from_dict(cls, data: Any) -> Trace:
        """Read a record back from its JSON types.

        Raises:
            RecordError: names the place that is missing, of another type or out of bounds.
        """
        return _read_trace(data)


#: Fields that a record lacks where they are None: what only some traces hold, and what the analysis adds.
_MAY_BE_ABSENT: Mapping[Any, Tuple[str, ...]] = {
    Hop: ("mpls", "interface", "modified", "unseen", "network", "device", "notes"),
    Trace: ("packets",),
}


#: Nearly all that a record holds; what is one of these needs no look.
_ATOMS = frozenset((str, int, float, bool, type(None)))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is tuple:
        return [item if type(item) in _ATOMS else _plain(item) for item in value]
    return {name: item if type(item) in _ATOMS else _plain(item) for name, item in _fields(value).items()}


def _fields(value: Any) -> Dict[str, Any]:
    """What a record or a mapping holds, without what it lacks as long as it is None."""
    if isinstance(value, Mapping):
        return dict(value)
    optional = _MAY_BE_ABSENT.get(type(value))
    held: Dict[str, Any] = vars(value)
    if optional is None:
        return held
    return {name: item for name, item in held.items() if item is not None or name not in optional}


# Readers: each takes a value and its place in the document, and returns the value or raises RecordError.
_Reader = Callable[[Any, str], Any]


def _refuse(place: str, rule: str) -> RecordError:
    return RecordError("{} is not {}, so this is no trace record of schema {}".format(place, rule, SCHEMA))


def _text(longest: int) -> _Reader:
    def read(value: Any, place: str) -> str:
        if not isinstance(value, str) or len(value) > longest or not (value.isascii() and value.isprintable()):
            raise _refuse(place, "a text of at most {} printable ASCII characters".format(longest))
        return value

    return read


def _integer(minimum: int, maximum: int) -> _Reader:
    def read(value: Any, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise _refuse(place, "a whole number between {} and {}".format(minimum, maximum))
        return value

    return read


def _number(minimum: float, maximum: float) -> _Reader:
    def read(value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not minimum <= value <= maximum:
            raise _refuse(place, "a number between {:g} and {:g}".format(minimum, maximum))
        return value

    return read


def _boolean(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise _refuse(place, "true or false")
    return value


def _choice(*choices: Any) -> _Reader:
    def read(value: Any, place: str) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise _refuse(place, "one of " + ", ".join(map(str, choices)))
        return value

    return read


def _optional(reader: _Reader) -> _Reader:
    return lambda value, place: None if value is None else reader(value, place)


def _several(reader: _Reader, most: int) -> _Reader:
    def read(value: Any, place: str) -> Tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise _refuse(place, "a list of at most {}".format(most))
        return tuple(reader(item, "{}[{}]".format(place, index)) for index, item in enumerate(value))

    return read


def _counts(value: Any, place: str) -> Dict[str, int]:
    if not isinstance(value, Mapping) or len(value) > 100:
        raise _refuse(place, "a table of at most 100 counters")
    name, count = _text(100), _integer(0, 2**63)
    return {name(key, place): count(value[key], "{}.{}".format(place, key)) for key in value}


def _record(cls: Callable[..., Any], readers: Mapping[str, _Reader]) -> _Reader:
    def read(value: Any, place: str) -> Any:
        if not isinstance(value, Mapping):
            raise _refuse(place, "an object")
        missing: List[str] = [name for name in readers if name not in value]
        needed = [name for name in missing if name not in _MAY_BE_ABSENT.get(cls, ())]
        if needed:
            raise _refuse(place, "complete ({} is missing)".format(needed[0]))
        # Only where it is told: what may be missing is a default of the record.
        there = readers if not missing else {name: reader for name, reader in readers.items() if name in value}
        return cls(**{name: reader(value[name], "{}.{}".format(place, name)) for name, reader in there.items()})

    return read


_ADDRESS = _text(64)
_NAME = _optional(_text(1024))
_TTL = _integer(0, 255)
_OCTET = _integer(0, 255)
_PORT = _integer(0, 65535)
_MILLISECONDS = _number(0, 1e9)

_read_trace_at = _record(
    Trace,
    {
        "schema": _choice(SCHEMA),
        "destination": _text(255),
        "address": _ADDRESS,
        "family": _choice(4, 6),
        "port": _PORT,
        "vantage": _text(1024),
        "source": _ADDRESS,
        "source_port": _optional(_PORT),
        "interface": _optional(_text(64)),
        "method": _text(32),
        "probe": _record(
            ProbeShape,
            {
                "flags": _text(64),
                "tcp_options": _text(32),
                "length": _optional(_integer(0, 65575)),
                "tos": _OCTET,
                "dont_fragment": _boolean,
            },
        ),
        "started_at": _text(64),
        "elapsed_ms": _MILLISECONDS,
        "reached": _boolean,
        "port_state": _choice(*PORT_STATES),
        "stop_reason": _choice(*STOP_REASONS),
        "hops": _several(
            _record(
                Hop,
                {
                    "ttl": _TTL,
                    "address": _optional(_ADDRESS),
                    "addresses": _several(_ADDRESS, 1000),
                    "name": _NAME,
                    "replies": _several(
                        _record(
                            Reply,
                            {
                                "query": _integer(1, 1000),
                                "kind": _choice(*REPLY_KINDS),
                                "address": _optional(_ADDRESS),
                                "name": _NAME,
                                "rtt_ms": _optional(_MILLISECONDS),
                                "reply_ttl": _optional(_TTL),
                                "icmp_type": _optional(_OCTET),
                                "icmp_code": _optional(_OCTET),
                                "tcp_flags": _optional(_text(64)),
                                "mtu": _optional(_integer(0, 2**32 - 1)),
                                "quoted": _optional(
                                    _record(
                                        Quoted,
                                        {
                                            "ttl": _TTL,
                                            "tos": _OCTET,
                                            "source": _ADDRESS,
                                            "source_port": _PORT,
                                            "address": _ADDRESS,
                                            "port": _PORT,
                                        },
                                    )
                                ),
                                "altered": _several(_choice(*ALTERED), len(ALTERED)),
                                "attempts": _integer(0, 1000),
                                "late": _boolean,
                                "duplicate": _boolean,
                                "error": _optional(_text(32)),
                                "evidence": _optional(_text(100000)),
                            },
                        ),
                        1000,
                    ),
                    "rtt_ms": _optional(
                        _record(
                            RoundTrip,
                            {"min": _MILLISECONDS, "avg": _MILLISECONDS, "max": _MILLISECONDS, "stddev": _MILLISECONDS},
                        )
                    ),
                    "loss": _optional(_number(0, 1)),
                    "silence": _optional(_choice(*SILENCES)),
                    "mpls": _several(
                        _record(
                            Label,
                            {
                                "label": _integer(0, 2**20 - 1),
                                "traffic_class": _integer(0, 7),
                                "bottom": _boolean,
                                "ttl": _OCTET,
                            },
                        ),
                        100,
                    ),
                    "interface": _several(
                        _record(
                            Interface,
                            {
                                "role": _choice(*INTERFACE_ROLES),
                                "index": _optional(_integer(0, 2**32 - 1)),
                                "address": _optional(_ADDRESS),
                                "name": _NAME,
                                "mtu": _optional(_integer(0, 2**32 - 1)),
                            },
                        ),
                        100,
                    ),
                    "modified": _several(
                        _record(
                            Modification,
                            {"field": _text(32), "sent": _text(300), "seen": _text(300), "after": _optional(_TTL)},
                        ),
                        100,
                    ),
                    "unseen": _several(_text(32), 100),
                    "network": _record(
                        Network,
                        {
                            "kind": _text(32),
                            "name": _NAME,
                            "prefix": _optional(_ADDRESS),
                            "asn": _optional(_integer(0, 2**32 - 1)),
                            "organization": _NAME,
                        },
                    ),
                    "device": _text(1024),
                    "notes": _several(_text(1000), 100),
                },
            ),
            255,
        ),
        "counters": _counts,
        "warnings": _several(_text(1000), 100),
        "packets": _several(
            _record(Packet, {"at_ms": _MILLISECONDS, "direction": _choice(*DIRECTIONS), "data": _text(100000)}), MOST_PACKETS
        ),
    },
)


def _read_trace(data: Any) -> Trace:
    trace: Trace = _read_trace_at(data, "trace")
    return trace
