"""Nornir processors."""

from .save_traces import SaveTraces
from .trace_progress import TraceProgress
from .write_junit import WriteJUnit

__all__ = ("SaveTraces", "TraceProgress", "WriteJUnit")
