# BSD-3-Clause, see LICENSE
"""Traces of a stream of requests on one engine: a window of them is open at a time, and each is told of as it ends.

Names are resolved and ports reserved in threads of their own, so that the engine waits for no resolver. What is in memory is
bounded by the window, however long the stream is: a request's place in it is free again when its outcome has been told.
"""

from __future__ import annotations

import os
import resource
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import Callable, Deque, Dict, Iterable, Iterator, List, Optional, Protocol, Tuple, Union

from .errors import OptionError, ProbeError, TransportError, shown
from .flow import Flow, open_flow
from .options import TraceOptions, is_address
from .record_class import replaced
from .records import Trace
from .resolver import ReverseNames, with_names
from .tracer import Event

__all__ = ("MOST_OPEN", "WINDOW", "Outcome", "Stream", "affordable_window", "allow_all_files", "families_of", "window_for")

#: Traces that are open at the same time: by default, and at most.
WINDOW, MOST_OPEN = 1000, 10_000
#: With a low rate fewer, or the first trace would end with the last: so many at least, and one for so many probes a second.
_LEAST_OPEN, _RATE_EACH = 10, 5
#: Threads that resolve names, at most; for addresses one is enough.
_OPENING_THREADS = 16
#: File descriptors that are left to the rest of the process.
_SPARE_FILES = 64
#: File descriptors that a trace takes: its source port's; without privilege one for each probe under way besides.
_FILES_EACH = {"raw": 1, "connect": 32}
#: Addresses whose names are known at once, for all traces that have ended and are not told of.
_NAMES = 8192
#: How soon a stop ends the wait for names, in seconds.
_NAMES_PATIENCE = 0.1

#: What is told of beside outcomes: nothing more is asked for, and everything open was ended.
_EXHAUSTED, _STOPPED = "exhausted", "stopped"

Outcome = Union[Trace, ProbeError]
_Told = Tuple[TraceOptions, Outcome, bool]


class Traces(Protocol):
    """What a stream needs of an engine; an ``Engine`` is one."""

    def add(
        self,
        flow: Flow,
        on_trace: Callable[[Trace], None],
        on_event: Optional[Callable[[Event], None]] = None,
        on_refused: Optional[Callable[[ProbeError], None]] = None,
    ) -> None:
        """Begin a trace."""

    def withdraw(self, flow: Flow) -> None:
        """End a trace that is open, if it is."""

    def hold(self) -> None:
        """More is to come."""

    def release(self) -> None:
        """Nothing more is to come."""


def allow_all_files() -> None:
    """Raise the limit of open files as far as this process may. For a program's own process: a library must not do this."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def window_for(rate: float) -> int:
    """How many traces at the same time a rate is enough for.

    Arguments:
        rate: probes per second of all of them; infinite is no limit.

    Returns:
        A fifth of the rate, but 10 at least and 1000 at most.
    """
    return int(max(_LEAST_OPEN, min(WINDOW, rate / _RATE_EACH)))


def affordable_window(window: int, method: str = "raw") -> int:
    """How many traces may be open at the same time without running out of file descriptors.

    Arguments:
        window: as many as are wanted, 1..10000.
        method: how most of them are measured, ``raw`` or ``connect``.

    Returns:
        As many as are wanted, or fewer, at least 1.

    Raises:
        OptionError: the window is out of bounds.
    """
    given: object = window
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MOST_OPEN:
        raise OptionError(["window: {} is not between 1 and {} traces".format(shown(window), MOST_OPEN)])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return window
    return max(1, min(window, (limit - len(os.listdir("/proc/self/fd")) - _SPARE_FILES) // _FILES_EACH[method]))


def families_of(options: TraceOptions) -> Tuple[int, ...]:
    """The IP versions that a trace may turn out to have: one, or both where only the resolver can tell."""
    if options.family is not None:
        return (options.family,)
    known = is_address(options.destination) or is_address(options.source or "")
    return (known,) if known else (4, 6)


class Stream:
    """Traces of requests, as many at a time as the window holds.

    ``start`` begins, ``outcomes`` tells, in whatever thread each is called; the engine has to run meanwhile.

    Arguments:
        requests: what to trace, of any length; asked for the next by one thread at a time.
        engine: drives them.
        window: so many are open at the same time, see ``affordable_window``.
        on_event: called with each event of each trace, in the engine's thread.
        opening: opens the flow of a request.
    """

    def __init__(
        self,
        requests: Iterable[TraceOptions],
        engine: Traces,
        *,
        window: int = WINDOW,
        on_event: Optional[Callable[[TraceOptions, Event], None]] = None,
        opening: Callable[[TraceOptions], Flow] = open_flow,
    ) -> None:
        self._requests = iter(requests)
        self._engine = engine
        self._on_event = on_event
        self._opening = opening
        self._slots = threading.Semaphore(window)
        self._turn = threading.Lock()
        self._beginning = threading.Lock()
        self._counting = threading.Lock()
        self._openers, self._free = 0, 0
        self._begun, self._refused = 0, 0
        self._open: Dict[Flow, TraceOptions] = {}
        self._exhausted = False
        self._stopped = False
        self._problem: Optional[BaseException] = None
        # One item is one ``hold``; taking it out, which one thread alone succeeds in, is the right to release it.
        self._held: Deque[None] = deque()
        self._told: SimpleQueue[Union[_Told, str]] = SimpleQueue()
        self._names: Dict[str, ReverseNames] = {}

    def start(self) -> None:
        """Begin to ask for requests. From here on the engine's ``run`` goes on until all are told of or ``stop`` is called.

        Raises:
            TransportError: no thread can be started.
        """
        self._engine.hold()
        self._held.append(None)
        try:
            self._start_opener()
        except RuntimeError as error:
            self._release()
            raise TransportError("No thread can be started to open traces ({}): end some first".format(error)) from None

    def stop(self) -> None:
        """Ask for no more, and end what is open as ``interrupted``; from any thread or a signal handler, more than once too."""
        if self._stopped:
            return
        self._stopped = True
        with self._beginning:
            # Who was about to begin one has begun it; from here on nobody does.
            pass
        for flow in list(self._open):
            self._engine.withdraw(flow)
        self._release()
        for _opener in range(_OPENING_THREADS):
            self._slots.release()
        self._told.put(_STOPPED)

    def outcomes(self) -> Iterator[Tuple[TraceOptions, Outcome]]:
        """Each request with its trace, names included, or with why there is none, as they end.

        What had not begun when ``stop`` was called is left out.

        Raises:
            BaseException: what the requests' iterator raised, when all that had begun has been told.
        """
        begun = refused = 0
        exhausted = stopped = False
        try:
            while not (begun == self._begun and (stopped or (exhausted and refused == self._refused))):
                told = self._told.get()
                if isinstance(told, str):
                    exhausted, stopped = exhausted or told == _EXHAUSTED, stopped or told == _STOPPED
                else:
                    request, outcome, had_begun = told
                    begun, refused = begun + had_begun, refused + (not had_begun)
                    yield request, self._named(outcome, request.names) if isinstance(outcome, Trace) else outcome
                    self._slots.release()
        finally:
            for names in self._names.values():
                names.close()
        if self._problem is not None:
            raise self._problem

    def _release(self) -> None:
        try:
            self._held.pop()
        except IndexError:
            return
        self._engine.release()

    # Opening.

    def _start_opener(self) -> None:
        with self._counting:
            self._openers += 1
            self._free += 1
        try:
            threading.Thread(target=self._ask, name="tcptraceroute-opening", daemon=True).start()
        except RuntimeError:
            with self._counting:
                self._openers -= 1
                self._free -= 1
            raise

    def _ask(self) -> None:
        try:
            while True:
                request = self._next_request()
                if request is None:
                    break
                self._begin(request)
                with self._counting:
                    self._free += 1
        except BaseException as problem:  # noqa: BLE001 -- ``outcomes`` raises it where somebody hears of it
            self._problem = problem
            self._exhausted = True
            self._slots.release()
        with self._counting:
            self._openers -= 1
            last = not self._openers
        if last:
            self._told.put(_EXHAUSTED)
            self._release()

    def _next_request(self) -> Optional[TraceOptions]:
        self._slots.acquire()
        with self._turn:
            request = None if self._stopped or self._exhausted else next(self._requests, None)
            self._exhausted = self._exhausted or request is None
        with self._counting:
            self._free -= 1
            needed = request is not None and _may_wait(request) and not self._free and self._openers < _OPENING_THREADS
        if request is None:
            # Those who wait for a place have nothing to wait for any more.
            self._slots.release()
        elif needed:
            # Where no more threads are to be had, those that run do the work of all.
            with suppress(RuntimeError):
                self._start_opener()
        return request

    def _begin(self, request: TraceOptions) -> None:
        try:
            flow = self._opening(request)
        except ProbeError as problem:
            self._refuse(request, problem)
            return
        with self._beginning:
            if self._stopped:
                flow.close()
                return
            self._open[flow] = request
            try:
                self._engine.add(flow, *self._callbacks(flow, request))
            except ProbeError as problem:
                del self._open[flow]
                flow.close()
                self._refuse(request, problem)
                return
            self._begun += 1

    def _refuse(self, request: TraceOptions, problem: ProbeError) -> None:
        with self._counting:
            self._refused += 1
        self._told.put((request, problem, False))

    # Ending, in the engine's thread.

    def _callbacks(
        self, flow: Flow, request: TraceOptions
    ) -> Tuple[Callable[[Trace], None], Optional[Callable[[Event], None]], Callable[[ProbeError], None]]:
        on_event = self._on_event

        def ended(outcome: Outcome) -> None:
            self._open.pop(flow, None)
            if isinstance(outcome, Trace):
                self._ask_names(outcome, request.names)
            self._told.put((request, outcome, True))

        return ended, None if on_event is None else lambda event: on_event(request, event), ended

    def _ask_names(self, trace: Trace, mode: str) -> None:
        """Have names looked up from now on, so that the time for them runs for all traces at once."""
        if mode == "none":
            return
        names = self._names.get(mode)
        if names is None:
            names = self._names[mode] = ReverseNames(mode, most_addresses=_NAMES)
        for address in _addresses(trace):
            names.ask(address)

    def _named(self, trace: Trace, mode: str) -> Trace:
        names = self._names.get(mode)
        if names is None:
            return trace
        addresses = _addresses(trace)
        while not self._stopped and not all(map(names.ready, addresses)):
            names.wait(_NAMES_PATIENCE, addresses)
        if not self._stopped:
            return with_names(trace, names)
        names.close()
        # It was the stop that cut the lookups off.
        return replaced(with_names(trace, names), warnings=trace.warnings)


def _addresses(trace: Trace) -> List[str]:
    return [address for hop in trace.hops for address in hop.addresses]


def _may_wait(request: TraceOptions) -> bool:
    """Whether a resolver is needed to open the flow."""
    return not is_address(request.destination) or bool(request.source and not is_address(request.source))
