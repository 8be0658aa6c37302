"""The virtual network with bytes: its routers answer with ICMP errors that quote the probes as a path may have changed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nornir_tcptraceroute import Trace, TraceOptions
from nornir_tcptraceroute.probe.wire import IcmpError, TcpReply, read_icmpv4, read_icmpv6
from tests.unit import packets
from tests.unit.virtual_network import DESTINATION, SOURCE, Fate, Path, Router, VirtualNetwork

#: What a path does to a probe on its way to a TTL: the packet from the IP header on, as it would be there otherwise.
Change = Callable[[int, bytes], bytes]


def unchanged(_ttl: int, probe: bytes) -> bytes:
    return probe


class QuotingNetwork(VirtualNetwork):
    """Runs one tracer; ``change`` is what the path does, ``quote`` how many bytes behind the IP header routers quote."""

    def __init__(
        self, path: Path, options: TraceOptions, seed: int = 0, *, family: int, change: Change, quote: int, extension: bytes
    ) -> None:
        super().__init__(path, options, seed, family=family)
        self._change, self._quote, self._extension = change, quote, extension

    def _deliver(self, fate: Fate, packet: IcmpError | TcpReply, delay: float) -> None:
        if isinstance(packet, IcmpError):
            read = self._read(fate, packet)
            assert isinstance(read, IcmpError), read
            packet = read
        super()._deliver(fate, packet, delay)

    def _read(self, fate: Fate, error: IcmpError) -> IcmpError | str:
        """The error as the probe reads it from bytes."""
        probe, ip_header = fate.probe, 20 if self.family == 4 else 40
        sent = self.builder.build(1, probe.sequence, probe.acknowledgment, probe.identification)
        quoted = self._change(min(probe.ttl, self.path.distance), sent)[: ip_header + self._quote]
        rest = b"\0\0\0\0"
        if self._extension:
            quoted = quoted.ljust(128, b"\0")[:128]
            rest = bytes([0, 32, 0, 0]) if self.family == 4 else bytes([16, 0, 0, 0])
        body = quoted + self._extension
        if self.family == 4:
            message = packets.icmpv4(error.type, error.code, body, rest=rest)
            return read_icmpv4(packets.ipv4(error.address, SOURCE[4], packets.ICMP, message, ttl=64))
        message = packets.icmpv6(error.address, SOURCE[6], error.type, error.code, body, rest=rest)
        return read_icmpv6(message, error.address, 64)


def traced(
    change: Change = unchanged,
    *,
    family: int = 4,
    quote: int = 1500,
    hops: int = 6,
    seed: int = 0,
    extension: bytes = b"",
    path: dict[str, Any] | None = None,
    **options: Any,
) -> Trace:
    """A trace over so many routers, of which each quotes the probe."""
    routers = [Router(rtt=0.001 * ttl) for ttl in range(1, hops + 1)]
    described = Path(routers, rtt=0.02, **(path or {}))
    asked = TraceOptions(DESTINATION[family], port=443, **options)
    return QuotingNetwork(described, asked, seed, family=family, change=change, quote=quote, extension=extension).run()


def extension_of(*objects: tuple[int, int, bytes]) -> bytes:
    """An extension structure (RFC 4884 section 7) of objects: class, subtype and data of each."""
    body = b"".join((4 + len(data)).to_bytes(2, "big") + bytes([kind, subtype]) + data for kind, subtype, data in objects)
    check = 0xFFFF ^ packets.sum_of(b"\x20\0" + body)
    return b"\x20\0" + check.to_bytes(2, "big") + body
