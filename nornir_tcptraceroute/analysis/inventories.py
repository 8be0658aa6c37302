"""What inventories tell of their devices' addresses, read in one way for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..probe.errors import shown
from ..probe.options import is_address

__all__ = ("further_addresses", "together")


def further_addresses(told: Any, place: str) -> tuple[list[str], list[str]]:
    """Read the further addresses of a device.

    Arguments:
        told: a list of addresses, each alone or with the length of its network, as interfaces have them; anything at all.
        place: what stands there, such as ``addresses of core1``, for problems.

    Returns:
        The addresses, and one sentence for each problem.
    """
    if not isinstance(told, (list, tuple)):
        return [], [f"{place}: {shown(told)} is not a list such as [10.1.0.1, '2001:db8:1::1/64']"]
    addresses, problems = [], []
    for address in told:
        alone = address.partition("/")[0] if isinstance(address, str) else ""
        if is_address(alone):
            addresses.append(alone)
        else:
            problems.append(f"{place}: {shown(address)} is not an address such as 10.1.0.1 or 2001:db8:1::1/64")
    return addresses, problems


def together(devices: Mapping[str, str | Sequence[str]], more: Any) -> Any:
    """Put devices from two places together, one address with the names of both.

    Arguments:
        devices: an inventory's, as Naming takes them.
        more: what a user gives; None for nothing.

    Returns:
        What Naming takes; ``more`` itself where it is no mapping, for Naming to refuse.
    """
    if more is not None and not isinstance(more, Mapping):
        return more
    names: dict[Any, list[Any]] = {}
    for known in (devices, more or {}):
        for address, told in known.items():
            names.setdefault(address, []).extend(told if isinstance(told, (list, tuple)) else [told])
    return names
