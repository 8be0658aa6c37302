# BSD-3-Clause, see LICENSE
"""The program that a host runs: requests as JSON on standard input, traces as JSON lines on standard output, each as it ends.

Standard input holds one object of TraceOptions' names and values, a list of them, or one on each line. A request that could not
be measured gives a line ``{"error": {"type": ..., "message": ...}, "request": {...}}`` in place of a trace. ``--rate N`` limits
the probes per second of all traces together: a number between 1 and 1000000, or ``unlimited`` (default 5000).

Exit status: 0 all were measured; 2 a request breaks its rules (all problems are on standard error, nothing was sent);
3 no privilege; 4 some could not be measured; 130 or 143 interrupted (open traces were written, marked so, and the rest left out).
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections import deque
from typing import Any, Deque, Dict, Iterable, List, Optional, Sequence, Union

from .engine import Engine
from .errors import OptionError, PrivilegeError, ProbeError, TransportError
from .flow import Flow, open_flow
from .many import Stream, affordable_window, allow_all_files, families_of, window_for
from .options import TraceOptions
from .pacing import PROCESS_RATE, read_rate
from .privileges import drop_privileges
from .records import Trace

__all__ = ("main", "prepare", "run")

_LONGEST_INPUT = 16 << 20
_MOST_PROBLEMS = 100
#: Ports below need a privilege to be reserved (ip(7), ip_unprivileged_port_start, which may only lower it for all).
_FREE_PORTS = 1024
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Allocations that come before Python looks for cycles. Its own 700 are less than one trace makes, which makes none.
_BETWEEN_COLLECTIONS = 20_000
_USAGE = "usage: python3 -m nornir_tcptraceroute.probe [--rate N|unlimited] < requests"


def main(rate: float = PROCESS_RATE) -> int:
    """Read the requests, run them all at the same time, and write their traces; returns the exit status.

    Arguments:
        rate: probes per second of all traces together; infinite is no limit.
    """
    try:
        requests = _read_requests(_standard_input())
    except OptionError as error:
        for problem in error.problems[:_MOST_PROBLEMS]:
            _complain(problem)
        if len(error.problems) > _MOST_PROBLEMS:
            _complain("and {} more".format(len(error.problems) - _MOST_PROBLEMS))
        return 2
    if sys.stdout is None:
        _complain("Standard output is closed: give the traces a place to go")
        return 4
    allow_all_files()
    gc.set_threshold(_BETWEEN_COLLECTIONS)
    try:
        return _measure(requests, rate)
    except PrivilegeError as error:
        _complain(str(error))
        return 3
    except ProbeError as error:
        _complain(str(error))
        return 4


def _measure(requests: List[TraceOptions], rate: float) -> int:
    opening = _Opening(requests)
    with Engine(rate) as engine:
        method = prepare(engine, requests)
        window = affordable_window(window_for(rate), method)
        stream = Stream(requests, engine, window=window, opening=opening.open)
        drop_privileges()
        caught = _end_on_signals(stream)
        writer = _Writer(stream)
        stream.start()
        writer.start()
        engine.run()
        writer.finish()
        # All is told; a signal from here on has nothing left to end.
        for number in _ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    if caught:
        return 128 + caught[0]
    return 4 if writer.failures else 0


def prepare(engine: Engine, requests: Iterable[TraceOptions]) -> str:
    """Open every socket that traces may need, so that privileges can be dropped before the first begins.

    Where only the resolver can tell the IP version, one that this host lacks is left to those that turn out to need it.

    Returns:
        The method of most traces as far as file descriptors count: ``connect`` where any trace is to be measured by it.

    Raises:
        PrivilegeError: the process lacks CAP_NET_RAW, and a trace can't do without.
        TransportError: the system refused for another reason.
    """
    methods = set()
    for options in requests:
        problems = []
        families = families_of(options)
        for family in families:
            try:
                methods.add(engine.prepare(options, family))
            except TransportError as problem:
                problems.append(problem)
        if len(problems) == len(families):
            raise problems[0]
    return "connect" if "connect" in methods else "raw"


class _Opening:
    """Opens flows. Those from a privileged source port are opened at once, as long as there is the privilege.

    Arguments:
        requests: all that there will be.
    """

    def __init__(self, requests: Iterable[TraceOptions]) -> None:
        self._opened: Dict[TraceOptions, Deque[Union[Flow, ProbeError]]] = {}
        for options in requests:
            if options.source_port is not None and options.source_port < _FREE_PORTS:
                self._opened.setdefault(options, deque()).append(self._try(options))

    @staticmethod
    def _try(options: TraceOptions) -> Union[Flow, ProbeError]:
        try:
            return open_flow(options)
        except ProbeError as problem:
            return problem

    def open(self, options: TraceOptions) -> Flow:
        opened = self._opened.get(options)
        if not opened:
            return open_flow(options)
        flow = opened.popleft()
        if isinstance(flow, ProbeError):
            raise flow
        return flow


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read(_LONGEST_INPUT + 1) if sys.stdin is not None else b""
    except OSError as error:
        raise OptionError(["Standard input can't be read: {}".format(error.strerror)]) from None


def _read_requests(data: bytes) -> List[TraceOptions]:
    if len(data) > _LONGEST_INPUT:
        raise OptionError(["Standard input holds more than {} bytes of requests: split them".format(_LONGEST_INPUT)])
    documents = _documents(data)
    problems: List[str] = []
    requests: List[TraceOptions] = []
    for number, document in enumerate(documents, 1):
        if isinstance(document, OptionError):
            problems += document.problems
            continue
        place = "request {}: ".format(number) if len(documents) > 1 else ""
        if not isinstance(document, dict):
            problems.append("{}a request is an object of option names and values".format(place))
            continue
        try:
            requests.append(TraceOptions.from_dict(document))
        except OptionError as error:
            problems += [place + problem for problem in error.problems]
    if not documents:
        problems.append("Standard input holds no request: give one object of option names and values, or one on each line")
    if problems:
        raise OptionError(problems)
    return requests


def _documents(data: bytes) -> List[Any]:
    """What JSON says, with an OptionError in place of each line that is none."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return [_document(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
    return whole if isinstance(whole, list) else [whole]


def _document(number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        word = str(error).encode("ascii", "backslashreplace").decode("ascii")
        return OptionError(["line {} of standard input is not JSON: {}".format(number, word)])


def _end_on_signals(stream: Stream) -> List[int]:
    caught: List[int] = []

    def end(number: int, _frame: Any) -> None:
        caught.append(number)
        stream.stop()

    for number in _ENDING_SIGNALS:
        # What runs in the background of a shell, or under nohup, was told to ignore the keyboard.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    return caught


class _OutputError(Exception):
    """Standard output could not be written.

    Arguments:
        cause: the system's error.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


class _Writer:
    """Writes outcomes in a thread of its own, so that neither a resolver nor a reader holds up the engine."""

    def __init__(self, stream: Stream) -> None:
        self.failures = 0
        self._stream = stream
        self._broken: Optional[BaseException] = None
        self._thread = threading.Thread(target=self._write_all, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            _OutputError: standard output could not be written.
        """
        self._thread.join()
        if self._broken is not None:
            raise self._broken

    def _write_all(self) -> None:
        try:
            for options, outcome in self._stream.outcomes():
                if isinstance(outcome, Trace):
                    _print_line(outcome.to_json())
                    continue
                self.failures += 1
                error = {"type": type(outcome).__name__, "message": str(outcome)}
                _print_line(json.dumps({"error": error, "request": options.to_dict()}, separators=(",", ":")))
        except BaseException as error:  # noqa: BLE001 -- ``finish`` raises it where somebody hears of it
            self._broken = error
            self._stream.stop()


def _print_line(text: str) -> None:
    line = (text + "\n").encode("ascii")
    try:
        # Past Python's buffer: what it can't write, it would try again at exit, and end with a status of its own.
        while line:
            line = line[os.write(sys.stdout.fileno(), line) :]
    except OSError as error:
        raise _OutputError(error) from error


def _complain(text: str) -> None:
    # Where standard error is closed there is nobody to tell.
    if sys.stderr is not None:
        sys.stderr.write(text + "\n")


def _read_rate(arguments: Sequence[str]) -> float:
    """The rate that the command line asks for.

    Raises:
        OptionError: it asks for something else, or for no rate that there is.
    """
    rate = PROCESS_RATE
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name != "--rate" or not (equals or rest):
            raise OptionError([_USAGE])
        rate = read_rate(value if equals else rest.pop(0))
    return rate


def run(arguments: Optional[Sequence[str]] = None) -> int:
    """``main`` as a command: Ctrl-C and output that nobody takes end it quietly, with the shell's statuses.

    Arguments:
        arguments: of the command line; by default the process's.
    """
    try:
        rate = _read_rate(sys.argv[1:] if arguments is None else arguments)
    except OptionError as error:
        _complain(str(error))
        return 2
    try:
        return main(rate)
    except KeyboardInterrupt:
        # While names were resolved: nothing was sent.
        return 128 + signal.SIGINT
    except _OutputError as error:
        if isinstance(error.cause, BrokenPipeError):
            # Whoever read the traces has gone; there is nobody to tell.
            return 128 + signal.SIGPIPE
        _complain("Standard output can't be written: {}".format(error.cause.strerror))
        return 4
