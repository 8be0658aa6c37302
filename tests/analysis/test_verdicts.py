"""A table of cases for each word, and the rule behind all of them: a verdict only where the trace proves it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.analysis import explain
from nornir_tcptraceroute.analysis.expectations import WORDS, Expectations
from nornir_tcptraceroute.analysis.naming import Naming, label
from nornir_tcptraceroute.analysis.verdicts import Verdict, judge, unmeasured, worst
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.records import Modification, Reply, Trace
from tests.analysis.paths import TARGET, hop, path, reply
from tests.analysis.quoting_network import QuotingNetwork, unchanged
from tests.strategies import traces
from tests.unit.virtual_network import Path, Router, router_address

A, B, C, D = "10.0.1.1", "10.0.2.1", "10.0.3.1", "10.0.4.1"
NAMING = Naming(
    networks={"dc1": ["10.0.1.0/24", "10.0.2.0/24"], "dc1-edge": ["10.0.2.1/32"], "dc2": ["10.0.3.0/24"]},
    devices={A: "edge1", B: ["core1", "Core 1, spare"], D: "core1"},
)
WHOLE = path(A, B, C)
SILENT_SECOND = path(A, None, C)
FILTERED = path(A, B, None, None, end=None)
REFUSED = path(A, B, C, end="refused")
REFUSED_BEHIND = path(A, B, B, end="refused")
# A router that is passed twice, and refuses once.
LOOPED = path(A, B, B, end="refused")
LOOPED = replace(LOOPED, hops=(*LOOPED.hops[:2], hop(3, reply(B, "time_exceeded"), reply(B, "unreachable"))))
NOTHING = path(None, None, None, end=None)
BALANCED = path(A, (B, D), C)
DIRECT = path()
FROM_3 = path(C, D, first_ttl=3)
BEHIND = path(first_ttl=5)


def one(trace: Trace, naming: Naming | None = NAMING, **expected: Any) -> Verdict:
    (verdict,) = judge(trace, Expectations.from_dict(expected), naming)
    assert verdict.name in expected
    return verdict


def nat(trace: Trace, ttl: int, *altered: str) -> Trace:
    """The trace with fields of the quotes altered from a hop on."""
    hops = [
        replace(each, replies=tuple(replace(one, altered=altered) if one.quoted else one for one in each.replies))
        if each.ttl >= ttl
        else each
        for each in trace.hops
    ]
    return replace(trace, hops=tuple(hops))


def changed(trace: Trace, ttl: int, **fields: Any) -> Trace:
    """The trace with fields of one hop changed."""
    return replace(trace, hops=tuple(replace(each, **fields) if each.ttl == ttl else each for each in trace.hops))


DSCP = (Modification("dscp", "46", "0", 1),)
RATE_LIMITED = path(A, final=hop(2, reply(TARGET, "tcp"), Reply(query=2, kind="timeout"), silence="rate_limited"))
LOSSY = path(A, final=hop(2, reply(TARGET, "tcp"), Reply(query=2, kind="timeout"), silence="lost"))
UNTIMED = path(A, final=hop(2, reply(TARGET, "tcp", rtt_ms=None)))
MIXED = path(A, final=hop(2, reply(B, "time_exceeded", rtt_ms=90.0), reply(TARGET, "tcp", rtt_ms=4.0)))
DUPLICATED = path(A, final=hop(2, reply(TARGET, "tcp", rtt_ms=4.0), reply(TARGET, "tcp", rtt_ms=900.0, duplicate=True)))

CASES: list[tuple[Trace, dict[str, Any], str, str]] = [
    # trace, what is expected, outcome, part of the sentence
    (WHOLE, {"reached": True}, "success", "web.example port 443 answered at hop 4"),
    (WHOLE, {"reached": False}, "failure", "answered at hop 4"),
    (FILTERED, {"reached": True}, "failure", "did not answer: the last to answer was hop 2 (Core 1\\x2c spare, core1, 10.0.2.1)"),
    (FILTERED, {"reached": False}, "success", "did not answer"),
    (NOTHING, {"reached": True}, "failure", "the last to answer was no hop at all"),
    (path(A, end="closed"), {"reached": True}, "success", "answered"),
    (WHOLE, {"port_state": "open"}, "success", "port 443 of web.example is open"),
    (WHOLE, {"port_state": ["closed", "filtered"]}, "failure", "is open, not closed or filtered"),
    (FILTERED, {"port_state": ["closed", "filtered"]}, "success", "is filtered"),
    (REFUSED, {"port_state": "open"}, "failure", "is unreachable, not open"),
    # Transit: addresses, prefixes, networks, devices; all of them.
    (WHOLE, {"transit": B}, "success", f"the path passes {B} at hop 2"),
    (WHOLE, {"transit": ["10.0.3.0/24", "dc1"]}, "success", "10.0.3.0/24 at hop 3 (10.0.3.1); dc1 at hop 1 (edge1, 10.0.1.1)"),
    (WHOLE, {"transit": "core1"}, "success", "core1 at hop 2"),
    (WHOLE, {"transit": "Core 1, spare"}, "success", "at hop 2"),
    (WHOLE, {"transit": "dc1-edge"}, "success", "at hop 2"),
    (WHOLE, {"transit": ["dc1", "dc3"]}, "failure", "the path does not pass dc3, and every hop answered"),
    (WHOLE, {"transit": TARGET}, "failure", "does not pass"),
    (BALANCED, {"transit": [B, D]}, "success", f"{D} at hop 2"),
    (SILENT_SECOND, {"transit": "core1"}, "skipped", "no hop that answered is core1, but hop 2 is silent"),
    (SILENT_SECOND, {"transit": C}, "success", "at hop 3"),
    (FILTERED, {"transit": C}, "skipped", "but nothing is known beyond hop 2"),
    (REFUSED, {"transit": D}, "failure", "does not pass"),
    (NOTHING, {"transit": "dc1"}, "skipped", "no hop answered"),
    (FROM_3, {"transit": A}, "skipped", "hops 1-2 were not probed"),
    (path(A, None, None, C, None), {"transit": D}, "skipped", "hops 2-3 and 5 are silent"),
    (DIRECT, {"transit": A}, "failure", "does not pass"),
    # Ordered.
    (WHOLE, {"ordered": ["edge1", "core1", C]}, "success", "core1 at hop 2"),
    (WHOLE, {"ordered": ["dc1", "dc2"]}, "success", "dc1 at hop 1"),
    (WHOLE, {"ordered": [C, A]}, "failure", f"the order is another: {C} at hop 3 ({C}); {A} at hop 1"),
    (path(A, B, D), {"ordered": ["core1", B]}, "failure", "the order is another"),
    (path(B, A, D), {"ordered": ["edge1", "core1"]}, "success", "edge1 at hop 2"),
    (BALANCED, {"ordered": [B, D]}, "failure", "the order is another"),
    (WHOLE, {"ordered": [A, D]}, "failure", f"does not pass {D}, and every hop answered"),
    (SILENT_SECOND, {"ordered": [A, B, C]}, "skipped", f"no hop that answered is {B}, but hop 2 is silent"),
    (SILENT_SECOND, {"ordered": [A, C, B]}, "failure", "no silent hop is where it would have to be (hop 2 is silent)"),
    (SILENT_SECOND, {"ordered": [A, B, D, C]}, "failure", f"does not pass {B} and {D}, and no silent hop"),
    (SILENT_SECOND, {"ordered": [C, A, B]}, "failure", "the order is another"),
    (FILTERED, {"ordered": [A, C, D]}, "skipped", "nothing is known beyond hop 2"),
    (FILTERED, {"ordered": [C, A]}, "failure", "no silent hop is where"),
    (NOTHING, {"ordered": [A, B]}, "skipped", "no hop answered"),
    (FROM_3, {"ordered": [A, B, C]}, "skipped", "hops 1-2 were not probed"),
    # Forbidden.
    (WHOLE, {"forbidden": "dc1"}, "failure", "dc1 at hop 1 (edge1, 10.0.1.1)"),
    (WHOLE, {"forbidden": ["10.9.0.0/16", "dc3"]}, "success", "the path avoids 10.9.0.0/16 and dc3, and every hop answered"),
    (WHOLE, {"forbidden": TARGET}, "success", "avoids"),
    (BALANCED, {"forbidden": D}, "failure", "hop 2"),
    (SILENT_SECOND, {"forbidden": B}, "skipped", f"no hop that answered is {B}, but hop 2 is silent"),
    (SILENT_SECOND, {"forbidden": C}, "failure", "hop 3"),
    (FILTERED, {"forbidden": C}, "skipped", "nothing is known beyond hop 2"),
    (FILTERED, {"forbidden": B}, "failure", "hop 2"),
    (REFUSED, {"forbidden": D}, "success", "avoids"),
    (FROM_3, {"forbidden": A}, "skipped", "hops 1-2 were not probed"),
    (NOTHING, {"forbidden": A}, "skipped", "no hop answered"),
    (DIRECT, {"forbidden": A}, "success", "avoids"),
    # First hop.
    (WHOLE, {"first_hop": "edge1"}, "success", "the first hop is hop 1 (edge1, 10.0.1.1)"),
    (WHOLE, {"first_hop": [B, C]}, "failure", f"the first hop is hop 1 (edge1, 10.0.1.1), not {B} or {C}"),
    (path((A, D), B), {"first_hop": A}, "failure", "hop 1 (core1, 10.0.4.1)"),
    (path((A, D), B), {"first_hop": [A, D]}, "success", "hop 1"),
    (path(None, B), {"first_hop": A}, "skipped", "hop 1 is silent"),
    (FROM_3, {"first_hop": A}, "skipped", "hops 1-2 were not probed"),
    (NOTHING, {"first_hop": A}, "skipped", "no hop answered"),
    (DIRECT, {"first_hop": A}, "failure", "there is no router on the way"),
    (FILTERED, {"first_hop": A}, "success", "hop 1"),
    # Last hop.
    (WHOLE, {"last_hop": "dc2"}, "success", "the last router is hop 3"),
    (WHOLE, {"last_hop": "core1"}, "failure", "the last router is hop 3 (10.0.3.1), not core1"),
    (path(A, (B, D)), {"last_hop": "core1"}, "success", "hop 2"),
    (path(A, (B, C)), {"last_hop": "core1"}, "failure", f"hop 2 ({C})"),
    (path(A, None), {"last_hop": A}, "skipped", "hop 2 is silent"),
    (FILTERED, {"last_hop": B}, "skipped", "which router is the last is not known"),
    (FILTERED, {"last_hop": C}, "skipped", "the last to answer was hop 2"),
    (REFUSED, {"last_hop": C}, "success", "hop 3"),
    (REFUSED, {"last_hop": B}, "failure", "hop 3"),
    (NOTHING, {"last_hop": A}, "skipped", "no hop answered"),
    (DIRECT, {"last_hop": A}, "failure", "no router on the way"),
    (BEHIND, {"last_hop": A}, "skipped", "hops 1-4 were not probed"),
    (REFUSED_BEHIND, {"last_hop": B}, "success", "the last router is hop 2"),
    (REFUSED_BEHIND, {"transit": C}, "failure", "every hop answered"),
    (LOOPED, {"last_hop": B}, "success", "the last router is hop 3"),
    (LOOPED, {"max_hops": 3}, "failure", "more than 3 hops away"),
    # Distance.
    (WHOLE, {"min_hops": 4}, "success", "the destination is 4 hops away"),
    (WHOLE, {"min_hops": 5}, "failure", "4 hops"),
    (FILTERED, {"min_hops": 3}, "success", "at least 3 hops away"),
    (FILTERED, {"min_hops": 4}, "skipped", "at least 3 hops away"),
    (REFUSED, {"min_hops": 4}, "skipped", "at least 3 hops away"),
    (REFUSED_BEHIND, {"min_hops": 3}, "success", "at least 3 hops away"),
    (REFUSED_BEHIND, {"min_hops": 4}, "skipped", "at least 3 hops away"),
    (REFUSED_BEHIND, {"max_hops": 2}, "failure", "more than 2 hops away"),
    (REFUSED_BEHIND, {"max_hops": 3}, "skipped", "its distance is not known"),
    (NOTHING, {"min_hops": 1}, "success", "at least 1 hop away"),
    (BEHIND, {"min_hops": 6}, "failure", "at most 5 hops away"),
    (BEHIND, {"min_hops": 5}, "skipped", "as the trace began there"),
    (DIRECT, {"min_hops": 1}, "success", "1 hop away"),
    (WHOLE, {"max_hops": 4}, "success", "4 hops"),
    (WHOLE, {"max_hops": 3}, "failure", "4 hops"),
    (FILTERED, {"max_hops": 2}, "failure", "more than 2 hops away: hop 2 (Core 1\\x2c spare, core1, 10.0.2.1) is still a router"),
    (FILTERED, {"max_hops": 3}, "skipped", "its distance is not known"),
    (BEHIND, {"max_hops": 5}, "success", "at most 5 hops away"),
    (BEHIND, {"max_hops": 4}, "skipped", "as the trace began there"),
    # Times and loss.
    (WHOLE, {"max_rtt_ms": 2}, "success", "2 ms on average (from 1 to 3 ms)"),
    (WHOLE, {"max_rtt_ms": 1.99}, "failure", "2 ms on average"),
    (FILTERED, {"max_rtt_ms": 1000}, "failure", "did not answer"),
    (UNTIMED, {"max_rtt_ms": 1000}, "skipped", "no round-trip time"),
    (MIXED, {"max_rtt_ms": 4}, "success", "4 ms"),
    (DUPLICATED, {"max_rtt_ms": 4}, "success", "4 ms"),
    (WHOLE, {"max_loss_pct": 0}, "success", "0 % of the queries"),
    (LOSSY, {"max_loss_pct": 49.9}, "failure", "50 % of the queries"),
    (LOSSY, {"max_loss_pct": 50}, "success", "50 %"),
    (RATE_LIMITED, {"max_loss_pct": 0}, "skipped", "because it limits its answers"),
    (RATE_LIMITED, {"max_loss_pct": 50}, "success", "50 %"),
    (FILTERED, {"max_loss_pct": 99}, "failure", "all is lost"),
    (FILTERED, {"max_loss_pct": 100}, "success", "all is lost"),
    # What happened to the probe.
    (WHOLE, {"no_nat": True}, "success", "no hop up to the last router shows a translated address or port"),
    (
        nat(WHOLE, 2, "source", "source_port"),
        {"no_nat": True},
        "failure",
        "translates source and source_port at hop 2 (10.0.2.1)",
    ),
    (nat(WHOLE, 3, "address"), {"no_nat": True}, "failure", "translates address at hop 3"),
    (nat(WHOLE, 2, "sequence"), {"no_nat": True}, "success", "no hop"),
    (path(A, B, None), {"no_nat": True}, "skipped", "no hop up to hop 2 shows a translated address or port"),
    (nat(path(A, B, None), 2, "port"), {"no_nat": True}, "failure", "port at hop 2"),
    (SILENT_SECOND, {"no_nat": True}, "success", "no hop"),
    (FILTERED, {"no_nat": True}, "skipped", "what lies beyond could not be seen"),
    (NOTHING, {"no_nat": True}, "skipped", "no hop quotes the probe"),
    (DIRECT, {"no_nat": True}, "success", "no hop"),
    (REFUSED, {"no_nat": True}, "success", "no hop"),
    (WHOLE, {"unmodified": True}, "success", "no hop up to the last router shows a rewritten field"),
    (changed(WHOLE, 2, modified=DSCP), {"unmodified": True}, "failure", "rewrites dscp 46 -> 0 at hop 2 (10.0.2.1)"),
    (changed(WHOLE, 3, unseen=("tcp_options",)), {"unmodified": True}, "skipped", "hop 3 (10.0.3.1) quotes too little"),
    (changed(WHOLE, 2, unseen=("tcp_options",)), {"unmodified": True}, "success", "no hop"),
    (changed(FILTERED, 2, modified=DSCP), {"unmodified": True}, "failure", "dscp"),
    (path(A, None), {"unmodified": True}, "skipped", "no hop up to hop 1 shows a rewritten field"),
    (FILTERED, {"unmodified": True}, "skipped", "what lies beyond could not be seen"),
]


@pytest.mark.parametrize(("trace", "expected", "outcome", "sentence"), CASES, ids=lambda value: str(value)[:40])
def test_the_verdict(trace: Trace, expected: dict[str, Any], outcome: str, sentence: str) -> None:
    verdict = one(trace, **expected)
    assert (verdict.outcome, sentence in verdict.reason) == (outcome, True), verdict
    (asked,) = Expectations.from_dict(expected).to_dict().values()
    assert verdict.expected == asked
    json.dumps(verdict.to_dict())


def test_every_word_has_cases_of_its_own() -> None:
    outcomes: dict[str, set[str]] = {}
    for _, expected, outcome, _ in CASES:
        outcomes.setdefault(next(iter(expected)), set()).add(outcome)
    decided = {"success", "failure"}
    assert outcomes == {name: decided | (set() if name in {"reached", "port_state"} else {"skipped"}) for name in WORDS}


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"reached": True}, True),
        ({"port_state": "closed"}, "open"),
        ({"transit": ["dc2", "dc9"]}, ["dc2 at hop 3 (10.0.3.1)"]),
        ({"first_hop": B}, [A]),
        ({"max_hops": 9}, 4),
        ({"max_rtt_ms": 9}, 2.0),
        ({"max_loss_pct": 9}, 0.0),
        ({"no_nat": True}, []),
    ],
)
def test_the_actual_value_is_told(expected: dict[str, Any], actual: Any) -> None:
    assert one(WHOLE, **expected).actual == actual


def test_without_naming_the_labels_of_the_hops_count() -> None:
    labelled = label(WHOLE, NAMING)
    assert one(labelled, None, transit=["edge1", "dc2", "core1"]).outcome == "success"
    assert one(labelled, None, forbidden="dc1-edge").outcome == "failure"


@pytest.mark.parametrize("word", ["transit", "ordered", "forbidden", "first_hop", "last_hop"])
def test_names_without_labels_are_an_error(word: str) -> None:
    verdict = one(WHOLE, None, **{word: "dc1"})
    assert (verdict.outcome, verdict.actual) == ("error", None)
    assert "dc1 is a name, and the hops of this trace have not been named" in verdict.reason
    assert one(WHOLE, None, **{word: A}).outcome in {"success", "failure"}


@pytest.mark.parametrize(("stop_reason", "told"), [("error", "probes could not be sent"), ("interrupted", "was interrupted")])
def test_a_trace_that_was_not_measured_is_an_error(stop_reason: str, told: str) -> None:
    expectations = Expectations(reached=False, forbidden=(A,))
    verdicts = judge(replace(FILTERED, stop_reason=stop_reason), expectations, NAMING)
    assert [(verdict.name, verdict.outcome) for verdict in verdicts] == [("reached", "error"), ("forbidden", "error")]
    assert all(told in verdict.reason for verdict in verdicts)
    assert worst(verdicts) == "error"


def test_no_trace_is_an_error_for_each_expectation() -> None:
    verdicts = unmeasured(Expectations(reached=True, transit=(A,)), "no route")
    assert [verdict.to_dict() for verdict in verdicts] == [
        {"name": "reached", "outcome": "error", "reason": "no route", "expected": True, "actual": None},
        {"name": "transit", "outcome": "error", "reason": "no route", "expected": [A], "actual": None},
    ]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], "success"),
        (["success", "skipped"], "skipped"),
        (["failure", "skipped"], "failure"),
        (["error", "failure"], "error"),
    ],
)
def test_the_worst(outcomes: list[str], expected: str) -> None:
    assert worst([Verdict("reached", outcome, "", expected=True, actual=True) for outcome in outcomes]) == expected


def test_a_router_that_has_the_destinations_address_is_a_router() -> None:
    translated = path(A, TARGET, B)
    assert one(translated, transit=TARGET).outcome == "success"
    assert one(translated, max_hops=4, naming=None).outcome == "success"


def test_any_record_is_judged_without_an_exception() -> None:
    expectations = Expectations.from_dict(
        {
            "reached": True,
            "port_state": "open",
            "transit": ["dc1", A],
            "ordered": ["dc1", A],
            "forbidden": [B],
            "first_hop": A,
            "last_hop": A,
            "min_hops": 1,
            "max_hops": 9,
            "max_rtt_ms": 1,
            "max_loss_pct": 1,
            "unmodified": True,
            "no_nat": True,
        }
    )

    @given(traces(), st.sampled_from([None, NAMING]))
    def check(trace: Trace, naming: Naming | None) -> None:
        verdicts = judge(trace, expectations, naming)
        assert [verdict.name for verdict in verdicts] == list(WORDS)
        for verdict in verdicts:
            assert verdict.reason.isascii()
            assert verdict.reason.isprintable()
            json.dumps(verdict.to_dict())

    check()


def clean_network(seed: int) -> tuple[Path, Trace]:
    """A random network that rewrites nothing, and a trace through it, in virtual time."""
    chance = random.Random(seed)
    distance = chance.randint(1, 12)
    routers = [
        Router(
            0.002 * ttl, silent=chance.random() < 0.15, rate=chance.choice([None, None, 10.0]), branches=chance.choice([1, 1, 2])
        )
        for ttl in range(1, distance)
    ]
    network = Path(
        routers,
        0.002 * distance,
        port=chance.choice(["open", "open", "closed", "filtered"]),
        loss=chance.choice([0.0, 0.0, 0.05]),
        jitter=chance.choice([0.0, 0.001]),
        duplicates=chance.choice([0.0, 0.02]),
    )
    family = chance.choice([4, 6])
    destination = {4: "198.51.100.9", 6: "2001:db8:9::9"}[family]
    shape = chance.choice(["none", "mss", "linux"])
    options = TraceOptions(destination=destination, port=443, max_ttl=16, wait=0.5, tcp_options=shape)
    quote = chance.choice([8, 28, 1500])
    trace = QuotingNetwork(network, options, seed, family=family, change=unchanged, quote=quote, extension=b"").run()
    return network, explain(trace)


def test_a_thousand_clean_traces_never_cry_wolf() -> None:
    skipped = 0
    for seed in range(1000):
        network, trace = clean_network(seed)
        here = network.port != "filtered"
        passed = [
            router_address(trace.family, ttl, branch)
            for ttl, router in enumerate(network.routers, 1)
            for branch in range(router.branches)
        ]
        steady = [router_address(trace.family, ttl) for ttl, router in enumerate(network.routers, 1) if router.branches == 1]
        expected: dict[str, Any] = {
            "reached": here,
            "port_state": network.port,
            "forbidden": ["203.0.113.0/24", "2001:db8:ffff::/48"],
            "min_hops": network.distance,
            "max_hops": network.distance,
            "unmodified": True,
            "no_nat": True,
        }
        if steady:
            expected |= {"transit": steady, "ordered": steady}
        if passed:
            first = [router_address(trace.family, 1, branch) for branch in range(network.routers[0].branches)]
            last = [router_address(trace.family, network.distance - 1, branch) for branch in range(network.routers[-1].branches)]
            expected |= {"first_hop": first, "last_hop": last}
        if here and not network.loss:
            expected |= {"max_rtt_ms": 2000 * network.rtt + 10, "max_loss_pct": 0}
        verdicts = judge(trace, Expectations.from_dict(expected), NAMING)
        wolves = [verdict for verdict in verdicts if verdict.outcome not in {"success", "skipped"}]
        assert wolves == [], (seed, network, [(each.ttl, each.addresses) for each in trace.hops])
        skipped += any(verdict.outcome == "skipped" for verdict in verdicts)
    # Most networks hide something, and many show all that there is.
    assert 200 < skipped < 950
