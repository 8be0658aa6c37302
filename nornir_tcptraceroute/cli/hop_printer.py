"""Hops to standard output in the order of the path, each as soon as it is complete and its names are known."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_tcptraceroute.probe.records import Hop
    from nornir_tcptraceroute.probe.resolver import ReverseNames

    from .classic_output import ClassicOutput

__all__ = ("HopPrinter",)


class HopPrinter:
    """Holds the hops that wait for their names.

    Arguments:
        output: makes their lines.
        names: looks up their names in the background; each address has the time that it gives.
        write: takes the lines.

    Attributes:
        beneath: lines of each TTL's hop that go beneath its own; they may be put there as long as the hop waits.
    """

    def __init__(self, output: ClassicOutput, names: ReverseNames, write: Callable[[str], None]) -> None:
        self._output = output
        self._names = names
        self._write = write
        self._waiting: deque[Hop] = deque()
        self.beneath: dict[int, str] = {}

    def add(self, hop: Hop) -> None:
        """Take the next hop of the path, and have its addresses looked up."""
        for address in hop.addresses:
            self._names.ask(address)
        self._waiting.append(hop)

    @property
    def awaited(self) -> tuple[str, ...]:
        """The addresses that the next line waits for; empty where no line is left."""
        return self._waiting[0].addresses if self._waiting else ()

    def print_ready(self) -> None:
        """Print the hops that wait for nothing any more. As they go in the order of the path, one holds up those behind it."""
        while self._waiting and all(map(self._names.ready, self.awaited)):
            hop = self._waiting.popleft()
            self._write(self._output.hop(hop, self._names.get) + self.beneath.get(hop.ttl, ""))
