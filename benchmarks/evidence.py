"""What opening the evidence of 1000 traces of 12 hops costs: where nothing differs from what was sent, and where all does."""

from __future__ import annotations

import struct
import sys
import time
from base64 import b64encode
from socket import AF_INET, inet_pton

from nornir_tcptraceroute import Hop, ProbeShape, Quoted, Reply, RoundTrip, Trace, TraceOptions
from nornir_tcptraceroute.analysis import explain
from nornir_tcptraceroute.probe.wire import ProbeBuilder, checksum

TRACES, HOPS, QUERIES = 1000, 12, 3
GOAL_S = 10.0
SOURCE, DESTINATION, PORT, SOURCE_PORT, TOS = "192.0.2.1", "198.51.100.9", 443, 40001, 184
MSS_AT, SACK_AT = 20 + 22, 20 + 24


def extension(number: int, ttl: int) -> bytes:
    """A label stack and an interface (RFC 4950, RFC 5837) that no other hop of any trace has."""
    stack = struct.pack("!II", (number * HOPS + ttl) << 12 | 1, ttl << 12 | 0x101)
    name = f"ge-0/0/{ttl}.{number}".encode().ljust(19, b"\0")
    interface = struct.pack("!I", number * HOPS + ttl) + bytes([20]) + name
    body = struct.pack("!HBB", 12, 1, 1) + stack + struct.pack("!HBB", 4 + len(interface), 2, 0x0A) + interface
    return b"\x20\0" + struct.pack("!H", checksum(b"\x20\0\0\0" + body)) + body


def evidence(builder: ProbeBuilder, number: int, ttl: int, query: int, *, notable: bool) -> str:
    """A time exceeded, from its IP header on; a notable one quotes another DSCP, MSS and option, and carries an extension."""
    quoted = bytearray(builder.build(1, 1_000_000 * ttl + query, 0, 2000 + ttl))
    rest, behind = bytes(4), b""
    if notable:
        quoted[1] = ttl << 2
        struct.pack_into("!H", quoted, MSS_AT, 1000 + number + ttl)
        struct.pack_into("!H", quoted, SACK_AT, 0x0101 if ttl % 2 else 0x0402)
        rest, behind = b"\0\x20\0\0", extension(number, ttl)
        quoted = quoted.ljust(128, b"\0")
    message = b"\x0b\0\0\0" + rest + bytes(quoted) + behind
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    addresses = inet_pton(AF_INET, f"10.0.{ttl}.1") + inet_pton(AF_INET, SOURCE)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 64, 1, 0) + addresses
    return b64encode(header + message).decode()


def hop(builder: ProbeBuilder, number: int, ttl: int, *, notable: bool) -> Hop:
    """A hop whose router quotes the probe; the last is the destination's, which answers with TCP."""
    address = DESTINATION if ttl == HOPS else f"10.0.{ttl}.1"
    replies = []
    for query in range(1, QUERIES + 1):
        if ttl == HOPS:
            replies.append(Reply(query, "tcp", address, rtt_ms=1.0, reply_ttl=52, tcp_flags="SYN,ACK"))
            continue
        kept = evidence(builder, number, ttl, query, notable=notable) if notable or query == 1 else None
        quoted = Quoted(1, ttl << 2 if notable else TOS, SOURCE, SOURCE_PORT, DESTINATION, PORT)
        replies.append(
            Reply(
                query, "time_exceeded", address, rtt_ms=1.0, reply_ttl=64, icmp_type=11, icmp_code=0, quoted=quoted, evidence=kept
            )
        )
    return Hop(ttl, address, (address,), None, tuple(replies), RoundTrip.of([1.0]), 0.0)


def traced(number: int, *, notable: bool) -> Trace:
    """A trace as the probe records it: the first reply of each hop kept, or, where all are notable, all."""
    options = TraceOptions(DESTINATION, port=PORT, tcp_options="linux", tos=TOS)
    builder = ProbeBuilder(options, 4, SOURCE, DESTINATION, SOURCE_PORT, 1, number)
    return Trace(
        destination=DESTINATION,
        address=DESTINATION,
        family=4,
        port=PORT,
        vantage="vantage",
        source=SOURCE,
        source_port=SOURCE_PORT,
        interface=None,
        method="raw",
        probe=ProbeShape(options.flags, options.tcp_options, builder.length, TOS, dont_fragment=False),
        started_at="2026-01-01T00:00:00.000Z",
        elapsed_ms=100.0,
        reached=True,
        port_state="open",
        stop_reason="reached",
        hops=tuple(hop(builder, number, ttl, notable=notable) for ttl in range(1, HOPS + 1)),
        counters={"sent": HOPS * QUERIES},
    )


def measured(*, notable: bool) -> tuple[float, int]:
    """Seconds of CPU time that it takes to explain all traces, and how many findings there were."""
    traces = [traced(number, notable=notable) for number in range(TRACES)]
    began = time.process_time()
    explained = [explain(trace) for trace in traces]
    seconds = time.process_time() - began
    hops = [found for trace in explained for found in trace.hops]
    return seconds, sum(len(found.modified or ()) + len(found.mpls or ()) + len(found.interface or ()) for found in hops)


def main() -> int:
    """Print the table; returns 1 where the goal is missed or the findings are not those that were put in."""
    print(f"{TRACES} traces of {HOPS} hops, {QUERIES} replies each:")
    results = {}
    for name, notable in (
        ("nothing differs", False),
        ("every reply has labels, an interface, other DSCP, MSS and options", True),
    ):
        seconds, findings = measured(notable=notable)
        results[name] = seconds, findings
        print(f"  {name}: {seconds:.2f} s of CPU time, {findings} findings")
    (plain, none), (notable_s, some) = results.values()
    met = max(plain, notable_s) <= GOAL_S and none == 0 and some >= TRACES * (HOPS - 1) * 5
    print(f"Goal (at most {GOAL_S:.0f} s each, all found):", "met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
