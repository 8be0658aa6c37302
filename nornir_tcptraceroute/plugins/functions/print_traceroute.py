"""Prints hop tables: with rich where it is installed, plain otherwise."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator

from nornir.core.task import AggregatedResult, MultiResult, Result

from ...probe.records import Trace
from ...reports.table import RIGHT, hop_table, plain, printable
from ..tasks.result import TracerouteResult


def print_traceroute(
    result: AggregatedResult | MultiResult | Result, *, severity_level: int = logging.INFO, only_failed: bool = False
) -> None:
    """Print a hop table for each trace, with what the analysis says of it and what is expected; a sentence where there is none.

    Arguments:
        result: what `nr.run` returned, or a part of it.
        severity_level: leave out what is below this level of logging.
        only_failed: leave out what was measured.
    """
    rich = importlib.util.find_spec("rich") is not None
    for single in _singles(result):
        if single.severity_level < severity_level or (only_failed and not single.failed):
            continue
        host = single.host.name if single.host else "?"
        if single.trace is None:
            text = str(single.result) if single.failed else _plan(single)
            sys.stdout.write(f"{printable(text if text.startswith(f'{host}: ') else f'{host}: {text}')}\n")
        elif rich:
            _print_rich(host, single.trace)
        else:
            _print_plain(host, single.trace)
        sys.stdout.write("".join(f"{line}\n" for line in _verdicts(single)))


def _verdicts(single: TracerouteResult) -> list[str]:
    """What became of each expectation, a line each, and the difference from the baseline."""
    words = {"success": "met", "failure": "NOT MET", "error": "ERROR", "skipped": "skipped"}
    lines = [f"  {verdict.name}: {words[verdict.outcome]}: {verdict.reason}" for verdict in single.verdicts]
    return [*map(printable, [*lines, *(single.diff or "").splitlines()]), *([""] if lines else [])]


def _plan(single: TracerouteResult) -> str:
    plan = single.result
    where = f"{plan['address']} port {plan['port']} from {plan['source']} through {plan['interface']}"
    told = f"would trace {plan['destination']} ({where}) with up to {plan['probes']} probes"
    return f"{told}; {plan['problem']}" if plan["problem"] else told


def _singles(result: AggregatedResult | MultiResult | Result) -> Iterator[TracerouteResult]:
    if isinstance(result, AggregatedResult):
        for several in result.values():
            yield from _singles(several)
    elif isinstance(result, MultiResult):
        for single in result:
            yield from _singles(single)
    elif isinstance(result, TracerouteResult) and (
        result.trace or result.failed or (isinstance(result.result, dict) and result.result.get("dry_run"))
    ):
        yield result


def _title(host: str, trace: Trace) -> str:
    reached = trace.port_state if trace.reached else f"not reached, {trace.port_state}"
    place = trace.destination if trace.destination == trace.address else f"{trace.destination} ({trace.address})"
    return printable(f"{host}: {place} port {trace.port} from {trace.vantage}: {reached}, {len(trace.hops)} hops")


def _print_plain(host: str, trace: Trace) -> None:
    sys.stdout.write(f"{_title(host, trace)}\n{plain(hop_table(trace))}\n")


def _print_rich(host: str, trace: Trace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = hop_table(trace)
    table = Table()
    for column in rows.columns:
        table.add_column(column, justify="right" if column in RIGHT else "left")
    for row in rows.rows:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout, highlight=False)
    console.print(Text(_title(host, trace)), soft_wrap=True)
    console.print(table)
