"""The hop table: its columns, its rows and the one place that escapes them, whoever prints it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from ..probe.records import Hop, Reply, Trace

__all__ = ("RIGHT", "HopTable", "hop_table", "notes_of", "plain", "printable")

#: So many silent hops and more in a row are one row.
SILENT_TOGETHER = 3
COLUMNS = ("hop", "address", "name", "loss", "rtt ms")
NOTES = "notes"
#: The columns whose cells stand at the right.
RIGHT = frozenset({"hop", "loss", "rtt ms"})
# Nothing that a terminal could take for an order.
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}


class HopTable(NamedTuple):
    """A trace as a table of text, fit for a terminal.

    Attributes:
        columns: what stands above each column; ``notes`` is among them where any hop has some.
        rows: one for each hop, or for several silent ones together.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def printable(text: str) -> str:
    r"""Escape what a terminal could take for an order: control characters of ASCII and Latin-1 become ``\xNN``."""
    return text.translate(_ESCAPES)


def hop_table(trace: Trace) -> HopTable:
    """The hop table of a trace.

    Arguments:
        trace: a record, analysed or not.
    """
    noted = any(hop.notes for hop in trace.hops)
    rows = tuple(tuple(map(printable, row if noted else row[:-1])) for row in _rows(trace))
    return HopTable((*COLUMNS, NOTES) if noted else COLUMNS, rows)


def notes_of(hop: Hop) -> tuple[str, ...]:
    """What the analysis says of a hop, a sentence each, fit for a terminal."""
    return tuple(printable(note) for note in hop.notes or ())


def plain(table: HopTable) -> str:
    """A table as lines of text, its columns in line.

    Arguments:
        table: of a trace.

    Returns:
        A line for the columns' names and one for each row, all ended.
    """
    rows = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)


def _rows(trace: Trace) -> Iterator[tuple[str, ...]]:
    for dull, group in groupby(trace.hops, key=lambda hop: not hop.addresses and not hop.notes):
        hops = list(group)
        if dull and len(hops) >= SILENT_TOGETHER:
            yield f"{hops[0].ttl}-{hops[-1].ttl}", "*", "", "100%", "*", ""
            continue
        yield from map(_row, hops)


def _row(hop: Hop) -> tuple[str, ...]:
    return (
        str(hop.ttl),
        ", ".join(hop.addresses) or "*",
        hop.name or "",
        f"{hop.loss:.0%}" if hop.loss else "",
        " ".join(_time(reply) for reply in hop.replies),
        "; ".join(hop.notes or ()),
    )


def _time(reply: Reply) -> str:
    return "*" if reply.rtt_ms is None else f"{reply.rtt_ms:.2f}"
