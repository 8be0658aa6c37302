"""What a trace's answers show of the path as a whole, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from ..probe.records import Hop, Modification, Trace
from .table import printable

__all__ = ("findings",)


def findings(trace: Trace) -> tuple[str, ...]:
    """Say what the path did to the probe, and what its answers are too short to show.

    Arguments:
        trace: a record that the analysis has been over.

    Returns:
        Sentences without a full stop, fit for a terminal; at least one.
    """
    quoting = [hop for hop in trace.hops if hop.modified is not None]
    if not quoting:
        return ("No answer quotes the probe, so that nothing is known of what the path does to it",)
    told = list(_rewritten(trace, quoting)) or ["No answer shows that the path rewrites anything"]
    return tuple(map(printable, [*told, *_unseen(quoting)]))


def _rewritten(trace: Trace, quoting: Iterable[Hop]) -> Iterator[str]:
    places = {hop.ttl: _place(hop) for hop in trace.hops}
    for hop in quoting:
        for modification in hop.modified or ():
            before = "here" if modification.after is None else places.get(modification.after, f"hop {modification.after}")
            yield f"{_change(modification)} between {before} and {_place(hop)}"


def _place(hop: Hop) -> str:
    name = hop.device or hop.name or hop.address
    return f"hop {hop.ttl} ({name})" if name else f"hop {hop.ttl}"


def _change(modification: Modification) -> str:
    field = modification.field.replace("_", " ")
    if modification.sent == modification.seen:
        return f"{field} rewritten"
    return f"{field} {modification.sent} -> {modification.seen}"


def _unseen(quoting: Iterable[Hop]) -> Iterator[str]:
    """The fields that some quotes do not reach, with the hops: those of the same hops together."""
    hops: dict[str, list[int]] = {}
    for hop in quoting:
        for field in hop.unseen or ():
            hops.setdefault(field, []).append(hop.ttl)
    fields: dict[tuple[int, ...], list[str]] = {}
    for field, ttls in hops.items():
        fields.setdefault(tuple(ttls), []).append(field.replace("_", " "))
    for together, names in fields.items():
        plural = "s" if len(together) > 1 else ""
        yield f"Hop{plural} {_ranges(together)} quote{'' if plural else 's'} too little to show {', '.join(names)}"


def _ranges(ttls: Iterable[int]) -> str:
    """TTLs in a row, as ``1-3, 5``."""
    runs = [[ttl for _, ttl in run] for _, run in groupby(enumerate(ttls), key=lambda numbered: numbered[1] - numbered[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
