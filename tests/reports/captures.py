"""Captures built byte by byte: the files of tcpdump and Wireshark with every kind of link, and what travels in them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from tests.unit import packets
from tests.unit.packets import DESTINATION, ICMP, ICMPV6, ROUTER, TCP, VANTAGE

RAW, ETHERNET, COOKED, COOKED_2, LOOPBACK, OPEN_LOOPBACK = 101, 1, 113, 276, 0, 108
SYN, RST, ACK = 2, 4, 16
BASE = 1_700_000_000
PORTS = (40001, 443)

#: A packet with its time in seconds since BASE.
Timed = tuple[float, bytes]


def pcap(timed: Iterable[Timed], link: int = RAW, *, order: str = "<", nano: bool = False, snap: int = 65535) -> bytes:
    """A file in pcap form; packets longer than ``snap`` are cut."""
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    parts = [struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, snap, link)]
    for at, packet in timed:
        fraction = round(at % 1 * (1e9 if nano else 1e6))
        framed = frame(packet, link & 0xFFFF)
        parts += struct.pack(order + "IIII", BASE + int(at), fraction, min(len(framed), snap), len(framed)), framed[:snap]
    return b"".join(parts)


def pcapng(timed: Iterable[Timed], links: Sequence[int] = (RAW,), *, order: str = "<") -> bytes:
    """A file in pcapng form; the packets take turns among interfaces with these links."""

    def block(kind: int, body: bytes) -> bytes:
        body += b"\0" * (-len(body) % 4)
        length = struct.pack(order + "I", 12 + len(body))
        return struct.pack(order + "I", kind) + length + body + length

    data = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    for link in links:
        # The option if_tsresol: times in nanoseconds; then the end of the options.
        data += block(1, struct.pack(order + "HHI", link, 0, 65535) + struct.pack(order + "HHBxxxHH", 9, 1, 9, 0, 0))
    for number, (at, packet) in enumerate(timed):
        link = number % len(links)
        framed = frame(packet, links[link])
        stamp = BASE * 1_000_000_000 + round(at * 1e9)
        head = struct.pack(order + "IIIII", link, stamp >> 32, stamp & 0xFFFFFFFF, len(framed), len(framed))
        data += block(6, head + framed)
    return data


def frame(packet: bytes, link: int) -> bytes:
    """A packet as it stands on a link."""
    kind = b"\x86\xdd" if packet[:1] and packet[0] >> 4 == 6 else b"\x08\x00"
    if link == ETHERNET:
        return (b"\2" * 12 + kind + packet).ljust(60, b"\0")
    if link == COOKED:
        return struct.pack("!HHH8s", 4, 1, 6, b"\2" * 6) + kind + packet
    if link == COOKED_2:
        return kind + struct.pack("!HIHBB8s", 0, 2, 1, 4, 6, b"\2" * 6) + packet
    if link in (LOOPBACK, OPEN_LOOPBACK):
        return b"\2\0\0\0" + packet
    return packet


def probe(
    ttl: int, sequence: int, *, family: int = 4, ports: tuple[int, int] = PORTS, flags: int = SYN, identification: int = 0
) -> bytes:
    """A probe as it leaves; the identification is the window in IPv6."""
    flow = VANTAGE[family], DESTINATION[family]
    if family == 4:
        segment = packets.tcp(*flow, ports, sequence, flags=flags)
        return packets.ipv4(*flow, TCP, segment, ttl=ttl, identification=identification)
    segment = packets.tcp(*flow, ports, sequence, flags=flags, window=identification or 64800)
    return packets.ipv6(*flow, TCP, segment, hop_limit=ttl)


def error(quoted: bytes, *, router: int = 1, kind: int | None = None, code: int = 0, quote: int = 1000) -> bytes:
    """An ICMP error about a packet, time exceeded by default, from the router with this number."""
    family = quoted[0] >> 4
    if family == 4:
        source = f"203.0.113.{router}"
        header = quoted[:8] + b"\1" + quoted[9:10] + b"\0\0" + quoted[12:20]
        quoted = header[:10] + struct.pack("!H", 0xFFFF ^ packets.sum_of(header)) + header[12:] + quoted[20:]
        return packets.ipv4(source, VANTAGE[4], ICMP, packets.icmpv4(11 if kind is None else kind, code, quoted[: 20 + quote]))
    source = f"{ROUTER[6][:-1]}{router:x}"
    quoted = quoted[:7] + b"\1" + quoted[8:]
    message = packets.icmpv6(source, VANTAGE[6], 3 if kind is None else kind, code, quoted[: 40 + quote])
    return packets.ipv6(source, VANTAGE[6], ICMPV6, message)


def reply(acknowledgment: int, *, family: int = 4, ports: tuple[int, int] = PORTS, flags: int = SYN | ACK) -> bytes:
    """The destination's answer."""
    flow = DESTINATION[family], VANTAGE[family]
    segment = packets.tcp(*flow, ports[::-1], 77, acknowledgment % 2**32, flags=flags)
    return packets.ipv4(*flow, TCP, segment, ttl=53) if family == 4 else packets.ipv6(*flow, TCP, segment, hop_limit=53)


def trace(family: int = 4, *, hops: int = 3, queries: int = 2, start: float = 0.0, port: int = 40001) -> list[Timed]:
    """A whole trace that keeps its source port and numbers its probes, each answered 5 ms times its TTL after it was sent."""
    timed, at, sequence = [], start, 5000
    for ttl in range(1, hops + 1):
        for _query in range(queries):
            sequence -= 7
            ports = (port, PORTS[1])
            sent = probe(ttl, sequence, family=family, ports=ports, identification=2000 + sequence)
            answer = error(sent, router=ttl) if ttl < hops else reply(sequence + 1, family=family, ports=ports)
            timed += [(at, sent), (at + 0.005 * ttl, answer)]
            at += 0.05
    return timed
