"""What the exit status of ``tcptraceroute`` says of a trace: as the classic tool's, or honestly. Pure functions of records."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nornir_tcptraceroute.probe.records import Reply, Trace

__all__ = (
    "CLOSED_PIPE",
    "ERROR",
    "NOT_OPEN",
    "SILENT",
    "SUCCESS",
    "UNREACHABLE",
    "classic_status",
    "common_status",
    "honest_status",
    "signal_status",
)

SUCCESS, ERROR, SILENT, UNREACHABLE, NOT_OPEN = range(5)
#: As a shell tells the death by SIGPIPE, which is how the classic tool ends when nobody reads it any more.
CLOSED_PIPE = 128 + signal.SIGPIPE


def classic_status(trace: Trace, answers: Callable[[Reply], bool]) -> int:
    """0 where the destination answered or any host sent an ICMP unreachable, else 1, as the classic tool has it.

    Arguments:
        trace: a trace that ended by itself.
        answers: whether a reply counts as an answer.
    """
    return SUCCESS if trace.reached or _unreachable(trace, answers) else ERROR


def honest_status(trace: Trace, *, port_open: bool) -> int:
    """Tell by the status what became of a trace.

    Arguments:
        trace: a trace that ended by itself.
        port_open: whether success takes an open port; any TCP answer of the destination does otherwise.

    Returns:
        0 for success; 1 where the probes could not be sent; 2 where the destination's TCP did not answer; 3 where it did not and
        an ICMP unreachable came; 4 where it answered and the port is not open.
    """
    if trace.reached:
        return NOT_OPEN if port_open and trace.port_state != "open" else SUCCESS
    if trace.stop_reason == "error":
        return ERROR
    return UNREACHABLE if _unreachable(trace, lambda _: True) else SILENT


def common_status(statuses: Iterable[int]) -> int:
    """The status of several traces: 0 where each has 0, 1 where one could not be measured, else the highest of theirs."""
    told = set(statuses)
    return ERROR if ERROR in told else max(told, default=SUCCESS)


def signal_status(number: int) -> int:
    """The status that a shell gives to a command that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


def _unreachable(trace: Trace, answers: Callable[[Reply], bool]) -> bool:
    return any(reply.kind == "unreachable" and answers(reply) for hop in trace.hops for reply in hop.replies)
