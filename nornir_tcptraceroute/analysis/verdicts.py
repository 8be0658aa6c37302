"""The verdict on a trace: what of all that is expected is met.

A verdict is only given where the trace proves it. Hops that answered nothing prove neither that an expected router was passed nor
that a forbidden one was not: what hangs on them is ``skipped``, and the sentence says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..probe.records import Trace
from .expectations import WORDS, Expectations
from .naming import Naming
from .proven_path import ProvenPath, Router, counted, network_of

__all__ = ("OUTCOMES", "Verdict", "judge", "unmeasured", "worst")

#: From the best to the worst.
OUTCOMES = ("success", "skipped", "failure", "error")
#: Fields that network address translation rewrites.
NAT_FIELDS = ("source", "source_port", "address", "port")


@dataclass(frozen=True)
class Verdict:
    """What became of one expectation.

    Attributes:
        name: the expectation's word, such as ``transit``.
        outcome: ``success``, ``failure``, ``error`` (nothing could be measured) or ``skipped`` (the trace proves neither).
        reason: one sentence.
        expected, actual: as JSON types; actual is None where it is not known.
    """

    name: str
    outcome: str
    reason: str
    expected: Any
    actual: Any

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON types."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def judge(trace: Trace, expectations: Expectations, naming: Naming | None = None) -> list[Verdict]:
    """Judge a trace.

    Arguments:
        trace: the trace, explained (``evidence.explain``) where ``unmodified`` is expected. Without ``naming``, names are those
            that its hops were labelled with.
        expectations: what is expected.
        naming: whose addresses are; every address of a hop is asked for.

    Returns:
        A verdict for each word that is expected, in the order of ``WORDS``.
    """
    if trace.stop_reason in {"error", "interrupted"}:
        what = "probes could not be sent" if trace.stop_reason == "error" else "the trace was interrupted"
        return unmeasured(expectations, f"{what}, so nothing is known of the path to {trace.destination} port {trace.port}")
    path = ProvenPath(trace, naming)
    return [_JUDGES[name](path, getattr(expectations, name)) for name in WORDS if getattr(expectations, name) is not None]


def unmeasured(expectations: Expectations, reason: str) -> list[Verdict]:
    """The verdicts where there is no trace: an error for each expectation.

    Arguments:
        expectations: what is expected.
        reason: why nothing could be measured, one sentence.
    """
    return [Verdict(name, "error", reason, value, None) for name, value in expectations.to_dict().items()]


def worst(verdicts: Sequence[Verdict]) -> str:
    """The worst outcome of several; ``success`` for none."""
    return max((verdict.outcome for verdict in verdicts), key=OUTCOMES.index, default="success")


def _unnamed(path: ProvenPath, name: str, places: Sequence[str]) -> Verdict | None:
    """The verdict where names are expected and the hops have none."""
    names = [place for place in places if network_of(place) is None]
    if path.named or not names or not path.routers:
        return None
    reason = f"{names[0]} is a name, and the hops of this trace have not been named: tell the networks and devices"
    return Verdict(name, "error", reason, list(places), None)


def _judge_reached(path: ProvenPath, expected: bool) -> Verdict:  # noqa: FBT001 - a value to compare with
    trace = path.trace
    reason = (
        f"{trace.destination} port {trace.port} answered at hop {path.distance}"
        if trace.reached
        else f"{trace.destination} port {trace.port} did not answer: the last to answer was {_last(path)}"
    )
    return Verdict("reached", "success" if trace.reached == expected else "failure", reason, expected, trace.reached)


def _last(path: ProvenPath) -> str:
    return path.routers[-1].text if path.routers else "no hop at all"


def _judge_port_state(path: ProvenPath, expected: tuple[str, ...]) -> Verdict:
    trace = path.trace
    met = trace.port_state in expected
    reason = f"port {trace.port} of {trace.destination} is {trace.port_state}" + ("" if met else f", not {' or '.join(expected)}")
    return Verdict("port_state", "success" if met else "failure", reason, list(expected), trace.port_state)


def _judge_transit(path: ProvenPath, expected: tuple[str, ...]) -> Verdict:
    unnamed = _unnamed(path, "transit", expected)
    if unnamed:
        return unnamed
    found = {operand: path.matching(operand) for operand in expected}
    actual = [f"{operand} at {routers[0].text}" for operand, routers in found.items() if routers]
    missing = " and ".join(operand for operand, routers in found.items() if not routers)
    if not missing:
        return Verdict("transit", "success", f"the path passes {'; '.join(actual)}", list(expected), actual)
    if path.known:
        return Verdict("transit", "failure", f"the path does not pass {missing}, and every hop answered", list(expected), actual)
    reason = f"no hop that answered is {missing}, but {path.gaps}"
    return Verdict("transit", "skipped", reason, list(expected), actual)


def _judge_ordered(path: ProvenPath, expected: tuple[str, ...]) -> Verdict:
    unnamed = _unnamed(path, "ordered", expected)
    if unnamed:
        return unnamed
    found = {operand: path.matching(operand) for operand in expected}
    actual = [f"{operand} at {routers[0].text}" for operand, routers in found.items() if routers]
    seen = [operand for operand in expected if found[operand]]
    missing = [operand for operand in expected if not found[operand]]
    told = f"{'; '.join(actual)}"
    after = 0
    # What was seen anywhere stands where it was seen; only what was not seen at all may be behind silence.
    for operand in seen:
        place = next((router.ttl for router in found[operand] if router.ttl > after), None)
        if place is None:
            return Verdict("ordered", "failure", f"the order is another: {told}", list(expected), actual)
        after = place
    if not missing:
        return Verdict("ordered", "success", f"the path passes {told}", list(expected), actual)
    if _fits(path, expected, found):
        reason = f"no hop that answered is {' and '.join(missing)}, but {path.gaps}"
        return Verdict("ordered", "skipped", reason, list(expected), actual)
    room = "every hop answered" if path.known else f"no silent hop is where it would have to be ({path.gaps})"
    return Verdict("ordered", "failure", f"the path does not pass {' and '.join(missing)}, and {room}", list(expected), actual)


def _fits(path: ProvenPath, expected: Sequence[str], found: Mapping[str, Sequence[Router]]) -> bool:
    """Whether what was not seen may stand behind silent hops, in the order that is expected."""
    after = 0
    for operand in expected:
        places = [router.ttl for router in found[operand]] or path.silent
        place = next((ttl for ttl in places if ttl > after), None)
        if place is None:
            if path.whole or found[operand]:
                return False
            place = max(after, path.end) + 1
        after = place
    return True


def _judge_forbidden(path: ProvenPath, expected: tuple[str, ...]) -> Verdict:
    unnamed = _unnamed(path, "forbidden", expected)
    if unnamed:
        return unnamed
    actual = [f"{operand} at {router.text}" for operand in expected for router in path.matching(operand)]
    avoided = " and ".join(expected)
    if actual:
        return Verdict("forbidden", "failure", f"the path passes {'; '.join(actual)}", list(expected), actual)
    if path.known:
        return Verdict("forbidden", "success", f"the path avoids {avoided}, and every hop answered", list(expected), actual)
    return Verdict("forbidden", "skipped", f"no hop that answered is {avoided}, but {path.gaps}", list(expected), actual)


def _judge_first_hop(path: ProvenPath, expected: tuple[str, ...]) -> Verdict:
    unnamed = _unnamed(path, "first_hop", expected)
    if unnamed:
        return unnamed
    if path.distance == 1:
        reason = "there is no router on the way: the destination itself is the first hop"
        return Verdict("first_hop", "failure", reason, list(expected), [])
    routers = path.at(1)
    if not routers:
        return Verdict("first_hop", "skipped", path.gaps, list(expected), None)
    return _judge_routers("first_hop", "the first hop", routers, expected)


def _judge_last_hop(path: ProvenPath, expected: tuple[str, ...]) -> Verdict:
    unnamed = _unnamed(path, "last_hop", expected)
    if unnamed:
        return unnamed
    if path.distance == 1:
        reason = "there is no router on the way: the destination itself is the first hop"
        return Verdict("last_hop", "failure", reason, list(expected), [])
    routers = path.at(path.end)
    if path.whole and routers:
        return _judge_routers("last_hop", "the last router", routers, expected)
    if path.whole or not routers:
        return Verdict("last_hop", "skipped", path.gaps, list(expected), None)
    reason = (
        f"which router is the last is not known: the destination did not answer, and the last to answer was {routers[0].text}"
    )
    return Verdict("last_hop", "skipped", reason, list(expected), [router.address for router in routers])


def _judge_routers(name: str, what: str, routers: Sequence[Router], expected: tuple[str, ...]) -> Verdict:
    actual = [router.address for router in routers]
    others = [router for router in routers if not any(router.in_place(operand) for operand in expected)]
    if others:
        reason = f"{what} is {others[0].text}, not {' or '.join(expected)}"
        return Verdict(name, "failure", reason, list(expected), actual)
    return Verdict(name, "success", f"{what} is {routers[0].text}", list(expected), actual)


def _judge_min_hops(path: ProvenPath, expected: int) -> Verdict:
    if path.distance is None:
        reason = f"the destination is at least {counted(path.passed + 1)} away: it did not answer, and {_last(path)} was the last"
        return Verdict("min_hops", "success" if path.passed + 1 >= expected else "skipped", reason, expected, None)
    if path.exact or path.distance < expected:
        outcome = "success" if path.distance >= expected else "failure"
        return Verdict("min_hops", outcome, f"the destination is {path.away}", expected, path.distance if path.exact else None)
    return Verdict("min_hops", "skipped", f"the destination is {path.away}, as the trace began there", expected, None)


def _judge_max_hops(path: ProvenPath, expected: int) -> Verdict:
    if path.distance is None:
        if path.passed >= expected:
            reason = f"the destination is more than {counted(expected)} away: {_last(path)} is still a router"
            return Verdict("max_hops", "failure", reason, expected, None)
        return Verdict("max_hops", "skipped", "the destination did not answer, so its distance is not known", expected, None)
    if path.exact or path.distance <= expected:
        outcome = "success" if path.distance <= expected else "failure"
        return Verdict("max_hops", outcome, f"the destination is {path.away}", expected, path.distance if path.exact else None)
    return Verdict("max_hops", "skipped", f"the destination is {path.away}, as the trace began there", expected, None)


def _judge_max_rtt_ms(path: ProvenPath, expected: float) -> Verdict:
    if path.distance is None:
        return Verdict("max_rtt_ms", "failure", "the destination did not answer, within any time", expected, None)
    # Of the destination's own answers: with per-packet balancing, a router may have answered at the same TTL.
    times = [
        reply.rtt_ms
        for reply in path.trace.hops[-1].replies
        if reply.rtt_ms is not None and not reply.duplicate and reply.kind != "time_exceeded"
    ]
    if not times:
        reason = "the destination's answers came too late to tell which probe they belong to, so they have no round-trip time"
        return Verdict("max_rtt_ms", "skipped", reason, expected, None)
    average = round(sum(times) / len(times), 3)
    reason = f"the round-trip time is {average:g} ms on average (from {min(times):g} to {max(times):g} ms)"
    return Verdict("max_rtt_ms", "success" if average <= expected else "failure", reason, expected, average)


def _judge_max_loss_pct(path: ProvenPath, expected: float) -> Verdict:
    if path.distance is None:
        outcome = "success" if expected == 100 else "failure"
        return Verdict("max_loss_pct", outcome, "the destination did not answer: all is lost", expected, 100.0)
    hop = path.trace.hops[-1]
    if hop.loss is None:
        return Verdict("max_loss_pct", "skipped", "no query was sent to the destination's hop", expected, None)
    loss = round(100 * hop.loss, 2)
    reason = f"{loss:g} % of the queries to the destination had no answer"
    if loss > expected and hop.silence == "rate_limited":
        return Verdict("max_loss_pct", "skipped", f"{reason}, because it limits its answers", expected, loss)
    return Verdict("max_loss_pct", "success" if loss <= expected else "failure", reason, expected, loss)


def _judge_no_nat(path: ProvenPath, expected: bool) -> Verdict:  # noqa: FBT001 - it is always true
    actual = []
    for hop in path.trace.hops:
        altered = [field for field in NAT_FIELDS if any(field in reply.altered for reply in hop.replies)]
        if altered:
            actual.append(f"{' and '.join(altered)} at hop {hop.ttl} ({hop.address})")
    if actual:
        return Verdict("no_nat", "failure", f"the path translates {actual[0]}", expected, actual)
    return _nothing_rewritten(path, "no_nat", "translated address or port", expected)


def _judge_unmodified(path: ProvenPath, expected: bool) -> Verdict:  # noqa: FBT001 - it is always true
    hops = path.trace.hops
    actual = [
        f"{change.field} {change.sent} -> {change.seen} at hop {hop.ttl} ({hop.address})"
        for hop in hops
        for change in hop.modified or ()
    ]
    if actual:
        return Verdict("unmodified", "failure", f"the path rewrites {'; '.join(actual)}", expected, actual)
    furthest = next((hop for hop in reversed(hops) if any(reply.quoted for reply in hop.replies)), None)
    if furthest is not None and furthest.unseen:
        reason = (
            f"hop {furthest.ttl} ({furthest.address}) quotes too little of the probe to show its {', '.join(furthest.unseen)}"
        )
        return Verdict("unmodified", "skipped", reason, expected, [])
    return _nothing_rewritten(path, "unmodified", "rewritten field", expected)


def _nothing_rewritten(path: ProvenPath, name: str, what: str, expected: bool) -> Verdict:  # noqa: FBT001 - it is always true
    """The verdict where no quote shows a change: a success where the quotes reach to the end of the path."""
    quoting = [hop.ttl for hop in path.trace.hops if any(reply.quoted for reply in hop.replies)]
    furthest = max(quoting, default=0)
    if path.whole and furthest >= path.end:
        return Verdict(name, "success", f"no hop up to the last router shows a {what}", expected, [])
    if not quoting:
        return Verdict(name, "skipped", f"no hop quotes the probe, so no {what} could be seen", expected, None)
    reason = f"no hop up to hop {furthest} shows a {what}, and what lies beyond could not be seen"
    return Verdict(name, "skipped", reason, expected, [])


_JUDGES: dict[str, Callable[[ProvenPath, Any], Verdict]] = {
    "reached": _judge_reached,
    "port_state": _judge_port_state,
    "transit": _judge_transit,
    "ordered": _judge_ordered,
    "forbidden": _judge_forbidden,
    "first_hop": _judge_first_hop,
    "last_hop": _judge_last_hop,
    "min_hops": _judge_min_hops,
    "max_hops": _judge_max_hops,
    "max_rtt_ms": _judge_max_rtt_ms,
    "max_loss_pct": _judge_max_loss_pct,
    "unmodified": _judge_unmodified,
    "no_nat": _judge_no_nat,
}
