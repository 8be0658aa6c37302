"""Nornir processors."""

from .save_traces import SaveTraces
from .trace_progress import TraceProgress

__all__ = ("SaveTraces", "TraceProgress")
