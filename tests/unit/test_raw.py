"""Raw sockets for real: what the kernel's filters let through, what arrives with what, and which refusals come how."""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest

from nornir_tcptraceroute.probe.errors import PrivilegeError, ProbeError, TransportError
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.transports import raw
from nornir_tcptraceroute.probe.transports.raw import RawTransport, Received
from nornir_tcptraceroute.probe.wire import IcmpError, ProbeBuilder, TcpReply

from . import packets
from .descriptors import descriptors_left
from .namespaces import ip, isolated, privileged, reason_without_ipv6, unprivileged
from .packets import ICMP, ICMPV6, TCP, UDP

#: Longer than any packet on the loopback may take: waiting so long fails the test.
FOREVER = 300.0
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
KIND = {4: socket.AF_INET, 6: socket.AF_INET6}
families = pytest.mark.parametrize(
    "family",
    [4, pytest.param(6, marks=pytest.mark.skipif(reason_without_ipv6() is not None, reason=reason_without_ipv6() or ""))],
)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


class Opened:
    """A transport, with a port of its own that it listens to, and that closes with it."""

    def __init__(self, family: int) -> None:
        self.family = family
        self.address = LOOPBACK[family]
        self.transport = RawTransport(family)
        self.reservation = self.bound()
        self.port: int = self.reservation.getsockname()[1]
        self.transport.listen(self.port)
        self.icmp, self.tcp = self.transport.receivers

    def bound(self) -> socket.socket:
        made = socket.socket(KIND[self.family], socket.SOCK_STREAM)
        made.bind((self.address, 0))
        return made

    def __enter__(self) -> Opened:  # noqa: PYI034 -- typing.Self is newer than Python 3.8
        return self

    def __exit__(self, *_: object) -> None:
        self.reservation.close()
        self.transport.close()

    def send(self, packet: bytes) -> None:
        self.transport.send(packet, self.address, self.address, 0)

    def segment(self, sequence: int = 7, *, port: int = 0, payload: bytes = b"") -> bytes:
        """A packet that is a segment to our port, as if from another host's port 443."""
        ports = (443, port or self.port)
        return self.packet(TCP, packets.tcp(self.address, self.address, ports, sequence, flags=0x10, payload=payload))

    def packet(self, protocol: int, payload: bytes, ttl: int = 9) -> bytes:
        if self.family == 4:
            return packets.ipv4(self.address, self.address, protocol, payload, ttl=ttl, identification=1)
        return packets.ipv6(self.address, self.address, protocol, payload, hop_limit=ttl)

    def icmp_error(self, quoted: bytes, kind: int = 0) -> bytes:
        if self.family == 4:
            return self.packet(ICMP, packets.icmpv4(kind or 11, 0, quoted))
        return self.packet(ICMPV6, packets.icmpv6(self.address, self.address, kind or 3, 0, quoted))

    def arrive(self, receiver: socket.socket, count: int = 1) -> List[Received]:
        """The next packets that reach Python, so many at least."""
        arrived: List[Received] = []
        while len(arrived) < count:
            assert select.select([receiver], [], [], FOREVER)[0], "nothing arrived"
            arrived += self.transport.receive(receiver)
        return arrived


# Filters, by the kernel's own interpreter: a local datagram socket takes them as a raw socket does.


def let_through(program: List[bytes], data: List[bytes]) -> List[int]:
    """The places of what a kernel filter lets through."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        raw._attach(right, program)
        right.setblocking(False)  # noqa: FBT003
        passed = []
        for place, each in enumerate(data):
            left.send(each)
            try:
                assert right.recv(65536) == each
            except BlockingIOError:
                continue
            passed.append(place)
        return passed


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 1000])
@pytest.mark.parametrize("family", [4, 6])
def test_the_filter_lets_these_ports_through(family: int, count: int) -> None:
    ports = set(random.Random(count).sample(range(1, 65536), count))
    asked = sorted({near for port in ports for near in (port - 1, port, (port + 1) % 65536)} | {0, 1, 80, 65535})
    # A short filter lists its ports, a long one takes what lies between the lowest and the highest.
    expected = ports if count <= 64 else {port for port in asked if min(ports) <= port <= max(ports)}
    segments = [struct.pack("!HH", 443, port) + b"\0" * 16 for port in asked]
    for words in range(5, 16) if family == 4 else [0]:
        header = bytes([0x40 | words]) + os.urandom(words * 4 - 1) if words else b""
        passed = let_through(raw._port_filter(family, ports), [header + segment for segment in segments])
        assert {asked[place] for place in passed} == expected


@pytest.mark.parametrize("family", [4, 6])
def test_the_filter_drops_what_is_too_short_to_have_a_port(family: int) -> None:
    whole = (b"\x45" + b"\0" * 19 if family == 4 else b"") + struct.pack("!HH", 443, 80)
    passed = let_through(raw._port_filter(family, {80}), [whole[:length] for length in range(len(whole) + 1)])
    assert passed == [len(whole)]


@pytest.mark.parametrize("words", range(5, 16))
def test_the_filter_lets_errors_about_tcp_through(words: int) -> None:
    outer = bytes([0x40 | words]) + os.urandom(words * 4 - 1)
    quotes = [packets.ipv4("192.0.2.1", "192.0.2.2", protocol, b"\0" * 8) for protocol in range(256)]
    errors = [outer + b"\x0b\0\0\0\0\0\0\0" + quoted for quoted in quotes]
    assert let_through(raw._QUOTES_TCP, errors) == [TCP]
    assert let_through(raw._QUOTES_TCP, [errors[TCP][:length] for length in range(words * 4 + 17)]) == []


# The loopback.


@families
@pytest.mark.parametrize("state", ["open", "closed"])
@privileged
def test_a_probe_is_answered(family: int, state: str) -> None:
    with Opened(family) as here, here.bound() as there:
        if state == "open":
            there.listen()
        target = there.getsockname()[1]
        options = TraceOptions(destination=here.address, port=target, length=100)
        builder = ProbeBuilder(options, family, here.address, here.address, here.port, flow_label=1, timestamp=0)
        before = time.time_ns()
        here.send(builder.build(5, 1000, 0, 77))
        (received,) = here.arrive(here.tcp)
        packet = received.packet
        assert isinstance(packet, TcpReply)
        assert packet[:4] == (here.address, target, here.address, here.port)
        assert packet.flags == (0x12 if state == "open" else 0x14)
        # A closed port acknowledges the payload as well.
        assert packet.acknowledgment == 1001 + (0 if state == "open" else builder.sequence_length - 1)
        assert packet.reply_ttl == 64
        # The kernel's stamp, unless the clock was set meanwhile.
        assert received.stamp_ns is not None
        assert before <= received.stamp_ns <= time.time_ns()
        assert here.transport.dropped == 0


@families
@privileged
def test_an_error_arrives_whole_with_stamp_and_ttl(family: int) -> None:
    with Opened(family) as here:
        quoted = here.segment(0xCAFE)
        here.send(here.icmp_error(quoted))
        (received,) = here.arrive(here.icmp)
        error = received.packet
        assert isinstance(error, IcmpError)
        assert error[:5] == ("time_exceeded", here.address, 11 if family == 4 else 3, 0, 9)
        assert (error.quote.port, error.quote.sequence, error.quote.ttl) == (here.port, 0xCAFE, 9)
        assert received.stamp_ns is not None


@families
@privileged
def test_others_traffic_never_reaches_python(family: int) -> None:
    with Opened(family) as here, here.bound() as other:
        elsewhere = other.getsockname()[1]
        here.send(here.segment(1, port=elsewhere))
        here.send(here.segment(2))
        # What passed is in order, so the first was kept away.
        assert [each.packet.sequence for each in here.arrive(here.tcp) if isinstance(each.packet, TcpReply)] == [2]
        echo = bytes([8 if family == 4 else 128])
        unwanted = [
            here.icmp_error(here.segment(3), kind=echo[0]),
            here.icmp_error(here.segment(3), kind=12 if family == 4 else 4),
        ]
        if family == 4:
            unwanted.append(here.icmp_error(packets.ipv4(here.address, here.address, UDP, b"\0" * 8)))
        else:
            # For ICMPv6 the kernel checks the sum; for ICMP it leaves that to the reader.
            damaged = bytearray(here.icmp_error(here.segment(3)))
            damaged[-1] ^= 1
            unwanted.append(bytes(damaged))
        for packet in [*unwanted, here.icmp_error(here.segment(4))]:
            here.send(packet)
        errors = [each.packet for each in here.arrive(here.icmp)]
        assert [error.quote.sequence for error in errors if isinstance(error, IcmpError)] == [4]
        assert len(errors) == 1


@privileged
def test_a_damaged_icmp_error_is_told_by_its_reason() -> None:
    with Opened(4) as here:
        damaged = bytearray(here.icmp_error(here.segment(3)))
        damaged[-1] ^= 1
        here.send(bytes(damaged))
        assert [each.packet for each in here.arrive(here.icmp)] == ["bad_checksum"]


@families
@privileged
def test_what_is_longer_than_any_reply_is_told_by_its_reason(family: int) -> None:
    with Opened(family) as here:
        here.send(here.icmp_error(here.segment(payload=b"x" * 3000)))
        here.send(here.segment(payload=b"x" * 3000))
        assert [each.packet for each in here.arrive(here.icmp)] == ["too_long"]
        assert [each.packet for each in here.arrive(here.tcp)] == ["too_long"]


@families
@privileged
def test_a_port_is_heard_as_often_as_it_was_asked_for(family: int) -> None:
    with Opened(family) as here, here.bound() as other:
        second = other.getsockname()[1]
        here.transport.listen(second)
        here.transport.listen(second)
        heard: List[Set[int]] = []
        for _ in range(3):
            here.send(here.segment(port=second))
            here.send(here.segment())
            found: Set[int] = set()
            while here.port not in found:
                found |= {each.packet.local_port for each in here.arrive(here.tcp) if isinstance(each.packet, TcpReply)}
            heard.append(found)
            if len(heard) < 3:
                here.transport.forget(second)
        assert heard == [{here.port, second}, {here.port, second}, {here.port}]


@families
@privileged
def test_many_waiting_replies_come_in_batches(family: int) -> None:
    with Opened(family) as here:
        for sequence in range(600):
            here.send(here.segment(sequence))
        arrived: List[Received] = []
        sizes = []
        while len(arrived) < 600:
            batch = here.arrive(here.tcp)
            sizes.append(len(batch))
            arrived += batch
        assert [each.packet.sequence for each in arrived if isinstance(each.packet, TcpReply)] == list(range(600))
        assert max(sizes) <= 256
        assert here.transport.receive(here.tcp) == []


@families
@privileged
def test_replies_that_the_kernel_threw_away_are_counted(family: int) -> None:
    with Opened(family) as here:
        here.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        for sequence in range(200):
            here.send(here.segment(sequence))
        read = 0
        while batch := here.transport.receive(here.tcp):
            read += len(batch)
        assert 0 < read < 200
        # The kernel tells the loss with the next packet that it keeps.
        here.send(here.segment(200))
        assert len(here.arrive(here.tcp)) == 1
        # Linux 6.18 drops before it filters, and so counts our kernel's own RSTs too.
        dropped = here.transport.dropped
        assert 200 - read <= dropped <= 400 - read
        here.send(here.segment(201))
        here.arrive(here.tcp)
        assert here.transport.dropped == dropped


# Refusals.


@families
@unprivileged
def test_without_privilege_one_sentence_tells_how_to_get_it(family: int) -> None:
    with pytest.raises(PrivilegeError) as caught:
        RawTransport(family)
    assert "CAP_NET_RAW" in str(caught.value)
    assert "\n" not in str(caught.value)


@families
@privileged
def test_a_lack_of_descriptors_is_one_sentence_wherever_it_strikes(family: int) -> None:
    problems: List[ProbeError] = []
    for left in range(4):
        try:
            with descriptors_left(left):
                RawTransport(family).close()
        except ProbeError as error:
            problems.append(error)
    assert [type(problem) for problem in problems] == [TransportError] * 3
    assert str(problems[0]) == "No raw IPv{} socket can be opened: Too many open files".format(family)


@privileged
def test_reading_from_a_closed_transport_is_an_error() -> None:
    with Opened(4) as here:
        receiver = here.tcp
    with pytest.raises(OSError, match="Bad file descriptor"):
        here.transport.receive(receiver)


@privileged
def test_an_error_that_stays_does_not_keep_the_loop() -> None:
    class Broken:
        """A socket whose interface is gone for good, which no test can make of a real one."""

        calls = 0

        def recvmsg(self, *_: object) -> Tuple[bytes, List[Any], int, Tuple[str, int]]:
            self.calls += 1
            raise OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))

    broken: Any = Broken()
    with Opened(4) as here:
        assert here.transport.receive(broken) == []
        assert broken.calls == 256


def refusal(transport: RawTransport, packet: bytes, address: str, source: str, index: int = 0) -> str:
    """Name of the error that sending gives."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- its number is what is looked at
        transport.send(packet, address, source, index)
    return errno.errorcode[caught.value.errno or 0]


def packet_to(family: int, address: str, source: str, payload: int = 0) -> bytes:
    segment = packets.tcp(source, address, (40001, 443), 1, payload=b"x" * payload)
    if family == 4:
        return packets.ipv4(source, address, TCP, segment, ttl=3, tos=40, identification=0x1234, fragment=0x4000, check=False)
    return packets.ipv6(source, address, TCP, segment, hop_limit=3, traffic_class=40, label=0x12345)


@isolated
def test_a_refusal_to_send_has_the_systems_name() -> None:
    ip("link set lo mtu 1400", "address add 10.9.0.1/32 dev lo", "-6 address add fd00:9::1/128 dev lo nodad")
    ip("route add prohibit 10.1.0.0/16", "route add blackhole 10.2.0.0/16", "route add unreachable 10.3.0.0/16")
    ip("-6 route add prohibit fd00:1::/32", "-6 route add blackhole fd00:2::/32", "-6 route add unreachable fd00:3::/32")
    expected = {"1": "EACCES", "2": "EINVAL", "3": "EHOSTUNREACH", "4": "ENETUNREACH"}
    for family, source, form in ((4, "10.9.0.1", "10.{}.0.1"), (6, "fd00:9::1", "fd00:{}::1")):
        transport = RawTransport(family)
        for number, name in expected.items():
            address = form.format(number)
            assert refusal(transport, packet_to(family, address, source), address, source) == name
        # Again and again: what the kernel queues for the errors must not fill up and stop what is right.
        for _ in range(300):
            assert refusal(transport, packet_to(family, source, source, 1400), source, source) == "EMSGSIZE"
        transport.send(packet_to(family, source, source, 1000), source, source, 0)
        transport.close()


def link() -> None:
    """An interface "left" whose other end is "far" in the same namespace, with neighbours that need no answer."""
    ip(
        "link add left type veth peer name far",
        "link set far address 02:00:00:00:00:02",
        "link set left up",
        "link set far up",
        "address add 10.9.0.1/24 dev left",
        "-6 address add fd00:9::1/64 dev left nodad",
        "neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev left nud permanent",
        "-6 neighbour add fd00:9::2 lladdr 02:00:00:00:00:02 dev left nud permanent",
    )


ENDS = {4: ("10.9.0.2", "10.9.0.1"), 6: ("fd00:9::2", "fd00:9::1")}


@isolated
def test_a_full_queue_is_told_and_not_hidden() -> None:
    link()
    ip("qdisc add dev left root tbf rate 8kbit burst 1600 limit 1600", program="tc")
    for family, (address, source) in ENDS.items():
        transport = RawTransport(family)
        names: List[str] = []
        for _ in range(20):
            try:
                transport.send(packet_to(family, address, source, 1000), address, source, 0)
            except OSError as error:
                names.append(errno.errorcode[error.errno or 0])
        assert set(names) == {"ENOBUFS"}
        transport.close()


@isolated
def test_a_packet_leaves_as_it_was_given() -> None:
    link()
    ip("link add right type veth peer name beyond", "link set right up", "link set beyond up")
    ip("address add 10.8.0.1/24 dev right", "-6 address add fd00:8::1/64 dev right nodad")
    ip("neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev right nud permanent")
    ip("-6 route add fd00:9::/64 dev right metric 5000")
    ip("-6 neighbour add fd00:9::2 lladdr 02:00:00:00:00:02 dev right nud permanent")
    for family, (address, source) in ENDS.items():
        transport = RawTransport(family)
        packet = packet_to(family, address, source)
        expected = packet
        if family == 4:
            # All as given, but for the header's checksum, which is the kernel's.
            expected = packet[:10] + struct.pack("!H", 0xFFFF ^ packets.sum_of(packet[:20])) + packet[12:]
        for device, index in (("far", 0), ("far", socket.if_nametoindex("left")), ("beyond", socket.if_nametoindex("right"))):
            with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800 if family == 4 else 0x86DD)) as tap:
                tap.bind((device, 0x0800 if family == 4 else 0x86DD))
                tap.settimeout(FOREVER)
                transport.send(packet, address, source, index)
                seen = tap.recv(2048)
                while seen[6 if family == 6 else 9] != TCP:  # neighbour discovery and the like
                    seen = tap.recv(2048)
                assert seen == expected, (family, device)
        transport.close()


@isolated
def test_a_reply_tells_the_address_that_it_came_to() -> None:
    ip("-6 address add fd00:9::1/128 dev lo nodad", "-6 address add fd00:9::2/128 dev lo nodad")
    with Opened(6) as here:
        for address in ("fd00:9::1", "fd00:9::2"):
            segment = packets.tcp("::1", address, (443, here.port), 5)
            here.transport.send(packets.ipv6("::1", address, TCP, segment, hop_limit=33), address, "::1", 0)
            (received,) = here.arrive(here.tcp)
            assert isinstance(received.packet, TcpReply)
            assert (received.packet.address, received.packet.local_address, received.packet.reply_ttl) == ("::1", address, 33)


@privileged
def test_of_hundreds_of_ports_each_is_let_through_from_when_it_is_listened_to() -> None:
    with Opened(4) as here:

        def send_to(port: int) -> None:
            segment = packets.tcp("127.0.0.1", "127.0.0.1", (443, port), 5)
            here.transport.send(packets.ipv4("127.0.0.1", "127.0.0.1", TCP, segment), "127.0.0.1", "127.0.0.1", 0)

        def arrived() -> int:
            (received,) = here.arrive(here.tcp)
            assert isinstance(received.packet, TcpReply)
            return received.packet.local_port

        for port in range(3000, 3300):
            here.transport.listen(port)
        for port in (3299, 3300, 2999, 3150):
            here.transport.listen(port)
            send_to(port)
            assert arrived() == port
        for port in (*range(3000, 3300), 3299, 3150, 2999):
            here.transport.forget(port)
        send_to(3150)
        send_to(3300)
        # What is listened to no more is not there any longer.
        assert arrived() == 3300


def counters() -> Dict[str, int]:
    """The raw sockets of this network namespace, by IP version."""
    return {name: len(Path("/proc/self/net", name).read_text().splitlines()) - 1 for name in ("raw", "raw6")}


@isolated
def test_only_the_sockets_of_the_version_asked_for_are_opened() -> None:
    assert counters() == {"raw": 0, "raw6": 0}
    transport = RawTransport(6)
    assert counters() == {"raw": 0, "raw6": 3}
    transport.close()
    assert counters() == {"raw": 0, "raw6": 0}
