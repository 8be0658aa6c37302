"""The task `tcptraceroute`: from the controller, or from the managed hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, runtime_checkable

from nornir.core.exceptions import NornirSubTaskError
from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from ...analysis import Naming, explain, label
from ...analysis.expectations import Expectations
from ...analysis.judgement import Judgement
from ...analysis.verdicts import worst
from ...measurements.settling import settle
from ...probe.errors import OptionError, ProbeError
from ...probe.library import trace_many
from ...probe.options import TraceOptions
from ...probe.pacing import PROCESS_RATE
from ...probe.plan import plan
from ...probe.records import Trace
from ...probe.tracer import Event
from ...remote import run as remote
from ...remote.errors import RemoteError
from .connections import connect
from .expected import Expected
from .inventory_naming import namings_of
from .inventory_options import TaskOptions, inventory_options
from .result import TracerouteResult

MOST_THREADS = 32

Outcome = Trace | ProbeError | dict[str, Any]


@runtime_checkable
class TraceListener(Protocol):
    """A processor that also wants to hear how traces from the controller go on."""

    def trace_event(self, task: Task, host: Host, request: TraceOptions, event: Event) -> None:
        """Something happened in a trace. Called in the engine's thread: it must be quick, and must not raise."""


def tcptraceroute(
    task: Task,
    destination: str | Sequence[str] | None = None,
    port: int | Sequence[int] | None = None,
    *,
    vantage: str | None = None,
    connection: str | None = None,
    become: bool | None = None,
    become_password: str | None = None,
    interpreter: str | None = None,
    time_limit: float | None = None,
    rate: float | str | None = None,
    networks: Mapping[str, str | Sequence[str]] | None = None,
    devices: Mapping[str, str | Sequence[str]] | None = None,
    asn_database: str | None = None,
    expect: Mapping[str, Any] | Expectations | None = None,
    baseline: str | None = None,
    baseline_action: str | None = None,
    retries: int | None = None,
    delay: float | None = None,
    family: int | None = None,
    first_ttl: int | None = None,
    max_ttl: int | None = None,
    queries: int | None = None,
    wait: float | None = None,
    deadline: float | None = None,
    gap_limit: int | None = None,
    parallel: int | None = None,
    source: str | None = None,
    source_port: int | None = None,
    interface: str | None = None,
    flags: str | None = None,
    tcp_options: str | None = None,
    length: int | None = None,
    tos: int | None = None,
    dont_fragment: bool | None = None,
    packet: Any = None,
    method: str | None = None,
    names: str | None = None,
    evidence: str | None = None,
) -> TracerouteResult:
    """Trace the route to a TCP port, from the controller or from the host.

    An argument that is None is taken from `tcptraceroute:` in the host's, its groups' or the defaults' data, merged key by key,
    and has the probe's default if it is nowhere.

    Arguments:
        destination: name or address; a list or tuple of them gives one sub-result each. From the controller it is the host itself
            unless told otherwise; from the host it is needed.
        port: TCP port 1..65535 (80), or several.
        vantage: `controller` (default) or `host`: where the packets leave from.
        connection: how the host is reached: `netmiko` (default), `paramiko` or `openssh`.
        become: run the probe through sudo there, unless the user is root (False).
        become_password: what to tell sudo if it asks.
        interpreter: name or path of the host's Python, 3.8 or newer (`python3`).
        time_limit: seconds for the whole run on the host, 1..86400 (300).
        rate: probes per second, 1..1000000 or `unlimited` (5000): from the controller of all traces of this process together, the
            lowest of those given at the same time; from a host of the run there.
        networks: prefixes of each of your networks, such as ``{"dc1": ["10.1.0.0/16", "2001:db8:1::/48"]}``, for the labels of
            hops; the longest prefix that holds a hop counts.
        devices: names of addresses, such as ``{"10.1.0.1": "core1"}``, beside those of the inventory.
        asn_database: path of a MaxMind DB file with AS numbers.
        expect: what the path has to be, such as ``{"reached": True, "transit": "dc1"}``, or Expectations (docs/checks.md).
        baseline: path of the file with a known-good path; ``{host}``, ``{destination}`` and ``{port}`` stand for what they say.
        baseline_action: `compare` (default), `record` it anew, or `merge` what the trace shows into it.
        retries: how often it is measured again while something is not met, 0..100 (0).
        delay: the pause before that, 0..3600 s (5).
        family, first_ttl, max_ttl, queries, wait, deadline, gap_limit, parallel, source, source_port, interface, flags,
            tcp_options, length, tos, dont_fragment, method, names, evidence: options of TraceOptions, with its bounds and units.
        packet: the probe itself, sent as it is but for TTL, numbers and checksums, from controller or host: a Scapy packet
            such as `IP()/TCP(flags="SEC")`, or bytes or base64 from the IP header on. What it tells of destination, port and
            source holds; what it leaves open (in Scapy: does not set) is asked for as without it.

    Returns:
        Result object with the following attributes set:

        * result (``dict``): the trace as JSON types, its hops with what the analysis says of them; in a dry run the plan, and
          nothing was sent
        * trace (``Trace``): the same as an object
        * destination, port: what was traced to
        * verdicts, attempts, diff: what became of what is expected; the difference from the baseline as a unified diff
        * failed (``bool``): only if it could not be measured or is not as it is expected; a destination that was not reached is
          a result (WARNING)

        For several destinations or ports: ``{"traces": [...]}``, and a sub-result like this for each.
    """
    given = {name: value for name, value in locals().items() if name != "task"}
    try:
        with namings_of(task.nornir.inventory) as namings:
            options = TaskOptions(task.host, given, namings)
            expected = _expected(task, given, options)
            found = _settled(task, options, expected)
    except ProbeError as error:
        return TracerouteResult(task.host, *_asked(given), outcome=_named(error, task.host))
    told = [
        TracerouteResult(task.host, request.destination, request.port, **_settings(found[request].outcome, task.host))
        for request in options.requests
    ]
    if expected is not None:
        for single, request in zip(told, options.requests, strict=True):
            judgement = expected.keep(request, found[request].measured, found[request].judgement)
            single.take(judgement, expected.diff(request, judgement), found[request].attempts)
    if not options.several:
        return told[0]
    for single in told:
        name = f"tcptraceroute {single.destination}:{single.port}"
        # One that could not be measured leaves the others as they are.
        try:
            task.run(_deliver, name=name, severity_level=single.severity_level, single=single)
        except NornirSubTaskError:
            continue
    return TracerouteResult(task.host, result={"traces": [_line(single) for single in told]})


class _Found(NamedTuple):
    """What became of a request."""

    outcome: Outcome
    judgement: Judgement = Judgement()
    attempts: int = 1

    @property
    def measured(self) -> Trace | ProbeError:
        """The outcome of what was no dry run."""
        assert not isinstance(self.outcome, dict)
        return self.outcome


def _expected(task: Task, given: Mapping[str, Any], options: TaskOptions) -> Expected | None:
    """What is expected; None for nothing, and in a dry run, which measures nothing."""
    told = {name: value for name, value in given.items() if value is not None}
    alone = len(task.nornir.inventory.hosts) == 1
    expected = Expected(task.host, {**inventory_options(task.host), **told}, options.requests, options.naming, alone=alone)
    return expected if expected.anything and not task.is_dry_run() else None


def _settled(task: Task, options: TaskOptions, expected: Expected | None) -> dict[TraceOptions, _Found]:
    """Measure, and measure again what is not as it is expected."""

    def measure(requests: Sequence[TraceOptions]) -> list[Outcome]:
        measured = (_from_host if options.vantage == "host" else _from_controller)(task, options, requests)
        return [_analysed(outcome, options.naming) for outcome in measured]

    if expected is None:
        return dict(zip(options.requests, map(_Found, measure(options.requests)), strict=True))

    def measure_or_tell(requests: Sequence[TraceOptions]) -> list[Outcome]:
        try:
            return measure(requests)
        except ProbeError as error:
            return [error] * len(requests)

    def judged(request: TraceOptions, outcome: Outcome) -> _Found:
        found = _Found(outcome)
        return found._replace(judgement=expected.judgement(request, found.measured))

    settled: dict[TraceOptions, _Found] = {}

    def take(request: TraceOptions, found: _Found, attempts: int, _seconds: float) -> None:
        settled[request] = found._replace(attempts=attempts)

    settle(options.requests, measure_or_tell, judged, lambda found: found.judgement.met, lambda _: expected.retries, take)
    return settled


def _asked(given: dict[str, Any]) -> tuple[str | None, int | None]:
    destination, port = given["destination"], given["port"]
    return destination if isinstance(destination, str) else None, port if isinstance(port, int) else None


def _deliver(task: Task, single: TracerouteResult) -> Result:  # noqa: ARG001 - Nornir passes the task
    return single


def _line(single: TracerouteResult) -> dict[str, Any]:
    trace_ = single.trace
    return {
        "destination": single.destination,
        "port": single.port,
        "failed": single.failed,
        "reached": trace_.reached if trace_ else None,
        "port_state": trace_.port_state if trace_ else None,
        "hops": len(trace_.hops) if trace_ else None,
        **({"outcome": worst(single.verdicts)} if single.verdicts else {}),
    }


def _settings(outcome: Outcome, host: Host) -> dict[str, Any]:
    if isinstance(outcome, dict):
        return {"result": {"dry_run": True, **outcome}}
    return {"outcome": _named(outcome, host) if isinstance(outcome, ProbeError) else outcome}


def _named(error: ProbeError, host: Host) -> ProbeError:
    """The same error, its sentence beginning with the host."""
    if isinstance(error, OptionError):
        return error
    return type(error)(f"{host.name}: {error}")


def _analysed(outcome: Outcome, naming: Naming) -> Outcome:
    """A trace with what its replies and addresses mean; anything else as it is."""
    return label(explain(outcome), naming) if isinstance(outcome, Trace) else outcome


def _from_host(task: Task, options: TaskOptions, requests: Sequence[TraceOptions]) -> Sequence[Outcome]:
    settings: dict[str, Any] = {
        "interpreter": options.interpreter,
        "become": options.become,
        "become_password": options.become_password,
        "time_limit": options.time_limit,
    }
    connection = connect(task, options.connection)
    if not task.is_dry_run():
        return remote.measure(connection, requests, rate=options.rate or PROCESS_RATE, **settings)
    plans = remote.plan(connection, requests, **settings)
    return [RemoteError(str(told["error"]["message"])) if isinstance(told.get("error"), dict) else told for told in plans]


def _from_controller(task: Task, options: TaskOptions, requests: Sequence[TraceOptions]) -> Sequence[Outcome]:
    if task.is_dry_run():
        with ThreadPoolExecutor(MOST_THREADS) as threads:
            return list(threads.map(_planned, requests))
    listeners = [processor for processor in task.processors if isinstance(processor, TraceListener)]

    def tell(request: TraceOptions, event: Event) -> None:
        for listener in listeners:
            listener.trace_event(task, task.host, request, event)

    outcomes: dict[TraceOptions, Outcome] = {}
    trace_many(requests, outcomes.__setitem__, rate=options.rate, on_event=tell if listeners else None)
    return [outcomes[request] for request in requests]


def _planned(request: TraceOptions) -> Outcome:
    try:
        return plan(request)
    except ProbeError as error:
        return error
