# BSD-3-Clause, see LICENSE
"""How fast probes may leave: of the whole process, to one destination, and to the routers that all traces share."""

from __future__ import annotations

import math
from typing import Dict, List, Optional

from .errors import OptionError, shown

__all__ = ("DESTINATION_RATE", "PROCESS_RATE", "UNLIMITED", "Pacer", "Pacing", "read_rate")

#: Probes per second, and how many may leave at once: of the process, and to one destination.
PROCESS_RATE, PROCESS_BURST = 5000.0, 256
DESTINATION_RATE, DESTINATION_BURST = 500.0, 64
#: The first hops are the same routers for all traces of a process. Each of these TTLs gets at most this share of the process's
#: rate, so that a router's limit of ICMP errors (1000 a second in older Linux) does not read as loss.
NEAR_HOPS, NEAR_SHARE, NEAR_BURST = 4, 0.2, 128

#: The word for no limit, where no number can say it; and the highest number that is a limit.
UNLIMITED, HIGHEST_RATE = "unlimited", 1_000_000
_LONGEST_RATE = 32


def read_rate(value: object) -> float:
    """Read the rate of the process, as a program's argument, a playbook or JSON may say it.

    Arguments:
        value: probes per second, 1..1000000, as a number or its text; ``unlimited`` or infinity for no limit.

    Raises:
        OptionError: it is none of these.
    """
    if value == UNLIMITED:
        return math.inf
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        text = str(value)
        try:
            rate = float(value) if len(text) <= _LONGEST_RATE and text.isascii() and "_" not in text else math.nan
        except ValueError:
            rate = math.nan
        if 1 <= rate <= HIGHEST_RATE or (rate == math.inf and not isinstance(value, str)):
            return rate
    raise OptionError(
        ["rate: {} is not between 1 and {} probes per second, nor '{}'".format(shown(value), HIGHEST_RATE, UNLIMITED)]
    )


class Pacer:
    """A token bucket.

    Arguments:
        rate: tokens per second; infinite is no limit. burst: how many may be taken at once.
    """

    __slots__ = ("_filled_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._filled_at: Optional[float] = None

    def next_at(self, now: float) -> float:
        """When a token is there: now, or a later time. Seconds of the caller's monotonic clock."""
        if self.rate == math.inf:
            return now
        if self._filled_at is not None:
            self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        return now if self._tokens >= 1 else now + (1 - self._tokens) / self.rate

    def take(self) -> None:
        """Take a token that ``next_at`` promised."""
        self._tokens -= 1


class Pacing:
    """All limits of one process.

    Arguments:
        rate: probes per second of the process; infinite is no limit.

    Attributes:
        process: the limit that all traces share.
    """

    def __init__(self, rate: float = PROCESS_RATE) -> None:
        self.process = Pacer(rate, PROCESS_BURST)
        self._near = [Pacer(rate * NEAR_SHARE, NEAR_BURST) for _hop in range(NEAR_HOPS)]
        self._destinations: Dict[str, Pacer] = {}
        self._traces: Dict[str, int] = {}

    def change(self, rate: float) -> None:
        """Have another rate from now on."""
        self.process.rate = rate
        for hop in self._near:
            hop.rate = rate * NEAR_SHARE

    def begin(self, address: str) -> None:
        """A trace to this destination begins."""
        self._traces[address] = self._traces.get(address, 0) + 1
        if address not in self._destinations:
            self._destinations[address] = Pacer(DESTINATION_RATE, DESTINATION_BURST)

    def end(self, address: str) -> None:
        """A trace to this destination has ended."""
        self._traces[address] -= 1
        if not self._traces[address]:
            del self._traces[address], self._destinations[address]

    def _limits(self, address: str, ttl: int) -> List[Pacer]:
        """The limits of a probe beside the process's."""
        destination = self._destinations[address]
        return [destination, self._near[ttl - 1]] if ttl <= NEAR_HOPS else [destination]

    def ready_at(self, address: str, ttl: int, now: float) -> float:
        """When a probe may leave, as far as its destination and its first routers are concerned: now, or a later time."""
        return max([limit.next_at(now) for limit in self._limits(address, ttl)])

    def take(self, address: str, ttl: int) -> None:
        """A probe has left."""
        self.process.take()
        for limit in self._limits(address, ttl):
            limit.take()
