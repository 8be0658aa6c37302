# BSD-3-Clause, see LICENSE
"""``trace()`` and ``trace_many()``: the blocking calls for scripts and threads.

All threads of a process share one engine, which lives while there is work.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import Callable, Dict, Iterable, Iterator, List, Optional

from .engine import Engine
from .errors import ProbeError, TransportError
from .flow import Flow, open_flow
from .many import Outcome, Stream, affordable_window, window_for
from .options import TraceOptions
from .pacing import PROCESS_RATE, read_rate
from .privileges import has_net_raw
from .records import Trace
from .resolver import ReverseNames, with_names
from .tracer import Event

__all__ = ("trace", "trace_many")


def trace(options: TraceOptions, on_event: Optional[Callable[[Event], None]] = None) -> Trace:
    """Trace a route and return its record, hop names included; from any thread.

    The process keeps its privileges and its signal handlers; nothing runs in the background once the last trace has ended.

    Arguments:
        options: what is asked.
        on_event: hears of every probe, reply and hop, in the engine's thread, which waits for it; it must not raise.

    Returns:
        The record. A destination that was not reached is a result, not an error.

    Raises:
        ProbeError: the trace could not be measured: no privilege, no address, no route, no socket.
    """
    result = _shared.trace(options, on_event)
    with_reverse = ReverseNames(options.names)
    try:
        return with_names(result, with_reverse)
    finally:
        with_reverse.close()


def trace_many(
    requests: Iterable[TraceOptions],
    on_trace: Callable[[TraceOptions, Outcome], None],
    *,
    rate: Optional[float] = None,
    window: Optional[int] = None,
    on_event: Optional[Callable[[TraceOptions, Event], None]] = None,
) -> None:
    """Trace many routes at the same time, and tell of each as it ends, hop names included; from any thread.

    Returns when all are told of. What is in memory is bounded by the window: ``requests`` may be a generator of any length. It
    is asked for the next request in another thread. Where an exception ends the call (Ctrl-C, or one of ``on_trace``), no more
    is asked for and the open traces send no more. What ``requests`` raises is raised when all that had begun has been told.

    Arguments:
        requests: what is asked.
        on_trace: called in the caller's thread with each request and its Trace, or the ProbeError that says why there is none.
        rate: probes per second of the whole process, 1..1000000, or ``math.inf`` for no limit. None leaves what is there: 5000,
            or the rate of other calls under way. Where several calls under way give one, the lowest holds for all traces of
            the process, those of ``trace()`` included.
        window: traces open at the same time, 1..10000; by default a fifth of the rate, 10..1000. Fewer where the limit of open
            files, which stays as it is, allows no more.
        on_event: hears of every probe, reply and hop of each request, in the engine's thread, which waits for it; it must not
            raise.

    Raises:
        OptionError: rate or window are out of bounds; nothing was asked for.
        TransportError: no thread could be started.
    """
    wanted = None if rate is None else read_rate(rate)
    if window is None:
        window = window_for(wanted or PROCESS_RATE)
    stream = Stream(
        requests,
        _SharedTraces(),
        window=affordable_window(window, "raw" if has_net_raw() else "connect"),
        on_event=on_event,
    )
    with _shared.limited(wanted):
        try:
            stream.start()
            for request, outcome in stream.outcomes():
                on_trace(request, outcome)
        except BaseException:
            stream.stop()
            raise


class _SharedEngine:
    """An engine in a thread that starts with the first trace and ends with the last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start afresh."""
        self._lock = threading.Lock()
        self._engine: Optional[Engine] = None
        self._thread: Optional[threading.Thread] = None
        #: What to call for each open trace where the engine fails.
        self._waiting: Dict[Flow, Callable[[ProbeError], None]] = {}
        self._rates: List[float] = []

    def leave_to_parent(self) -> None:
        """In the child of a fork: the thread that drives the engine is not here, so what was inherited of it is closed."""
        inherited = self._engine
        self.forget()
        if inherited is not None:
            inherited.close()

    @contextmanager
    def limited(self, rate: Optional[float]) -> Iterator[None]:
        """Have a rate, in probes per second, as long as the block lasts; None leaves what is there."""
        if rate is None:
            yield
            return
        with self._lock:
            self._rates.append(rate)
            self._set_rate()
        try:
            yield
        finally:
            with self._lock:
                self._rates.remove(rate)
                self._set_rate()

    def _set_rate(self) -> None:
        if self._engine is not None:
            self._engine.rate = min(self._rates, default=PROCESS_RATE)

    def trace(self, options: TraceOptions, on_event: Optional[Callable[[Event], None]]) -> Trace:
        flow = open_flow(options)
        ended = threading.Event()
        outcomes: List[Outcome] = []

        def take(outcome: Outcome) -> None:
            outcomes.append(outcome)
            ended.set()

        try:
            self.begin(flow, take, on_event, take)
            ended.wait()
        except BaseException:
            # Ctrl-C in the caller's thread, at whatever moment: the trace is not left to send on in the background.
            self.withdraw(flow)
            flow.close()
            raise
        finally:
            self._waiting.pop(flow, None)
        outcome = outcomes[0]
        if isinstance(outcome, ProbeError):
            raise outcome
        return outcome

    def withdraw(self, flow: Flow) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.withdraw(flow)

    def begin(
        self,
        flow: Flow,
        on_trace: Callable[[Trace], None],
        on_event: Optional[Callable[[Event], None]],
        on_failed: Callable[[ProbeError], None],
    ) -> None:
        """Begin a trace.

        Raises:
            ProbeError: what it needs can't be had; neither callback is called.
        """

        def ended(result: Trace) -> None:
            self._waiting.pop(flow, None)
            on_trace(result)

        with self._lock:
            if self._engine is not None and (self._thread is None or not self._thread.is_alive()):
                # A Ctrl-C came before its thread had begun.
                self._engine.close()
                self._engine = None
            engine = self._engine or Engine(min(self._rates, default=PROCESS_RATE))
            try:
                # What the system may refuse is asked for in the caller's thread, which the refusal belongs to.
                engine.open(flow)
            except ProbeError:
                if engine is not self._engine:
                    engine.close()
                raise
            self._waiting[flow] = on_failed
            engine.add(flow, ended, on_event)
            if engine is self._engine:
                return
            self._engine = engine
            self._thread = threading.Thread(target=self._drive, args=(engine,), name="tcptraceroute", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                self._engine = None
                del self._waiting[flow]
                engine.close()
                raise TransportError("No thread can be started to drive the trace ({}): end some first".format(error)) from None

    def _drive(self, engine: Engine) -> None:
        problem: Optional[BaseException] = None
        while True:
            try:
                engine.run()
            except BaseException as error:  # noqa: BLE001 -- whatever it is, those who wait have to hear of it
                problem = error
            left: List[Callable[[ProbeError], None]] = []
            with self._lock:
                if problem is None and not engine.idle:
                    continue
                self._engine = None
                if problem is not None:
                    left = list(self._waiting.values())
                    self._waiting.clear()
            engine.close()
            for tell in left:
                failure = TransportError("The engine that drives this process's traces failed: {!r}".format(problem))
                failure.__cause__ = problem
                tell(failure)
            return


class _SharedTraces:
    """The shared engine as a stream sees it: it needs no ``hold``, as it starts again when it has to."""

    def add(
        self,
        flow: Flow,
        on_trace: Callable[[Trace], None],
        on_event: Optional[Callable[[Event], None]] = None,
        on_refused: Optional[Callable[[ProbeError], None]] = None,
    ) -> None:
        if on_refused is None:
            raise TypeError("on_refused is needed: the shared engine has nobody else to tell")
        _shared.begin(flow, on_trace, on_event, on_refused)

    def withdraw(self, flow: Flow) -> None:
        _shared.withdraw(flow)

    def hold(self) -> None:
        """Nothing to do."""

    def release(self) -> None:
        """Nothing to do."""


_shared = _SharedEngine()
os.register_at_fork(after_in_child=_shared.leave_to_parent)
