# BSD-3-Clause, see LICENSE
"""How a host runs the probe: requests as JSON on standard input, traces as JSON lines on standard output, each as it ends.

Standard input holds one object of TraceOptions' names and values, a list of them, or one on each line. A request that could not
be measured gives a line ``{"error": {"type": ..., "message": ...}, "request": {...}}`` in place of a trace.

Exit status: 0 all were measured; 2 a request breaks its rules (all problems are on standard error, nothing was sent);
3 no privilege; 4 some could not be measured; 130 or 143 interrupted (open traces were written, marked so).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
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

__all__ = ("main",)

_LONGEST_INPUT = 16 << 20
_RESOLVING_THREADS = 16


def main() -> int:
    """Read the requests, run them all at the same time, and write their traces; returns the exit status."""
    try:
        requests = _read_requests(sys.stdin.buffer.read(_LONGEST_INPUT + 1))
    except OptionError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    opened = _open_all(requests)
    flows = [(options, flow) for options, flow in opened if isinstance(flow, Flow)]
    writer = _Writer()
    try:
        with Engine() as engine:
            for family in sorted({flow.family for _, flow in flows}):
                engine.open(family)
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
    except PrivilegeError as error:
        print(error, file=sys.stderr)
        return 3
    except ProbeError as error:
        print(error, file=sys.stderr)
        return 4
    if caught:
        return 128 + caught[0]
    return 4 if writer.failures else 0


def _read_requests(data: bytes) -> List[TraceOptions]:
    if len(data) > _LONGEST_INPUT:
        raise OptionError(["Standard input holds more than {} bytes of requests: split them".format(_LONGEST_INPUT)])
    documents = _documents(data)
    problems: List[str] = []
    requests: List[TraceOptions] = []
    for number, document in enumerate(documents, 1):
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
        raise OptionError(["line {} of standard input is not JSON: {}".format(number, word)]) from None


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

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(_RESOLVING_THREADS, len(requests)) - 1)]
    for worker in workers:
        worker.start()
    work()
    for worker in workers:
        worker.join()
    return [(options, results[number]) for number, options in enumerate(requests)]


def _end_on_signals(engine: Engine) -> List[int]:
    caught: List[int] = []

    def end(number: int, _: Any) -> None:
        caught.append(number)
        engine.interrupt()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    return caught


class _Writer:
    """Names the hops of ended traces and writes them, in a thread of its own, so that no resolver holds up the engine."""

    def __init__(self) -> None:
        self.failures = 0
        self._names: Dict[str, ReverseNames] = {}
        self._waiting: "SimpleQueue[Optional[Tuple[str, Trace]]]" = SimpleQueue()
        self._broken: Optional[OSError] = None

    def start(self, engine: Engine) -> None:
        self._thread = threading.Thread(target=self._write_all, args=(engine,), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: standard output could not be written.
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
            except OSError as error:
                self._broken = error
                engine.interrupt()
                return


def _print_line(record: Dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _run() -> int:
    try:
        return main()
    except BrokenPipeError:
        # Whoever read the traces has gone; there is nobody to tell. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print("Standard output can't be written: {}".format(error.strerror), file=sys.stderr)
        return 4


if __name__ == "__main__":
    sys.exit(_run())
