"""The hop table: rows, notes where there are some, and nothing that a terminal could obey."""

from __future__ import annotations

import pytest

from nornir_tcptraceroute import Hop, ProbeShape, Reply, RoundTrip, Trace
from nornir_tcptraceroute.reports.table import COLUMNS, hop_table, notes_of, plain


def answered(ttl: int, *times: float | None, notes: tuple[str, ...] | None = None, name: str | None = None) -> Hop:
    replies = tuple(
        Reply(query, "timeout") if time is None else Reply(query, "time_exceeded", f"10.0.{ttl}.1", rtt_ms=time)
        for query, time in enumerate(times, start=1)
    )
    told = [time for time in times if time is not None]
    loss = 1 - len(told) / len(times)
    return Hop(ttl, f"10.0.{ttl}.1", (f"10.0.{ttl}.1",), name, replies, RoundTrip.of(told), loss, notes=notes)


def silent(ttl: int, notes: tuple[str, ...] | None = None) -> Hop:
    return Hop(ttl, None, (), None, (Reply(1, "timeout"),), None, 1.0, "silent", notes=notes)


def trace_of(*hops: Hop) -> Trace:
    shape = ProbeShape("SYN", "linux", 60, 0, dont_fragment=True)
    return Trace(
        "server", "10.0.9.1", 4, 80, "client", "10.0.0.1", 40000, None, "raw", shape, "2026-01-01T00:00:00Z", 1.0,
        reached=True, port_state="open", stop_reason="reached", hops=hops, counters={},
    )  # fmt: skip


def test_a_trace_without_notes_has_no_column_for_them() -> None:
    table = hop_table(trace_of(answered(1, 1.234, None, 2.0, name="one.lab"), silent(2), answered(3, 3.0, notes=())))
    assert table.columns == COLUMNS
    assert table.rows == (
        ("1", "10.0.1.1", "one.lab", "33%", "1.23 * 2.00"),
        ("2", "*", "", "100%", "*"),
        ("3", "10.0.3.1", "", "", "3.00"),
    )


def test_notes_are_one_cell() -> None:
    hops = (answered(1, 1.0, notes=("core1, in dc1", "AS64496 Example")), answered(2, 2.0))
    assert plain(hop_table(trace_of(*hops))) == (
        "hop  address   name  loss  rtt ms  notes\n"
        "1    10.0.1.1              1.00    core1, in dc1; AS64496 Example\n"
        "2    10.0.2.1              2.00\n"
    )
    assert notes_of(hops[0]) == ("core1, in dc1", "AS64496 Example")
    assert notes_of(hops[1]) == ()


@pytest.mark.parametrize(
    ("hops", "first_cells"),
    [
        ((silent(1), silent(2)), ["1", "2"]),
        ((silent(1), silent(2), silent(3)), ["1-3"]),
        ((answered(1, 1.0), silent(2), silent(3), silent(4), answered(5, 1.0)), ["1", "2-4", "5"]),
        # What is said of a silent hop is not lost among others.
        ((silent(1), silent(2, notes=("a note",)), silent(3), silent(4), silent(5)), ["1", "2", "3-5"]),
        ((), []),
    ],
)
def test_silent_hops_are_told_together(hops: tuple[Hop, ...], first_cells: list[str]) -> None:
    assert [row[0] for row in hop_table(trace_of(*hops)).rows] == first_cells


def test_what_a_terminal_could_obey_is_escaped() -> None:
    hostile = answered(1, 1.0, name="\x1b[31mred\x9b", notes=("\x1b]0;title\x07", "a\nb"))
    text = plain(hop_table(trace_of(hostile)))
    assert "\\x1b[31mred\\x9b" in text
    assert "\\x1b]0;title\\x07; a\\x0ab" in text
    assert text.count("\n") == 2
    assert notes_of(hostile) == ("\\x1b]0;title\\x07", "a\\x0ab")
