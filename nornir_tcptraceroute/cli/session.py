"""One trace of the ``tcptraceroute`` command, from the banner to the exit status.

All that may be needed is imported before privileges are dropped: afterwards Python's own library may be out of reach.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from nornir_tcptraceroute.probe.engine import Engine
from nornir_tcptraceroute.probe.errors import ResolveError, RouteError, TransportError
from nornir_tcptraceroute.probe.flow import Flow, open_flow
from nornir_tcptraceroute.probe.options import is_address
from nornir_tcptraceroute.probe.privileges import drop_privileges
from nornir_tcptraceroute.probe.record_class import replaced
from nornir_tcptraceroute.probe.resolver import ReverseNames, with_names
from nornir_tcptraceroute.probe.wire import ProbeBuilder
from nornir_tcptraceroute.version import VERSION

from .classic_output import ClassicOutput, device_line, target_line
from .exit_status import SUCCESS, classic_status, honest_status, signal_status
from .hop_printer import HopPrinter
from .streams import OutputLostError, write_error, write_output

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir_tcptraceroute.probe.options import TraceOptions
    from nornir_tcptraceroute.probe.records import Hop, Trace
    from nornir_tcptraceroute.probe.tracer import Event

    from .classic_arguments import Request
    from .explanation import Explanation

__all__ = ("document_writer", "error_text", "explanation_of", "open_preferred", "trace")

#: How soon a signal ends the wait for names, in seconds.
_NAMES_PATIENCE = 0.1


def trace(request: Request) -> int:
    """Trace, and print hops and all the rest; gives up the privileges of this process for good.

    Returns:
        The exit status.

    Raises:
        ProbeError: nothing could be measured.
        OutputLostError: standard output took no more.
    """
    document = document_writer() if request.json else None
    explanation = explanation_of(request) if request.explain else None
    write_error("".join(f"{warning}\n" for warning in request.warnings))
    with _open_flow(request) as flow, Engine(request.rate) as engine:
        method = engine.open(flow)
        drop_privileges()
        _tell_plan(request, flow, method)
        return _Session(request, flow, engine, document, explanation).run()


def document_writer() -> Callable[[object], str]:
    """What makes JSON of a record, loaded."""
    import json

    return json.dumps


def explanation_of(request: Request) -> Explanation:
    """What explains traces, loaded.

    Raises:
        ProbeError: see Explanation.
    """
    from .explanation import Explanation

    return Explanation(request.networks)


def _open_flow(request: Request) -> Flow:
    try:
        return open_preferred(request.options, reserve=not request.share_source_port)
    except TransportError as error:
        if request.options.source_port is None or request.share_source_port:
            raise
        # What can be had without a reservation failed because the port is in use.
        open_preferred(request.options, reserve=False).close()
        raise TransportError(f"{error}; -P instead of -p takes it all the same") from None


def open_preferred(options: TraceOptions, *, reserve: bool) -> Flow:
    """As ``open_flow``, but of a name with addresses of both IP versions take IPv4, the only one that the classic tool knows."""
    if options.family is None and not any(is_address(place) for place in (options.destination, options.source or "")):
        try:
            return open_flow(replaced(options, family=4), reserve=reserve)
        except (ResolveError, RouteError):
            # Whether it can be done with IPv6, or why not even so, is told by the next attempt.
            pass
    return open_flow(options, reserve=reserve)


def _tell_plan(request: Request, flow: Flow, method: str) -> None:
    """The banner, and what goes before it."""
    options, length, headers = request.options, request.length, _header_length(flow)
    # A length that any packet exceeds is not in the options; another that these headers exceed is told of by the trace itself.
    if length is not None and length < headers and options.length is None:
        write_error(f"Warning: Increasing packet length to {headers} bytes\n")
    if request.debug:
        write_error(f"debug: tcptraceroute {VERSION}, options other than the defaults: {options.to_dict()}\n")
    # Each connection of the kernel has a port of its own.
    known_port = method == "raw" and not request.track_port
    shown_length = length if length is not None and length > headers else None
    write_error(device_line(flow.device, flow.source, flow.source_port if known_port else None))
    write_error(
        target_line(options.destination, flow.address, options.port, _service(options.port), options.max_ttl, shown_length)
    )


def _header_length(flow: Flow) -> int:
    """Bytes of a probe without payload."""
    bare = replaced(flow.options, length=None)
    return ProbeBuilder(bare, flow.family, flow.source, flow.address, flow.source_port, flow_label=0, timestamp=0).length


def _service(port: int) -> str | None:
    try:
        return socket.getservbyport(port, "tcp")
    except OSError:
        return None


class _Session:
    """The trace as it runs: hops and events to the streams, signals to the engine."""

    def __init__(
        self,
        request: Request,
        flow: Flow,
        engine: Engine,
        document: Callable[[object], str] | None,
        explanation: Explanation | None,
    ) -> None:
        self._request = request
        self._flow = flow
        self._engine = engine
        self._document = document
        self._explanation = explanation
        self._names = ReverseNames(request.options.names)
        self._output = ClassicOutput(request.translations)
        self._printer = HopPrinter(self._output, self._names, write_output)
        self._trace: Trace | None = None
        self._signal = 0
        self._lost: OutputLostError | None = None
        self._send_errors: set[str] = set()

    def run(self) -> int:
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        watched = [number for number, handler in former.items() if handler is not signal.SIG_IGN]
        for number in watched:
            signal.signal(number, self._end)
        try:
            self._engine.add(self._flow, self._take_trace, self._take_event)
            self._engine.run()
            return self._finish()
        finally:
            for number in watched:
                signal.signal(number, former[number])

    def _end(self, number: int, _: Any) -> None:
        self._signal = number
        self._engine.interrupt()

    def _take_trace(self, trace: Trace) -> None:
        self._trace = trace

    def _take_event(self, event: Event) -> None:
        if self._request.debug:
            write_error(f"debug: {event.text}\n")
        if event.hop is not None:
            self._printer.add(event.hop)
            self._tell_send_errors(event.hop)
        # What explains a hop is known when the trace has ended.
        if self._document is None and self._explanation is None and self._lost is None:
            try:
                self._printer.print_ready()
            except OutputLostError as error:
                # Raised here it would pass through the engine, which has to end the trace first.
                self._lost = error
                self._engine.interrupt()

    def _tell_send_errors(self, hop: Hop) -> None:
        for reply in hop.replies:
            if reply.error is not None and reply.error not in self._send_errors:
                self._send_errors.add(reply.error)
                write_error(f"Warning: hop {hop.ttl}: a probe was not sent: {error_text(reply.error)}\n")

    def _finish(self) -> int:
        if self._lost is not None:
            raise self._lost
        assert self._trace is not None
        explained = self._explanation.of(self._trace) if self._explanation else self._trace
        if self._explanation:
            self._printer.beneath = {hop.ttl: self._explanation.beneath(hop) for hop in explained.hops}
        if self._document is None:
            while self._printer.awaited:
                self._await_names(self._printer.awaited)
                self._printer.print_ready()
        else:
            self._await_names([address for hop in self._trace.hops for address in hop.addresses])
        # Nothing is waited for any more, but names that came too late are told of, unless it was a signal that cut them off.
        trace = with_names(explained, self._names)
        if self._signal:
            trace = replaced(trace, warnings=explained.warnings)
        if self._explanation and self._document is None:
            write_output(self._explanation.after(trace))
        if self._document is not None:
            write_output(self._document(trace.to_dict()) + "\n")
        write_error("".join(f"Warning: {warning}\n" for warning in trace.warnings))
        if self._request.debug:
            write_error(f"debug: {trace.stop_reason}, port {trace.port_state}, {dict(trace.counters)}\n")
        return self._status(trace)

    def _await_names(self, addresses: Sequence[str]) -> None:
        """Wait until the names are known or their time is over; after a signal, for nothing any more."""
        while not all(map(self._names.ready, addresses)):
            if self._signal:
                self._names.close()
                return
            self._names.wait(_NAMES_PATIENCE, addresses)

    def _status(self, trace: Trace) -> int:
        if self._signal:
            return signal_status(self._signal)
        status = classic_status(trace, self._output.answers)
        if status != SUCCESS:
            write_error("Destination not reached\n")
        if self._request.strictness == "classic":
            return status
        return honest_status(trace, port_open=self._request.strictness == "open")


def error_text(name: str) -> str:
    """A system error's name with what the system says of it."""
    number = getattr(errno, name, None)
    return name if number is None else f"{os.strerror(number)} ({name})"
