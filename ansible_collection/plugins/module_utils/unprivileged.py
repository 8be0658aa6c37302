# BSD-3-Clause, see LICENSE
"""Runs the probe in a process of its own, which opens the raw sockets and gives up every privilege before it reads a packet.

The module's process keeps its privileges: Ansible's wrapper has files to remove that are its user's. It never sees a packet,
only records, each of which it checks as strictly as a stranger's.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, Dict, List, Mapping, NamedTuple, NoReturn, Sequence, Tuple

from .probe.errors import PrivilegeError, ProbeError, RecordError, TransportError
from .probe.options import TraceOptions
from .probe.program import main as run_probe
from .probe.records import Trace

__all__ = ("Outcome", "measure")

_NO_PRIVILEGE = 3
#: What the probe ends with when it has told of every request: all were measured, or some were not.
_TOLD = (0, 4)
#: What it ends with when a signal ended it: what had not begun is not told of.
_INTERRUPTED = (130, 143)
_NOT_BEGUN = "The probe was ended by a signal before this trace had begun: run the task again"


class Outcome(NamedTuple):
    """What became of the requests of a task: the traces in the order asked for, and those that could not be measured, and why."""

    traces: List[Trace]
    problems: List[Dict[str, Any]]


def measure(requests: Sequence[TraceOptions], rate: float) -> Outcome:
    """Run all requests at the same time, by one engine.

    Arguments:
        requests: what is asked; of each destination and port at most one.
        rate: probes per second of all of them together; infinite is no limit.

    Raises:
        PrivilegeError: this process may not open raw sockets, or could not give up what it may do.
        RecordError: the probe told something that is no record.
        TransportError: the probe could not be run to its end.
    """
    asked = json.dumps([request.to_dict() for request in requests]).encode("ascii")
    status, answer, complaint = _run_apart(asked, rate)
    if status == _NO_PRIVILEGE:
        raise PrivilegeError(complaint)
    told = [_read(line) for line in answer.splitlines()]
    if not (len(told) == len(requests) if status in _TOLD else status in _INTERRUPTED):
        last = complaint.splitlines()[-1] if complaint else "without a word"
        raise TransportError("The probe's process ended before its time (status {}): {}".format(status, last))
    order = {(request.destination, request.port): number for number, request in enumerate(requests)}
    traces = [record for record in told if isinstance(record, Trace)]
    problems = [record for record in told if not isinstance(record, Trace)]
    begun = {(record.destination, record.port) for record in traces} | {(each["destination"], each["port"]) for each in problems}
    missing = [place for place in order if place not in begun] if status in _INTERRUPTED else []
    problems += [{"destination": host, "port": port, "msg": _NOT_BEGUN} for host, port in missing]
    traces.sort(key=lambda trace: order.get((trace.destination, trace.port), -1))
    problems.sort(key=lambda problem: order.get((problem["destination"], problem["port"]), -1))
    return Outcome(traces, problems)


def _read(line: bytes) -> Any:
    """A Trace, or what kept one from being measured: destination, port and msg."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError("The probe's answer is not JSON: {}".format(error)) from None
    if not isinstance(record, Mapping) or "error" not in record:
        return Trace.from_dict(record)
    request = TraceOptions.from_dict(record["request"])
    return {"destination": request.destination, "port": request.port, "msg": str(record["error"]["message"])}


def _run_apart(request: bytes, rate: float) -> Tuple[int, bytes, str]:
    """Exit status (negative: the number of a signal), standard output and standard error of the probe in a forked process."""
    pipes = []
    try:
        while len(pipes) < 3:
            pipes.append(os.pipe())
        # What is still buffered would be written by both.
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
    except OSError as error:
        for pipe in pipes:
            os.close(pipe[0])
            os.close(pipe[1])
        raise TransportError("No process can be started for the probe: {}".format(error.strerror)) from None
    (request_read, request_write), (answer_read, answer_write), (complaint_read, complaint_write) = pipes
    if child == 0:
        for number in (request_write, answer_read, complaint_read):
            # A pipe whose other end stays open here would never end.
            os.close(number)
        _be_the_probe(request_read, answer_write, complaint_write, rate)
    for number in (request_read, answer_write, complaint_write):
        os.close(number)
    with os.fdopen(request_write, "wb") as stream:
        stream.write(request)
    # Complaints are few and fit into their pipe, so that nobody waits for them to be read.
    with os.fdopen(answer_read, "rb") as stream:
        answer = stream.read()
    with os.fdopen(complaint_read, "rb") as stream:
        complaint = stream.read().decode("ascii", "backslashreplace").strip()
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), answer, complaint


def _be_the_probe(request: int, answer: int, complaint: int, rate: float) -> NoReturn:
    """The forked process: it has the module's imports, and nothing else of the module's is its business."""
    status = 1
    try:
        for number, standard in ((request, 0), (answer, 1), (complaint, 2)):
            os.dup2(number, standard)
        sys.stdin = os.fdopen(0, "r", encoding="ascii")
        sys.stdout = os.fdopen(1, "w", encoding="ascii")
        sys.stderr = os.fdopen(2, "w", encoding="ascii", errors="backslashreplace")
        status = run_probe(rate)
        sys.stdout.flush()
    except ProbeError as error:
        sys.stderr.write("{}\n".format(error))
    except BaseException:  # noqa: BLE001 -- standard error is how the module's process hears of it
        traceback.print_exc()
    finally:
        # Not sys.exit(): what the module would do at its end is not for this process to do.
        sys.stderr.flush()
        os._exit(status)
