"""The record of a simulating host: what came in, and what became of it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from .inside.simulation import OUTCOMES
from .inside.simulator import EXCHANGE


@dataclass(frozen=True)
class Exchange:
    """A packet that came in, and the answer to it; duplicates and forgeries have an entry of their own.

    Arguments:
        received, due, sent: nanoseconds of the wall clock: when the kernel received it, when the answer was to be sent, and when
            it was; `sent` is 0 where nothing was.
        sequence, ttl, source_port, port: of the packet.
        outcome: one of OUTCOMES.
        destination: where the packet was to go.
        responder: who answered, or would have.
    """

    received: int
    due: int
    sent: int
    sequence: int
    ttl: int
    outcome: str
    source_port: int
    port: int
    destination: str
    responder: str


def read_exchanges(record: bytes) -> list[Exchange]:
    """Read a record, in the order in which it was written.

    Arguments:
        record: as `inside/simulator.py` writes it; an entry that is cut off is left out.
    """
    whole = len(record) - len(record) % EXCHANGE.size
    exchanges = []
    for received, due, sent, sequence, ttl, outcome, family, source_port, port, destination, responder in EXCHANGE.iter_unpack(
        record[:whole]
    ):
        size = 4 if family == 4 else 16
        exchanges.append(
            Exchange(
                received,
                due,
                sent,
                sequence,
                ttl,
                OUTCOMES[outcome],
                source_port,
                port,
                str(ipaddress.ip_address(destination[:size])),
                str(ipaddress.ip_address(responder[:size])),
            )
        )
    return exchanges
