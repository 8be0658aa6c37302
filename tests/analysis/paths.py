"""Traces written short, for the tables of the tests here: a list of hops, each an address, several, or None for silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nornir_tcptraceroute.probe.records import Hop, ProbeShape, Quoted, Reply, RoundTrip, Trace

TARGET, SOURCE = "198.51.100.9", "10.0.0.2"
Stop = str | Sequence[str] | None


def reply(address: str, kind: str, **fields: Any) -> Reply:
    """An answer, as the probe records it."""
    quoted = None if kind == "tcp" else Quoted(1, 0, SOURCE, 40000, TARGET, 443)
    icmp = {"time_exceeded": (11, 0), "unreachable": (3, 13), "tcp": (None, None)}[kind]
    defaults: dict[str, Any] = {"query": 1, "rtt_ms": 1.0, "icmp_type": icmp[0], "icmp_code": icmp[1], "quoted": quoted}
    return Reply(kind=kind, address=address, **{**defaults, **fields})


def hop(ttl: int, *replies: Reply, **fields: Any) -> Hop:
    """A hop of these replies; of none, a silent one."""
    answers = replies or tuple(Reply(query=number, kind="timeout") for number in (1, 2, 3))
    addresses = tuple(dict.fromkeys(answer.address for answer in answers if answer.address is not None))
    times = [answer.rtt_ms for answer in answers if answer.rtt_ms is not None]
    defaults: dict[str, Any] = {
        "address": addresses[0] if addresses else None,
        "addresses": addresses,
        "name": None,
        "rtt_ms": RoundTrip.of(times),
        "loss": sum(answer.kind == "timeout" for answer in answers) / len(answers),
        "silence": None if replies else "silent",
    }
    return Hop(ttl=ttl, replies=answers, **{**defaults, **fields})


def path(*stops: Stop, end: str | None = "open", first_ttl: int = 1, final: Hop | None = None, **fields: Any) -> Trace:
    """A trace.

    Arguments:
        stops: the routers. end: the port's state where the destination answers after them; ``refused`` where the last of them
            refuses to pass anything on; None where nothing more answers.
        final: the destination's hop, where it is not the plainest.
        fields: of the trace, where they are not what follows.
    """
    hops = [
        hop(ttl, *(reply(address, "time_exceeded") for address in ([stop] if isinstance(stop, str) else stop or ())))
        for ttl, stop in enumerate(stops, first_ttl)
    ]
    reached = end in {"open", "closed"}
    if reached:
        ttl = len(hops) + first_ttl
        hops.append(final or hop(ttl, *(reply(TARGET, "tcp", query=query, rtt_ms=float(query)) for query in (1, 2, 3))))
    elif end == "refused":
        last = hops.pop()
        assert last.address is not None
        hops.append(hop(last.ttl, reply(last.address, "unreachable")))
    defaults: dict[str, Any] = {
        "destination": "web.example",
        "address": TARGET,
        "family": 4,
        "port": 443,
        "vantage": "client",
        "source": SOURCE,
        "source_port": 40000,
        "interface": None,
        "method": "raw",
        "probe": ProbeShape("SYN", "none", 40, 0, dont_fragment=False),
        "started_at": "2026-01-01T00:00:00.000Z",
        "elapsed_ms": 10.0,
        "reached": reached,
        "port_state": {"refused": "unreachable", None: "filtered"}.get(end, end),
        "stop_reason": {"refused": "unreachable", None: "max_ttl"}.get(end, "reached"),
        "hops": tuple(hops),
        "counters": {},
    }
    return Trace(**{**defaults, **fields})
