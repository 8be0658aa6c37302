"""What a trace proves of its path: who answered where, how far away the destination is, and what stayed hidden."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..probe.records import Hop, Trace
from .naming import Naming, safe_text

__all__ = ("ProvenPath", "Router", "counted", "names_of", "network_of", "ttls")

AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def network_of(text: str) -> AnyNetwork | None:
    """An address or prefix as a network; host bits are allowed, as an interface's address with its length has them."""
    try:
        return ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        return None


def names_of(text: str) -> set[str]:
    """A name as it is given, and as naming escapes names of networks and of devices."""
    # A comma is what stands between the names of devices.
    return {text, safe_text(text), safe_text(text).replace(",", "\\x2c")}


@dataclass(frozen=True)
class Router:
    """An address that answered on the way.

    Attributes:
        ttl: of its hop. network: the user's name for the address's network. devices: names of the devices that have it.
    """

    ttl: int
    address: str
    network: str | None
    devices: tuple[str, ...]

    @property
    def text(self) -> str:
        """Where it is and whose, for a sentence."""
        return f"hop {self.ttl} ({', '.join((*self.devices, self.address))})"

    def in_place(self, operand: str) -> bool:
        """Whether it is what an expectation names."""
        place = network_of(operand)
        if place is None:
            return bool(names_of(operand) & {self.network, *self.devices})
        own = network_of(self.address)
        return own is not None and own.network_address in place


class ProvenPath:
    """What a trace proves of its path.

    Attributes:
        distance: the lowest TTL at which the destination answered; None where it did not.
        routers: every address that answered on the way, by TTL.
        end: TTL up to which the path is known: of the last router before the destination, or of the last that answered.
        whole: whether the path ends there, because the destination comes next or because a router refused to pass anything on.
        passed: the highest TTL that a router counted down to nothing; the destination lies beyond.
        silent: TTLs up to ``end`` that answered nothing or were not probed.
    """

    def __init__(self, trace: Trace, naming: Naming | None) -> None:
        self.trace = trace
        self.distance = trace.hops[-1].ttl if trace.reached and trace.hops else None
        hops = _without_refusals(trace)
        self.routers = [router for hop in hops for router in _routers(hop, trace, naming)]
        answered = [router.ttl for router in self.routers]
        self.end = max(answered, default=0) if self.distance is None else self.distance - 1
        self.passed = max((hop.ttl for hop in hops if any(reply.kind == "time_exceeded" for reply in hop.replies)), default=0)
        self.whole = self.distance is not None or (trace.stop_reason == "unreachable" and bool(answered))
        self.silent = [ttl for ttl in range(1, self.end + 1) if ttl not in answered]
        self.named = naming is not None or any(hop.network is not None or hop.device is not None for hop in trace.hops)

    @property
    def exact(self) -> bool:
        """Whether the destination's distance is known; a trace that begins at or behind it knows only the most that it can be."""
        return self.distance == 1 or (self.distance is not None and self.trace.hops[0].ttl < self.distance)

    @property
    def away(self) -> str:
        """How far the destination is that answered."""
        assert self.distance is not None
        return f"{'' if self.exact else 'at most '}{counted(self.distance)} away"

    @property
    def known(self) -> bool:
        """Whether every router of the path has answered."""
        return self.whole and not self.silent

    @property
    def gaps(self) -> str:
        """Why the path is not wholly known, as a part of a sentence."""
        texts = []
        unprobed = [ttl for ttl in self.silent if not self.trace.hops or ttl < self.trace.hops[0].ttl]
        silent = [ttl for ttl in self.silent if ttl not in unprobed]
        if unprobed:
            texts.append(f"{ttls(unprobed)} {'was' if len(unprobed) == 1 else 'were'} not probed")
        if silent:
            texts.append(f"{ttls(silent)} {'is' if len(silent) == 1 else 'are'} silent")
        if not self.whole:
            texts.append(f"nothing is known beyond hop {self.end}" if self.end else "no hop answered")
        return " and ".join(texts)

    def at(self, ttl: int) -> list[Router]:
        """The routers that answered at a TTL."""
        return [router for router in self.routers if router.ttl == ttl]

    def matching(self, operand: str) -> list[Router]:
        """The routers that an expectation names, by TTL."""
        return [router for router in self.routers if router.in_place(operand)]


def _without_refusals(trace: Trace) -> Sequence[Hop]:
    """The hops without the last where that only shows that the router before it passes nothing on.

    Routers count down before they filter what they forward: such a one refuses what would have reached the next hop.
    """
    if trace.stop_reason != "unreachable" or len(trace.hops) < 2:
        return trace.hops
    before, last = trace.hops[-2:]
    only_refused = all(reply.kind in {"unreachable", "timeout", "send_error"} for reply in last.replies)
    return trace.hops[:-1] if only_refused and last.addresses and set(last.addresses) <= set(before.addresses) else trace.hops


def _routers(hop: Hop, trace: Trace, naming: Naming | None) -> Iterator[Router]:
    """Who answered at a hop, the destination apart."""
    ends = {reply.address for reply in hop.replies if reply.kind == "tcp"}
    ends |= {reply.address for reply in hop.replies if reply.kind == "unreachable" and reply.address == trace.address}
    for address in hop.addresses:
        if address in ends:
            continue
        if naming is not None:
            network = naming.network(address)
            yield Router(hop.ttl, address, network.name if network else None, naming.devices(address))
        elif address == hop.address:
            devices = tuple(hop.device.split(", ")) if hop.device else ()
            yield Router(hop.ttl, address, hop.network.name if hop.network else None, devices)
        else:
            yield Router(hop.ttl, address, None, ())


def ttls(numbers: Sequence[int]) -> str:
    """``hop 3``, ``hops 3 and 5`` or ``hops 1-4, 6 and 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    text = f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]
    return f"hop{'s' if len(numbers) > 1 else ''} {text}"


def counted(hops: int) -> str:
    """``1 hop``, ``2 hops``."""
    return f"{hops} hop{'s' * (hops != 1)}"
