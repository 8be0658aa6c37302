# BSD-3-Clause, see LICENSE
"""Keeps a trace small enough for a task's result: what explains is left out before what is measured, and the record says so."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Set, Tuple

from .probe.record_class import replaced
from .probe.records import Hop, Reply, Trace

__all__ = ("MOST_BYTES", "within_bounds")

#: The largest record of a trace as JSON, in bytes.
MOST_BYTES = 64 << 10


def within_bounds(trace: Trace) -> Dict[str, Any]:
    """The record of a trace as JSON types, at most 64 KiB.

    Arguments:
        trace: as it was measured; up to 255 hops of 50 queries each, which may be some megabytes.

    Returns:
        The record; where something had to be left out, with a warning that says what.
    """
    record = trace.to_dict()
    hops = trace.hops
    for what, reduced in _REDUCTIONS:
        if len(json.dumps(record)) <= MOST_BYTES:
            break
        # Every answer among the packets stands with its reply as well.
        trace = replaced(trace, packets=None)
        hops = tuple(reduced(hop) for hop in hops)
        warning = "The trace was larger than {} KiB, so {}: ask for less evidence, fewer queries or fewer hops".format(
            MOST_BYTES >> 10, what
        )
        record = replaced(trace, hops=hops, warnings=(*trace.warnings, warning)).to_dict()
    return record


def _with_replies(hop: Hop, change: Callable[[Reply], Reply]) -> Hop:
    return replaced(hop, replies=tuple(change(reply) for reply in hop.replies))


def _unchanged(hop: Hop) -> Hop:
    return hop


def _first_evidence(hop: Hop) -> Hop:
    """A hop with the first evidence from each address."""
    seen: Set[Any] = set()

    def change(reply: Reply) -> Reply:
        if reply.evidence is None or reply.address not in seen:
            seen.update([reply.address] if reply.evidence is not None else [])
            return reply
        return replaced(reply, evidence=None)

    return _with_replies(hop, change)


def _no_evidence(hop: Hop) -> Hop:
    return _with_replies(hop, lambda reply: replaced(reply, evidence=None))


def _no_replies(hop: Hop) -> Hop:
    return replaced(hop, replies=())


def _no_findings(hop: Hop) -> Hop:
    return replaced(
        hop,
        addresses=hop.addresses[:1],
        mpls=None,
        interface=None,
        modified=None,
        unseen=None,
        network=None,
        device=None,
        notes=None,
    )


def _bare(hop: Hop) -> Hop:
    return replaced(hop, name=None, rtt_ms=None)


#: What is left out and how, each step besides those before it. The last fits whatever a path answers: 255 hops of 200 bytes.
_REDUCTIONS: Tuple[Tuple[str, Callable[[Hop], Hop]], ...] = (
    ("its packets were left out", _unchanged),
    ("only the first evidence from each address of a hop was kept", _first_evidence),
    ("no evidence was kept", _no_evidence),
    ("no single replies were kept", _no_replies),
    ("no single replies, no findings and one address for each hop were kept", _no_findings),
    ("one address for each hop was kept, without replies, findings, names and times", _bare),
)
