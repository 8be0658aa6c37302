# BSD-3-Clause, see LICENSE
"""``trace()``: the blocking call for scripts and threads.

All threads of a process share one engine, which lives while there is work.
"""

from __future__ import annotations

import os
import threading
from typing import Callable, Optional, Set, Tuple

from .engine import Engine, Running
from .errors import ProbeError, TransportError
from .flow import Flow, open_flow
from .options import TraceOptions
from .records import Trace
from .resolver import ReverseNames, with_names

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
            engine, running = self._begin(flow, waiting, on_event)
        except BaseException:
            flow.close()
            raise
        try:
            waiting.ended.wait()
        except BaseException:
            # Ctrl-C in the caller's thread: the trace is not left to send on in the background.
            with self._lock:
                if self._engine is engine:
                    engine.withdraw(running)
            raise
        finally:
            self._waiting.discard(waiting)
        if waiting.result is None:
            raise TransportError(
                "The engine that drives this process's traces failed: {!r}".format(waiting.problem)
            ) from waiting.problem
        return waiting.result

    def _begin(
        self, flow: Flow, waiting: _Waiting, on_event: Optional[Callable[[Event], None]]
    ) -> Tuple[Engine, Running]:
        with self._lock:
            if self._engine is not None:
                self._engine.open(flow.family)
                return self._engine, self._add(self._engine, flow, waiting, on_event)
            engine = Engine()
            try:
                # What the system may refuse is asked for in the caller's thread, which the refusal belongs to.
                engine.open(flow.family)
                running = self._add(engine, flow, waiting, on_event)
                threading.Thread(target=self._drive, args=(engine,), name="tcptraceroute", daemon=True).start()
            except (ProbeError, RuntimeError) as error:
                self._waiting.discard(waiting)
                engine.close()
                if isinstance(error, ProbeError):
                    raise
                raise TransportError("No thread can be started to drive the trace ({}): end some first".format(error)) from None
            self._engine = engine
            return engine, running

    def _add(
        self, engine: Engine, flow: Flow, waiting: _Waiting, on_event: Optional[Callable[[Event], None]]
    ) -> Running:
        self._waiting.add(waiting)
        return engine.add(flow, waiting.take, on_event)

    def _drive(self, engine: Engine) -> None:
        # Before the first packet, which may come before ``_begin`` goes on: a fork must find what it has to close.
        self._engine = engine
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
