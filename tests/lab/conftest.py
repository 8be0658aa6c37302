"""Labs for tests, and a prober of our own that runs inside them: what it reports is what was on the wire."""

from __future__ import annotations

import inspect
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology, parse_topology

__all__ = ("Lab", "LabFactory", "Prober")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    LabFactory = Callable[[str], Lab]
    Prober = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def lab() -> Iterator[LabFactory]:
    """Brings up a lab, shipped (by name) or inline (by text), once for all tests."""
    running: dict[str, Lab] = {}

    def bring_up(name_or_text: str) -> Lab:
        if name_or_text not in running:
            inline = "\n" in name_or_text
            created = Lab(parse_topology(name_or_text) if inline else load_topology(name_or_text))
            try:
                created.start()
            except NamespaceError as error:
                pytest.skip(str(error))
            running[name_or_text] = created
        return running[name_or_text]

    yield bring_up
    for started in running.values():
        started.close()


def send_probes(  # noqa: C901 - one function, because its source alone goes into the lab
    destination: str,
    port: int,
    first_ttl: int,
    last_ttl: int,
    source_port: int,
    sequence: int,
    tos: int,
    options: str,
    payload: int,
    wait: float,
    silent_ttls: list[int],
    waited_for: bool,  # noqa: FBT001 - from JSON
) -> list[dict[str, Any]]:
    """Send one TCP SYN for each TTL, and tell what came back. Runs in the lab, alone: it uses nothing of this file.

    IPv4 raw sockets deliver IP headers, IPv6 ones don't. Probes don't fragment and ignore the path MTU. The sequence number is
    `sequence` plus the TTL. Every answer is waited for, up to `wait` seconds, and 0.2 s where silence is expected; without
    `waited_for`, all probes go at once, and answers are collected for `wait` seconds.
    """
    import ipaddress  # noqa: PLC0415, RUF100
    import select  # noqa: PLC0415, RUF100
    import socket  # noqa: PLC0415, RUF100
    import struct  # noqa: PLC0415, RUF100
    import time  # noqa: PLC0415, RUF100

    version = ipaddress.ip_address(destination).version
    family, icmp_protocol = {4: (socket.AF_INET, 1), 6: (socket.AF_INET6, 58)}[version]
    with socket.socket(family, socket.SOCK_DGRAM) as route:
        route.connect((destination, port))
        source = route.getsockname()[0]
    tcp = socket.socket(family, socket.SOCK_RAW, 6)
    icmp = socket.socket(family, socket.SOCK_RAW, icmp_protocol)
    tcp.bind((source, 0))
    if version == 4:
        tcp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        tcp.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    else:
        tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
        tcp.setsockopt(socket.IPPROTO_IPV6, 23, 3)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE
        tcp.setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG

    def packed(address: str) -> bytes:
        return ipaddress.ip_address(address).packed

    def segment(ttl: int) -> bytes:
        extra = bytes.fromhex(options)
        data = bytes(payload)
        length = 20 + len(extra) + len(data)
        header = (
            struct.pack("!HHIIBBHHH", source_port, port, sequence + ttl, 0, (20 + len(extra)) // 4 << 4, 2, 64240, 0, 0)
            + extra
            + data
        )
        summed = packed(source) + packed(destination) + struct.pack("!II", length, 6) + header + b"\0" * (length % 2)
        total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return header[:16] + struct.pack("!H", ~total & 0xFFFF) + header[18:]

    def read_icmp() -> dict[str, Any] | None:
        packet, sender = icmp.recvfrom(65535)
        message = packet[(packet[0] & 15) * 4 :] if version == 4 else packet
        errors = (3, 11) if version == 4 else (1, 2, 3, 4)
        if message[0] not in errors:
            return None
        quote = message[8:]
        transport = quote[(quote[0] & 15) * 4 :] if version == 4 else quote[40:]
        ports, number = struct.unpack_from("!4xI", transport)[0], struct.unpack_from("!H", transport)[0]
        told = {
            "address": sender[0],
            "kind": "icmp",
            "type": message[0],
            "code": message[1],
            "mtu": struct.unpack_from("!I", message, 4)[0],
        }
        return (
            {**told, "quote": quote.hex(), "transport": transport.hex(), "quoted_sequence": ports}
            if number == source_port
            else None
        )

    def read_tcp() -> dict[str, Any] | None:
        packet, sender = tcp.recvfrom(65535)
        transport = packet[(packet[0] & 15) * 4 :] if version == 4 else packet
        source_of_reply, destination_of_reply, number, acknowledged, _, flags = struct.unpack_from("!HHIIBB", transport)
        if (source_of_reply, destination_of_reply) != (port, source_port):
            return None
        return {"address": sender[0], "kind": "tcp", "flags": flags, "sequence": number, "acknowledged": acknowledged}

    def collect(seconds: float, wanted: int) -> list[dict[str, Any]]:
        collected: list[dict[str, Any]] = []
        end = time.monotonic() + seconds
        while len(collected) < wanted:
            ready = select.select([icmp, tcp], [], [], max(0.0, end - time.monotonic()))[0]
            if not ready:
                break
            for readable in ready:
                told = read_icmp() if readable is icmp else read_tcp()
                if told is not None:
                    collected.append(told)
        return collected

    replies: list[dict[str, Any]] = []
    count = last_ttl - first_ttl + 1
    for ttl in range(first_ttl, last_ttl + 1):
        if version == 4:
            tcp.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, min(ttl, 255))
        else:
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, min(ttl, 255))
        tcp.sendto(segment(ttl), (destination, 0))
        if waited_for:
            answers = collect(0.2 if ttl in silent_ttls else wait, 1) or [{"address": None, "kind": None}]
            replies.append({**answers[0], "ttl": ttl})
            if answers[0]["kind"] == "tcp" or answers[0].get("type") == (3 if version == 4 else 1):
                return replies
    return replies if waited_for else collect(wait, count)


@pytest.fixture(scope="session")
def prober() -> Prober:
    """Sends TCP SYNs of one flow from a node of a lab, and tells what came back, see send_probes."""
    # A flow of its own for each call: what the destination remembers of an earlier one doesn't matter.
    ports = iter(range(30000, 60000))

    def probe(lab: Lab, destination: str, **options: Any) -> list[dict[str, Any]]:
        defaults: dict[str, Any] = {"port": 80, "first_ttl": 1, "last_ttl": 30, "source_port": next(ports)}
        defaults |= {"sequence": 1000, "tos": 0}
        defaults |= {"options": "", "payload": 0, "wait": 10.0, "silent_ttls": [], "waited_for": True}
        source = f"from __future__ import annotations\nimport json, sys\n{inspect.getsource(send_probes)}\n"
        script = f"{source}\nprint(json.dumps(send_probes({destination!r}, **json.loads(sys.argv[1]))))"
        node = options.pop("node", lab.topology.vantage)
        ended = lab.run(node, [sys.executable, "-I", "-S", "-c", script, json.dumps({**defaults, **options})])
        assert ended.returncode == 0, ended.stderr
        replies: list[dict[str, Any]] = json.loads(ended.stdout)
        return replies

    return probe
