"""The topology file: what may stand in it, and reading it.

A file is YAML. It names hosts and routers and the links between them; addresses and routes follow from that, and a node's behaviours
(a silent router, a firewall, address translation) are options of the node. A file that breaks a rule is refused whole, with every
problem that it has.
"""

from __future__ import annotations

import ipaddress
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, SequenceNode

from .errors import LabError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ruamel.yaml.nodes import Node as YamlNode

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
AddressWithPrefix = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]
Location = tuple[Union[str, int], ...]

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_LINKS = 200
MAX_SHOWN = 60
SMALLEST_IPV6_MTU = 1280  # RFC 8200 section 5

UNREACHABLE_CODES: dict[str, dict[int, int]] = {
    # RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1 for IPv4; RFC 4443 section 3.1 for IPv6.
    "net-unreachable": {4: 0},
    "host-unreachable": {4: 1},
    "protocol-unreachable": {4: 2},
    "port-unreachable": {4: 3, 6: 4},
    "source-route-failed": {4: 5},
    "net-unknown": {4: 6},
    "host-unknown": {4: 7},
    "host-isolated": {4: 8},
    "net-prohibited": {4: 9},
    "host-prohibited": {4: 10},
    "net-tos": {4: 11},
    "host-tos": {4: 12},
    "admin-prohibited": {4: 13, 6: 1},
    "precedence-violation": {4: 14},
    "precedence-cutoff": {4: 15},
    "no-route": {6: 0},
    "beyond-scope": {6: 2},
    "address-unreachable": {6: 3},
    "policy-fail": {6: 5},
    "reject-route": {6: 6},
}
ACTIONS = ("drop", "reset", *UNREACHABLE_CODES)

TCP_OPTIONS = {"mss": 2, "window-scale": 3, "sack-permitted": 4, "sack": 5, "timestamp": 8, "md5": 19, "fast-open": 34}


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,11}", value) or value in ("lo", "all", "default", "localhost"):
        rule = "is not a node name: up to 12 of a-z, 0-9 and '-', beginning with a letter, and not lo, all, default or localhost"
        raise ValueError(rule)
    return value


def _as_sequence(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else (value,)


def _services(value: object) -> object:
    return dict.fromkeys(value) if isinstance(value, list) and all(isinstance(port, int) for port in value) else value


def _link(value: object) -> object:
    return {"between": value} if isinstance(value, list) else value


def _rate(value: object) -> object:
    match = re.fullmatch(r"([1-9][0-9]{0,5})/(s|min)", value) if isinstance(value, str) else None
    if match is None:
        rule = "is not a rate such as 10/s or 30/min"
        raise ValueError(rule)
    return value


def _dropped_share(value: float) -> float:
    if not 0 < value <= 1:
        rule = "is not a share between 0 and 1"
        raise ValueError(rule)
    return value


Name = Annotated[str, AfterValidator(_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_as_sequence)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Rate = Annotated[str, BeforeValidator(_rate)]


class Model(BaseModel):
    """What all parts of a file have in common: no unknown keys, and no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class FirewallRule(Model):
    """What becomes of TCP segments to some ports: first rule that fits.

    Arguments:
        do: `drop`, `reset` (a TCP RST in the destination's name), or the name of an ICMP unreachable code.
        port: destination port or ports; none means all.
        family: 4 or 6; none means both, as far as the code exists there.
    """

    do: Literal[ACTIONS]  # type: ignore[valid-type]
    port: Annotated[tuple[Port, ...], BeforeValidator(_as_sequence)] = ()
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
    """Stateless translation: `address` becomes `to` in destinations, and `to` becomes `address` in sources. Quotes show it."""

    address: Address
    to: str


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
    routes: dict[str, Names] = {}
    multipath: bool = False


class Host(Node):
    """A node that forwards nothing.

    Arguments:
        services: listening TCP ports, as a list, or with the line that each says before it closes.
    """

    services: Annotated[dict[Port, str | None], BeforeValidator(_services)] = {}


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
    strip_option: Annotated[tuple[Literal[tuple(TCP_OPTIONS)], ...], BeforeValidator(_as_sequence)] = ()  # type: ignore[valid-type]
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
    routers: dict[Name, Router | None] = {}
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


def _prefix(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _problems_of_links(topology: Topology) -> Iterator[tuple[Location, str]]:
    nodes = topology.nodes
    for position, link in enumerate(topology.links):
        where = ("links", position)
        yield from ((where, f"{name!r} is neither a host nor a router of this file") for name in link.between if name not in nodes)
        yield from ((where, f"{left!r} is linked to itself") for left, right in zip(link.between, link.between[1:], strict=False) if left == right)
        if link.mtu < SMALLEST_IPV6_MTU and link.ipv6 is not False:
            yield (*where, "mtu"), f"{link.mtu} is less than {SMALLEST_IPV6_MTU}, which IPv6 needs; say 'ipv6: false' for this link"
        for key, ends in (("ipv4", link.ipv4), ("ipv6", link.ipv6)):
            if not ends:
                continue
            if len(link.between) != 2:
                yield (*where, key), "addresses are given for a link of two nodes, not for a chain"
            if ends[0].network != ends[1].network or ends[0].ip == ends[1].ip:
                yield (*where, key), f"{ends[0]} and {ends[1]} are not two addresses of one prefix"
    if len(topology.pairs) > MAX_LINKS:
        yield ("links",), f"{len(topology.pairs)} links are more than {MAX_LINKS}"


def _problems_of_node(topology: Topology, where: Location, name: str, node: Host | Router) -> Iterator[tuple[Location, str]]:
    nodes, neighbours = topology.nodes, topology.neighbours(name)
    if not neighbours:
        yield where, f"{name!r} has no link"
    for position, rule in enumerate(node.firewall):
        if not rule.families:
            yield (*where, "firewall", position), f"{rule.do!r} does not exist in IPv{rule.family}"
    for destination, ways in node.routes.items():
        if destination not in nodes and not _prefix(destination):
            yield (*where, "routes", destination), f"{destination!r} is neither a node nor a prefix"
        yield from (((*where, "routes", destination), f"{way!r} is not a neighbour of {name!r}") for way in ways if way not in neighbours)
    if isinstance(node, Host):
        return
    named = [("masquerade", way) for way in node.masquerade] + [("snat", rule.out) for rule in node.snat]
    named += [("shift_sequence", node.shift_sequence)] if node.shift_sequence else []
    yield from (((*where, key), f"{way!r} is not a neighbour of {name!r}") for key, way in named if way not in neighbours)
    for key, translations in (("dnat", node.dnat), ("rewrite", node.rewrite)):
        for position, translation in enumerate(translations):
            if translation.to in nodes:
                continue
            try:
                to = ipaddress.ip_address(translation.to)
            except ValueError:
                yield (*where, key, position, "to"), f"{translation.to!r} is neither a node nor an address"
            else:
                if to.version != translation.address.version:
                    yield (*where, key, position, "to"), f"{to} is not of the family of {translation.address}"
    if node.set_ttl is not None and any(other.routes for other in nodes.values()):
        yield (*where, "set_ttl"), "can't stand in a file that sets routes: packets that go round would never die"


def _problems(topology: Topology) -> Iterator[tuple[Location, str]]:
    """The rules that concern more than one place of a file."""
    if topology.vantage not in topology.hosts:
        yield ("vantage",), f"{topology.vantage!r} is not a host of this file"
    if topology.target is not None and topology.target not in topology.nodes and not _prefix(topology.target):
        yield ("target",), f"{topology.target!r} is neither a node of this file nor an address"
    yield from ((("routers", name), f"{name!r} is a host as well") for name in topology.routers if name in topology.hosts)
    yield from _problems_of_links(topology)
    for kind, names in (("hosts", topology.hosts), ("routers", topology.routers)):
        for name in names:
            yield from _problems_of_node(topology, (kind, name), name, topology.nodes[name])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _line(root: YamlNode | None, location: Sequence[str | int]) -> int:
    """The line, from 1, of the deepest part of a file that a location names."""
    line = 1
    node = root
    for step in location:
        line = node.start_mark.line + 1 if node is not None else line
        if isinstance(node, MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                return line
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _sentence(error: dict[str, Any]) -> str:
    """One problem in our words, from pydantic's."""
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return "is not a key that may stand here"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return f"{_shown(value)} {error['ctx']['error']}"
    return f"{_shown(value)}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _location(error: dict[str, Any]) -> Location:
    # Pydantic adds steps of its own for unions and validators; those are no part of the file.
    return tuple(step for step in error["loc"] if isinstance(step, int) or re.fullmatch(r"[A-Za-z0-9_.:/-]+", step) and step != "[key]")


def _refuse_oversize(text: str, source: str, yaml: YAML) -> None:
    if len(text.encode()) > MAX_FILE_BYTES:
        raise TopologyError([f"{source}:1: the file is larger than {MAX_FILE_BYTES} bytes"])
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, AliasEvent):
            rule = "an alias can't stand in a topology file" if depth <= MAX_DEPTH else f"more than {MAX_DEPTH} levels"
            raise TopologyError([f"{source}:{event.start_mark.line + 1}: {rule}"])


def parse_topology(text: str, source: str = "topology") -> Topology:
    """Read a topology from the text of a file.

    Arguments:
        text: YAML, at most 256 KiB, without aliases.
        source: what the text is called in problems, usually the file's name.

    Returns:
        The topology, all rules checked.

    Raises:
        TopologyError: with one line `source:line: place: rule` for each problem.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        _refuse_oversize(text, source, yaml)
        root = yaml.compose(text)
        content = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise TopologyError([f"{source}:{mark.line + 1 if mark else 1}: not YAML: {error.problem or error.context}"]) from error
    except YAMLError as error:
        raise TopologyError([f"{source}:1: not YAML: {str(error).splitlines()[0]}"]) from error
    if not isinstance(content, dict):
        raise TopologyError([f"{source}:1: not a topology: a mapping with 'description', 'vantage', 'hosts', 'routers' and 'links'"])

    def told(location: Location, rule: str) -> str:
        return f"{source}:{_line(root, location)}: {'.'.join(str(step) for step in location) or 'file'}: {rule}"

    try:
        topology = Topology.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise TopologyError(list(dict.fromkeys(told(_location(dict(one)), _sentence(dict(one))) for one in details))) from error
    problems = [told(location, rule) for location, rule in _problems(topology)]
    if problems:
        raise TopologyError(problems)
    return topology


def shipped() -> dict[str, str]:
    """The topologies that come with the package: text by name, in the order of their names."""
    directory = resources.files(__package__) / "networks"
    files = sorted((file for file in directory.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def load_topology(file_or_name: str | Path) -> Topology:
    """Read a topology from a file, or one of those shipped by its name.

    Arguments:
        file_or_name: path of a YAML file, or a name that `lab list` shows. A bare name means the shipped one.

    Returns:
        The topology, all rules checked.

    Raises:
        TopologyError: the file breaks rules.
        LabError: there is no such file and no such shipped topology.
    """
    networks = shipped()
    if str(file_or_name) in networks:
        return parse_topology(networks[str(file_or_name)], f"{file_or_name}.yaml")
    path = Path(file_or_name)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError as error:
        message = f"{str(file_or_name)!r} is neither a file nor a shipped lab ({', '.join(networks)})"
        raise LabError(message) from error
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise LabError(message) from error
    except UnicodeDecodeError as error:
        raise TopologyError([f"{path}:1: not UTF-8 text"]) from error
    return parse_topology(text, str(path))
