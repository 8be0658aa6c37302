"""Runs traces on a managed host: one conversation for all of them, and every answer checked."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any

from ..probe.errors import RecordError
from ..probe.options import TraceOptions
from ..probe.pacing import PROCESS_RATE, UNLIMITED
from ..probe.records import Trace
from .bootstrap import command_line, payload
from .connections import Connection
from .conversation import LARGEST_PLAN, Conversation, trace_of
from .errors import RemoteError


def measure(
    connection: Connection,
    requests: Sequence[TraceOptions],
    *,
    interpreter: str = "python3",
    become: bool = False,
    become_password: str | None = None,
    time_limit: float = 300.0,
    rate: float = PROCESS_RATE,
) -> list[Trace | RemoteError]:
    """Trace from a managed host; all traces run at the same time.

    Arguments:
        connection: to the host.
        requests: what to trace.
        interpreter: name or path of the host's Python, 3.8 or newer.
        become: run the probe through sudo, unless the user is root.
        become_password: what to tell sudo if it asks.
        time_limit: seconds for all of it.
        rate: probes per second of all of it; infinite is no limit.

    Returns:
        For each request, in its order, the trace or why it could not be measured.

    Raises:
        RemoteError: none could be measured.
        RecordError: the host sent what is no answer to what was asked.
    """
    unique = list(dict.fromkeys(requests))
    arguments = () if rate == PROCESS_RATE else ("--rate", UNLIMITED if rate == math.inf else repr(rate))
    conversation = _run(connection, unique, "measure", interpreter, become, become_password, time_limit, arguments)
    found: dict[tuple[str, int], list[Trace | RemoteError]] = {}
    for document in conversation.answers():
        asked = document.get("request", document)
        key = (str(asked.get("destination")), asked.get("port", TraceOptions(destination="localhost").port))
        found.setdefault(key, []).append(trace_of(document))
    results: dict[TraceOptions, Trace | RemoteError] = {}
    for request in unique:
        answers = found.get((request.destination, request.port))
        if not answers:
            raise RecordError(f"the host sent no record of {request.destination} port {request.port}: try again")
        results[request] = answers.pop(0)
    return [results[request] for request in requests]


def plan(
    connection: Connection,
    requests: Sequence[TraceOptions],
    *,
    interpreter: str = "python3",
    become: bool = False,
    become_password: str | None = None,
    time_limit: float = 300.0,
) -> list[dict[str, Any]]:
    """Ask a managed host what `measure` would do there; it resolves names and looks up routes, and sends nothing.

    Arguments, Raises: as for `measure`.

    Returns:
        For each request what the probe's plan.py tells of it.
    """
    conversation = _run(connection, requests, "plan", interpreter, become, become_password, time_limit)
    answers = conversation.answers()
    if len(answers) != len(requests) or len(str(answers)) > LARGEST_PLAN * len(requests):
        raise RecordError("the host sent no plan for what was asked: try again")
    return answers


def _run(
    connection: Connection,
    requests: Sequence[TraceOptions],
    purpose: Any,
    interpreter: str,
    become: bool,  # noqa: FBT001 - the public functions take it by name
    become_password: str | None,
    time_limit: float,
    arguments: Sequence[str] = (),
) -> Conversation:
    token = f"tcptraceroute-{secrets.token_hex(8)}"
    conversation = Conversation(token, become_password, payload([request.to_dict() for request in requests], purpose, arguments))
    status = connection.hold(conversation, command_line(token, interpreter=interpreter, become=become), time_limit)
    conversation.finish(status)
    return conversation
