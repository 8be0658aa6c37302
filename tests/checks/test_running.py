"""Checks are measured until they are met or have been tried as often as they may be, and judged whatever comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute.analysis import Naming
from nornir_tcptraceroute.analysis.baseline import record
from nornir_tcptraceroute.analysis.expectations import Expectations
from nornir_tcptraceroute.checks.check_file import Check
from nornir_tcptraceroute.checks.running import Outcome, outcome_of
from nornir_tcptraceroute.cli.check import ALL_MET, NOT_MEASURED, NOT_MET, check_status
from nornir_tcptraceroute.cli.check_report import junit_suites, table_of
from nornir_tcptraceroute.measurements.settling import Retries, settle
from nornir_tcptraceroute.probe.errors import ProbeError, RouteError
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.records import Trace
from nornir_tcptraceroute.remote.errors import RemoteError
from tests.analysis.paths import path

A, B, X = "10.0.1.1", "10.0.2.1", "10.0.9.1"
REQUEST = TraceOptions(destination="web.example", port=443)
FILE = Path("web.yaml")
NAMING = Naming()
MET, UNMET, UNKNOWN = path(A, B), path(A, X), path(A, None)


def check(name: str = "web", *, retries: int = 0, delay: float = 5.0, baseline: bool = False, **expected: Any) -> Check:
    expectations = Expectations.from_dict(expected or {"transit": B})
    return Check(name, REQUEST, {}, (), expectations, {None: FILE} if baseline else {}, Retries(retries, delay))


def judged(one: Check, measured: Trace | ProbeError) -> Outcome:
    return outcome_of(one, None, measured, NAMING, {FILE: record(MET)})


class Clock:
    """Time that passes while it is waited for."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(round(seconds, 6))
        self.time += seconds


def settled(
    checks: Sequence[Check], *turns: Trace | ProbeError, lasting: float = 0.0
) -> tuple[list[Outcome], list[list[str]], Clock]:
    """Outcomes, what was measured in each turn, and the clock; what each measurement gives comes from `turns`."""
    clock, told, measured, answers = Clock(), list[Outcome](), list[list[str]](), iter(turns)

    def measure(several: Sequence[Check]) -> list[Trace | ProbeError]:
        measured.append([one.name for one in several])
        clock.time += lasting
        return [next(answers) for _ in several]

    settle(
        checks,
        measure,
        judged,
        lambda outcome: outcome.judgement.met,
        lambda one: one.retries,
        lambda _, outcome, attempts, seconds: told.append(replace(outcome, attempts=attempts, seconds=seconds)),
        now=clock.now,
        wait=clock.wait,
    )
    assert next(answers, None) is None
    return told, measured, clock


@pytest.mark.parametrize(
    ("retries", "turns", "outcome", "waits"),
    [
        (0, [MET], "success", []),
        (0, [UNMET], "failure", []),
        (3, [MET], "success", []),
        (3, [UNKNOWN], "skipped", []),
        (3, [UNMET, MET], "success", [5.0]),
        (3, [RouteError("no route"), UNMET, MET], "success", [5.0, 5.0]),
        (2, [UNMET, UNMET, UNMET], "failure", [5.0, 5.0]),
        (1, [UNMET, RouteError("no route")], "error", [5.0]),
    ],
)
def test_a_check_is_tried_again(retries: int, turns: list[Trace | ProbeError], outcome: str, waits: list[float]) -> None:
    (told,), _, clock = settled([check(retries=retries)], *turns, lasting=2.0)
    assert (told.judgement.outcome, told.attempts, clock.waits) == (outcome, len(turns), waits)
    assert told.seconds == sum(waits) + 2.0 * len(turns)


def test_only_what_is_not_met_is_measured_again_when_its_time_has_come() -> None:
    checks = [check("a", retries=2, delay=1.0), check("b"), check("c", retries=1, delay=10.0), check("d", retries=1, delay=1.0)]
    told, measured, clock = settled(checks, UNMET, MET, UNMET, UNMET, UNMET, MET, MET, MET)
    assert measured == [["a", "b", "c", "d"], ["a", "d"], ["a"], ["c"]]
    assert [outcome.check.name for outcome in told] == ["b", "d", "a", "c"]
    assert clock.waits == [1.0, 1.0, 8.0]


def test_what_could_not_be_measured_is_an_error_of_every_expectation() -> None:
    outcome = judged(check(reached=True, transit=B, baseline=True), RemoteError("alpha: it refused\nthe login"))
    assert [(verdict.name, verdict.outcome, verdict.reason) for verdict in outcome.verdicts] == [
        (name, "error", "alpha: it refused the login") for name in ("reached", "transit", "baseline")
    ]
    interrupted = judged(check(baseline=True), replace(MET, stop_reason="interrupted"))
    assert [verdict.outcome for verdict in interrupted.verdicts] == ["error", "error"]


def test_a_baseline_is_one_more_expectation() -> None:
    outcome = judged(check(reached=True, baseline=True), UNMET)
    assert [(verdict.name, verdict.outcome) for verdict in outcome.verdicts] == [("reached", "success"), ("baseline", "failure")]
    document = json.loads(json.dumps(outcome.to_dict()))
    assert document["outcome"] == "failure"
    assert f"-  2: [{B}]\n+  2: [{X}]\n" in document["diff"]
    assert Trace.from_dict(document["trace"]).hops[1].address == X


@pytest.mark.parametrize(
    ("measured", "status"),
    [
        ([MET], ALL_MET),
        ([MET, UNKNOWN], ALL_MET),
        ([MET, UNMET], NOT_MET),
        ([MET, RouteError("x")], NOT_MEASURED),
        ([UNMET, RouteError("x")], NOT_MET),
    ],
)
def test_the_exit_status(measured: list[Trace | ProbeError], status: int) -> None:
    assert check_status([judged(check(), one) for one in measured]) == status


def test_the_table_tells_all_and_ends_with_a_summary() -> None:
    outcomes = [
        judged(check("first", reached=True, baseline=True), UNMET),
        replace(judged(check("second", transit=B, forbidden=X), UNKNOWN), attempts=3),
        judged(check("third"), RouteError("no route\x1b[31m")),
    ]
    assert table_of(outcomes).splitlines() == [
        "check                from        expectation  verdict  why",
        "first                controller  reached      met      web.example port 443 answered at hop 3",
        f"                                 baseline     NOT MET  hop 2 is {X}, not {B}",
        f"second (3 attempts)  controller  transit      skipped  no hop that answered is {B}, but hop 2 is silent",
        f"                                 forbidden    skipped  no hop that answered is {X}, but hop 2 is silent",
        "third                controller  transit      ERROR    no route\\x1b[31m",
        "",
        "first from controller:",
        "--- web.yaml",
        "+++ trace",
        "@@ -8,4 +8,4 @@",
        " answers_at_hop: [3]",
        " hops:",
        f"   1: [{A}]",
        f"-  2: [{B}]",
        f"+  2: [{X}]",
        "",
        "3 checks, 5 expectations: 1 met, 1 not met, 1 could not be measured, 2 skipped",
    ]


def test_a_suite_for_each_check_and_a_case_for_each_expectation() -> None:
    outcome = replace(judged(check("first", reached=True, transit=B, baseline=True), UNMET), seconds=3.0, attempts=2)
    (suite,) = junit_suites([outcome])
    assert (suite.name, suite.hostname, suite.started_at) == ("first from controller", "controller", UNMET.started_at)
    assert [(case.name, case.outcome, case.seconds) for case in suite.cases] == [
        ("reached", "success", 1.0),
        ("transit", "failure", 1.0),
        ("baseline", "failure", 1.0),
    ]
    assert suite.properties == {"destination": "web.example", "port": "443", "vantage": "controller", "attempts": "2"}
    assert f"expected: ['{B}']" in suite.cases[1].text
    assert f"+  2: [{X}]" in suite.cases[2].text
    assert X in suite.output
