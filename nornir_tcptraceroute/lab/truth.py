"""What a trace through a network must show, computed from the file alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .topology import Host, Router
from .values import UNREACHABLE_CODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .plan import Interface, NodePlan, Plan
    from .topology import Address

Kind = Literal["time_exceeded", "tcp", "unreachable", "silent"]
End = Literal["open", "closed", "filtered", "unreachable", "max_ttl"]

MAX_PATHS = 1024
NET_UNREACHABLE = {4: 0, 6: 0}
HOST_UNREACHABLE = {4: 1, 6: 3}


@dataclass(frozen=True)
class Answer:
    """What comes back for a probe.

    Arguments:
        ttl: the probe's.
        node: which node answers, or swallows the probe.
        kind: `time_exceeded`, `tcp` (SYN/ACK or RST), `unreachable` or `silent`.
        addresses: the address that the answer comes from; several where that depends on the way back; none if silent.
        code: ICMP code if unreachable.
    """

    ttl: int
    node: str
    kind: Kind
    addresses: frozenset[str] = frozenset()
    code: int | None = None


@dataclass(frozen=True)
class Path:
    """One way that a flow may take: the answers in order of TTL, the last one where nothing changes for larger TTLs.

    Arguments:
        hops: the answer to each TTL from 1.
        end: the state of the port as seen from the vantage, or `max_ttl` if the probes never arrive anywhere.
    """

    hops: tuple[Answer, ...]
    end: End

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that answer, or should."""
        return tuple(hop.node for hop in self.hops)

    @property
    def addresses(self) -> tuple[str | None, ...]:
        """For each TTL the address that answers, or None for silence. Where it may be several, the smallest: see `matches`."""
        return tuple(min(hop.addresses, default=None) for hop in self.hops)

    def matches(self, seen: Sequence[str | None]) -> bool:
        """Whether what a trace saw is this path.

        Arguments:
            seen: for each TTL from 1 the address that answered, or None.

        Returns:
            True if there are as many as hops, and each is one that the hop may show.
        """
        if len(seen) != len(self.hops):
            return False
        return all(address in (hop.addresses or {None}) for address, hop in zip(seen, self.hops, strict=True))


@dataclass(frozen=True)
class _Probe:
    """A TCP SYN on its way.

    Arguments:
        translated: the destination as the vantage knows it, once a router has translated it with state.
        hidden: for each address that routers rewrite on the way back what they make of it, the nearest router last.
    """

    ttl: int
    source: Address
    destination: Address
    port: int
    node: str
    way_in: Interface | None = None
    translated: Address | None = None
    hidden: tuple[tuple[Address, Address], ...] = ()

    @property
    def answered_from(self) -> Address:
        """The source of a TCP answer, as the vantage sees it."""
        if self.translated is not None:
            return self.translated
        address = self.destination
        for inside, outside in reversed(self.hidden):
            address = outside if address == inside else address
        return address


class _OpenChoiceError(Exception):
    """Equal ways, and nothing chosen yet."""

    def __init__(self, key: tuple[str, str], ways: int) -> None:
        super().__init__(key)
        self.key = key
        self.ways = ways


class Truth:
    """What the topology says a trace must show.

    Arguments:
        plan: the network.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def address(self, node: str, family: int = 4) -> str:
        """The first address of a node.

        Raises:
            KeyError: it has none in this family.
        """
        return str(self._plan.address(node, family))

    def addresses(self, node: str, family: int = 4) -> tuple[str, ...]:
        """All addresses of a node, in the order of its links."""
        return tuple(str(address) for address in self._plan.nodes[node].addresses(family))

    def paths(self, source: str, destination: str, *, family: int = 4, port: int = 80, max_ttl: int = 30) -> tuple[Path, ...]:
        """Every way that a TCP trace may go; a flow goes one of them.

        Loss and rate limits are left out: they say how often a hop answers, not which. Probes fit the links' MTU, and every
        answer finds its way back.

        Arguments:
            source: the vantage, a node.
            destination: a node, whose first address is meant, or an address.
            family: 4 or 6, for a node; an address has its own.
            port: TCP destination port, 1..65535.
            max_ttl: how far to go.

        Returns:
            The paths, at least one and each once.

        Raises:
            KeyError: a node has no address in the family.
        """
        target = self._plan.address(destination, family)
        start = self._plan.address(source, target.version)
        paths: list[Path] = []
        open_choices: list[dict[tuple[str, str], int]] = [{}]
        while open_choices and len(paths) < MAX_PATHS:
            choices = open_choices.pop()
            try:
                paths.append(self._path(_Probe(1, start, target, port, source), choices, max_ttl))
            except _OpenChoiceError as choice:
                open_choices += [{**choices, choice.key: way} for way in reversed(range(choice.ways))]
        return tuple(dict.fromkeys(paths))

    def path(self, source: str, destination: str, *, family: int = 4, port: int = 80, max_ttl: int = 30) -> Path:
        """The only way, as `paths` has it.

        Raises:
            ValueError: there are several.
        """
        paths = self.paths(source, destination, family=family, port=port, max_ttl=max_ttl)
        if len(paths) != 1:
            message = f"{len(paths)} ways lead from {source} to {destination}"
            raise ValueError(message)
        return paths[0]

    def hops(
        self, source: str, destination: str, *, family: int = 4, port: int = 80, max_ttl: int = 30
    ) -> tuple[frozenset[str], ...]:
        """For each TTL from 1 all addresses that may answer, whichever way a flow takes; empty where nothing does."""
        paths = self.paths(source, destination, family=family, port=port, max_ttl=max_ttl)
        longest = max(len(path.hops) for path in paths)
        return tuple(
            frozenset().union(*(path.hops[ttl].addresses for path in paths if ttl < len(path.hops))) for ttl in range(longest)
        )

    def _path(self, probe: _Probe, choices: dict[tuple[str, str], int], max_ttl: int) -> Path:
        last, end = self._answer(replace(probe, ttl=255), choices)
        hops = []
        for ttl in range(1, max_ttl + 1):
            answer, ended = self._answer(replace(probe, ttl=ttl), choices)
            hops.append(replace(answer, ttl=ttl))
            if ended is not None and (answer.node, answer.kind) == (last.node, last.kind):
                return Path(tuple(hops), end or "max_ttl")
        return Path(tuple(hops), "max_ttl")

    def _answer(self, probe: _Probe, choices: dict[tuple[str, str], int]) -> tuple[Answer, End | None]:
        """What becomes of one probe, and, if it is not a matter of its TTL, what the vantage learns of the port."""
        ttl = probe.ttl
        node = self._plan.nodes[probe.node]
        while True:
            if probe.way_in is not None:
                probe = self._translated_destination(node, probe)
            if probe.destination in node.addresses(probe.destination.version):
                return self._arrived(node, probe, ttl)
            if probe.way_in is not None and not node.forwards:
                return Answer(ttl, node.name, "silent"), "filtered"
            route = node.route_to(probe.destination)
            if route is None:
                return self._error(node, probe, ttl, "unreachable", NET_UNREACHABLE[probe.destination.version])
            way_out = node.interfaces[self._chosen(node, route.interfaces, probe, choices)]
            if probe.way_in is not None:
                if probe.ttl <= 1:
                    return self._error(node, probe, ttl, "time_exceeded", None)
                if stopped := self._stopped(node, probe, ttl):
                    return stopped
                probe = self._changed(node, replace(probe, ttl=probe.ttl - 1), way_out)
            following = self._plan.nodes[way_out.neighbour]
            if route.connected and probe.destination not in following.addresses(probe.destination.version):
                return self._error(node, probe, ttl, "unreachable", HOST_UNREACHABLE[probe.destination.version])
            node = following
            probe = replace(probe, node=node.name, way_in=node.interfaces[way_out.neighbour_interface])

    @staticmethod
    def _chosen(node: NodePlan, ways: tuple[str, ...], probe: _Probe, choices: dict[tuple[str, str], int]) -> str:
        key = (node.name, str(probe.destination))
        if len(ways) > 1 and key not in choices:
            raise _OpenChoiceError(key, len(ways))
        return ways[choices.get(key, 0)]

    def _translated_destination(self, node: NodePlan, probe: _Probe) -> _Probe:
        options = node.options
        if not isinstance(options, Router):
            return probe
        family = probe.destination.version
        rewriting = [(rule.address, self._plan.address(rule.to, rule.address.version)) for rule in options.rewrite]
        probe = replace(probe, hidden=(*probe.hidden, *((inside, outside) for outside, inside in rewriting)))
        for outside, inside in rewriting:
            if outside == probe.destination:
                probe = replace(probe, destination=inside)
        for rule in options.dnat:
            if rule.address == probe.destination and rule.port in (None, probe.port):
                known = probe.translated or probe.destination
                return replace(
                    probe, destination=self._plan.address(rule.to, family), port=rule.to_port or probe.port, translated=known
                )
        return probe

    def _changed(self, node: NodePlan, probe: _Probe, way_out: Interface) -> _Probe:
        """What a router changes in a probe that it sends on."""
        options = node.options
        if not isinstance(options, Router):
            return probe
        if options.set_ttl is not None:
            probe = replace(probe, ttl=options.set_ttl)
        family = probe.source.version
        for rewriting in options.rewrite:
            if self._plan.address(rewriting.to, rewriting.address.version) == probe.source:
                return replace(probe, source=rewriting.address)
        for rule in options.snat:
            if rule.out == way_out.neighbour and rule.address.version == family:
                return replace(probe, source=rule.address)
        if way_out.neighbour in options.masquerade and family in way_out.addresses:
            return replace(probe, source=way_out.addresses[family].ip)
        return probe

    def _stopped(self, node: NodePlan, probe: _Probe, ttl: int) -> tuple[Answer, End | None] | None:
        """What a firewall says, if it says anything."""
        family = probe.destination.version
        for rule in node.options.firewall:
            if family not in rule.families or (rule.port and probe.port not in rule.port):
                continue
            if rule.do == "drop":
                return Answer(ttl, node.name, "silent"), "filtered"
            if rule.do == "reset":
                return Answer(ttl, node.name, "tcp", frozenset({str(probe.answered_from)})), "closed"
            return self._error(node, probe, ttl, "unreachable", UNREACHABLE_CODES[rule.do][family])
        return None

    def _arrived(self, node: NodePlan, probe: _Probe, ttl: int) -> tuple[Answer, End | None]:
        if stopped := self._stopped(node, probe, ttl):
            return stopped
        served = isinstance(node.options, Host) and probe.port in node.options.listening
        return Answer(ttl, node.name, "tcp", frozenset({str(probe.answered_from)})), "open" if served else "closed"

    def _error(self, node: NodePlan, probe: _Probe, ttl: int, kind: Kind, code: int | None) -> tuple[Answer, End | None]:
        end: End | None = "unreachable" if kind == "unreachable" else None
        if node.options.silent:
            return Answer(ttl, node.name, "silent"), "filtered" if end else None
        return Answer(ttl, node.name, kind, frozenset(self._error_sources(node, probe)), code), end

    def _error_sources(self, node: NodePlan, probe: _Probe) -> Iterator[str]:
        """Where an ICMP error says that it comes from.

        What arrived is answered from its destination address. Else IPv4 takes the interface that the probe came in by, as the lab
        sets icmp_errors_use_inbound_ifaddr; IPv6 the same since Linux 6.18, and before, the interface that the answer leaves by
        (RFC 4443 section 2.2 d, RFC 6724 section 5 rule 5): where the two differ, either is right. Stateful translation hides the
        inside: the answer's source becomes the address that the vantage knows.
        """
        family = probe.destination.version
        if probe.translated is not None:
            yield str(probe.translated)
            return
        if probe.destination in node.addresses(family):
            yield str(probe.destination)
            return
        if probe.way_in is not None:
            yield str(probe.way_in.addresses[family].ip)
        if family == 6:
            back = node.route_to(probe.source)
            yield from (str(node.interfaces[name].addresses[6].ip) for name in (back.interfaces if back else ()))
