"""What a trace's replies show of the path: what was rewritten between which hops, and what routers tell of themselves.

Every reply that quotes the probe is compared with what was sent, field by field, from as few bytes as it quotes. What is not as
it was sent is a finding of the first hop that shows it. Scapy opens what only some replies have: extensions, and TCP options
that are not the probe's.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, NamedTuple

from ..probe.errors import OptionError
from ..probe.options import FLAG_BITS, TraceOptions
from ..probe.records import Hop, Interface, Label, Modification, Reply, Trace
from ..probe.wire import TCP, ProbeBuilder, checksum, flag_names
from .datagrams import Datagram, Segment, read_datagram, read_segment
from .icmp_messages import IcmpMessage, open_icmp

__all__ = ("explain",)

#: Fields that a quote may be too short to show, in the order of the header.
_MAY_BE_UNSEEN = ("acknowledgment", "flags", "window", "urgent", "tcp_options", "payload")
_MOST_MODIFIED, _MOST_NOTES, _LONGEST_TEXT = 100, 100, 300
#: So many TTLs in a row with answers of one router are more than a router that lets TTL 0 pass makes of itself.
_LEAST_ROW = 3
_SHAPES = ("none", "mss", "linux")
_QUOTING = ("time_exceeded", "unreachable")
_UNKNOWN = "unknown"
_AS_SENT = ""
_BACK = "{} as sent again"


def explain(trace: Trace) -> Trace:
    """Open the evidence of a trace, and fill in what it shows: ``mpls``, ``interface``, ``modified``, ``unseen`` and ``notes``.

    Nothing is asked of the network. What was sent is taken from ``trace.packets`` where they are there, else from the trace's
    flow and shape; what neither tells is compared between hops, or not at all.

    Arguments:
        trace: of any age and origin. Its evidence is hostile: what can't be read is passed over, and the rest of the trace stays.

    Returns:
        The trace with its findings. A hop without a reply that quotes the probe has None in all of them.

    Raises:
        Nothing, whatever the record holds.
    """
    sent = _Sent(trace)
    path = _Path()
    hops = []
    for hop in trace.hops:
        readings = [reading for reply in hop.replies if (reading := _read(reply, trace.family)) is not None]
        hops.append(_explained(hop, readings, sent, path) if readings else hop)
        path.pass_hop(hop)
    rows = dict(_rows(trace))
    return replace(trace, hops=tuple(_with_notes(hop, [rows[hop.ttl]]) if hop.ttl in rows else hop for hop in hops))


# What a reply shows.


class _Reading(NamedTuple):
    """A reply that quotes the probe: the record, and where its evidence was kept and could be read, what that holds."""

    reply: Reply
    message: IcmpMessage | None
    datagram: Datagram | None
    segment: Segment | None


def _read(reply: Reply, family: int) -> _Reading | None:
    """Open a reply; None where it quotes nothing."""
    if reply.kind not in _QUOTING:
        return None
    message = _opened(reply.evidence, family) if reply.evidence else None
    datagram = read_datagram(message.quoted) if message else None
    segment = None
    if message and datagram and datagram.family == family and datagram.protocol == TCP:
        segment = read_segment(datagram.transport, padded=message.padded or not any(datagram.transport[8:]))
    if segment is None:
        datagram = None
    return _Reading(reply, message, datagram, segment) if reply.quoted or message else None


def _opened(evidence: str, family: int) -> IcmpMessage | None:
    try:
        data = binascii.a2b_base64(evidence)
    except ValueError:
        return None
    if family == 4:
        header = (data[0] & 0x0F) * 4 if data else 0
        if len(data) < 20 or data[0] >> 4 != 4 or header < 20 or data[9] != 1:
            return None
        data = data[header:]
    return open_icmp(data, family)


# What was sent.


class _Facts(NamedTuple):
    """A packet that was sent, as far as it is known; None for what is not.

    ``timestamp``: whether the value of its timestamps option is known.
    """

    source: str | None = None
    source_port: int | None = None
    address: str | None = None
    port: int | None = None
    tos: int | None = None
    length: int | None = None
    flags: int | None = None
    dont_fragment: bool | None = None
    sequence: int | None = None
    acknowledgment: int | None = None
    identification: int | None = None
    flow_label: int | None = None
    window: int | None = None
    urgent: int | None = None
    options: bytes | None = None
    timestamp: bool = False
    payload: bytes | None = None


class _Sent:
    """What is known of a trace's probes."""

    def __init__(self, trace: Trace) -> None:
        self.family = trace.family
        self.address = _literal(trace.address, trace.family)
        self._of_shape = _facts_of_shape(trace)
        self._by_ttl: dict[int, list[_Facts]] = {}
        for packet in trace.packets or ():
            if packet.direction == "sent" and (read := _sent_packet(packet.data, trace.family)):
                self._by_ttl.setdefault(read[0], []).append(read[1])

    def facts(self, ttl: int, reading: _Reading) -> _Facts:
        """What was sent, for the probe that a reply quotes.

        That is the very packet where it is kept and can be told from the others, else what all that it may be have in common.
        """
        if not self._by_ttl:
            return self._of_shape
        candidates = self._by_ttl.get(ttl, [])
        if reading.segment is not None:
            sequence, second = reading.segment.sequence, _second_key(reading)
            same = [one for one in candidates if one.sequence == sequence]
            if not same and "sequence" in reading.reply.altered and second is not None:
                same = [one for one in candidates if self._second_key_of(one) == second]
            both = [one for one in same if self._second_key_of(one) == second]
            if same:
                return _common(both or same)
        # It is none of those that are kept, so that their numbers are not its own.
        common = _common(candidates)._replace(sequence=None, acknowledgment=None, identification=None)
        return common if self.family == 4 else common._replace(window=None)

    def _second_key_of(self, facts: _Facts) -> int | None:
        return facts.identification if self.family == 4 else facts.window


def _common(candidates: list[_Facts]) -> _Facts:
    """What several packets have in common; of none, nothing."""
    if not candidates:
        return _Facts()
    first, *others = candidates
    if all(one == first for one in others):
        return first
    agreed = (values[0] if all(value == values[0] for value in values) else None for values in zip(*candidates, strict=True))
    return _Facts._make(agreed)._replace(timestamp=all(one.options == first.options for one in others))


def _second_key(reading: _Reading) -> int | None:
    assert reading.datagram is not None
    assert reading.segment is not None
    return reading.datagram.identification if reading.datagram.family == 4 else reading.segment.window


def _facts_of_shape(trace: Trace) -> _Facts:
    """What the trace's record tells of every probe; the bytes behind it where the probe made them from its options."""
    shape = trace.probe
    names = shape.flags.split(",")
    if trace.method != "raw":
        # The system made the packets, or another tool.
        addresses = _literal(trace.source, trace.family), None, _literal(trace.address, trace.family), trace.port
        return _Facts(*addresses, tos=shape.tos)
    known = _Facts(
        source=_literal(trace.source, trace.family),
        source_port=trace.source_port,
        address=_literal(trace.address, trace.family),
        port=trace.port,
        tos=shape.tos,
        length=shape.length,
        flags=sum(FLAG_BITS.get(name, 0) for name in names),
        dont_fragment=shape.dont_fragment if trace.family == 4 else None,
    )
    if shape.tcp_options not in _SHAPES or known.source is None or known.address is None:
        return known
    try:
        options = TraceOptions(
            known.address,
            port=trace.port,
            flags=shape.flags,
            tcp_options=shape.tcp_options,
            length=shape.length,
            tos=shape.tos,
            dont_fragment=shape.dont_fragment,
        )
    except OptionError:
        # A record of what no probe of ours can have sent.
        return known
    builder = ProbeBuilder(options, trace.family, known.source, known.address, trace.source_port or 0, 0, 0)
    segment = read_segment(builder.segment(0, 0, 0))
    if segment is None or builder.length != shape.length:
        return known
    return known._replace(
        acknowledgment=None if "ACK" in names else 0,
        window=segment.window if trace.family == 4 else None,
        urgent=segment.urgent,
        options=segment.options,
        payload=segment.payload,
    )


def _literal(address: str, family: int) -> str | None:
    """An address as ``inet_ntop`` writes it, without zone; None for what is none of the family."""
    kind = AF_INET if family == 4 else AF_INET6
    try:
        return inet_ntop(kind, inet_pton(kind, address.partition("%")[0]))
    except (OSError, ValueError):
        return None


def _sent_packet(data: str, family: int) -> tuple[int, _Facts] | None:
    """TTL and facts of a packet that was sent; None where it can't be read."""
    try:
        datagram = read_datagram(binascii.a2b_base64(data))
    except ValueError:
        return None
    if datagram is None or datagram.family != family or datagram.protocol != TCP:
        return None
    segment = read_segment(datagram.transport)
    if segment is None:
        return None
    kind = AF_INET if family == 4 else AF_INET6
    return datagram.ttl, _Facts(
        source=inet_ntop(kind, datagram.source),
        source_port=segment.source_port,
        address=inet_ntop(kind, datagram.address),
        port=segment.port,
        tos=datagram.tos,
        length=datagram.length,
        flags=segment.flags,
        dont_fragment=None if datagram.fragment is None else bool(datagram.fragment & 0x4000),
        sequence=segment.sequence,
        acknowledgment=segment.acknowledgment,
        identification=datagram.identification,
        flow_label=datagram.flow_label,
        window=segment.window,
        urgent=segment.urgent,
        options=segment.options if segment.options_whole else None,
        timestamp=True,
        payload=segment.payload if datagram.whole else None,
    )


# The two compared.


class _Sighting(NamedTuple):
    """A field as one reply shows it.

    Attributes:
        field: its name.
        sent, seen: as text for a reader.
        key: what tells whether two replies show the same: ``_AS_SENT``, or how it differs.
        known: whether the value that was sent is known. Where it is not, replies are compared with each other.
        text: the finding in words, without the place; empty for ``field sent -> seen``.
    """

    field: str
    sent: str
    seen: str
    key: str
    known: bool = True
    text: str = ""


def _value(name: str, sent: Any, seen: Any) -> Iterator[_Sighting]:
    """A field with a value that is its own text."""
    if seen is None:
        return
    if sent is None:
        yield _Sighting(name, _UNKNOWN, str(seen), str(seen), known=False)
    else:
        yield _Sighting(name, str(sent), str(seen), _AS_SENT if sent == seen else str(seen))


def _sightings(ttl: int, reading: _Reading, facts: _Facts, family: int) -> Iterator[_Sighting]:
    """Every field that a reply shows."""
    reply, datagram, segment = reading.reply, reading.datagram, reading.segment
    if datagram is not None and segment is not None:
        kind = AF_INET if datagram.family == 4 else AF_INET6
        source, address = inet_ntop(kind, datagram.source), inet_ntop(kind, datagram.address)
        source_port, port, tos, quoted_ttl = segment.source_port, segment.port, datagram.tos, datagram.ttl
    elif reply.quoted is not None:
        quoted = reply.quoted
        source, address, source_port, port = quoted.source, quoted.address, quoted.source_port, quoted.port
        tos, quoted_ttl = quoted.tos, quoted.ttl
    else:
        return
    if facts.tos is not None:
        yield from _value("dscp", facts.tos >> 2, tos >> 2)
        yield from _value("ecn", facts.tos & 3, tos & 3)
    for name, sent, seen in (
        ("source", facts.source, source),
        ("source_port", facts.source_port, source_port),
        ("address", facts.address, address),
        ("port", facts.port, port),
    ):
        if sent is not None:
            yield from _value(name, sent, seen)
    raised = quoted_ttl > ttl
    yield _Sighting(
        "ttl",
        str(ttl),
        str(quoted_ttl),
        "raised" if raised else _AS_SENT,
        text="TTL set anew (sent with {}, {} when it came here)".format(ttl, quoted_ttl),
    )
    yield from _numbers(reading, facts, family)
    if datagram is not None and segment is not None:
        yield from _ip_fields(datagram, segment, facts)
        yield from _tcp_fields(segment, facts, datagram.family)
        if datagram.whole and not (reading.message and reading.message.padded):
            yield _checksum(datagram, segment)


def _numbers(reading: _Reading, facts: _Facts, family: int) -> Iterator[_Sighting]:
    """The fields that each probe has a value of its own in; the probe knew it, and noted where another was quoted."""
    altered, segment = reading.reply.altered, reading.segment
    sequence = segment.sequence if segment else None
    if facts.sequence is not None and sequence is not None:
        shift = (sequence - facts.sequence) % 2**32
        key, text = (str(shift), "sequence shifted by {}".format(shift)) if shift else (_AS_SENT, _BACK.format("sequence"))
        yield _Sighting("sequence", str(facts.sequence), str(sequence), key, text=text)
    elif "sequence" in altered:
        yield _Sighting("sequence", _UNKNOWN, _told(sequence), "shifted", text="sequence shifted")
    else:
        yield _Sighting("sequence", _told(sequence), _told(sequence), _AS_SENT, text=_BACK.format("sequence"))
    name = "identification" if family == 4 else "window"
    sent, seen = getattr(facts, name), _second_key(reading) if segment else None
    if name not in altered:
        # IPv4's stands in every quote, and IPv6 has none: the TCP window serves for it.
        if seen is not None or family == 4:
            yield _Sighting(name, _told(seen), _told(seen), _AS_SENT, text=_BACK.format(name))
    elif segment is None or (seen is not None and (sent is None or _swapped(seen) != sent)):
        # (Some routers swap the bytes in their copy of the header. What the quote does not reach was read from its padding.)
        yield _Sighting(name, _told(sent), _told(seen), "rewritten", text="{} rewritten".format(name))


def _told(value: int | None) -> str:
    return _UNKNOWN if value is None else str(value)


def _swapped(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8


def _ip_fields(datagram: Datagram, segment: Segment, facts: _Facts) -> Iterator[_Sighting]:
    if facts.length is not None:
        # Routers quote the length as their own code keeps it: with its bytes swapped, or the header's length taken off or added.
        copies = (_swapped(facts.length), facts.length - 20, facts.length + 20) if datagram.family == 4 else ()
        if datagram.length not in copies or _header_changed(segment, facts):
            yield from _value("length", facts.length, datagram.length)
    if datagram.fragment is not None and facts.dont_fragment is not None:
        told = ("clear", "set")
        yield from _value("dont_fragment", told[facts.dont_fragment], told[bool(datagram.fragment & 0x4000)])
    if facts.flow_label is not None or facts.source_port is not None:
        # (One flow, one label: RFC 6437 section 3. Probes with ports of their own are flows of their own.)
        yield from _value("flow_label", facts.flow_label, datagram.flow_label)


def _header_changed(segment: Segment, facts: _Facts) -> bool:
    """Whether the TCP header is seen to be of another length than it was sent with."""
    return segment.options_whole and facts.options is not None and len(segment.options or b"") != len(facts.options)


def _tcp_fields(segment: Segment, facts: _Facts, family: int) -> Iterator[_Sighting]:
    if segment.flags is not None and facts.flags is not None:
        yield from _value("flags", flag_names(facts.flags) or "none", flag_names(segment.flags) or "none")
    if facts.acknowledgment is not None:
        yield from _value("acknowledgment", facts.acknowledgment, segment.acknowledgment)
    if family == 4:
        yield from _value("window", facts.window, segment.window)
    yield from _value("urgent", facts.urgent, segment.urgent)
    yield from _options(segment, facts)
    yield from _payload(segment, facts)


def _checksum(datagram: Datagram, segment: Segment) -> _Sighting:
    """Whether the TCP checksum fits what is quoted, all of which is there."""
    pseudo = datagram.source + datagram.address + struct.pack("!II", len(datagram.transport), TCP)
    # The sum of the pseudo-header alone: a kernel left the rest to a network card, and no card has seen the packet yet (veth).
    unfinished = 0xFFFF ^ checksum(pseudo)
    if not checksum(pseudo + datagram.transport) or segment.checksum == unfinished:
        return _Sighting("checksum", "right", "right", _AS_SENT)
    return _Sighting("checksum", "right", "{:#06x}, wrong".format(segment.checksum or 0), "wrong")


def _options(segment: Segment, facts: _Facts) -> Iterator[_Sighting]:
    seen, sent = segment.options, facts.options
    if seen is None:
        return
    if sent is not None and (seen == sent or (segment.options_whole and seen == _with_timestamp_of(seen, sent, facts))):
        yield _Sighting("mss", "", "", _AS_SENT)
        yield _Sighting("tcp_options", "", "", _AS_SENT)
        return
    shown, whole = _open_options(seen)
    whole = whole and segment.options_whole
    if not facts.timestamp and "timestamp" in shown:
        # Nobody kept what its value was.
        shown = {**shown, "timestamp": ""}
    if sent is None:
        if whole or "mss" in shown:
            yield from _value("mss", None, shown.get("mss", "none"))
        if whole:
            yield from _value("tcp_options", None, _listed(shown))
        return
    known = _open_options(sent)[0]
    if not facts.timestamp and "timestamp" in known:
        known = {**known, "timestamp": ""}
    if whole or "mss" in shown:
        yield from _value("mss", known.get("mss", "none"), shown.get("mss", "none"))
    if whole:
        yield from _value("tcp_options", _listed(known), _listed(shown))


def _with_timestamp_of(seen: bytes, sent: bytes, facts: _Facts) -> bytes:
    """The options that were sent, with the timestamp that is seen, where the one that was sent is not known."""
    at = sent.find(b"\x08\x0a")
    return sent if facts.timestamp or at < 0 else sent[: at + 2] + seen[at + 2 : at + 6] + sent[at + 6 :]


def _listed(options: dict[str, str]) -> str:
    """Options in words, but for the MSS, which is a field of its own."""
    listed = ", ".join("{} {}".format(name, value).rstrip() for name, value in options.items() if name != "mss")
    return _shortened(listed or "none")


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."


_OPTION_NAMES = {
    "MSS": "mss",
    "WScale": "window-scale",
    "SAckOK": "sack-permitted",
    "SAck": "sack",
    "Timestamp": "timestamp",
    "MD5": "md5",
    "UTO": "user-timeout",
    "AO": "authentication",
    "TFO": "fast-open",
}


@lru_cache(maxsize=1024)
def _open_options(options: bytes) -> tuple[dict[str, str], bool]:
    """TCP options by name, padding left out, with their values in words; and whether they could be read to the end."""
    single, whole = _single_options(options)
    named: dict[str, str] = {}
    for option, (told, value) in zip(single, _read_options(single), strict=True):
        name = _OPTION_NAMES.get(told, "option {}".format(option[0]))
        while name in named:
            name += " again"
        named[name] = _option_value(value, option)
    return named, whole


def _single_options(options: bytes) -> tuple[list[bytes], bool]:
    """The options one by one, padding left out, up to the end or to one of an impossible length (RFC 9293 section 3.1)."""
    single: list[bytes] = []
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            return single, False
        single.append(options[at : at + length])
        at += length
    return single, True


def _read_options(single: list[bytes]) -> list[tuple[Any, Any]]:
    """Name and value of each option, as Scapy reads them; its number and bytes where it can't."""
    from scapy.layers import inet

    joined = b"".join(single)
    joined += b"\0" * (-len(joined) % 4)
    try:
        read = inet.TCP(bytes(12) + bytes([(20 + len(joined)) // 4 << 4, 0]) + bytes(6) + joined).options[: len(single)]
    except Exception:  # noqa: BLE001 - Scapy promises nothing of what it raises at bytes that are not as they should be
        read = []
    return read if len(read) == len(single) else [(option[0], option[2:]) for option in single]


def _option_value(value: Any, option: bytes) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        return ":".join(map(str, value))
    return option[2:].hex()


def _payload(segment: Segment, facts: _Facts) -> Iterator[_Sighting]:
    seen, sent = segment.payload, facts.payload
    if not seen or sent is None:
        return
    at = next((index for index, (one, other) in enumerate(zip(seen, sent, strict=False)) if one != other), None)
    if at is None and len(seen) <= len(sent):
        yield _Sighting("payload", "", "", _AS_SENT)
        return
    at = len(sent) if at is None else at
    told = ["{} at byte {}".format(part[at : at + 8].hex() or "nothing", at) for part in (sent, seen)]
    yield _Sighting("payload", told[0], told[1], told[1])


def _unseen(readings: Iterable[_Reading], facts: _Facts) -> tuple[str, ...] | None:
    """What none of a hop's quotes reaches; None where no quote was kept."""
    segments = [reading.segment for reading in readings if reading.segment]
    if not segments:
        return None
    shown = set()
    for segment in segments:
        named = zip(_MAY_BE_UNSEEN, (segment.acknowledgment, segment.flags, segment.window, segment.urgent), strict=False)
        shown |= {name for name, value in named if value is not None}
        shown |= {"tcp_options"} if segment.options_whole else set()
        shown |= {"payload"} if segment.payload is not None and len(segment.payload) >= len(facts.payload or b"") else set()
    shown |= {"payload"} if facts.payload == b"" else set()
    return tuple(name for name in _MAY_BE_UNSEEN if name not in shown)


# The path.


#: A hop's sightings, by field and whether the value sent is known; each with whether it may come from a place before the hop.
_Shown = dict[tuple[str, bool], list[tuple[_Sighting, bool]]]


@dataclass
class _Track:
    """A field along the path: what was sent, how the last hop that showed it did, that hop, and every way it was ever shown."""

    sent: str
    keys: set[str]
    texts: dict[str, str]
    ever: set[str]
    ttl: int | None = None


class _Path:
    """The fields as the hops so far have shown them."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, bool], _Track] = {}
        self._addresses: dict[int, str | None] = {}

    def pass_hop(self, hop: Hop) -> None:
        """Remember where a hop was."""
        self._addresses[hop.ttl] = hop.address

    def findings(self, ttl: int, shown: _Shown) -> Iterator[tuple[Modification, str]]:
        """What a hop (its TTL and sightings) is the first to show, each with a sentence."""
        for name, sightings in shown.items():
            track = self._tracks.get(name)
            if track is None:
                # Before the first hop all was as sent; what that was, where nothing else tells, the first hop does.
                first = sightings[0][0]
                key, text = (_AS_SENT, first.sent) if first.known else (first.key, first.seen)
                track = self._tracks[name] = _Track(text, {key}, {key: text}, {key})
            # An unreachable may have been sent by a place before the hop, where the packet was as hops before have shown it.
            fresh: dict[str, _Sighting] = {}
            for one, early in sightings:
                if not (early and one.key in track.ever) and (one.key not in fresh or fresh[one.key].seen == _UNKNOWN):
                    fresh[one.key] = one
            for one in fresh.values():
                if one.known and one.sent:
                    track.sent = one.sent
            for key, sighting in fresh.items():
                # (That a TTL is once more no higher than what was sent is no change.)
                if key not in track.keys and not (sighting.field == "ttl" and key == _AS_SENT):
                    yield self._finding(track, sighting)
            if fresh:
                track.keys, track.ttl = set(fresh), ttl
                track.ever |= track.keys
                track.texts |= {key: one.seen for key, one in fresh.items()}

    def _finding(self, track: _Track, sighting: _Sighting) -> tuple[Modification, str]:
        # A field that is as sent may have no text; where that is a finding, the hops before have told what was sent.
        sent = sighting.sent if sighting.sent and sighting.known else track.sent
        seen = sighting.seen or sent
        where = "before here" if track.ttl is None else _between(track.ttl, self._addresses.get(track.ttl))
        before = track.texts[min(track.keys)] or sent
        what = sighting.text or "{} {} -> {}".format(sighting.field, before, seen)
        return Modification(sighting.field, _shortened(sent), _shortened(seen), track.ttl), what + " " + where


def _explained(hop: Hop, readings: list[_Reading], sent: _Sent, path: _Path) -> Hop:
    shown: _Shown = {}
    compared = set()
    facts = _Facts()
    for reading in readings:
        facts = sent.facts(hop.ttl, reading)
        # Most replies of a hop quote the same but for numbers that each probe has of its own.
        what = (facts, _but_for_numbers(reading))
        if what in compared:
            continue
        compared.add(what)
        quoted = reading.reply.quoted
        early = reading.reply.kind == "unreachable" and quoted is not None and quoted.ttl > 1
        for sighting in _sightings(hop.ttl, reading, facts, sent.family):
            shown.setdefault((sighting.field, sighting.known), []).append((sighting, early))
    found = list(path.findings(hop.ttl, shown))[:_MOST_MODIFIED]
    opened = [reading.message for reading in readings if reading.message]
    stacks = list(dict.fromkeys(message.labels for message in opened if message.labels))
    told = list(dict.fromkeys(message.interfaces for message in opened if message.interfaces))
    explained = replace(
        hop,
        mpls=(stacks[0] if stacks else ()) if opened else None,
        interface=(told[0] if told else ()) if opened else None,
        modified=tuple(modification for modification, _ in found),
        unseen=_unseen(readings, facts),
    )
    sentences = [_stack_in_words(stack) for stack in stacks]
    sentences += [_interface_in_words(interface) for interfaces in told for interface in interfaces]
    sentences += [sentence for _, sentence in found]
    sentences += _oddities(hop.ttl, readings, sent)
    return _with_notes(explained, sentences)


def _but_for_numbers(reading: _Reading) -> tuple[Any, ...]:
    """What a reply quotes, without the fields that differ from probe to probe."""
    reply, datagram = reading.reply, reading.datagram
    if datagram is None:
        return reply.kind, reply.altered, reply.quoted
    transport = datagram.transport
    # (IPv6 has no identification, and the TCP window serves for it.)
    common = transport[:4] + transport[8 : 16 if datagram.family == 4 else 14] + transport[18:]
    return reply.kind, reply.altered, datagram._replace(identification=None, transport=common), len(transport)


def _with_notes(hop: Hop, sentences: Iterable[str]) -> Hop:
    notes = dict.fromkeys([*(hop.notes or ()), *sentences])
    return replace(hop, notes=tuple(list(notes)[:_MOST_NOTES]))


def _stack_in_words(stack: tuple[Label, ...]) -> str:
    entries = ["{} tc {} ttl {}".format(entry.label, entry.traffic_class, entry.ttl) for entry in stack]
    return _shortened("MPLS " + " / ".join(entries))


def _interface_in_words(interface: Interface) -> str:
    details = [
        "ifIndex {}".format(interface.index) if interface.index is not None else "",
        interface.address or "",
        "MTU {}".format(interface.mtu) if interface.mtu is not None else "",
    ]
    role = interface.role.replace("_", " ")
    words = [role if interface.role == "next_hop" else role + " interface", interface.name or ""]
    told = ", ".join(detail for detail in details if detail)
    return " ".join(word for word in words if word) + (" ({})".format(told) if told else "")


def _oddities(ttl: int, readings: list[_Reading], sent: _Sent) -> Iterator[str]:
    """What is worth a sentence, and proves no rewriting."""
    labelled = any(reading.message and reading.message.labels for reading in readings)
    for reading in readings:
        quoted, message = reading.reply.quoted, reading.message
        exceeded = reading.reply.kind == "time_exceeded"
        if exceeded and quoted is not None and quoted.ttl == 0:
            yield "quotes TTL 0: the router before sent on what had run out, or this one quotes what it had decremented"
        if exceeded and quoted is not None and 1 < quoted.ttl <= ttl and not labelled:
            yield "quotes TTL {}, where 1 is usual: a hidden MPLS label may have run out instead".format(quoted.ttl)
        if exceeded and reading.reply.address == sent.address:
            yield "time exceeded in the destination's name: translation in front of it hides who answers"
        for reason in message.unread if message else ():
            yield "an ICMP extension that can't be read: {}".format(reason)


def _rows(trace: Trace) -> Iterator[tuple[int, str]]:
    """TTLs in a row that one router answers, all from the same distance: the TTL of the first, and a sentence."""
    row: list[Hop] = []
    before: Hop | None = None
    for hop in [*trace.hops, None]:
        if hop is not None and row and _answered_alike(row[-1], hop):
            row.append(hop)
            continue
        if len(row) >= _LEAST_ROW and row[0].address != _literal(trace.address, trace.family):
            where = _between(before.ttl, before.address) if before else "before here"
            text = "answers for TTL {} to {} from one distance: the TTL is set anew {}, or the probe loops here"
            yield row[0].ttl, text.format(row[0].ttl, row[-1].ttl, where)
        before = next((one for one in reversed(row) if one.address), before)
        row = [hop] if hop is not None else []


def _between(ttl: int, address: str | None) -> str:
    return "between hop {}{} and here".format(ttl, " ({})".format(address) if address else "")


def _answered_alike(before: Hop, hop: Hop) -> bool:
    ways = [
        {(reply.kind, reply.address, reply.reply_ttl) for reply in one.replies if reply.address is not None}
        for one in (before, hop)
    ]
    if hop.ttl != before.ttl + 1 or len(ways[0]) != 1 or ways[0] != ways[1]:
        return False
    ((kind, _, reply_ttl),) = ways[0]
    return kind == "time_exceeded" and reply_ttl is not None
