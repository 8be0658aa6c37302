"""The simulated part of a topology file: whole networks behind one interface, as ``inside/simulation.py`` plays them."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from .values import UNREACHABLE_CODES, Model, Port, Rate, as_sequence

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Ttl = Annotated[int, Field(ge=1, le=255)]
Ttls = Annotated[tuple[Ttl, ...], BeforeValidator(as_sequence)]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0, le=60_000)]
PortState = Literal["open", "closed", "filtered"]

#: Where the simulated routers' addresses come from, in both versions beside the ranges that tests and documentation use.
ROUTERS = {4: ipaddress.ip_network("100.64.0.0/10"), 6: ipaddress.ip_network("2001:db8:ffff::/48")}


def _hops(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


def _in_order(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        rule = f"{value[0]} is more than {value[1]}"
        raise ValueError(rule)
    return value


class Refusal(Model):
    """A router that refuses what would go on.

    Arguments:
        hop: its TTL. do: name of the ICMP unreachable code.
    """

    hop: Ttl
    do: Literal[tuple(UNREACHABLE_CODES)] = "admin-prohibited"  # type: ignore[valid-type]


class Late(Model):
    """Answers that come later than the others.

    Arguments:
        share: of the answers. ms: how much later.
    """

    share: Share
    ms: Milliseconds


class Translation(Model):
    """A stateless translation of the source, which quotes from beyond it show.

    Arguments:
        hop: TTL of the router that translates. ipv4, ipv6: the outside's addresses.
        port_mask: what the source port is combined with (exclusive or); 0 leaves it.
    """

    hop: Ttl
    ipv4: ipaddress.IPv4Address = ipaddress.IPv4Address("203.0.113.1")
    ipv6: ipaddress.IPv6Address = ipaddress.IPv6Address("2001:db8:fe::1")
    port_mask: Annotated[int, Field(ge=0, le=65535)] = 0


class Region(Model):
    """Destinations with the same kind of path.

    Arguments:
        prefix: their addresses, all of which exist.
        hops: TTL that reaches them: a number, or the least and the most, of which each destination has its own.
        shared: so many hops are the same for all; the further ones are the more destinations' own the further they are.
        rtt_ms: round trip to the destination; a hop's is its share of that.
        delays_ms: round trips of the first hops, where they shall be other than that.
        jitter_ms: up to so much is added to each round trip, which also brings answers out of order.
        loss: share of the probes that get no answer. duplicates: share of the answers that come twice.
        late: answers that come later than the others.
        silent: TTLs of routers that send no ICMP errors.
        icmp_rate, icmp_burst: of each router's ICMP errors, such as `10/s`.
        paths: how many equal-cost paths there are, by flow. balanced: TTLs at which they differ.
        mpls, interfaces: TTLs of routers whose answers tell of labels (RFC 4950), or of the incoming interface (RFC 5837).
        quote: bytes that a router quotes behind the IP header; 0 for all.
        translation: of the source's address, as quotes show it.
        unreachable: a router that refuses what would go on. filtered_beyond: TTL of a router that drops it silently.
        syn_proxy: TTL of a router that answers SYNs in the destination's name.
        port: state of all ports but those of `ports`.
        stateful: whether an open port treats further SYNs of a flow as Linux does, or answers each.
        forged: so many forged and malformed answers come with each answer.
    """

    prefix: Prefix
    hops: Annotated[tuple[Ttl, Ttl], BeforeValidator(_hops), AfterValidator(_in_order)]
    shared: Annotated[int, Field(ge=0, le=255)] = 3
    rtt_ms: Milliseconds = 0
    delays_ms: tuple[Milliseconds, ...] = ()
    jitter_ms: Milliseconds = 0
    loss: Share = 0
    duplicates: Share = 0
    late: Late | None = None
    silent: Ttls = ()
    icmp_rate: Rate | None = None
    icmp_burst: Annotated[int, Field(ge=1, le=1000)] = 1
    paths: Annotated[int, Field(ge=1, le=64)] = 1
    balanced: Ttls = ()
    mpls: Ttls = ()
    interfaces: Ttls = ()
    quote: Annotated[int, Field(ge=0, le=1000)] = 0
    translation: Translation | None = None
    unreachable: Refusal | None = None
    filtered_beyond: Ttl | None = None
    syn_proxy: Ttl | None = None
    port: PortState = "open"
    ports: dict[Port, PortState] = Field(default_factory=dict)
    stateful: bool = True
    forged: Annotated[int, Field(ge=0, le=100)] = 0

    def plain(self) -> dict[str, Any]:
        """What ``Simulation`` takes, as JSON types."""
        told = self.model_dump(mode="json", exclude={"prefix", "icmp_rate", "unreachable", "translation"})
        family = self.prefix.version
        amount, unit = self.icmp_rate.split("/") if self.icmp_rate else ("0", "s")
        refusal, translation = self.unreachable, self.translation
        return {
            **told,
            "family": family,
            "first": int(self.prefix.network_address),
            "last": int(self.prefix.broadcast_address),
            "icmp_rate": int(amount) / {"s": 1, "min": 60}[unit],
            "unreachable": refusal and {"hop": refusal.hop, "code": UNREACHABLE_CODES[refusal.do][family]},
            "translation": translation
            and {
                "hop": translation.hop,
                "port_mask": translation.port_mask,
                "addresses": {"4": translation.ipv4.packed.hex(), "6": translation.ipv6.packed.hex()},
            },
        }


class Simulation(Model):
    """What a simulator plays.

    Arguments:
        seed: of everything that looks like chance.
        regions: the first that holds an address says how it is reached.
    """

    seed: int = 1
    regions: tuple[Region, ...] = Field(min_length=1)

    @property
    def prefixes(self) -> list[Prefix]:
        """What lies behind the simulator."""
        return [region.prefix for region in self.regions]

    def plain(self) -> dict[str, Any]:
        """What the process takes, as JSON types."""
        return {
            "seed": self.seed,
            "routers": {str(family): int(network.network_address) for family, network in ROUTERS.items()},
            "regions": [region.plain() for region in self.regions],
        }
