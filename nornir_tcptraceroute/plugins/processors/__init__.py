"""Nornir processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .save_traces import SaveTraces
from .write_junit import WriteJUnit

if TYPE_CHECKING:
    from .trace_progress import TraceProgress

__all__ = ("SaveTraces", "TraceProgress", "WriteJUnit")


def __getattr__(name: str) -> Any:
    # The one that needs rich, which is not installed everywhere.
    if name == "TraceProgress":
        from .trace_progress import TraceProgress

        return TraceProgress
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
