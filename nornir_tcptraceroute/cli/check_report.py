"""Outcomes of checks as a table for people and as test suites for CI. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nornir_tcptraceroute.checks.running import Outcome
from nornir_tcptraceroute.reports.junit import Case, Suite
from nornir_tcptraceroute.reports.table import hop_table, plain, printable

__all__ = ("junit_suites", "table_of")

_COLUMNS = ("check", "from", "expectation", "verdict", "why")
_VERDICTS = {"success": "met", "failure": "NOT MET", "error": "ERROR", "skipped": "skipped"}


def table_of(outcomes: Sequence[Outcome]) -> str:
    """A line for each verdict, the differences from baselines, and a summary.

    Arguments:
        outcomes: in the order of the lines.

    Returns:
        Lines of text, all ended, fit for a terminal.
    """
    rows = [_COLUMNS, *(tuple(map(printable, row)) for outcome in outcomes for row in _rows(outcome))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for outcome in outcomes:
        if outcome.diff:
            lines += ["", f"{printable(_title(outcome))}:", *map(printable, outcome.diff.splitlines())]
    return "".join(f"{line}\n" for line in [*lines, "", _summary(outcomes)])


def _rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    again = f" ({outcome.attempts} attempts)" if outcome.attempts > 1 else ""
    for number, verdict in enumerate(outcome.verdicts):
        first = (f"{outcome.check.name}{again}", outcome.host or "controller") if number == 0 else ("", "")
        yield (*first, verdict.name, _VERDICTS[verdict.outcome], verdict.reason)


def _title(outcome: Outcome) -> str:
    return f"{outcome.check.name} from {outcome.host or 'controller'}"


def _summary(outcomes: Sequence[Outcome]) -> str:
    found = [verdict.outcome for outcome in outcomes for verdict in outcome.verdicts]
    counts = [
        (found.count("success"), "met"),
        (found.count("failure"), "not met"),
        (found.count("error"), "could not be measured"),
        (found.count("skipped"), "skipped"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    checks = f"{len(outcomes)} check{'s' * (len(outcomes) != 1)}"
    return f"{checks}, {len(found)} expectation{'s' * (len(found) != 1)}: {told}"


def junit_suites(outcomes: Sequence[Outcome]) -> list[Suite]:
    """A suite for each check and vantage, with a case for each expectation.

    Arguments:
        outcomes: in the order of the suites.
    """
    return [_suite(outcome) for outcome in outcomes]


def _suite(outcome: Outcome) -> Suite:
    request = outcome.check.request
    title = _title(outcome)
    details = plain(hop_table(outcome.trace)) if outcome.trace else ""
    seconds = outcome.seconds / max(1, len(outcome.verdicts))
    cases = tuple(
        Case(
            name=verdict.name,
            classname=title,
            outcome=verdict.outcome,
            message=verdict.reason,
            text=f"expected: {verdict.expected}\nactual: {verdict.actual}\n{outcome.diff}"
            if verdict.name == "baseline"
            else f"expected: {verdict.expected}\nactual: {verdict.actual}\n\n{details}",
            seconds=seconds,
        )
        for verdict in outcome.verdicts
    )
    properties = {
        "destination": request.destination,
        "port": str(request.port),
        "vantage": outcome.host or "controller",
        "attempts": str(outcome.attempts),
    }
    started = outcome.trace.started_at if outcome.trace else None
    return Suite(title, cases, properties=properties, hostname=outcome.host or "controller", started_at=started, output=details)
