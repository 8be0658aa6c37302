"""Nornir tasks."""

from .locate_block import BlockResult, locate_block
from .result import ExpectationError, TracerouteResult
from .tcptraceroute import tcptraceroute

__all__ = ("BlockResult", "ExpectationError", "TracerouteResult", "locate_block", "tcptraceroute")
