"""A crafted packet as the template of probes: what is taken from it, what is refused, and the probes that come of it."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any, Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.errors import OptionError
from nornir_tcptraceroute.probe.options import FLAG_BITS, TraceOptions
from nornir_tcptraceroute.probe.template import RULE, read_template
from nornir_tcptraceroute.probe.wire import ProbeBuilder, as_sent
from tests.strategies import crafted_packets, crafted_requests

from . import packets
from .packets import TCP, UDP
from .virtual_network import DESTINATION, PORT, SOURCE, SOURCE_PORT, Path, Router, VirtualNetwork, router_address

OPEN = {4: "0.0.0.0", 6: "::"}  # noqa: S104 -- the unspecified address, which nothing binds to


def crafted(
    family: int = 4, *, source: str = "", destination: str = "", ports: Tuple[int, int] = (0, PORT), **shape: Any
) -> bytes:
    """A TCP packet with everything out of the ordinary."""
    ends = source or OPEN[family], destination or DESTINATION[family]
    header = {name: shape.pop(name) for name in ("fragment", "padding", "tos", "label") if name in shape}
    tcp: Dict[str, Any] = {"flags": 0xC2, "options": bytes.fromhex("fd040102"), "payload": b"hello", "window": 4321, **shape}
    segment = packets.tcp(*ends, ports, 7, 8, **tcp)
    tos = header.get("tos", 184)
    if family == 4:
        options, fragment = header.get("padding", b""), header.get("fragment", 0x4000)
        return packets.ipv4(*ends, TCP, segment, tos=tos, identification=9, fragment=fragment, options=options)
    return packets.ipv6(*ends, TCP, segment, traffic_class=tos, label=header.get("label", 0x12345))


def extended(*extensions: Tuple[int, bytes]) -> bytes:
    """The IPv6 packet with extension headers: number and bytes behind the first, which says what follows."""
    packet = crafted(6)
    kinds = [kind for kind, _ in extensions]
    chain = b"".join(bytes([following]) + body for following, (_, body) in zip([*kinds[1:], TCP], extensions))
    return packet[:4] + struct.pack("!HB", len(chain) + len(packet) - 40, kinds[0]) + packet[7:40] + chain + packet[40:]


def text(packet: bytes) -> str:
    return base64.b64encode(packet).decode("ascii")


def problems(**values: Any) -> Tuple[str, ...]:
    with pytest.raises(OptionError) as caught:
        TraceOptions(**values)
    return caught.value.problems


PADDING = bytes([0]) + b"\x01\x04" + bytes(4)
WHOLE = text(crafted())
LENGTH_4, LENGTH_6 = len(crafted()), len(crafted(6))

REFUSED: List[Tuple[str, Any, str]] = [
    ("no text", 7, RULE),
    ("bytes", crafted(), RULE),
    ("empty", "", RULE),
    ("no base64", "not base64!", RULE),
    ("a line break", WHOLE + "\n", RULE),
    ("a space inside", WHOLE[:4] + " " + WHOLE[4:], RULE),
    ("no padding", text(crafted(payload=b"12")).rstrip("="), RULE),
    ("bits beyond the padding", "RQB=", RULE),
    ("URL-safe base64", "-_" + WHOLE[2:], RULE),
    ("other digits", "\uff21" + WHOLE[1:], RULE),
    ("too long", text(bytes(65536)), RULE),
    ("much too long", "A" * 10**6, RULE),
    ("neither version", text(b"\x55" + crafted()[1:]), RULE),
    ("an Ethernet frame", text(bytes(12) + b"\x08\x00" + crafted()), RULE),
    ("an IPv4 header cut off", text(crafted()[:19]), "a whole packet: an IPv4 header has at least 20 bytes, and it has 19"),
    ("an IPv6 header cut off", text(crafted(6)[:39]), "a whole packet: an IPv6 header has 40 bytes, and it has 39"),
    (
        "IPv4 cut off",
        text(crafted()[:-1]),
        f"a whole packet: its IP header tells of {LENGTH_4} bytes, and it has {LENGTH_4 - 1}",
    ),
    (
        "IPv6 cut off",
        text(crafted(6)[:-1]),
        f"a whole packet: its IP header tells of {LENGTH_6} bytes, and it has {LENGTH_6 - 1}",
    ),
    (
        "bytes behind it",
        text(crafted() + b"\0"),
        f"a whole packet: its IP header tells of {LENGTH_4} bytes, and it has {LENGTH_4 + 1}",
    ),
    ("header too short", text(b"\x44" + crafted()[1:]), "a packet with an IPv4 header in order: its length says 16 bytes"),
    ("first fragment", text(crafted(fragment=0x2000)), "a whole packet: it is a fragment"),
    ("last fragment", text(crafted(fragment=0x0005)), "a whole packet: it is a fragment"),
    ("IPv6 fragment", text(extended((44, bytes(7)))), "a whole packet: it is a fragment"),
    (
        "UDP",
        text(packets.ipv4(SOURCE[4], DESTINATION[4], UDP, bytes(40))),
        "a TCP packet: behind its IP header comes protocol 17",
    ),
    (
        "IPv6 UDP",
        text(packets.ipv6(SOURCE[6], DESTINATION[6], UDP, bytes(40))),
        "a TCP packet: behind its IP header comes protocol 17",
    ),
    ("AH", text(extended((51, b"\x04" + bytes(22)))), "a TCP packet: behind its IP header comes protocol 51"),
    (
        "nothing behind",
        text(packets.ipv6(SOURCE[6], DESTINATION[6], 59, b"")),
        "a TCP packet: behind its IP header comes protocol 59",
    ),
    (
        "loose source route",
        text(crafted(padding=b"\x01\x83\x07\x04" + bytes(4))),
        "a packet to its destination alone: it has a source route",
    ),
    (
        "strict source route",
        text(crafted(padding=b"\x89\x03\x04\x00")),
        "a packet to its destination alone: it has a source route",
    ),
    ("routing header", text(extended((0, PADDING), (43, PADDING))), "a packet to its destination alone: it has a source route"),
    (
        "an option without length",
        text(crafted(padding=b"\x01\x01\x01\x07")),
        "a packet with IPv4 options in order: option 7 does not end in the header",
    ),
    (
        "an option of length 1",
        text(crafted(padding=b"\x07\x01\x00\x00")),
        "a packet with IPv4 options in order: option 7 does not end in the header",
    ),
    (
        "an option too long",
        text(crafted(padding=b"\x44\x05\x05\x00")),
        "a packet with IPv4 options in order: option 68 does not end in the header",
    ),
    ("an IPv6 packet too long", text(crafted(6, payload=bytes(65536 - LENGTH_6 + 5))), RULE),
    ("an IPv4 header alone", text(packets.ipv4(SOURCE[4], DESTINATION[4], TCP, b"")), "a packet with a whole TCP header"),
    ("an IPv6 header alone", text(packets.ipv6(SOURCE[6], DESTINATION[6], TCP, b"")), "a packet with a whole TCP header"),
    ("TCP cut off", text(packets.ipv4(SOURCE[4], DESTINATION[4], TCP, bytes(19))), "a packet with a whole TCP header"),
    (
        "TCP options cut off",
        text(packets.ipv4(SOURCE[4], DESTINATION[4], TCP, bytes(12) + b"\x60" + bytes(7))),
        "a packet with a whole TCP header",
    ),
    (
        "TCP header too short",
        text(packets.ipv4(SOURCE[4], DESTINATION[4], TCP, bytes(12) + b"\x40" + bytes(7))),
        "a packet with a whole TCP header",
    ),
    ("an extension cut off", text(packets.ipv6(SOURCE[6], DESTINATION[6], 0, bytes(7))), "a packet with a whole TCP header"),
    (
        "an extension too long",
        text(packets.ipv6(SOURCE[6], DESTINATION[6], 60, b"\x06\xff" + bytes(40))),
        "a packet with a whole TCP header",
    ),
    ("nine extensions", text(extended(*[(60, PADDING)] * 9)), "a TCP packet: behind its IP header comes protocol 60"),
]


@pytest.mark.parametrize(("packet", "rule"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_packet_for_a_trace_is_refused_in_one_sentence(packet: Any, rule: str) -> None:
    (told,) = problems(packet=packet)
    assert told.startswith("packet: ")
    assert told.endswith(" is not " + rule)
    assert len(told) < 260


@pytest.mark.parametrize(("family", "length"), [(4, 40), (4, 65535), (6, 60), (6, 65535)])
def test_the_shortest_and_the_longest_packet_are_taken(family: int, length: int) -> None:
    payload = bytes(length - (40 if family == 4 else 60))
    options = TraceOptions(packet=text(crafted(family, options=b"", payload=payload)))
    assert options.length == length


@pytest.mark.parametrize("count", [1, 8])
def test_up_to_eight_extension_headers_are_taken(count: int) -> None:
    assert TraceOptions(packet=text(extended(*[(60, PADDING)] * count))).length == LENGTH_6 + 8 * count


@pytest.mark.parametrize("options", [b"\x94\x02\x01\x01", b"\x01\x01\x94\x02", b"\x94\x04\x00\x00", b"\x00\x83\x83\x83"])
def test_ipv4_options_are_taken_to_the_last_byte_and_up_to_the_end_of_their_list(options: bytes) -> None:
    assert read_template(text(crafted(padding=options))).header[20:] == options


def test_the_packet_decides_all_that_it_tells() -> None:
    options = TraceOptions(packet=text(crafted(4, source=SOURCE[4], ports=(SOURCE_PORT, PORT))))
    assert options.to_dict() == {
        "destination": DESTINATION[4],
        "port": PORT,
        "family": 4,
        "source": SOURCE[4],
        "source_port": SOURCE_PORT,
        "flags": "SYN,ECE,CWR",
        "length": LENGTH_4,
        "tos": 184,
        "dont_fragment": True,
        "packet": options.packet,
    }


def test_what_the_packet_leaves_open_is_asked_for_as_usual() -> None:
    packet = text(crafted(6, destination="::", ports=(0, 0)))
    options = TraceOptions("example.com", port=8080, source="2001:db8::7", source_port=4711, packet=packet)
    assert (options.destination, options.port, options.family) == ("example.com", 8080, 6)
    assert (options.source, options.source_port, options.dont_fragment) == ("2001:db8::7", 4711, False)
    assert problems(packet=packet) == ("destination: '' is not a host name or an IP address",)
    assert TraceOptions("example.com", packet=packet).port == 80


# Each row: the options beside the packet, and what is told.
CONTRADICTIONS: List[Tuple[Dict[str, Any], List[str]]] = [
    ({"destination": "192.0.2.7"}, ["destination: '192.0.2.7' contradicts the packet, which has '198.51.100.9'"]),
    ({"destination": "example.com"}, ["destination: 'example.com' contradicts the packet, which has '198.51.100.9'"]),
    ({"destination": "2001:db8::1"}, ["destination: '2001:db8::1' contradicts the packet, which has '198.51.100.9'"]),
    ({"port": 81}, ["port: 81 contradicts the packet, which has 443"]),
    ({"family": 6}, ["family: 6 contradicts the packet, which has 4"]),
    ({"source": "192.0.2.7"}, ["source: '192.0.2.7' contradicts the packet, which has '192.0.2.1'"]),
    ({"source_port": 7}, ["source_port: 7 contradicts the packet, which has 40001"]),
    ({"flags": "ack"}, ["flags: 'ACK' contradicts the packet, which has 'SYN,ECE,CWR'"]),
    ({"tcp_options": "mss"}, ["tcp_options: 'mss' contradicts the packet, which has its own"]),
    ({"length": 1500}, ["length: 1500 contradicts the packet, which has 49"]),
    ({"tos": 4}, ["tos: 4 contradicts the packet, which has 184"]),
    (
        {"port": 81, "flags": "FIN", "tos": 300, "max_ttl": 0},
        [
            "max_ttl: 0 is not between 1 and 255",
            "tos: 300 is not between 0 and 255",
            "port: 81 contradicts the packet, which has 443",
            "flags: 'FIN' contradicts the packet, which has 'SYN,ECE,CWR'",
        ],
    ),
]


@pytest.mark.parametrize(("values", "expected"), CONTRADICTIONS, ids=[str(values) for values, _ in CONTRADICTIONS])
def test_options_that_contradict_the_packet_are_refused(values: Dict[str, Any], expected: List[str]) -> None:
    packet = text(crafted(4, source=SOURCE[4], ports=(SOURCE_PORT, PORT)))
    assert problems(packet=packet, **values) == tuple(expected)


def test_dont_fragment_contradicts_a_packet_without_it() -> None:
    told = problems(packet=text(crafted(fragment=0)), dont_fragment=True)
    assert told == ("dont_fragment: True contradicts the packet, which has False",)


class Marked(str):
    """A text of another class, as Ansible has them."""

    __slots__ = ()


def test_a_default_in_a_text_of_another_class_is_a_default() -> None:
    options = TraceOptions(destination=Marked(""), flags=Marked("SYN"), packet=Marked(text(crafted())))
    assert (options.destination, options.flags) == (DESTINATION[4], "SYN,ECE,CWR")


@pytest.mark.parametrize(("name", "value"), [("tos", False), ("dont_fragment", 0), ("port", 80.0)])
def test_what_only_equals_a_default_is_refused_as_ever(name: str, value: Any) -> None:
    (told,) = problems(packet=text(crafted()), **{name: value})
    assert told.startswith("{}: {!r} is not ".format(name, value))


AGREEMENTS: List[Dict[str, Any]] = [
    {"destination": "fe80:0::9%eth0"},
    {"destination": "fe80::9", "interface": "eth0"},
    {"port": PORT, "flags": "cwr,ece,syn", "tos": 184, "destination": "fe80::9%eth0"},
    {"source": "fe80::0:7%eth0", "interface": "eth0"},
]


@pytest.mark.parametrize("values", AGREEMENTS, ids=str)
def test_options_that_say_the_same_are_accepted(values: Dict[str, Any]) -> None:
    options = TraceOptions(packet=text(crafted(6, source="fe80::7", destination="fe80::9")), interface="eth0")
    assert options.destination == "fe80::9"
    told = TraceOptions(**{"interface": "eth0", **values, "packet": options.packet})
    assert told.destination == values.get("destination", "fe80::9")
    assert (told.port, told.flags, told.tos) == (options.port, options.flags, options.tos)


def test_a_link_local_destination_needs_its_zone_here_too() -> None:
    (told,) = problems(packet=text(crafted(6, destination="fe80::9")))
    assert told.startswith("destination: 'fe80::9' is not complete")


@given(crafted_requests())
def test_requests_with_packets_cross_to_another_process(options: TraceOptions) -> None:
    assert TraceOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x45\0", b"\x60\0\0\0"]))
def test_any_bytes_are_a_packet_or_refused(data: bytes, start: bytes) -> None:
    packet = start + data
    try:
        template = read_template(text(packet))
    except ValueError:
        return
    assert template.header + template.segment == packet


@given(packet=crafted_packets(), cut=st.integers(0, 200))
def test_every_truncation_is_refused(packet: bytes, cut: int) -> None:
    if cut < len(packet):
        (told,) = problems(packet=text(packet[:cut]))
        assert told.startswith("packet: ")


# Probes.

NUMBER = st.integers(0, 2**32 - 1)


@given(
    packet=crafted_packets(),
    ttl=st.integers(1, 255),
    sequence=NUMBER,
    acknowledgment=NUMBER,
    identification=st.integers(1, 65535),
)
def test_a_probe_is_the_packet_but_for_what_tells_probes_apart(
    packet: bytes, ttl: int, sequence: int, acknowledgment: int, identification: int
) -> None:
    family = packet[0] >> 4
    template = read_template(text(packet))
    options = TraceOptions(template.address or DESTINATION[family], packet=text(packet))
    source = template.source or SOURCE[family]
    port = template.source_port or SOURCE_PORT
    builder = ProbeBuilder(options, family, source, options.destination, port, flow_label=1, timestamp=1)
    if not options.flag_bits & FLAG_BITS["ACK"]:
        acknowledgment = builder.acknowledgment
    sent = as_sent(builder.build(ttl, sequence, acknowledgment, identification))
    assert builder.length == len(sent) == len(packet)
    # What is expected, with the RFCs' offsets.
    expected = bytearray(packet)
    at = len(template.header)
    addresses = packets.packed(source) + packets.packed(options.destination)
    if family == 4:
        expected[8], expected[10:12], expected[12:20] = ttl, b"\0\0", addresses
        expected[4:6] = struct.pack("!H", identification)
        expected[10:12] = struct.pack("!H", 0xFFFF ^ packets.sum_of(bytes(expected[:at])))
    else:
        expected[7], expected[8:40] = ttl, addresses
        expected[at + 14 : at + 16] = struct.pack("!H", identification)
    expected[at : at + 8] = struct.pack("!HHI", port, options.port, sequence)
    if options.flag_bits & FLAG_BITS["ACK"]:
        expected[at + 8 : at + 12] = struct.pack("!I", acknowledgment)
    expected[at + 16 : at + 18] = b"\0\0"
    pseudo = packets.pseudo_header(source, options.destination, TCP, len(packet) - at)
    check = 0xFFFF ^ packets.sum_of(pseudo + bytes(expected[at:]))
    # 0 and 0xffff are the same number.
    assert (int.from_bytes(sent[at + 16 : at + 18], "big") - check) % 0xFFFF == 0
    expected[at + 16 : at + 18] = sent[at + 16 : at + 18]
    assert sent == bytes(expected)


# Traces.


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("flags", "port", "state"), [(0xC2, "open", "open"), (0x02, "closed", "closed"), (0x10, "open", "unknown")]
)
@pytest.mark.parametrize("quote", [8, 200])
def test_a_trace_with_a_crafted_packet_sees_the_path(family: int, flags: int, port: str, state: str, quote: int) -> None:
    path = Path([Router(0.005 * (ttl + 1)) for ttl in range(5)], 0.03, port=port, quote=quote)
    packet = crafted(family, flags=flags)
    network = VirtualNetwork(path, TraceOptions(packet=text(packet), evidence="all"), 1, family=family)
    trace = network.run()
    assert (trace.stop_reason, trace.port_state, len(trace.hops)) == ("reached", state, 6)
    assert trace.counters["sent"] >= trace.counters["matched"] >= 18
    names = ",".join(name for name, bit in FLAG_BITS.items() if flags & bit)
    assert trace.probe.flags == names
    assert (trace.probe.tcp_options, trace.probe.length) == ("packet", len(packet))
    assert (trace.probe.tos, trace.probe.dont_fragment) == (184, family == 4)
    start = 20 if family == 4 else 40
    assert trace.packets is not None
    for sent in (base64.b64decode(one.data) for one in trace.packets if one.direction == "sent"):
        # TOS; data offset and flags; options and payload.
        assert (sent[:2], sent[start + 12 : start + 14]) == (packet[:2], packet[start + 12 : start + 14])
        assert sent[start + 20 :] == packet[start + 20 :]


@given(
    packet=crafted_packets(), seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.2]), quote=st.sampled_from([8, 20, 200])
)
def test_whatever_was_crafted_the_hops_are_the_path_s(packet: bytes, seed: int, loss: float, quote: int) -> None:
    template = read_template(text(packet))
    family, at = template.family, len(template.header)
    place = slice(12, 20) if family == 4 else slice(8, 40)
    ends = packets.packed(SOURCE[family]) + packets.packed(DESTINATION[family])
    here = template.header[: place.start] + ends + template.header[place.stop :]
    whole = here + struct.pack("!HH", SOURCE_PORT, PORT) + packet[at + 4 :]
    routers = [Router(0.005 * (ttl + 1)) for ttl in range(4)]
    path = Path(routers, 0.03, port="closed", loss=loss, quote=quote)
    network = VirtualNetwork(path, TraceOptions(packet=text(whole), evidence="all"), seed, family=family)
    trace = network.run()
    assert [hop.address for hop in trace.hops if hop.address] == [
        address
        for address in (*(router_address(family, ttl) for ttl in range(1, 5)), DESTINATION[family])
        if address in {hop.address for hop in trace.hops}
    ]
    assert not any(name.startswith("ignored") for name in trace.counters)
    assert all(reply.altered == () for hop in trace.hops for reply in hop.replies)
    if not loss:
        assert (len(trace.hops), trace.reached) == (5, True)
