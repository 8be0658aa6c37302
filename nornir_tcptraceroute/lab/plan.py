"""From a topology to the whole network: interfaces, addresses and routes, computed from the file alone."""

from __future__ import annotations

import heapq
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .topology import Host, Router

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .topology import Address, AddressWithPrefix, Link, Topology

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DOMAIN = "lab"
FAMILIES = (4, 6)


@dataclass(frozen=True)
class Interface:
    """One end of a link.

    Arguments:
        name: the neighbour's name, with `_2` and so on for further links to the same one.
        index: the interface's number, from 2, other than every other's.
        hardware_address: its Ethernet address.
        neighbour, neighbour_interface: the node at the other end, and the interface's name there.
        mtu, cost: as the file says.
        addresses: by family, with prefix length.
        gateways: the neighbour's addresses, by family.
    """

    name: str
    index: int
    hardware_address: str
    neighbour: str
    neighbour_interface: str
    mtu: int
    cost: int
    addresses: dict[int, AddressWithPrefix]
    gateways: dict[int, Address]


@dataclass(frozen=True)
class Route:
    """A way to a prefix: one interface, or several that share the flows. No gateway: the prefix is the interface's own."""

    prefix: Network
    interfaces: tuple[str, ...]
    connected: bool = False


@dataclass
class NodePlan:
    """A node with all that the file leaves to be computed."""

    name: str
    options: Host | Router
    interfaces: dict[str, Interface] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)

    @property
    def forwards(self) -> bool:
        """Whether the node is a router."""
        return isinstance(self.options, Router)

    def addresses(self, family: int) -> list[Address]:
        """The node's addresses of a family: of its interfaces in the file's order, then its further ones."""
        own = [interface.addresses[family].ip for interface in self.interfaces.values() if family in interface.addresses]
        further = [address for address in self.options.addresses if address.version == family]
        translated = [rule.address for rule in getattr(self.options, "dnat", ()) if rule.address.version == family]
        return list(dict.fromkeys([*own, *further, *translated]))

    def route_to(self, destination: Address) -> Route | None:
        """The route of the longest prefix that holds an address; of equal ones the first."""
        fitting = [route for route in self.routes if route.prefix.version == destination.version and destination in route.prefix]
        return max(fitting, key=lambda route: route.prefix.prefixlen, default=None)


@dataclass(frozen=True)
class Plan:
    """A whole network."""

    topology: Topology
    nodes: dict[str, NodePlan]

    def address(self, name_or_address: str, family: int) -> Address:
        """The first address of a node in a family, or the address itself.

        Raises:
            KeyError: the node has none.
        """
        if name_or_address not in self.nodes:
            return ipaddress.ip_address(name_or_address)
        addresses = self.nodes[name_or_address].addresses(family)
        if not addresses:
            message = f"{name_or_address} has no IPv{family} address"
            raise KeyError(message)
        return addresses[0]

    def owner(self, address: Address) -> str | None:
        """The first node that has an address."""
        return next((node.name for node in self.nodes.values() if address in node.addresses(address.version)), None)

    def hosts_file(self) -> str:
        """The lines of /etc/hosts: every address with its node's name in the domain `lab`, and without it."""
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        for node in self.nodes.values():
            lines += [f"{address} {node.name}.{DOMAIN} {node.name}" for family in FAMILIES for address in node.addresses(family)]
        return "\n".join([*lines, ""])


def _link_addresses(number: int, link: Link) -> list[tuple[int, AddressWithPrefix, AddressWithPrefix]]:
    """The two ends' addresses of each family that a link has: the file's, or 10.<number>.0.1 and .2, fd00:<number>::1 and ::2."""
    ends = []
    for family, first, second in (
        (4, f"10.{number}.0.1/24", f"10.{number}.0.2/24"),
        (6, f"fd00:{number}::1/64", f"fd00:{number}::2/64"),
    ):
        explicit = link.explicit(family)
        if explicit is None:
            ends.append((family, ipaddress.ip_interface(first), ipaddress.ip_interface(second)))
        elif explicit:
            ends.append((family, *explicit))
    return ends


def _connect(nodes: dict[str, NodePlan], number: int, left: str, right: str, link: Link) -> None:
    names = {}
    for node, neighbour in ((left, right), (right, left)):
        before = sum(interface.neighbour == neighbour for interface in nodes[node].interfaces.values())
        names[node] = f"{neighbour}_{before + 1}" if before else neighbour
    ends = _link_addresses(number, link)
    for side, (node, neighbour) in enumerate(((left, right), (right, left))):
        nodes[node].interfaces[names[node]] = Interface(
            name=names[node],
            # The two ends' numbers differ: then the kernel brings a link up at once, where it may else take its time, up to a
            # second.
            index=2 * number + side,
            hardware_address=f"02:00:00:00:{number:02x}:{side + 1:02x}",
            neighbour=neighbour,
            neighbour_interface=names[neighbour],
            mtu=link.mtu,
            cost=link.cost,
            addresses={family: pair[side] for family, *pair in ends},
            gateways={family: pair[1 - side].ip for family, *pair in ends},
        )


def _distances(nodes: dict[str, NodePlan], family: int, targets: Iterable[str]) -> dict[str, int]:
    """The cost of the shortest way from every node to the nearest target. Hosts are no way to anywhere."""
    distances = dict.fromkeys(targets, 0)
    heap = [(0, name) for name in distances]
    while heap:
        distance, name = heapq.heappop(heap)
        if distance > distances[name] or (distance > 0 and not nodes[name].forwards):
            continue
        for interface in nodes[name].interfaces.values():
            further = distance + interface.cost
            if family in interface.gateways and further < distances.get(interface.neighbour, further + 1):
                distances[interface.neighbour] = further
                heapq.heappush(heap, (further, interface.neighbour))
    return distances


def _targets(nodes: dict[str, NodePlan]) -> dict[Network, list[str]]:
    """Every prefix of the network with the nodes that have it."""
    targets: dict[Network, list[str]] = {}
    for node in nodes.values():
        own = [interface.addresses[family].network for interface in node.interfaces.values() for family in interface.addresses]
        further = [address for family in FAMILIES for address in node.addresses(family)]
        simulates = getattr(node.options, "simulates", None)
        own_and_played = [*own, *(simulates.prefixes if simulates else [])]
        single = [ipaddress.ip_network(address) for address in further if not any(address in prefix for prefix in own)]
        for prefix in dict.fromkeys([*own_and_played, *single]):
            targets.setdefault(prefix, []).append(node.name)
    return targets


def _asked_routes(nodes: dict[str, NodePlan], node: NodePlan) -> list[Route]:
    """The routes that the file sets for a node."""
    routes = []
    for destination, neighbours in node.options.routes.items():
        if destination in nodes:
            prefixes = [ipaddress.ip_network(address) for family in FAMILIES for address in nodes[destination].addresses(family)]
        else:
            prefixes = [ipaddress.ip_network(destination)]
        for prefix in prefixes:
            ways = [
                way.name
                for name in neighbours
                for way in node.interfaces.values()
                if way.neighbour == name and prefix.version in way.gateways
            ]
            routes += [Route(prefix, tuple(ways))] if ways else []
    return routes


def _computed_routes(nodes: dict[str, NodePlan], prefix: Network, targets: list[str]) -> Iterable[tuple[NodePlan, Route]]:
    """The shortest ways to a prefix from every node that doesn't have it."""
    family = prefix.version
    distances = _distances(nodes, family, targets)
    for node in nodes.values():
        if node.name in targets or node.name not in distances:
            continue
        ways = [
            interface.name
            for interface in node.interfaces.values()
            if family in interface.gateways
            and (nodes[interface.neighbour].forwards or interface.neighbour in targets)
            and distances.get(interface.neighbour, distances[node.name]) + interface.cost == distances[node.name]
        ]
        yield node, Route(prefix, tuple(ways if node.options.multipath else ways[:1]))


def _default_routes(node: NodePlan) -> list[Route]:
    """A host with one link sends everything there."""
    interface = next(iter(node.interfaces.values()))
    everything: tuple[Network, ...] = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
    return [Route(prefix, (interface.name,)) for prefix in everything if prefix.version in interface.gateways]


def make_plan(topology: Topology) -> Plan:
    """Compute a network from its topology.

    Links are numbered from 1 in the file's order: link 7 is 10.7.0.0/24 and fd00:7::/64 unless the file says otherwise, its first
    node has .1 and its second .2. Every prefix is reachable from everywhere by the shortest way.

    Arguments:
        topology: as read from a file.

    Returns:
        The network.
    """
    nodes = {name: NodePlan(name, options) for name, options in topology.nodes.items()}
    for number, (left, right, link) in enumerate(topology.pairs, start=1):
        _connect(nodes, number, left, right, link)
    for node in nodes.values():
        for interface in node.interfaces.values():
            node.routes += [Route(address.network, (interface.name,), connected=True) for address in interface.addresses.values()]
        node.routes += _asked_routes(nodes, node)
        if not node.forwards and len(node.interfaces) == 1:
            node.routes += _default_routes(node)
    for prefix, targets in _targets(nodes).items():
        for node, route in _computed_routes(nodes, prefix, targets):
            asked = any(known.prefix == prefix for known in node.routes)
            if not asked and (node.forwards or len(node.interfaces) > 1):
                node.routes.append(route)
    return Plan(topology, nodes)
