"""The topology file: what may stand in it.

A file is YAML. It names hosts and routers and the links between them; addresses and routes follow from that, and a node's
behaviours (a silent router, a firewall, address translation) are options of the node. A file that breaks a rule is refused whole,
with every problem that it has.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .scenario import Simulation
from .values import UNREACHABLE_CODES, Model, Port, Rate, as_sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AddressWithPrefix = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Location = tuple[str | int, ...]


ACTIONS = ("drop", "reset", *UNREACHABLE_CODES)

SSH_PORT = 22

TCP_OPTIONS = {"mss": 2, "window-scale": 3, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19, "fast-open": 34}


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,11}", value) or value in ("lo", "all", "default", "localhost"):
        rule = "is not a node name: up to 12 of a-z, 0-9 and '-', beginning with a letter, and not lo, all, default or localhost"
        raise ValueError(rule)
    return value


def _services(value: object) -> object:
    return dict.fromkeys(value) if isinstance(value, list) and all(isinstance(port, int) for port in value) else value


def _managed(value: object) -> object:
    return {True: {}, False: None}.get(value, value) if isinstance(value, bool) else value


def _link(value: object) -> object:
    return {"between": value} if isinstance(value, list) else value


def _dropped_share(value: float) -> float:
    if not 0 < value <= 1:
        rule = "is not a share above 0 and up to 1"
        raise ValueError(rule)
    return value


Name = Annotated[str, AfterValidator(_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(as_sequence)]


class FirewallRule(Model):
    """What becomes of TCP segments to some ports: first rule that fits.

    Arguments:
        do: `drop`, `reset` (a TCP RST in the destination's name), or the name of an ICMP unreachable code.
        port: destination port or ports; none means all.
        family: 4 or 6; none means both, as far as the code exists there.
    """

    do: Literal[ACTIONS]  # type: ignore[valid-type]
    port: Annotated[tuple[Port, ...], BeforeValidator(as_sequence)] = ()
    family: Literal[4, 6] | None = None

    @property
    def families(self) -> tuple[int, ...]:
        """The address families that the rule is about."""
        possible = UNREACHABLE_CODES.get(self.do, {4: 0, 6: 0})
        return tuple(family for family in (4, 6) if family in possible and self.family in (None, family))


class DestinationTranslation(Model):
    """Stateful translation of a destination (DNAT).

    Arguments:
        address: the address that the outside knows; the router has it, so that packets to it come here.
        to: an address, or a node, whose first address of the same family is meant.
        port, to_port: the outside's port and the inside's; none means all, unchanged.
    """

    address: Address
    to: str
    port: Port | None = None
    to_port: Port | None = None


class SourceTranslation(Model):
    """Stateful translation of the source of what leaves towards a neighbour (SNAT)."""

    out: Name
    address: Address


class Rewriting(Model):
    """Stateless translation: `address` becomes `to` in destinations, and `to` becomes `address` in sources. Quotes show it.

    Arguments:
        address: the address that the outside knows.
        to: an address, or a node, whose first address of the same family is meant.
        flip_port: translate the TCP port of `to` as well: its highest bit is another one outside.
    """

    address: Address
    to: str
    flip_port: bool = False


class Node(Model):
    """What hosts and routers have in common.

    Arguments:
        addresses: further addresses of the node, on its loopback interface, reachable from everywhere.
        silent: sends no ICMP or ICMPv6 error.
        firewall: what happens to TCP segments, rule by rule.
        routes: the way to a node or prefix, where it shall not be the shortest: neighbour, or neighbours that share the flows.
        multipath: use all shortest ways, a flow always the same one.
    """

    addresses: tuple[Address, ...] = ()
    silent: bool = False
    firewall: tuple[FirewallRule, ...] = ()
    routes: dict[str, Names] = Field(default_factory=dict)
    multipath: bool = False


class Managed(Model):
    """What a host has that is managed over SSH; see fleet.py.

    Arguments:
        python: whether it has python3.
        server: `auto` is OpenSSH's where that may run, else the embedded one.
    """

    python: bool = True
    server: Literal["auto", "embedded"] = "auto"


class Host(Node):
    """A node that forwards nothing.

    Arguments:
        services: listening TCP ports, as a list, or with the line that each says before it closes.
        managed: an SSH server at port 22: `true`, or with the options of Managed.
        simulates: networks that a process of the host plays, behind its one link.
    """

    services: Annotated[dict[Port, str | None], BeforeValidator(_services)] = Field(default_factory=dict)
    managed: Annotated[Managed | None, BeforeValidator(_managed)] = None
    simulates: Simulation | None = None

    @property
    def listening(self) -> set[int]:
        """The TCP ports that answer."""
        return {*self.services, *([SSH_PORT] if self.managed else [])}


class Router(Node):
    """A node that forwards.

    Arguments:
        icmp_rate: ICMP errors that the router sends, such as `10/s`.
        icmp_burst: errors that may go at once, 1..1000.
        loss: share of the forwarded packets that are lost, above 0 and up to 1.
        dnat, snat, masquerade, rewrite: address translation; `masquerade` names neighbours.
        set_dscp: 0..63, set_ecn: 0..3, set_ttl: 1..255 (the IPv6 hop limit too): rewritten in forwarded TCP segments.
        clamp_mss: the maximum segment size, 1..65535, that SYNs are changed to.
        strip_option: names of TCP options that are taken out.
        shift_sequence: neighbour whose TCP sequence numbers are shifted by 2^31, and the acknowledgements to it shifted back.
    """

    icmp_rate: Rate | None = None
    icmp_burst: Annotated[int, Field(ge=1, le=1000)] = 1
    loss: Annotated[float, AfterValidator(_dropped_share)] | None = None
    dnat: tuple[DestinationTranslation, ...] = ()
    snat: tuple[SourceTranslation, ...] = ()
    masquerade: Names = ()
    rewrite: tuple[Rewriting, ...] = ()
    set_dscp: Annotated[int, Field(ge=0, le=63)] | None = None
    set_ecn: Annotated[int, Field(ge=0, le=3)] | None = None
    set_ttl: Annotated[int, Field(ge=1, le=255)] | None = None
    clamp_mss: Annotated[int, Field(ge=1, le=65535)] | None = None
    strip_option: Annotated[tuple[Literal[tuple(TCP_OPTIONS)], ...], BeforeValidator(as_sequence)] = ()  # type: ignore[valid-type]
    shift_sequence: Name | None = None


class Link(Model):
    """One link, or a chain of links from node to node.

    Arguments:
        between: the nodes, in order.
        mtu: bytes of the largest packet, 68..65535; at least 1280 where the link has IPv6.
        cost: what the link counts in shortest ways.
        ipv4, ipv6: addresses with prefix length of the two ends; `false` for none; automatic unless given.
    """

    between: tuple[Name, ...] = Field(min_length=2)
    mtu: Annotated[int, Field(ge=68, le=65535)] = 1500
    cost: Annotated[int, Field(ge=1, le=1000)] = 1
    ipv4: Literal[False] | tuple[ipaddress.IPv4Interface, ipaddress.IPv4Interface] | None = None
    ipv6: Literal[False] | tuple[ipaddress.IPv6Interface, ipaddress.IPv6Interface] | None = None

    def explicit(self, family: int) -> Literal[False] | tuple[AddressWithPrefix, AddressWithPrefix] | None:
        """What the file says about the link's addresses of a family."""
        return self.ipv4 if family == 4 else self.ipv6


class Topology(Model):
    """A network as the file describes it.

    Arguments:
        description: one line for `lab list`.
        vantage: the host that commands run on unless told otherwise.
        target: the node that a trace through this network would go to, or an address.
        hosts, routers: the nodes, with their options.
        links: what connects them.
    """

    description: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]+$")]
    vantage: Name
    target: str | None = None
    hosts: dict[Name, Host | None] = Field(min_length=1)
    routers: dict[Name, Router | None] = Field(default_factory=dict)
    links: tuple[Annotated[Link, BeforeValidator(_link)], ...] = Field(min_length=1)

    @property
    def nodes(self) -> dict[str, Host | Router]:
        """All nodes by name, hosts first, each in the file's order."""
        hosts = {name: host or Host() for name, host in self.hosts.items()}
        return {**hosts, **{name: router or Router() for name, router in self.routers.items()}}

    @property
    def pairs(self) -> list[tuple[str, str, Link]]:
        """The single links: chains taken apart, in the file's order."""
        return [(left, right, link) for link in self.links for left, right in zip(link.between, link.between[1:], strict=False)]

    def neighbours(self, name: str) -> set[str]:
        """The nodes that a node has a link to."""
        return {right if left == name else left for left, right, _ in self.pairs if name in (left, right)}
