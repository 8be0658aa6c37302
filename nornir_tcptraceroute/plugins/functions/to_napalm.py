"""Traces in the schema of NAPALM's `traceroute()`, for code that reads those."""

from __future__ import annotations

from typing import Any

from ...probe.records import Trace


def to_napalm(trace: Trace) -> dict[str, Any]:
    """Turn a trace into what NAPALM's getter returns.

    NAPALM knows no port, no port state and no null: what is unknown is `*`, and the round-trip time of a silent probe is 0.0.

    Arguments:
        trace: the record.

    Returns:
        ``{"success": {ttl: {"probes": {query: {"rtt", "ip_address", "host_name"}}}}}``, ttl and query integers from 1, rtt in ms.
    """
    return {
        "success": {
            hop.ttl: {
                "probes": {
                    number: {
                        "rtt": reply.rtt_ms or 0.0,
                        "ip_address": reply.address or "*",
                        "host_name": reply.name or reply.address or "*",
                    }
                    for number, reply in enumerate(hop.replies, start=1)
                }
            }
            for hop in trace.hops
        }
    }
