"""The task `locate_block`: where on its way a port is blocked, from the controller or from the managed hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from ...analysis import Naming, label
from ...measurements.blocking import BlockMeasurement, block_requests, measure_block, measure_here
from ...probe.errors import OptionError, ProbeError
from ...probe.options import PARAMETERS, TraceOptions
from ...probe.plan import plan
from ...probe.records import Trace
from ...remote import run as remote
from ...remote.errors import RemoteError
from .connections import connect
from .inventory_naming import namings_of
from .inventory_options import TASK_OPTIONS, TaskOptions


class BlockResult(Result):
    """What became of the search for a block.

    Arguments:
        host: the inventory's host.
        outcome: the measurement, or why there is none.
        kwargs: for Result.

    Attributes:
        result: a dictionary of JSON types: the verdict with both traces (docs/blocking.md); in a dry run the plans. When failed,
            the reason, one sentence.
        measurement: the same as an object; None where there is none.
        failed: only where it could not be measured; a blocked port is a result.
        severity_level: WARNING for a port that is blocked, or of which that is not known.
    """

    def __init__(self, host: Host | None, outcome: BlockMeasurement | ProbeError | None = None, **kwargs: Any) -> None:
        settings: dict[str, Any] = {}
        if isinstance(outcome, BlockMeasurement):
            settings["result"] = outcome.to_dict()
            if outcome.block.is_blocked is not False:
                settings["severity_level"] = logging.WARNING
        elif outcome is not None:
            settings = {"result": str(outcome), "exception": outcome, "failed": True, "severity_level": logging.ERROR}
        super().__init__(host, **{**settings, **kwargs})
        self.measurement = outcome if isinstance(outcome, BlockMeasurement) else None


def locate_block(
    task: Task, destination: str | None = None, port: int | None = None, *, working_port: int | None = None, **options: Any
) -> BlockResult:
    """Trace a port beside one that works, and tell where on its way it is blocked.

    An option that is None or not given is taken from `tcptraceroute:` in the host's, its groups' or the defaults' data, merged
    key by key, and has the probe's default if it is nowhere.

    Arguments:
        destination: name or address. From the controller it is the host itself unless told otherwise; from the host it is needed.
        port: TCP port in question, 1..65535.
        working_port: a port of the same destination that works, 1..65535; by default the port in question is asked by ACK too.
        options: as for the task `tcptraceroute`: its vantage and connection, and options of TraceOptions.

    Returns:
        Result object with the following attributes set:

        * result (``dict``): the verdict with both traces as JSON types; in a dry run the plans, and nothing was sent
        * measurement (``BlockMeasurement``): the same as an object
        * failed (``bool``): only if it could not be measured; a blocked port is a result (WARNING)
    """
    host = task.host
    try:
        _refuse_unknown(host, options)
        with namings_of(task.nornir.inventory) as namings:
            asked = TaskOptions(host, {**options, "destination": destination, "port": port}, namings)
            pair = _pair(host, asked, working_port)
            if task.is_dry_run():
                return BlockResult(host, result={"dry_run": True, "traces": _plans(task, asked, pair)})
            measure = _from_host(task, asked) if asked.vantage == "host" else measure_here
            outcome = measure_block(asked.requests[0], _labelled(measure, asked.naming), working_port=working_port)
    except OptionError as error:
        return BlockResult(host, error)
    except ProbeError as error:
        return BlockResult(host, type(error)(f"{host.name}: {error}"))
    return BlockResult(host, outcome)


def _refuse_unknown(host: Host, options: Mapping[str, Any]) -> None:
    unknown = [
        f"{host.name}: {name!r} is not an option" for name in options if name not in PARAMETERS and name not in TASK_OPTIONS
    ]
    if unknown:
        raise OptionError(unknown)


def _pair(host: Host, options: TaskOptions, working_port: Any) -> Sequence[TraceOptions]:
    """The first two requests, before anything is sent."""
    if options.several:
        raise OptionError([f"{host.name}: destination: a block is located for one destination and one port at a time"])
    try:
        return block_requests(options.requests[0], working_port)
    except OptionError as error:
        raise OptionError([f"{host.name}: {problem}" for problem in error.problems]) from None


_Measure = Callable[[Sequence[TraceOptions]], Sequence[Trace | ProbeError]]


def _labelled(measure: _Measure, naming: Naming) -> _Measure:
    """The same measurement, its hops named, so that the verdict names devices."""

    def measured(requests: Sequence[TraceOptions]) -> list[Trace | ProbeError]:
        return [label(outcome, naming) if isinstance(outcome, Trace) else outcome for outcome in measure(requests)]

    return measured


def _settings(options: TaskOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("interpreter", "become", "become_password", "time_limit")}


def _from_host(task: Task, options: TaskOptions) -> _Measure:
    connection = connect(task, options.connection)
    settings = _settings(options)
    return lambda requests: remote.measure(connection, requests, **settings)


def _plans(task: Task, options: TaskOptions, requests: Sequence[TraceOptions]) -> list[dict[str, Any]]:
    if options.vantage == "controller":
        return [plan(request) for request in requests]
    plans = remote.plan(connect(task, options.connection), requests, **_settings(options))
    errors = [told["error"] for told in plans if isinstance(told.get("error"), dict)]
    if errors:
        raise RemoteError(str(errors[0].get("message")))
    return plans
