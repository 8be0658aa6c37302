"""Nornir functions."""

from .print_traceroute import print_traceroute
from .to_napalm import to_napalm

__all__ = ("print_traceroute", "to_napalm")
