"""Nornir tasks."""

from .result import TracerouteResult
from .tcptraceroute import tcptraceroute

__all__ = ("TracerouteResult", "tcptraceroute")
