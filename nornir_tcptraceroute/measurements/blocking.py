"""Finds where a port is blocked: takes the traces that the verdict needs, further ones where the first leave it open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ..analysis.blocking import PAIRS, Block, doubtful, goes_further, incomparable, locate_block, with_notes
from ..probe.errors import OptionError, ProbeError
from ..probe.library import trace
from ..probe.options import PARAMETERS, TraceOptions
from ..probe.records import Trace

__all__ = ("BlockMeasurement", "Measure", "block_requests", "measure_block", "measure_here")

#: Takes traces at the same time; gives for each request the trace, or why there is none, in whatever order.
Measure = Callable[[Sequence[TraceOptions]], Sequence[Trace | ProbeError]]

#: So many traces of the working port are taken at the same time to find one that goes the blocked port's way, and so often.
_TRIES, _ROUNDS = 4, 2
#: Source ports are chosen above those that need a privilege.
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65535
#: Verdicts that leave it open whether another trace of the working port tells more.
_OPEN = {"paths_differ", "incomplete", "too_few_answers", "nothing_works"}
#: How far beyond the destination a trace is repeated.
_BEYOND = 2


@dataclass(frozen=True)
class BlockMeasurement:
    """A verdict with the traces that it rests on.

    Attributes:
        block: the verdict.
        blocked, working: the traces.
    """

    block: Block
    blocked: Trace
    working: Trace

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON types."""
        return {**self.block.to_dict(), "blocked": self.blocked.to_dict(), "working": self.working.to_dict()}


def block_requests(options: TraceOptions, working_port: Any) -> tuple[TraceOptions, TraceOptions]:
    """The two traces that a verdict begins with.

    Arguments:
        options: of the trace to the port in question.
        working_port: a port that works, 1..65535; None asks the same port by ACK, which many filters let through.

    Raises:
        OptionError: every problem at once.
    """
    problems = []
    flags = set(options.flags.split(","))
    if "SYN" not in flags or flags & {"ACK", "RST"}:
        problems.append(f"flags: {options.flags!r} opens no connection, and a block is located by SYN")
    if options.packet is not None:
        problems.append("packet: a block is located by the probe's own SYNs: leave it out")
    port = PARAMETERS["port"]
    if working_port is not None:
        if isinstance(working_port, bool) or not isinstance(working_port, int) or not port.includes(working_port):
            problems.append(f"working_port: {working_port!r} is not {port.rule}")
        elif working_port == options.port:
            problems.append(f"working_port: {working_port} is the port in question: give another, or none")
    if problems:
        raise OptionError(problems)
    # The verdict looks into the answers' headers.
    blocked = replace(options, evidence="notable") if options.evidence == "none" else options
    if working_port is None:
        return blocked, replace(blocked, flags="ACK", tcp_options="none")
    return blocked, replace(blocked, port=working_port)


def measure_here(requests: Sequence[TraceOptions]) -> list[Trace | ProbeError]:
    """Take traces from this host at the same time, each in a thread of its own."""

    def measure(request: TraceOptions) -> Trace | ProbeError:
        try:
            return trace(request)
        except ProbeError as error:
            return error

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(measure, requests))


def measure_block(options: TraceOptions, measure: Measure = measure_here, *, working_port: Any = None) -> BlockMeasurement:
    """Trace a port beside one that works, and tell where it is blocked.

    Both traces are taken at the same time, unless a source port is asked for, which only one at a time can have. Where they turn
    out to go different ways, the working one is taken again over other source ports, and by ACK first over the very flow of the
    blocked one. A port that seems to be dropped is traced once more by itself, so that a router that had no answers left for two
    traces is not taken for the one that drops.

    Arguments:
        options: of the trace to the port in question.
        measure: takes the traces; by default they are taken from this host.
        working_port: a port that works, 1..65535; None asks the same port by ACK.

    Returns:
        The verdict with its traces.

    Raises:
        OptionError: the options can't be those of a block; nothing was sent.
        ProbeError: one of the first two traces could not be measured.
    """
    return _Measurement(measure, *block_requests(options, working_port)).result()


def _at_home(block: Block) -> bool:
    return block.likely is not None and block.likely.role == "vantage"


class _Measurement:
    def __init__(self, measure: Measure, blocked: TraceOptions, working: TraceOptions) -> None:
        self._measure = measure
        self._asked, self._beside = blocked, working
        self._tried = 0

    def result(self) -> BlockMeasurement:
        blocked, working = self._first()
        if working.address != blocked.address:
            # A name with several addresses gave another one.
            self._beside = replace(self._beside, destination=blocked.address, family=None)
            (working,) = self._must([self._beside])
        block = locate_block(blocked, working)
        notes: list[str] = []
        if block.reason == "paths_differ" or (block.verdict == "dropped" and not _at_home(block)):
            # Before anything else is sent over its flow: an ACK would make a connection of it in a firewall with state.
            again = self._alone(blocked, working)
            if isinstance(again, ProbeError):
                notes.append(f"It could not be traced again to make sure: {again}")
            elif goes_further(again, blocked):
                blocked = again
                block = locate_block(blocked, working)
        if block.reason == "paths_differ" or incomparable(blocked, working):
            working, block = self._on_the_same_way(blocked, working, block)
        if doubtful(blocked, working):
            block = locate_block(blocked, working, self._pairs(blocked))
        return BlockMeasurement(with_notes(block, notes), blocked, working)

    def _take(self, requests: Sequence[TraceOptions]) -> list[Trace | ProbeError]:
        """The outcome of each request in the order of the requests; traces are told apart by their ports and flags."""
        outcomes = list(self._measure(requests))
        traces = [outcome for outcome in outcomes if isinstance(outcome, Trace)]
        errors = [outcome for outcome in outcomes if not isinstance(outcome, Trace)]
        told: list[Trace | ProbeError] = []
        for request in requests:
            own = next((trace for trace in traces if (trace.port, trace.probe.flags) == (request.port, request.flags)), None)
            if own is not None:
                traces.remove(own)
                told.append(own)
            elif errors:
                told.append(errors.pop(0))
        if len(told) != len(requests):
            raise ProbeError(f"{self._asked.destination}: the traces that came back are not those that were asked for: try again")
        return told

    def _must(self, requests: Sequence[TraceOptions]) -> list[Trace]:
        traces = []
        for outcome in self._take(requests):
            if isinstance(outcome, ProbeError):
                raise outcome
            traces.append(outcome)
        return traces

    def _first(self) -> list[Trace]:
        if self._asked.source_port is None:
            return self._must([self._asked, self._beside])
        return [*self._must([self._asked]), *self._must([self._beside])]

    def _on_the_same_way(self, blocked: Trace, working: Trace, block: Block) -> tuple[Trace, Block]:
        """A trace of the working port that goes the blocked one's way, if there is one to be had, with its verdict."""
        rounds: list[list[TraceOptions]] = []
        if self._beside.port == blocked.port:
            # The same flow in every field that routers share flows by.
            rounds.append([replace(self._beside, source_port=blocked.source_port)])
        rounds += [[self._elsewhere(self._beside, blocked) for _ in range(_TRIES)] for _ in range(_ROUNDS)]
        for requests in rounds:
            for outcome in self._take(requests):
                # A source port may be taken by now; the others are as good.
                if isinstance(outcome, ProbeError) or outcome.address != blocked.address:
                    continue
                found = locate_block(blocked, outcome)
                if found.reason not in _OPEN and not incomparable(blocked, outcome):
                    return outcome, found
        return working, block

    def _elsewhere(self, request: TraceOptions, blocked: Trace) -> TraceOptions:
        """The same request over the next source port."""
        self._tried += 1
        span = _HIGHEST_PORT - _LOWEST_PORT + 1
        port = _LOWEST_PORT + ((blocked.source_port or _LOWEST_PORT) - _LOWEST_PORT + self._tried) % span
        return replace(request, source_port=port)

    def _alone(self, blocked: Trace, working: Trace) -> Trace | ProbeError:
        """The blocked port once more, over the same flow, with nothing beside it."""
        last = self._asked.max_ttl
        if working.reached:
            furthest = max((hop.ttl for hop in working.hops), default=self._asked.first_ttl)
            last = min(last, max(furthest, self._asked.first_ttl) + _BEYOND)
        request = replace(self._asked, source_port=blocked.source_port, max_ttl=last)
        (outcome,) = self._take([request])
        if isinstance(outcome, Trace) and outcome.address != blocked.address:
            return ProbeError(f"{self._asked.destination} has another address by now")
        return outcome

    def _pairs(self, blocked: Trace) -> list[tuple[Trace, Trace]]:
        """Further pairs over other source ports, as many as could be measured."""
        requests = []
        for _ in range(PAIRS - 1):
            requests += [self._elsewhere(self._asked, blocked), self._elsewhere(self._beside, blocked)]
        outcomes = self._take(requests)
        pairs = zip(outcomes[::2], outcomes[1::2], strict=True)
        return [pair for pair in pairs if isinstance(pair[0], Trace) and isinstance(pair[1], Trace)]  # type: ignore[misc]
