"""Prints hop tables: with rich where it is installed, plain otherwise."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from itertools import groupby

from nornir.core.task import AggregatedResult, MultiResult, Result

from ...probe.records import Hop, Reply, Trace
from ..tasks.result import TracerouteResult

#: So many silent hops and more in a row are one row.
SILENT_TOGETHER = 3
COLUMNS = ("hop", "address", "name", "loss", "rtt ms")
# Nothing that a terminal could take for an order.
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}


def print_traceroute(
    result: AggregatedResult | MultiResult | Result, *, severity_level: int = logging.INFO, only_failed: bool = False
) -> None:
    """Print a hop table for each trace, and a sentence for each that could not be measured.

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
            sys.stdout.write(
                f"{text.translate(_ESCAPES)}\n" if text.startswith(f"{host}: ") else f"{host}: {text.translate(_ESCAPES)}\n"
            )
        elif rich:
            _print_rich(host, single.trace)
        else:
            _print_plain(host, single.trace)


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
    return f"{host}: {place} port {trace.port} from {trace.vantage}: {reached}, {len(trace.hops)} hops"


def _rows(trace: Trace) -> Iterator[tuple[str, str, str, str, str]]:
    for silent, group in groupby(trace.hops, key=lambda hop: not hop.addresses):
        hops = list(group)
        if silent and len(hops) >= SILENT_TOGETHER:
            yield f"{hops[0].ttl}-{hops[-1].ttl}", "*", "", "100%", "*"
            continue
        yield from map(_row, hops)


def _row(hop: Hop) -> tuple[str, str, str, str, str]:
    return (
        str(hop.ttl),
        ", ".join(hop.addresses) or "*",
        hop.name or "",
        f"{hop.loss:.0%}" if hop.loss else "",
        " ".join(_time(reply) for reply in hop.replies),
    )


def _time(reply: Reply) -> str:
    return "*" if reply.rtt_ms is None else f"{reply.rtt_ms:.2f}"


def _print_plain(host: str, trace: Trace) -> None:
    rows = [COLUMNS, *_rows(trace)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    sys.stdout.write("".join(f"{line.translate(_ESCAPES)}\n" for line in (_title(host, trace), *lines, "")))


def _print_rich(host: str, trace: Trace) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in {"hop", "loss", "rtt ms"} else "left")
    for row in _rows(trace):
        table.add_row(*(Text(cell.translate(_ESCAPES)) for cell in row))
    console = Console(file=sys.stdout, highlight=False)
    console.print(Text(_title(host, trace).translate(_ESCAPES)), soft_wrap=True)
    console.print(table)
