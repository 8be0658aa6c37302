# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tests of what ``netprobe.path.tcptraceroute`` returned; each is documented in the file of its name."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.probe.errors import RecordError
from ..module_utils.probe.records import Trace
from ..plugin_utils.registered import traces_in

__all__ = ("TestModule",)


def _traces(value: Any, name: str) -> list[Trace]:
    try:
        return traces_in(value)
    except RecordError as error:
        raise AnsibleFilterError(f"netprobe.path.{name}: {error}") from None


def reached(value: Any) -> bool:
    """Whether the destination answered; of several traces, each."""
    traces = _traces(value, "reached")
    return bool(traces) and all(trace.reached for trace in traces)


def via(value: Any, *networks: Any) -> bool:
    """Whether a router on the way has an address in one of the networks; of several traces, one of each."""
    wanted = [_network(network) for network in networks]
    if not wanted:
        raise AnsibleFilterError("netprobe.path.via: give at least one address or network, such as 10.0.0.0/8")
    traces = _traces(value, "via")
    return bool(traces) and all(any(address in network for network in wanted for address in _routers(trace)) for trace in traces)


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        raise AnsibleFilterError(f"netprobe.path.via: {str(text)!a} is not an address or a network such as 10.0.0.0/8") from None


def _routers(trace: Trace) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    answered = [address for hop in trace.hops for address in hop.addresses if address != trace.address]
    return [ipaddress.ip_address(address) for address in answered]


class TestModule:
    """The tests, as Ansible asks for them."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        """Names and functions."""
        return {"reached": reached, "via": via}
