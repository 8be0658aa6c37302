"""Nornir functions."""

from ..tasks.inventory_naming import device_addresses
from .print_traceroute import print_traceroute
from .to_napalm import to_napalm

__all__ = ("device_addresses", "print_traceroute", "to_napalm")
