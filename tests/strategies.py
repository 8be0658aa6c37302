"""Hypothesis strategies for requests and records, and one example of a trace that uses every field."""

from __future__ import annotations

import json
import struct
from binascii import b2a_base64
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Any, Dict, Literal, Optional, Tuple

from hypothesis import strategies as st

from nornir_tcptraceroute.probe.options import FLAG_BITS, PARAMETERS, TraceOptions, connect_obstacles
from nornir_tcptraceroute.probe.records import (
    ALTERED,
    DIRECTIONS,
    INTERFACE_ROLES,
    PORT_STATES,
    REPLY_KINDS,
    SILENCES,
    STOP_REASONS,
    Hop,
    Interface,
    Label,
    Modification,
    Network,
    Packet,
    ProbeShape,
    Quoted,
    Reply,
    RoundTrip,
    Trace,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

EXAMPLE = Trace(
    destination="web.example",
    address="198.51.100.80",
    family=4,
    port=443,
    vantage="router1.example",
    source="192.0.2.10",
    source_port=40001,
    interface="eth0",
    method="raw",
    probe=ProbeShape(flags="SYN", tcp_options="linux", length=60, tos=184, dont_fragment=True),
    started_at="2024-05-06T07:08:09.123456Z",
    elapsed_ms=812.5,
    reached=True,
    port_state="open",
    stop_reason="reached",
    hops=(
        Hop(
            ttl=1,
            address="192.0.2.1",
            addresses=("192.0.2.1", "192.0.2.2"),
            name="gw.example",
            replies=(
                Reply(
                    query=1,
                    kind="time_exceeded",
                    address="192.0.2.1",
                    name="gw.example",
                    rtt_ms=0.512,
                    reply_ttl=64,
                    icmp_type=11,
                    icmp_code=0,
                    quoted=Quoted(ttl=1, tos=0, source="203.0.113.9", source_port=1024, address="198.51.100.80", port=443),
                    altered=("source", "source_port"),
                    evidence="RQAAOAAA",
                ),
                Reply(query=2, kind="timeout", attempts=3),
                Reply(query=3, kind="send_error", attempts=1, error="ENETUNREACH"),
                Reply(query=1, kind="time_exceeded", address="192.0.2.2", rtt_ms=99.25, late=True, duplicate=True),
            ),
            rtt_ms=RoundTrip(min=0.512, avg=0.512, max=0.512, stddev=0.0),
            loss=0.6667,
            silence="rate_limited",
            mpls=(Label(label=100704, traffic_class=3, bottom=True, ttl=1),),
            interface=(Interface(role="incoming", index=15, address="192.0.2.1", name="xe-0/0/1", mtu=1500),),
            modified=(Modification(field="dscp", sent="46", seen="0", after=1),),
            unseen=("tcp_options",),
            network=Network(kind="documentation", name="dc1", prefix="192.0.2.0/24", asn=64496, organization="Example"),
            device="core1",
            notes=("core1, in dc1",),
        ),
        Hop(
            ttl=2,
            address=None,
            addresses=(),
            name=None,
            replies=(Reply(query=1, kind="timeout"),),
            rtt_ms=None,
            loss=1.0,
            silence="silent",
        ),
        Hop(
            ttl=3,
            address="198.51.100.80",
            addresses=("198.51.100.80",),
            name="web.example",
            replies=(
                Reply(
                    query=1,
                    kind="tcp",
                    address="198.51.100.80",
                    name="web.example",
                    rtt_ms=10.0,
                    reply_ttl=62,
                    tcp_flags="SYN,ACK",
                ),
                Reply(query=2, kind="unreachable", address="198.51.100.80", rtt_ms=11.0, icmp_type=3, icmp_code=4, mtu=1400),
            ),
            rtt_ms=RoundTrip(min=10.0, avg=10.5, max=11.0, stddev=0.5),
            loss=0.0,
        ),
    ),
    counters={"sent": 9, "matched": 6, "ignored: quoted sequence": 1},
    warnings=("1 of 4 addresses have no name",),
    packets=(Packet(at_ms=0.25, direction="sent", data="RQAAOAAA"),),
)


def example() -> Dict[str, Any]:
    """The example as JSON gives it, free to be changed."""
    document: Dict[str, Any] = json.loads(json.dumps(EXAMPLE.to_dict()))
    return document


def printable(longest: int) -> SearchStrategy[str]:
    """Printable ASCII, as records hold it."""
    return st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=longest)


def optional(strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """What the strategy gives, or None."""
    return st.none() | strategy


def tuples(strategy: SearchStrategy[Any], most: int) -> SearchStrategy[Tuple[Any, ...]]:
    """Any number of items, none to ``most``."""
    return st.lists(strategy, max_size=most).map(tuple)


OCTETS = st.integers(0, 255)
PORTS = st.integers(0, 65535)
MILLISECONDS = st.floats(0, 1e9)
ADDRESSES = st.ip_addresses().map(str) | printable(64)
NAMES = optional(printable(300))
NUMBERS = st.integers(0, 2**32 - 1)
LABELS = st.builds(Label, label=st.integers(0, 2**20 - 1), traffic_class=st.integers(0, 7), bottom=st.booleans(), ttl=OCTETS)
INTERFACES = st.builds(
    Interface,
    role=st.sampled_from(INTERFACE_ROLES),
    index=optional(NUMBERS),
    address=optional(ADDRESSES),
    name=NAMES,
    mtu=optional(NUMBERS),
)
MODIFICATIONS = st.builds(Modification, field=printable(32), sent=printable(300), seen=printable(300), after=optional(OCTETS))
NETWORKS = st.builds(
    Network, kind=printable(32), name=NAMES, prefix=optional(ADDRESSES), asn=optional(NUMBERS), organization=NAMES
)
PACKETS = st.builds(Packet, at_ms=MILLISECONDS, direction=st.sampled_from(DIRECTIONS), data=printable(200))


def quoted() -> SearchStrategy[Quoted]:
    """What an ICMP error quotes, anything that a record may hold."""
    return st.builds(Quoted, ttl=OCTETS, tos=OCTETS, source=ADDRESSES, source_port=PORTS, address=ADDRESSES, port=PORTS)


def replies() -> SearchStrategy[Reply]:
    """A reply with any values that a record may hold, whether or not they go together."""
    return st.builds(
        Reply,
        query=st.integers(1, 1000),
        kind=st.sampled_from(REPLY_KINDS),
        address=optional(ADDRESSES),
        name=NAMES,
        rtt_ms=optional(MILLISECONDS),
        reply_ttl=optional(OCTETS),
        icmp_type=optional(OCTETS),
        icmp_code=optional(OCTETS),
        tcp_flags=optional(printable(64)),
        mtu=optional(st.integers(0, 2**32 - 1)),
        quoted=optional(quoted()),
        altered=tuples(st.sampled_from(ALTERED), len(ALTERED)),
        attempts=st.integers(0, 1000),
        late=st.booleans(),
        duplicate=st.booleans(),
        error=optional(printable(32)),
        evidence=optional(printable(200)),
    )


def hops() -> SearchStrategy[Hop]:
    """A hop with any values that a record may hold."""
    return st.builds(
        Hop,
        ttl=OCTETS,
        address=optional(ADDRESSES),
        addresses=tuples(ADDRESSES, 4),
        name=NAMES,
        replies=tuples(replies(), 4),
        rtt_ms=optional(st.builds(RoundTrip, min=MILLISECONDS, avg=MILLISECONDS, max=MILLISECONDS, stddev=MILLISECONDS)),
        loss=optional(st.floats(0, 1)),
        silence=optional(st.sampled_from(SILENCES)),
        mpls=optional(tuples(LABELS, 2)),
        interface=optional(tuples(INTERFACES, 2)),
        modified=optional(tuples(MODIFICATIONS, 2)),
        unseen=optional(tuples(printable(32), 2)),
        network=optional(NETWORKS),
        device=optional(printable(300)),
        notes=optional(tuples(printable(300), 2)),
    )


def traces() -> SearchStrategy[Trace]:
    """A trace with any values that a record may hold."""
    return st.builds(
        Trace,
        destination=printable(255),
        address=ADDRESSES,
        family=st.sampled_from((4, 6)),
        port=PORTS,
        vantage=printable(300),
        source=ADDRESSES,
        source_port=PORTS,
        interface=optional(printable(64)),
        method=printable(32),
        probe=st.builds(
            ProbeShape,
            flags=printable(64),
            tcp_options=printable(32),
            length=st.integers(0, 65575),
            tos=OCTETS,
            dont_fragment=st.booleans(),
        ),
        started_at=printable(64),
        elapsed_ms=MILLISECONDS,
        reached=st.booleans(),
        port_state=st.sampled_from(PORT_STATES),
        stop_reason=st.sampled_from(STOP_REASONS),
        hops=tuples(hops(), 4),
        counters=st.dictionaries(printable(100), st.integers(0, 2**63), max_size=5),
        warnings=tuples(printable(300), 3),
        packets=optional(tuples(PACKETS, 3)),
    )


#: Host names as RFC 1123 allows them, with underscores as DNS has them; the last label is no number.
HOST_NAMES = st.lists(st.from_regex(r"[A-Za-z]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", fullmatch=True), min_size=1, max_size=3).map(
    ".".join
)


@st.composite
def requests(draw: st.DrawFn) -> TraceOptions:
    """Any request that is in order."""
    family: Optional[Literal[4, 6]] = draw(st.sampled_from((None, 4, 6)))
    values: Dict[str, Any] = {"destination": draw(HOST_NAMES | st.ip_addresses(v=family or 4).map(str)), "family": family}
    for parameter in PARAMETERS.values():
        # A packet decides other options: ``crafted_requests``.
        if parameter.kind == "packet" or parameter.name in values or not draw(st.booleans()):
            continue
        values[parameter.name] = draw(_values(parameter.name))
    values["first_ttl"], values["max_ttl"] = sorted((values.get("first_ttl", 1), values.get("max_ttl", 30)))
    # So that a link-local address needs no zone.
    values.setdefault("interface", "eth0")
    if values.get("method") == "connect" and connect_obstacles(TraceOptions(**{**values, "method": "auto"})):
        values["method"] = "auto"
    return TraceOptions(**values)


#: Addresses of one host for each IP version, and the unspecified one, with which a packet leaves its own open.
_ADDRESSES = {4: ("0.0.0.0", "192.0.2.10", "198.51.100.80"), 6: ("::", "2001:db8::10", "2001:db8:1::80")}  # noqa: S104


@st.composite
def crafted_packets(draw: st.DrawFn, family: Optional[int] = None) -> bytes:
    """TCP packets of any shape that a trace may take, built from the RFCs; their checksums are zero."""
    family = family or draw(st.sampled_from((4, 6)))
    addresses = st.sampled_from(_ADDRESSES[family]).map(lambda text: inet_pton(AF_INET6 if ":" in text else AF_INET, text))
    ends = draw(addresses) + draw(addresses)
    options = draw(st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words)))
    numbers = draw(st.tuples(*[st.integers(0, 2**16 - 1)] * 2, *[st.integers(0, 2**32 - 1)] * 2))
    offset, flags = 5 + len(options) // 4 << 4 | draw(st.integers(0, 15)), draw(st.integers(0, 255))
    window, urgent = draw(st.integers(0, 2**16 - 1)), draw(st.integers(0, 2**16 - 1))
    segment = struct.pack("!HHIIBBHHH", *numbers, offset, flags, window, 0, urgent) + options + draw(st.binary(max_size=50))
    tos = draw(st.integers(0, 255))
    if family == 4:
        padding = draw(st.sampled_from((b"", b"\x01" * 4, b"\x94\x04\0\0", b"\x07\x07\x04" + bytes(5), b"\x01\0\x83\x01")))
        length = 20 + len(padding) + len(segment)
        words, fragment = 0x45 + len(padding) // 4, draw(st.sampled_from((0, 0x4000, 0x8000)))
        header = struct.pack("!BBHHHBBH", words, tos, length, draw(st.integers(0, 2**16 - 1)), fragment, 64, 6, 0)
        return header + ends + padding + segment
    kinds = draw(st.lists(st.sampled_from((0, 60)), max_size=3))
    extensions = b"".join(bytes([following, 1, 1, 12]) + bytes(12) for following in [*kinds[1:], 6][: len(kinds)])
    first_word = 6 << 28 | tos << 20 | draw(st.integers(0, 2**20 - 1))
    start = struct.pack("!IHBB", first_word, len(extensions) + len(segment), [*kinds, 6][0], 64)
    return start + ends + extensions + segment


@st.composite
def crafted_requests(draw: st.DrawFn) -> TraceOptions:
    """Any request with a crafted packet."""
    packet = draw(crafted_packets())
    values: Dict[str, Any] = {"packet": b2a_base64(packet, newline=False).decode("ascii")}
    family = packet[0] >> 4
    if not any(packet[16:20] if family == 4 else packet[24:40]):
        values["destination"] = draw(st.sampled_from(_ADDRESSES[family][1:]))
    if draw(st.booleans()):
        values["evidence"] = draw(st.sampled_from(("none", "notable", "all")))
    return TraceOptions(**values)


def _values(name: str) -> SearchStrategy[Any]:
    parameter = PARAMETERS[name]
    lowest, highest = parameter.minimum, parameter.maximum
    if parameter.kind == "integer":
        assert lowest is not None
        assert highest is not None
        return st.integers(int(lowest), int(highest))
    if parameter.kind == "number":
        assert lowest is not None
        assert highest is not None
        return st.floats(lowest, highest)
    return {
        "host": HOST_NAMES,
        "boolean": st.booleans(),
        "choice": st.sampled_from(parameter.choices or (None,)),
        "interface": st.from_regex(r"[a-z0-9.@_-]{1,15}", fullmatch=True).filter(lambda text: text not in (".", "..")),
        "flags": st.lists(st.sampled_from(tuple(FLAG_BITS))).map(",".join),
    }[parameter.kind]
