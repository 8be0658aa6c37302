"""A destination that answers nothing until the test answers for it, at the other end of a link in the test's namespace."""

from __future__ import annotations

import select
import socket
import struct
from pathlib import Path
from typing import NamedTuple

from tests.unit import packets
from tests.unit.namespaces import ip

#: Longer than anything here may take: a test that waits so long fails.
FOREVER = 300.0
ADDRESS, SOURCE = "10.9.0.2", "10.9.0.1"
_MAC = "02:00:00:00:00:0"


class Seen(NamedTuple):
    """A probe that reached the other end."""

    source_port: int
    port: int
    sequence: int


class SilentDestination:
    """The link, and what is seen at its other end; a context manager, in a namespace of its own."""

    def __enter__(self) -> SilentDestination:  # noqa: PYI034 -- typing.Self is newer than Python 3.10
        ip(
            f"link add left address {_MAC}1 type veth peer name far address {_MAC}2",
            "link set left up",
            "link set far up",
            f"address add {SOURCE}/24 dev left",
            f"neighbour add {ADDRESS} lladdr {_MAC}2 dev left nud permanent",
        )
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._tap.bind(("far", 0x0800))
        return self

    def __exit__(self, *_: object) -> None:
        self._tap.close()

    def next_probe(self) -> Seen:
        """Wait for the next probe."""
        while True:
            assert select.select([self._tap], [], [], FOREVER)[0], "no probe came"
            packet, (_, _, kind, _, _) = self._tap.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING and packet[9] == packets.TCP:
                return Seen(*struct.unpack_from("!HHI", packet, 20))

    def refuse(self, probe: Seen) -> None:
        """Answer a probe as a closed port does."""
        ports = probe.port, probe.source_port
        segment = packets.tcp(ADDRESS, SOURCE, ports, 0, (probe.sequence + 1) % 2**32, flags=0x14)
        packet = packets.ipv4(ADDRESS, SOURCE, packets.TCP, segment)
        self._tap.sendto(packet, ("far", 0x0800, 0, 0, bytes.fromhex(f"{_MAC}1".replace(":", ""))))


def raw_sockets() -> int:
    """How many raw sockets there are in this network namespace."""
    return sum(len(Path("/proc/self/net", name).read_text().splitlines()) - 1 for name in ("raw", "raw6"))
