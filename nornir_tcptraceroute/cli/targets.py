"""Many traces of the ``tcptraceroute`` command, from the file of ``--targets`` to the exit status.

All that may be needed is imported before privileges are dropped: afterwards Python's own library may be out of reach.
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_tcptraceroute.probe.engine import Engine
from nornir_tcptraceroute.probe.many import Stream, affordable_window, allow_all_files, window_for
from nornir_tcptraceroute.probe.privileges import drop_privileges
from nornir_tcptraceroute.probe.program import prepare
from nornir_tcptraceroute.probe.records import Trace

from .classic_output import ClassicOutput
from .exit_status import ERROR, classic_status, common_status, honest_status, signal_status
from .session import document_writer, error_text, explanation_of, open_preferred
from .streams import write_error, write_output
from .targets_file import read_targets
from .targets_progress import progress_of

if TYPE_CHECKING:
    from nornir_tcptraceroute.probe.many import Outcome
    from nornir_tcptraceroute.probe.options import TraceOptions

    from .classic_arguments import Request
    from .targets_file import Targets
    from .targets_progress import Progress

__all__ = ("trace_targets",)


def trace_targets(request: Request) -> int:
    """Trace to all targets of a file, each printed as it ends; gives up the privileges of this process for good.

    Returns:
        The exit status.

    Raises:
        ProbeError: the file is wrong, or nothing could be measured.
        OutputLostError: standard output took no more.
    """
    assert request.targets is not None
    targets = read_targets(request.targets, request.options)
    printer = _Printer(request, targets)
    write_error("".join(f"{warning}\n" for warning in request.warnings))
    allow_all_files()
    with Engine(request.rate) as engine:
        method = prepare(engine, targets.kinds())
        window = affordable_window(window_for(request.rate), method)
        stream = Stream(targets.requests(), engine, window=window, opening=partial(open_preferred, reserve=True))
        printer.begin()
        drop_privileges()
        return _run(engine, stream, printer)


def _run(engine: Engine, stream: Stream, printer: _Printer) -> int:
    caught: list[int] = []

    def end(number: int, _: Any) -> None:
        caught.append(number)
        stream.stop()

    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    watched = [number for number, handler in former.items() if handler is not signal.SIG_IGN]
    for number in watched:
        signal.signal(number, end)
    try:
        stream.start()
        printing = threading.Thread(target=printer.print_all, args=(stream,), daemon=True)
        printing.start()
        engine.run()
        printing.join()
    finally:
        for number in watched:
            signal.signal(number, former[number])
    status = printer.finish()
    return signal_status(caught[0]) if caught else status


class _Printer:
    """Prints outcomes, in a thread of its own, so that neither names nor a slow reader hold up the engine."""

    def __init__(self, request: Request, targets: Targets) -> None:
        self._request = request
        self._count = targets.count
        self._document = document_writer() if request.json else None
        self._explanation = explanation_of(request) if request.explain else None
        self._statuses: set[int] = set()
        self._told = self._reached = 0
        self._broken: BaseException | None = None
        self._progress: Progress

    def begin(self) -> None:
        """Show how far it is, from here on."""
        self._progress = progress_of(self._count, sys.stderr)

    def print_all(self, stream: Stream) -> None:
        """Print what a stream tells, to its end."""
        try:
            for options, outcome in stream.outcomes():
                if self._document is None and isinstance(outcome, Trace) and _is_empty(outcome):
                    continue
                self._progress.hide()
                self._print(options, outcome)
                self._told += 1
                self._progress.show(self._told)
        except BaseException as error:  # noqa: BLE001 - `finish` raises it where somebody hears of it
            self._broken = error
            stream.stop()

    def finish(self) -> int:
        """Tell how it went; returns the exit status.

        Raises:
            OutputLostError: standard output took no more.
        """
        self._progress.hide()
        if self._broken is not None:
            raise self._broken
        left = self._count - self._told
        write_error(
            f"{self._told} of {self._count} targets traced, {self._reached} reached"
            + (f"; a signal came before anything was known of {left}\n" if left else "\n")
        )
        return common_status(self._statuses)

    def _print(self, options: TraceOptions, outcome: Outcome) -> None:
        if not isinstance(outcome, Trace):
            self._statuses.add(ERROR)
            if self._document is not None:
                error = {"type": type(outcome).__name__, "message": str(outcome)}
                write_output(self._document({"error": error, "request": options.to_dict()}) + "\n")
            else:
                write_error(f"tcptraceroute: {outcome}\n")
            return
        self._reached += outcome.reached
        output = ClassicOutput(self._request.translations)
        if self._request.strictness == "classic":
            self._statuses.add(classic_status(outcome, output.answers))
        else:
            self._statuses.add(honest_status(outcome, port_open=self._request.strictness == "open"))
        trace = self._explanation.of(outcome) if self._explanation else outcome
        write_output(self._text(trace, output) if self._document is None else self._document(trace.to_dict()) + "\n")
        self._warn(trace)

    def _text(self, trace: Trace, output: ClassicOutput) -> str:
        """A trace with a line above it and an empty one beneath it."""
        names = {reply.address: reply.name for hop in trace.hops for reply in hop.replies if reply.address is not None}
        lines = [_title(trace)]
        for hop in trace.hops:
            lines.append(output.hop(hop, names.get))
            if self._explanation:
                lines.append(self._explanation.beneath(hop))
        if self._explanation:
            lines.append(self._explanation.after(trace))
        return "".join([*lines, "\n"])

    @staticmethod
    def _warn(trace: Trace) -> None:
        errors = dict.fromkeys(reply.error for hop in trace.hops for reply in hop.replies if reply.error is not None)
        told = [*(f"a probe was not sent: {error_text(error)}" for error in errors), *trace.warnings]
        write_error("".join(f"Warning: {trace.destination}: {warning}\n" for warning in told))


def _is_empty(trace: Trace) -> bool:
    """Whether a signal ended a trace before there was anything to tell of it."""
    return trace.stop_reason == "interrupted" and not trace.hops


def _title(trace: Trace) -> str:
    target = trace.destination if trace.destination == trace.address else f"{trace.destination} ({trace.address})"
    end = trace.port_state if trace.reached else f"{trace.port_state}, not reached ({trace.stop_reason})"
    return f"{target} port {trace.port}: {end}\n"
