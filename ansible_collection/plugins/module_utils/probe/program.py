# BSD-3-Clause, see LICENSE
"""The program that a host runs: requests as JSON on standard input, traces as JSON lines on standard output, each as it ends.

Standard input holds one object of TraceOptions' names and values, a list of them, or one on each line. A request that could not
be measured gives a line ``{"error": {"type": ..., "message": ...}, "request": {...}}`` in place of a trace.

Exit status: 0 all were measured; 2 a request breaks its rules (all problems are on standard error, nothing was sent);
3 no privilege; 4 some could not be measured; 130 or 143 interrupted (open traces were written, marked so).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from functools import partial
from queue import SimpleQueue
from typing import Any, Dict, List, Optional, Tuple, Union

from .engine import Engine
from .errors import OptionError, PrivilegeError, ProbeError
from .flow import Flow, open_flow
from .options import TraceOptions
from .privileges import drop_privileges
from .records import Trace
from .resolver import ReverseNames, with_names

__all__ = ("main", "run")

_LONGEST_INPUT = 16 << 20
_RESOLVING_THREADS = 16
_MOST_PROBLEMS = 100
#: Seconds; if threads are still there after that, dropping privileges says so.
_LONGEST_EXIT = 10.0
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Read the requests, run them all at the same time, and write their traces; returns the exit status."""
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
    _allow_all_files()
    try:
        return _measure(requests)
    except PrivilegeError as error:
        _complain(str(error))
        return 3
    except ProbeError as error:
        _complain(str(error))
        return 4


def _measure(requests: List[TraceOptions]) -> int:
    opened = _open_all(requests)
    flows = [(options, flow) for options, flow in opened if isinstance(flow, Flow)]
    writer = _Writer()
    with Engine() as engine:
        for _options, flow in flows:
            engine.open(flow)
        drop_privileges()
        caught = _end_on_signals(engine)
        writer.start(engine)
        for options, problem in opened:
            if isinstance(problem, ProbeError):
                writer.refused(options, problem)
        for options, flow in flows:
            engine.add(flow, partial(writer.measured, options.names))
        engine.run()
        writer.finish()
        # All is told; a signal from here on has nothing left to end.
        for number in _ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    if caught:
        return 128 + caught[0]
    return 4 if writer.failures else 0


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read(_LONGEST_INPUT + 1) if sys.stdin is not None else b""
    except OSError as error:
        raise OptionError(["Standard input can't be read: {}".format(error.strerror)]) from None


def _allow_all_files() -> None:
    """Raise the limit of open files as far as this process may: each trace holds its source port with a socket."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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


def _open_all(requests: List[TraceOptions]) -> List[Tuple[TraceOptions, Union[Flow, ProbeError]]]:
    """Resolve the destinations at the same time: a resolver that is slow for one name costs its time once."""
    results: Dict[int, Union[Flow, ProbeError]] = {}
    numbers = iter(range(len(requests)))
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = open_flow(requests[number])
            except ProbeError as error:
                results[number] = error

    workers = [threading.Thread(target=work, daemon=True) for _worker in range(min(_RESOLVING_THREADS, len(requests)) - 1)]
    started = []
    for worker in workers:
        try:
            worker.start()
        except RuntimeError:
            # No more threads to be had: those that run do the work of all.
            break
        started.append(worker)
    work()
    for worker in started:
        worker.join()
    _wait_until_alone()
    return [(options, results[number]) for number, options in enumerate(requests)]


def _wait_until_alone() -> None:
    """Wait until the threads that were joined have left the kernel too: until then they keep the privileges they started with."""
    end = time.monotonic() + _LONGEST_EXIT
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
        time.sleep(0.0005)


def _end_on_signals(engine: Engine) -> List[int]:
    caught: List[int] = []

    def end(number: int, _frame: Any) -> None:
        caught.append(number)
        engine.interrupt()

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
    """Names the hops of ended traces and writes them, in a thread of its own, so that no resolver holds up the engine."""

    def __init__(self) -> None:
        self.failures = 0
        self._names: Dict[str, ReverseNames] = {}
        self._waiting: SimpleQueue[Optional[Tuple[str, Trace]]] = SimpleQueue()
        self._broken: Optional[BaseException] = None

    def start(self, engine: Engine) -> None:
        self._thread = threading.Thread(target=self._write_all, args=(engine,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            _OutputError: standard output could not be written.
        """
        self._waiting.put(None)
        self._thread.join()
        if self._broken is not None:
            raise self._broken

    def refused(self, options: TraceOptions, problem: ProbeError) -> None:
        self.failures += 1
        error = {"type": type(problem).__name__, "message": str(problem)}
        _print_line({"error": error, "request": options.to_dict()})

    def measured(self, mode: str, trace: Trace) -> None:
        names = self._names.setdefault(mode, ReverseNames(mode))
        # Asked for now, so that the time for names runs for all traces at once and not for one after another.
        for hop in trace.hops:
            for address in hop.addresses:
                names.ask(address)
        self._waiting.put((mode, trace))

    def _write_all(self, engine: Engine) -> None:
        while True:
            entry = self._waiting.get()
            if entry is None:
                return
            mode, trace = entry
            try:
                _print_line(with_names(trace, self._names[mode]).to_dict())
            except BaseException as error:  # noqa: BLE001 -- ``finish`` raises it where somebody hears of it
                self._broken = error
                engine.interrupt()
                return


def _print_line(record: Dict[str, Any]) -> None:
    line = (json.dumps(record, separators=(",", ":")) + "\n").encode("ascii")
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


def run() -> int:
    """``main`` as a command: Ctrl-C and output that nobody takes end it quietly, with the shell's statuses."""
    try:
        return main()
    except KeyboardInterrupt:
        # While names were resolved: nothing was sent.
        return 128 + signal.SIGINT
    except _OutputError as error:
        if isinstance(error.cause, BrokenPipeError):
            # Whoever read the traces has gone; there is nobody to tell.
            return 128 + signal.SIGPIPE
        _complain("Standard output can't be written: {}".format(error.cause.strerror))
        return 4
