"""From a plan to what the lab's first process has to do: plain JSON, so that it needs no topology, and nothing to compute."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from . import firewall
from .plan import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import Interface, NodePlan, Plan

# A router that answers every probe, in the open: no limits, no filters on where a packet came from, no redirects, and errors from
# the address that the probe came in by. What a network is to show is switched on by its file. ip-sysctl in the kernel's
# documentation.
SYSTEM = {
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv4/icmp_errors_use_inbound_ifaddr": "1",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv4/fib_multipath_hash_policy": "1",
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_redirects": "0",
    "net/ipv6/icmp/ratelimit": "0",
    "net/ipv6/fib_multipath_hash_policy": "1",
}
FORWARDING = {"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}
# Kernels before 6.2 have these for the whole machine only, out of the lab's reach.
WHERE_PRESENT = {"net/ipv4/icmp_msgs_per_sec": "1000000", "net/ipv4/icmp_msgs_burst": "1000000"}
# With one seed for the machine, as before 6.11, all routers choose alike, and a flow that goes left once goes left everywhere.
HASH_SEED = "net/ipv4/fib_multipath_hash_seed"

# Names come from files. What asks a name server all the same is refused at once: nobody listens on a node's loopback interface.
NAME_SERVICE = "hosts: files\nnetworks: files\nservices: files\nprotocols: files\npasswd: files\ngroup: files\nshadow: files\n"


def _end(node: str, interface: Interface) -> dict[str, Any]:
    keys = ("name", "index", "mtu", "hardware_address")
    return {"node": node, **{key: getattr(interface, key) for key in keys}}


def _links(plan: Plan) -> list[list[dict[str, Any]]]:
    """Every link once: both its ends."""
    links = []
    for node in plan.nodes.values():
        for interface in node.interfaces.values():
            peer = plan.nodes[interface.neighbour].interfaces[interface.neighbour_interface]
            # The first end of a link has .1 as the last byte of its Ethernet address.
            if interface.hardware_address < peer.hardware_address:
                links.append([_end(node.name, interface), _end(interface.neighbour, peer)])
    return links


def _simulator(node: NodePlan, record: str | None) -> dict[str, Any] | None:
    simulates = getattr(node.options, "simulates", None)
    if simulates is None:
        return None
    return {"interface": next(iter(node.interfaces)), "scenario": simulates.plain(), "record": record}


def _node(plan: Plan, number: int, node: NodePlan, record: str | None) -> dict[str, Any]:
    interfaces = node.interfaces.values()
    own = {address.ip for interface in interfaces for address in interface.addresses.values()}
    further = [
        [1, address.version, str(address), address.max_prefixlen]
        for family in FAMILIES
        for address in node.addresses(family)
        if address not in own
    ]
    return {
        "sysctls": {**SYSTEM, **(FORWARDING if node.forwards else {})},
        "sysctls_where_present": {**WHERE_PRESENT, HASH_SEED: str(number)},
        "interfaces": [interface.index for interface in interfaces],
        "addresses": [
            [interface.index, family, str(address.ip), address.network.prefixlen]
            for interface in interfaces
            for family, address in interface.addresses.items()
        ]
        + further,
        "neighbours": [
            [
                interface.index,
                family,
                str(gateway),
                plan.nodes[interface.neighbour].interfaces[interface.neighbour_interface].hardware_address,
            ]
            for interface in interfaces
            for family, gateway in interface.gateways.items()
        ],
        "routes": [
            [
                route.prefix.version,
                str(route.prefix.network_address),
                route.prefix.prefixlen,
                [
                    [node.interfaces[name].index, str(node.interfaces[name].gateways[route.prefix.version])]
                    for name in route.interfaces
                ],
            ]
            for route in node.routes
            if not route.connected
        ],
        "rules": firewall.ruleset(plan, node),
        "services": getattr(node.options, "services", {}),
        "simulator": _simulator(node, record),
    }


def make_blueprint(plan: Plan, records: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """All that is needed to bring a network up.

    Arguments:
        plan: the network.
        records: path of the file that a simulating host writes its record to, by the host's name.

    Returns:
        What JSON can carry: `nodes` by name, `links`, `files` (text by path).
    """
    return {
        "nodes": {
            node.name: _node(plan, number, node, records.get(node.name))
            for number, node in enumerate(plan.nodes.values(), start=1)
        },
        "links": _links(plan),
        "files": {
            "/etc/hosts": plan.hosts_file(),
            "/etc/nsswitch.conf": NAME_SERVICE,
            "/etc/resolv.conf": "nameserver 127.0.0.1\n",
        },
    }
