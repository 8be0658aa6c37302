"""Packets that Scapy builds, traced as they are: the probe is the packet but for what tells probes apart."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, inet6
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nornir_tcptraceroute import OptionError, TraceOptions
from nornir_tcptraceroute.analysis.crafted import crafted, packet_text
from nornir_tcptraceroute.plugins.tasks.packet_option import take_packet
from nornir_tcptraceroute.probe.options import FLAG_BITS
from nornir_tcptraceroute.probe.wire import ProbeBuilder, as_sent
from tests.unit.test_template import crafted as crafted_by_hand

SOURCE = {4: "192.0.2.10", 6: "2001:db8::10"}
DESTINATION = {4: "198.51.100.80", 6: "2001:db8:1::80"}
WORD = st.integers(0, 2**32 - 1)
HALF = st.integers(0, 2**16 - 1)
PORT = st.integers(1, 2**16 - 1)

TCP_OPTIONS = st.lists(
    st.sampled_from(
        [
            ("NOP", None),
            ("MSS", 1),
            ("MSS", 65535),
            ("WScale", 14),
            ("SAckOK", b""),
            ("SAck", (1, 2)),
            ("Timestamp", (4, 0)),
            ("TFO", (1, 2)),
            ("UTO", 5),
            (253, b"\1\2"),
            ("EOL", None),
        ]
    ),
    max_size=4,
)
IP_OPTIONS = st.lists(
    st.sampled_from(
        [
            inet.IPOption_NOP(),
            inet.IPOption_RR(routers=["192.0.2.99"] * 3),
            inet.IPOption_Router_Alert(),
            inet.IPOption_Timestamp(),
            inet.IPOption_Stream_Id(security=7),
            inet.IPOption_EOL(),
        ]
    ),
    max_size=2,
)
EXTENSIONS = st.lists(
    st.sampled_from(
        [
            inet6.IPv6ExtHdrHopByHop(options=[inet6.RouterAlert()]),
            inet6.IPv6ExtHdrHopByHop(options=[inet6.PadN(optdata=b"\0" * 12)]),
            inet6.IPv6ExtHdrDestOpt(options=[inet6.PadN(optdata=b"\0" * 4)]),
        ]
    ),
    max_size=3,
)


@st.composite
def scapy_packets(draw: st.DrawFn) -> Any:
    """A TCP packet over IPv4 or IPv6 with any of the fields set, and any left out."""

    def some(**fields: Any) -> dict[str, Any]:
        return {name: draw(values) for name, values in fields.items() if draw(st.booleans())}

    segment = TCP(
        **some(
            sport=PORT,
            dport=PORT,
            seq=WORD,
            ack=WORD,
            reserved=st.integers(0, 7),
            flags=st.integers(0, 511),
            window=HALF,
            chksum=HALF,
            urgptr=HALF,
            options=TCP_OPTIONS,
        )
    )
    if draw(st.booleans()):
        segment /= Raw(draw(st.binary(min_size=1, max_size=100)))
    if draw(st.booleans()):
        header = some(
            tos=st.integers(0, 255), id=HALF, flags=st.sampled_from(["", "DF", "evil", "DF+evil"]), ttl=st.integers(0, 255)
        )
        ends = some(src=st.just(SOURCE[4]), dst=st.just(DESTINATION[4]))
        return IP(**header, **ends, **some(options=IP_OPTIONS, chksum=HALF)) / segment
    header = some(tc=st.integers(0, 255), fl=st.integers(0, 2**20 - 1), hlim=st.integers(0, 255))
    packet = IPv6(**header, **some(src=st.just(SOURCE[6]), dst=st.just(DESTINATION[6])))
    for extension in draw(EXTENSIONS):
        packet /= extension.copy()
    return packet / segment


@given(
    packet=scapy_packets(),
    ttl=st.integers(1, 255),
    sequence=WORD,
    acknowledgment=WORD,
    identification=PORT,
)
def test_any_packet_of_scapy_is_the_probe_but_for_what_tells_probes_apart(
    packet: Any, ttl: int, sequence: int, acknowledgment: int, identification: int
) -> None:
    family = packet.version
    told = {} if "dst" in packet.fields else {"destination": DESTINATION[family]}
    options = crafted(packet, **told)
    assert options.destination == DESTINATION[family]
    source, source_port = options.source or SOURCE[family], options.source_port or 40001
    builder = ProbeBuilder(options, family, source, options.destination, source_port, flow_label=3, timestamp=4)
    answers = bool(options.flag_bits & FLAG_BITS["ACK"])
    sent = as_sent(builder.build(ttl, sequence, acknowledgment if answers else builder.acknowledgment, identification))
    # The same by Scapy, with its checksums.
    expected = packet.copy()
    expected.src, expected.dst = source, DESTINATION[family]
    segment = expected[TCP]
    segment.sport, segment.dport, segment.seq = source_port, packet[TCP].fields.get("dport", 80), sequence
    if answers:
        segment.ack = acknowledgment
    del segment.chksum
    if family == 4:
        expected.ttl, expected.id = ttl, identification
        del expected.chksum
    else:
        expected.hlim, segment.window = ttl, identification
    assert sent == bytes(expected)
    shape = options.flag_bits, options.tos, options.dont_fragment, options.length
    dont_fragment = family == 4 and "DF" in packet.flags
    assert shape == (int(packet[TCP].flags) & 255, packet.tos if family == 4 else packet.tc, dont_fragment, len(sent))


REFUSED: list[tuple[Any, str]] = [
    (IP(dst="192.0.2.1") / UDP(), "is not an IP or IPv6 packet with TCP: begin with IP() or IPv6(), and go on with TCP()"),
    (
        Ether() / IP(dst="192.0.2.1") / TCP(),
        "is not an IP or IPv6 packet with TCP: begin with IP() or IPv6(), and go on with TCP()",
    ),
    (TCP(), "is not an IP or IPv6 packet with TCP: begin with IP() or IPv6(), and go on with TCP()"),
    (IP(dst="192.0.2.1"), "is not an IP or IPv6 packet with TCP: begin with IP() or IPv6(), and go on with TCP()"),
    (7, "packet: 7 is not an IP or IPv6 packet with TCP: begin with IP() or IPv6(), and go on with TCP()"),
    (IP(dst=["192.0.2.1", "192.0.2.2"]) / TCP(), "is not a single packet: give each of its fields one value"),
    (IP(dst="192.0.2.0/30") / TCP(), "is not a single packet: give each of its fields one value"),
    (IP(dst="192.0.2.1") / TCP(dport=(1, 1000)), "is not a single packet: give each of its fields one value"),
    (IP(dst="192.0.2.1") / TCP(dport=70000), "is not a packet that Scapy can build (ValueError: While building field 'dport'"),
    (IP(dst="192.0.2.1", tos="high") / TCP(), "is not a packet that Scapy can build (ValueError: While building field 'tos'"),
    (IP(dst="192.0.2.1") / IP(dst="192.0.2.2") / TCP(), "is not a TCP packet: behind its IP header comes protocol 4"),
    (IP(dst="192.0.2.1", frag=7) / TCP(), "is not a whole packet: it is a fragment"),
    (IP(dst="192.0.2.1", flags="MF") / TCP(), "is not a whole packet: it is a fragment"),
    (IP(dst="192.0.2.1", len=30) / TCP(), "is not a whole packet: its IP header tells of 30 bytes, and it has 40"),
    (IPv6(dst="2001:db8::1") / inet6.IPv6ExtHdrFragment() / TCP(), "is not a whole packet: it is a fragment"),
    (IPv6(dst="2001:db8::1") / inet6.IPv6ExtHdrRouting(addresses=["2001:db8::2"]) / TCP(), "it has a source route"),
    (IP(dst="192.0.2.1", options=inet.IPOption_LSRR(routers=["192.0.2.9"])) / TCP(), "it has a source route"),
    (
        IP(dst="192.0.2.1") / TCP() / Raw(bytes(65500)),
        "is not a packet that Scapy can build (error: 'H' format requires",
    ),
    (IP() / TCP(), "destination: '' is not a host name or an IP address"),
    (bytes(crafted_by_hand())[:-1], "and it has 48"),
    (b"", "is not base64 of an IPv4 or IPv6 packet with a TCP header, of at most 65535 bytes"),
]


@pytest.mark.parametrize(("packet", "reason"), REFUSED, ids=[f"{type(one).__name__} {at}" for at, (one, _) in enumerate(REFUSED)])
def test_what_is_no_single_tcp_packet_is_refused_in_one_sentence(packet: Any, reason: str) -> None:
    with pytest.raises(OptionError) as caught:
        crafted(packet)
    (told,) = caught.value.problems
    assert reason in told
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 320


def test_options_go_on_beside_the_packet() -> None:
    options = crafted(IP(dst="192.0.2.1") / TCP(dport=443), queries=1, max_ttl=9, evidence="all")
    assert (options.queries, options.max_ttl, options.evidence, options.port) == (1, 9, "all", 443)
    with pytest.raises(OptionError) as caught:
        crafted(IP(dst="192.0.2.1", tos=5) / TCP(), tos=7, max_ttl=0)
    assert caught.value.problems == (
        "max_ttl: 0 is not between 1 and 255",
        "tos: 7 contradicts the packet, which has 5",
    )


def test_bytes_are_taken_as_they_are() -> None:
    data = bytes(crafted_by_hand())
    assert base64.b64decode(crafted(data).packet or "") == data


def test_the_packet_stays_as_the_caller_has_it() -> None:
    packet = IP(dst="192.0.2.1") / TCP()
    crafted(packet)
    assert "src" not in packet.fields
    assert packet[TCP].fields.keys().isdisjoint({"sport", "dport"})


# As the Nornir task takes it.

WHOLE = IP(dst="192.0.2.1") / TCP(dport=443)
HALF_OPEN = IP() / TCP(flags="SEC")


@pytest.mark.parametrize(
    ("given_", "expected", "problems"),
    [
        ({"destination": "h"}, {"destination": "h"}, 0),
        ({"packet": WHOLE}, {"packet": packet_text(WHOLE), "destination": ""}, 0),
        ({"packet": packet_text(WHOLE)}, {"packet": packet_text(WHOLE), "destination": ""}, 0),
        ({"packet": bytes(crafted_by_hand())}, {"packet": packet_text(bytes(crafted_by_hand())), "destination": ""}, 0),
        ({"packet": WHOLE, "destination": "h"}, {"packet": packet_text(WHOLE), "destination": "h"}, 0),
        ({"packet": HALF_OPEN}, {"packet": packet_text(HALF_OPEN)}, 0),
        ({"packet": "AA=="}, {"packet": "AA==", "destination": ""}, 0),
        ({"packet": IP() / UDP()}, {"destination": "fallback"}, 1),
    ],
    ids=str,
)
def test_the_task_takes_scapy_packets_bytes_and_text(given_: dict[str, Any], expected: dict[str, Any], problems: int) -> None:
    options = dict(given_)
    assert len(take_packet(options, "fallback")) == problems
    assert options == expected
    if not problems and "destination" in options and options.get("packet") != "AA==" and options["destination"] != "h":
        assert TraceOptions.from_dict(options).destination in {"192.0.2.1", "198.51.100.9"}
