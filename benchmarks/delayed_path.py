"""Answers for a path of routers and a destination behind one interface, each after its delay; runs on a node of a lab.

Usage: delayed_path.py SERVER ROUTERS STEP_MS. The routers are 198.18.TTL.1, each STEP_MS further away (round trip); the server
listens behind them and keeps a connection half open until the RST arrives, as a kernel does. Prints "ready" when it answers.
"""

from __future__ import annotations

import heapq
import select
import socket
import struct
import sys
import time
from itertools import count

SYN, RST, ACK = 2, 4, 16
ETH_P_IP = 0x0800


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    """An IPv4 packet."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, source, destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def time_exceeded(probe: bytes, ttl: int) -> bytes:
    """What the router at a TTL sends back for a probe."""
    quoted = probe[:8] + b"\1" + probe[9:28]
    message = struct.pack("!BBHI", 11, 0, 0, 0) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ip_packet(socket.inet_aton(f"198.18.{ttl}.1"), probe[12:16], socket.IPPROTO_ICMP, message)


def syn_ack(probe: bytes) -> bytes:
    """What the listening destination sends back for a SYN."""
    source_port, port, sequence = struct.unpack_from("!HHI", probe, 20)
    segment = struct.pack("!HHIIBBHHH", port, source_port, 77, (sequence + 1) % 2**32, 80, SYN | ACK, 64240, 0, 0)
    pseudo = probe[16:20] + probe[12:16] + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    return ip_packet(probe[16:20], probe[12:16], socket.IPPROTO_TCP, segment)


def main() -> None:
    """Answer until the process is killed."""
    server, routers, step = socket.inet_aton(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
    rtt = step * (routers + 1)
    arriving = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    # A packet socket: the node's firewall, which keeps its own ICMP errors back, does not see what leaves here.
    leaving = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    due: list[tuple[float, int, bytes, bytes | None, tuple[str, int, int, int, bytes]]] = []
    order = count()
    half_open: set[bytes] = set()
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, _, packet, answer, back = heapq.heappop(due)
            flow = packet[12:24]
            if answer is not None:
                leaving.sendto(answer, back)
            elif packet[33] & RST:
                half_open.discard(flow)
            elif packet[33] & SYN and flow not in half_open:
                half_open.add(flow)
                heapq.heappush(due, (now + rtt / 2, next(order), packet, syn_ack(packet), back))
        if not select.select([arriving], [], [], max(0.0, due[0][0] - now) if due else None)[0]:
            continue
        packet, place = arriving.recvfrom(65535)
        if place[2] == socket.PACKET_OUTGOING or packet[16:20] != server or packet[9] != socket.IPPROTO_TCP:
            continue
        ttl, back = packet[8], (place[0], ETH_P_IP, 0, 0, place[4])
        if ttl <= routers:
            heapq.heappush(due, (time.monotonic() + step * ttl, next(order), packet, time_exceeded(packet, ttl), back))
        else:
            heapq.heappush(due, (time.monotonic() + rtt / 2, next(order), packet, None, back))


if __name__ == "__main__":
    main()
