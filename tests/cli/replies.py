"""Short forms of replies and hops, for the tables of the tests here."""

from __future__ import annotations

from dataclasses import replace

from nornir_tcptraceroute.probe.records import Hop, ProbeShape, Quoted, Reply, RoundTrip, Trace

TARGET = "198.51.100.9"


def star() -> Reply:
    return Reply(query=1, kind="timeout")


def transit(address: str, rtt_ms: float | None = 1.0) -> Reply:
    return Reply(query=1, kind="time_exceeded", address=address, rtt_ms=rtt_ms, icmp_type=11, icmp_code=0)


def tcp(flags: str, rtt_ms: float = 1.0, address: str = TARGET) -> Reply:
    return Reply(query=1, kind="tcp", address=address, rtt_ms=rtt_ms, tcp_flags=flags)


def unreachable(address: str, code: int, rtt_ms: float = 1.0, *, icmp_type: int = 3) -> Reply:
    return Reply(query=1, kind="unreachable", address=address, rtt_ms=rtt_ms, icmp_type=icmp_type, icmp_code=code)


def send_error(error: str) -> Reply:
    return Reply(query=1, kind="send_error", error=error)


def rewritten(reply: Reply, address: str, port: int = 80) -> Reply:
    """The reply, with a quote that has another destination than the target's port 80."""
    altered = (*(("address",) if address != TARGET else ()), *(("port",) if port != 80 else ()))
    return replace(reply, quoted=Quoted(1, 0, "10.1.0.2", 40000, address, port), altered=altered)


def hop(ttl: int, *replies: Reply) -> Hop:
    """A hop of these replies, numbered in their order."""
    addresses = tuple(dict.fromkeys(reply.address for reply in replies if reply.address is not None))
    times = [reply.rtt_ms for reply in replies if reply.rtt_ms is not None]
    return Hop(
        ttl=ttl,
        address=addresses[0] if addresses else None,
        addresses=addresses,
        name=None,
        replies=tuple(replace(reply, query=number) for number, reply in enumerate(replies, 1)),
        rtt_ms=RoundTrip.of(times),
        loss=1 - len(times) / len(replies) if replies else None,
    )


def trace(*hops: Hop, reached: bool = False, port_state: str = "unknown", stop_reason: str = "max_ttl") -> Trace:
    return Trace(
        destination=TARGET,
        address=TARGET,
        family=4,
        port=80,
        vantage="client",
        source="10.1.0.2",
        source_port=40000,
        interface=None,
        method="raw",
        probe=ProbeShape("SYN", "none", 40, 0, dont_fragment=False),
        started_at="2026-01-01T00:00:00.000Z",
        elapsed_ms=1.0,
        reached=reached,
        port_state=port_state,
        stop_reason=stop_reason,
        hops=hops,
        counters={},
    )
