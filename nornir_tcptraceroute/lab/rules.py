"""The rules of a topology file that concern more than one place of it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from .topology import SSH_PORT, Host, Location, Router, Topology
from .values import UNREACHABLE_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .topology import Link

Problem = tuple[Location, str]

MAX_LINKS = 200
SMALLEST_IPV6_MTU = 1280  # RFC 8200 section 5


def _is_read_by(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def _problems_of_link(topology: Topology, where: Location, link: Link) -> Iterator[Problem]:
    neighbours = list(zip(link.between, link.between[1:], strict=False))
    unknown = [name for name in link.between if name not in topology.nodes]
    yield from ((where, f"{name!r} is neither a host nor a router of this file") for name in unknown)
    yield from ((where, f"{left!r} is linked to itself") for left, right in neighbours if left == right)
    if link.mtu < SMALLEST_IPV6_MTU and link.ipv6 is not False:
        rule = f"{link.mtu} is less than {SMALLEST_IPV6_MTU}, which IPv6 needs; say 'ipv6: false' for this link"
        yield (*where, "mtu"), rule
    for key, ends in (("ipv4", link.ipv4), ("ipv6", link.ipv6)):
        if not ends:
            continue
        if len(link.between) != 2:
            yield (*where, key), "addresses are given for a link of two nodes, not for a chain"
        if ends[0].network != ends[1].network or ends[0].ip == ends[1].ip:
            yield (*where, key), f"{ends[0]} and {ends[1]} are not two addresses of one prefix"


def _problems_of_node(topology: Topology, where: Location, name: str, node: Host | Router) -> Iterator[Problem]:
    if not topology.neighbours(name):
        yield where, f"{name!r} has no link"
    if isinstance(node, Host) and node.managed and SSH_PORT in node.services:
        yield (*where, "services", SSH_PORT), f"port {SSH_PORT} of {name!r} is its SSH server's, because it is managed"
    if isinstance(node, Host) and node.simulates and sum(name in (left, right) for left, right, _ in topology.pairs) != 1:
        yield (*where, "simulates"), f"{name!r} plays networks behind its one link, and has another number of links"
    for position, region in enumerate(node.simulates.regions if isinstance(node, Host) and node.simulates else ()):
        if region.unreachable and region.prefix.version not in UNREACHABLE_CODES[region.unreachable.do]:
            place = (*where, "simulates", "regions", position, "unreachable", "do")
            yield place, f"{region.unreachable.do!r} does not exist in IPv{region.prefix.version}"
    for position, rule in enumerate(node.firewall):
        if not rule.families:
            yield (*where, "firewall", position), f"{rule.do!r} does not exist in IPv{rule.family}"
    for destination in node.routes:
        if destination not in topology.nodes and not _is_read_by(ipaddress.ip_network, destination):
            yield (*where, "routes", destination), f"{destination!r} is neither a node nor a prefix"


def _problems_of_neighbours(topology: Topology, where: Location, name: str, node: Host | Router) -> Iterator[Problem]:
    named: list[tuple[Location, str]] = []
    for destination, ways in node.routes.items():
        named += [(("routes", destination), way) for way in ways]
    if isinstance(node, Router):
        named += [(("masquerade",), way) for way in node.masquerade]
        named += [(("snat", position, "out"), rule.out) for position, rule in enumerate(node.snat)]
        named += [(("shift_sequence",), node.shift_sequence)] if node.shift_sequence else []
    strangers = [(place, way) for place, way in named if way not in topology.neighbours(name)]
    yield from (((*where, *place), f"{way!r} is not a neighbour of {name!r}") for place, way in strangers)


def _problems_of_translations(topology: Topology, where: Location, router: Router) -> Iterator[Problem]:
    listed = [(("dnat", position, "to"), rule.to, rule.address) for position, rule in enumerate(router.dnat)]
    listed += [(("rewrite", position, "to"), rule.to, rule.address) for position, rule in enumerate(router.rewrite)]
    for place, to, address in listed:
        if to in topology.nodes:
            continue
        if not _is_read_by(ipaddress.ip_address, to):
            yield (*where, *place), f"{to!r} is neither a node nor an address"
        elif ipaddress.ip_address(to).version != address.version:
            yield (*where, *place), f"{to} is not of the family of {address}"


def problems(topology: Topology) -> Iterator[Problem]:
    """Find what is wrong with a topology whose single values are right.

    Arguments:
        topology: as read from a file.

    Returns:
        Place and rule of each problem.
    """
    if topology.vantage not in topology.hosts:
        yield ("vantage",), f"{topology.vantage!r} is not a host of this file"
    if (
        topology.target is not None
        and topology.target not in topology.nodes
        and not _is_read_by(ipaddress.ip_address, topology.target)
    ):
        yield ("target",), f"{topology.target!r} is neither a node of this file nor an address"
    yield from ((("routers", name), f"{name!r} is a host as well") for name in topology.routers if name in topology.hosts)
    for position, link in enumerate(topology.links):
        yield from _problems_of_link(topology, ("links", position), link)
    if len(topology.pairs) > MAX_LINKS:
        yield ("links",), f"{len(topology.pairs)} links are more than {MAX_LINKS}"
    redirected = any(node.routes or getattr(node, "dnat", ()) or getattr(node, "rewrite", ()) for node in topology.nodes.values())
    for name, node in topology.nodes.items():
        where = ("hosts" if name in topology.hosts else "routers", name)
        yield from _problems_of_node(topology, where, name, node)
        yield from _problems_of_neighbours(topology, where, name, node)
        if isinstance(node, Router):
            yield from _problems_of_translations(topology, where, node)
            if node.set_ttl is not None and redirected:
                rule = "can't stand in a file with routes, dnat or rewrite: packets that go round would never die"
                yield (*where, "set_ttl"), rule
