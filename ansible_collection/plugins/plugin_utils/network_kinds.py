# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What kind of network each hop of a result is in: the controller's analysis, which needs netaddr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import missing_required_lib

# Once, when the controller loads its plugins: each host's task is a fork, which would pay for an import of its own.
try:
    import netaddr
except ImportError:
    MISSING = "Hops carry no network_kind: " + missing_required_lib("netaddr")
    RANGES: tuple[tuple[str, Any], ...] = ()
else:
    MISSING = ""
    #: The ranges that say something of a hop, by name (RFC 6890 and its registries).
    RANGES = tuple(
        (kind, netaddr.IPNetwork(network))
        for kind, networks in {
            "loopback": ("127.0.0.0/8", "::1/128"),
            "link_local": ("169.254.0.0/16", "fe80::/10"),
            "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
            "shared": ("100.64.0.0/10",),
            "benchmarking": ("198.18.0.0/15", "2001:2::/48"),
            "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
        }.items()
        for network in networks
    )

__all__ = ("MISSING", "network_kind", "with_network_kinds")


def network_kind(address: str | None) -> str | None:
    """Tell the kind of network of an address: a name of ``RANGES``, or ``public``; None for a silent hop."""
    if address is None:
        return None
    number = netaddr.IPAddress(str(address))
    return next((kind for kind, network in RANGES if number in network), "public")


def with_network_kinds(result: Mapping[str, Any]) -> dict[str, Any]:
    """Label the hops of a module's result.

    Arguments:
        result: of one trace (``hops``) or of several (``traces``).

    Returns:
        The same, with ``network_kind`` in each hop.
    """
    labelled = dict(result)
    if "traces" in result:
        labelled["traces"] = [with_network_kinds(trace) for trace in result["traces"]]
    if "hops" in result:
        labelled["hops"] = [{**hop, "network_kind": network_kind(hop["address"])} for hop in result["hops"]]
    return labelled
