# BSD-3-Clause, see LICENSE
"""``trace()``: the blocking call for scripts and threads.

All threads of a process share one engine, which lives while there is work.
"""

from __future__ import annotations

import os
import threading
from typing import Callable, Optional, Set

from .engine import Engine
from .errors import ProbeError, TransportError
from .flow import Flow, open_flow
from .options import TraceOptions
from .records import Trace
from .resolver import ReverseNames, with_names
from .tracer import Event

__all__ = ("trace",)


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


class _Waiting:
    """A caller that waits for its trace."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.result: Optional[Trace] = None
        self.problem: Optional[BaseException] = None

    def take(self, result: Trace) -> None:
        self.result = result
        self.ended.set()


class _SharedEngine:
    """An engine in a thread that starts with the first trace and ends with the last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start afresh."""
        self._lock = threading.Lock()
        self._engine: Optional[Engine] = None
        self._thread: Optional[threading.Thread] = None
        self._waiting: Set[_Waiting] = set()

    def leave_to_parent(self) -> None:
        """In the child of a fork: the thread that drives the engine is not here, so what was inherited of it is closed."""
        inherited = self._engine
        self.forget()
        if inherited is not None:
            inherited.close()

    def trace(self, options: TraceOptions, on_event: Optional[Callable[[Event], None]]) -> Trace:
        flow = open_flow(options)
        waiting = _Waiting()
        try:
            self._begin(flow, waiting, on_event)
            waiting.ended.wait()
        except BaseException:
            # Ctrl-C in the caller's thread, at whatever moment: the trace is not left to send on in the background.
            with self._lock:
                if self._engine is not None:
                    self._engine.withdraw(flow)
            flow.close()
            raise
        finally:
            self._waiting.discard(waiting)
        if waiting.result is None:
            raise TransportError(
                "The engine that drives this process's traces failed: {!r}".format(waiting.problem)
            ) from waiting.problem
        return waiting.result

    def _begin(self, flow: Flow, waiting: _Waiting, on_event: Optional[Callable[[Event], None]]) -> None:
        with self._lock:
            if self._engine is not None and (self._thread is None or not self._thread.is_alive()):
                # A Ctrl-C came before its thread had begun.
                self._engine.close()
                self._engine = None
            engine = self._engine or Engine()
            try:
                # What the system may refuse is asked for in the caller's thread, which the refusal belongs to.
                engine.open(flow)
            except ProbeError:
                if engine is not self._engine:
                    engine.close()
                raise
            self._waiting.add(waiting)
            engine.add(flow, waiting.take, on_event)
            if engine is self._engine:
                return
            self._engine = engine
            self._thread = threading.Thread(target=self._drive, args=(engine,), name="tcptraceroute", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                self._engine = None
                engine.close()
                raise TransportError("No thread can be started to drive the trace ({}): end some first".format(error)) from None

    def _drive(self, engine: Engine) -> None:
        problem: Optional[BaseException] = None
        while True:
            try:
                engine.run()
            except BaseException as error:  # noqa: BLE001 -- whatever it is, those who wait have to hear of it
                problem = error
            with self._lock:
                if problem is None and not engine.idle:
                    continue
                self._engine = None
                left = list(self._waiting) if problem is not None else []
            engine.close()
            for waiting in left:
                waiting.problem = problem
                waiting.ended.set()
            return


_shared = _SharedEngine()
os.register_at_fork(after_in_child=_shared.leave_to_parent)
