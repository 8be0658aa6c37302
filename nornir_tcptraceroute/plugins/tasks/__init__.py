"""Nornir tasks."""

from .locate_block import BlockResult, locate_block
from .result import TracerouteResult
from .tcptraceroute import tcptraceroute

__all__ = ("BlockResult", "TracerouteResult", "locate_block", "tcptraceroute")
