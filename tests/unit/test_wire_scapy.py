"""The probe's bytes and readings against Scapy's, and against packets of real routers."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe import wire
from nornir_tcptraceroute.probe.options import FLAG_BITS, TraceOptions
from nornir_tcptraceroute.probe.wire import IcmpError, ProbeBuilder, TcpReply

from . import packets
from .packets import DESTINATION, ICMP, ICMPV6, ROUTER, TCP, UDP, VANTAGE

pytest.importorskip("scapy", reason="Scapy is not installed: it belongs to the controller, whose tests these are")

from scapy.layers import inet, inet6
from scapy.packet import Raw
from scapy.utils import RawPcapReader

CAPTURES = Path(__file__).parent.parent / "captures"
OPTIONS: Dict[str, List[Tuple[str, Any]]] = {
    "none": [],
    "mss": [("MSS", 0)],
    "linux": [("MSS", 0), ("SAckOK", b""), ("Timestamp", (0x01020304, 0)), ("NOP", None), ("WScale", 7)],
}
WORD = st.integers(0, 2**32 - 1)


@given(
    family=st.sampled_from([4, 6]),
    port=st.integers(1, 65535),
    flags=st.integers(0, 255),
    kind=st.sampled_from(sorted(OPTIONS)),
    length=st.none() | st.integers(40, 1500),
    tos=st.integers(0, 255),
    dont_fragment=st.booleans(),
    label=st.integers(1, 2**20 - 1),
    ttl=st.integers(1, 255),
    sequence=WORD,
    acknowledgment=WORD,
    identification=st.integers(1, 65535),
)
def test_scapy_builds_the_same_probe(
    family: int,
    port: int,
    flags: int,
    kind: str,
    length: int | None,
    tos: int,
    dont_fragment: bool,  # noqa: FBT001 -- hypothesis passes by name
    label: int,
    ttl: int,
    sequence: int,
    acknowledgment: int,
    identification: int,
) -> None:
    asked = TraceOptions(
        destination=DESTINATION[family],
        port=port,
        flags=",".join(name for name, bit in FLAG_BITS.items() if flags & bit),
        tcp_options=kind,
        length=length,
        tos=tos,
        dont_fragment=dont_fragment,
    )
    builder = ProbeBuilder(asked, family, VANTAGE[family], DESTINATION[family], 40001, flow_label=label, timestamp=0x01020304)
    maximum_segment = 1460 if family == 4 else 1440
    segment = inet.TCP(
        sport=40001,
        dport=port,
        seq=sequence,
        ack=acknowledgment,
        flags=flags,
        window=64240 if family == 4 else identification,
        options=[(name, maximum_segment if name == "MSS" else value) for name, value in OPTIONS[kind]],
    )
    header: Any
    if family == 4:
        # The kernel fills in the header's checksum.
        header = inet.IP(
            src=VANTAGE[4],
            dst=DESTINATION[4],
            ttl=ttl,
            tos=tos,
            id=identification,
            flags="DF" if dont_fragment else 0,
            chksum=0,
        )
    else:
        header = inet6.IPv6(src=VANTAGE[6], dst=DESTINATION[6], hlim=ttl, tc=tos, fl=label)
    payload = bytes(ord("!") + number % 93 for number in range(max(0, (length or 0) - len(header / segment))))
    expected = bytes(header / segment / Raw(payload)) if payload else bytes(header / segment)
    assert builder.build(ttl, sequence, acknowledgment, identification) == expected
    assert builder.length == len(expected)


@given(
    family=st.sampled_from([4, 6]),
    quoted_ttl=st.integers(0, 255),
    tos=st.integers(0, 255),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    sequence=WORD,
    identification=st.integers(0, 65535),
    words=st.integers(0, 10),
    # Scapy reads eight bytes of TCP, or its whole header.
    shown=st.just(8) | st.integers(20, 60),
    reply_ttl=st.integers(1, 255),
    code=st.sampled_from([0, 2, 3, 4, 9, 13]),
)
def test_scapy_reads_the_same_icmp_error(
    family: int,
    quoted_ttl: int,
    tos: int,
    ports: tuple[int, int],
    sequence: int,
    identification: int,
    words: int,
    shown: int,
    reply_ttl: int,
    code: int,
) -> None:
    segment = packets.tcp(VANTAGE[family], DESTINATION[family], ports, sequence, payload=b"x" * 40)[:shown]
    flow = VANTAGE[family], DESTINATION[family], TCP, segment
    read: Any
    theirs: Any
    if family == 4:
        quoted = packets.ipv4(*flow, ttl=quoted_ttl, tos=tos, identification=identification, options=b"\x01" * 4 * words)
        packet = packets.ipv4(ROUTER[4], VANTAGE[4], ICMP, packets.icmpv4(3, code, quoted), ttl=reply_ttl)
        read = wire.read_icmpv4(packet)
        theirs = inet.IP(packet)
        inner, tcp = theirs[inet.IPerror], theirs[inet.TCPerror]
        told = theirs.src, theirs[inet.ICMP].type, theirs[inet.ICMP].code, theirs.ttl
        expected = inner.src, tcp.sport, inner.dst, tcp.dport, tcp.seq, inner.ttl, inner.tos, inner.id
    else:
        quoted = packets.ipv6(*flow, hop_limit=quoted_ttl, traffic_class=tos)
        message = packets.icmpv6(ROUTER[6], VANTAGE[6], 1, code, quoted)
        read = wire.read_icmpv6(message, ROUTER[6], reply_ttl)
        theirs = inet6.IPv6(packets.ipv6(ROUTER[6], VANTAGE[6], ICMPV6, message, hop_limit=reply_ttl))
        inner, tcp = theirs[inet6.IPerror6], theirs[inet.TCPerror]
        told = theirs.src, theirs[inet6.ICMPv6DestUnreach].type, theirs[inet6.ICMPv6DestUnreach].code, theirs.hlim
        expected = inner.src, tcp.sport, inner.dst, tcp.dport, tcp.seq, inner.hlim, inner.tc, tcp.window if shown >= 16 else None
    assert isinstance(read, IcmpError)
    assert (read.address, read.type, read.code, read.reply_ttl) == told
    assert read.quote[:8] == expected


@given(
    family=st.sampled_from([4, 6]),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    numbers=st.tuples(WORD, WORD),
    flags=st.integers(0, 255),
    ttl=st.integers(1, 255),
    payload=st.binary(max_size=20),
    kind=st.sampled_from(sorted(OPTIONS)),
)
def test_what_scapy_sends_is_read(
    family: int, ports: tuple[int, int], numbers: tuple[int, int], flags: int, ttl: int, payload: bytes, kind: str
) -> None:
    segment = inet.TCP(sport=ports[0], dport=ports[1], seq=numbers[0], ack=numbers[1], flags=flags, options=OPTIONS[kind]) / Raw(
        payload
    )
    ends = DESTINATION[family], VANTAGE[family]
    if family == 4:
        data = bytes(inet.IP(src=ends[0], dst=ends[1], ttl=ttl) / segment)
        read = wire.read_tcp_over_ipv4(data)
    else:
        data = bytes(inet6.IPv6(src=ends[0], dst=ends[1]) / segment)[40:]
        read = wire.read_tcp_over_ipv6(data, *ends, ttl)
    assert read == TcpReply(ends[0], ports[0], ends[1], ports[1], flags, *numbers, ttl, data)


# Packets of real routers.


def captured() -> list[tuple[str, bytes]]:
    """Each IP packet of the captures, without its link's header, and where it comes from."""
    found = []
    for path in sorted(CAPTURES.glob("*.pcap")):
        with RawPcapReader(str(path)) as reader:
            for number, (frame, _) in enumerate(reader, 1):
                header, protocol = (4, frame[2:4]) if frame[:2] == b"\xff\x03" else (14, frame[12:14])
                # The others are probes as an MPLS router switches them.
                if protocol in {b"\x00\x21", b"\x08\x00", b"\x86\xdd"}:
                    found.append((f"{path.stem}-{number}", frame[header:]))
    return found


def is_error(packet: bytes) -> bool:
    """Whether an IP packet is an ICMP error."""
    if packet[0] >> 4 == 4:
        return packet[9] == ICMP and packet[20] in {3, 11}
    return packet[6] == ICMPV6 and packet[40] in {1, 3}


ERRORS = [pytest.param(packet, id=name) for name, packet in captured() if is_error(packet)]


def test_the_captures_are_all_there() -> None:
    assert (len(captured()), len(ERRORS)) == (16, 13)


@pytest.mark.parametrize("packet", ERRORS)
def test_errors_about_other_probes_are_refused_by_their_protocol(packet: bytes) -> None:
    read = wire.read_icmpv4(packet) if packet[0] >> 4 == 4 else wire.read_icmpv6(packet[40:], ROUTER[6], None)
    assert read == "other_protocol"


def test_probes_are_no_answers() -> None:
    reasons: list[Any] = [wire.read_icmpv4(packet) for _, packet in captured() if packet[0] >> 4 == 4 and packet[20] == 8]
    reasons += [wire.read_tcp_over_ipv4(packet) for _, packet in captured() if packet[0] >> 4 == 4 and packet[9] == UDP]
    assert reasons == ["other_icmp", "other_protocol"]


@pytest.mark.parametrize("packet", ERRORS)
def test_the_errors_of_real_routers_read_with_a_tcp_probe_in_them(packet: bytes) -> None:
    """Padding, length field and extensions stay as the router made them; the quoted datagram becomes one of ours."""
    family = packet[0] >> 4
    outer, header, protocol = (20, 20, 9) if family == 4 else (40, 40, 6)
    start = outer + 8
    flow = struct.pack("!HHI", 40001, 443, 0x89ABCDEF)
    data = bytearray(packet)
    data[start + protocol] = TCP
    data[start + header : start + header + 8] = flow
    read: Any
    theirs: Any
    if family == 4:
        data[outer + 2 : outer + 4] = b"\0\0"
        data[outer + 2 : outer + 4] = struct.pack("!H", 0xFFFF ^ packets.sum_of(bytes(data[outer:])))
        theirs = inet.IP(bytes(data))
        read = wire.read_icmpv4(bytes(data))
        inner, ttl, tos = theirs[inet.IPerror], theirs[inet.IPerror].ttl, theirs[inet.IPerror].tos
    else:
        theirs = inet6.IPv6(bytes(data))
        read = wire.read_icmpv6(bytes(data[outer:]), theirs.src, theirs.hlim)
        inner, ttl, tos = theirs[inet6.IPerror6], theirs[inet6.IPerror6].hlim, theirs[inet6.IPerror6].tc
    assert isinstance(read, IcmpError)
    assert read.kind == {(4, 3): "unreachable", (4, 11): "time_exceeded", (6, 3): "time_exceeded"}[family, packet[outer]]
    assert read.address == theirs.src
    assert read.quote[:7] == (inner.src, 40001, inner.dst, 443, 0x89ABCDEF, ttl, tos)
    # Neither zeros nor extensions come with the segment.
    total = struct.unpack_from("!H", data, start + 2)[0] if family == 4 else 40 + struct.unpack_from("!H", data, start + 4)[0]
    assert read.quote.segment.startswith(flow)
    assert len(read.quote.segment) <= total - header
