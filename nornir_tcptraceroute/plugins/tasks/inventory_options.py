"""The task's options from the inventory: `tcptraceroute:` in the data of hosts, groups and defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nornir.core.inventory import Host

from ...analysis import Naming
from ...probe.errors import OptionError
from ...probe.options import PARAMETERS, TraceOptions
from ...probe.pacing import read_rate
from .expected import EXPECTED_OPTIONS
from .inventory_naming import ADDRESSES, KEY, Namings
from .packet_option import take_packet

VANTAGES = ("controller", "host")
CONNECTIONS = ("netmiko", "paramiko", "openssh")
LONGEST_TIME_LIMIT = 86400
#: What the task knows beyond the options of a trace, with the default of each.
TASK_OPTIONS: dict[str, Any] = {
    "vantage": "controller",
    "connection": "netmiko",
    "become": False,
    "become_password": None,
    "interpreter": "python3",
    "time_limit": 300.0,
    # None: the probe's own, 5000, or what other traces of the process ask for.
    "rate": None,
    "networks": None,
    "devices": None,
    "asn_database": None,
}
MOST_TRACES = 1000


def _layers(host: Host) -> Iterator[tuple[str, Any]]:
    """The places of the inventory that a host inherits from, the nearest last."""
    yield "defaults", host.defaults.data.get(KEY)
    for group in reversed(host.extended_groups()):
        yield f"group {group.name}", group.data.get(KEY)
    yield f"host {host.name}", host.data.get(KEY)


def inventory_options(host: Host) -> dict[str, Any]:
    """The options of a host, merged key by key: defaults, groups from the furthest to the nearest, the host itself.

    Arguments:
        host: the inventory's host.

    Raises:
        OptionError: a place holds no mapping, or a key that is no option; each is named with its place.
    """
    merged: dict[str, Any] = {}
    problems = []
    for place, options in _layers(host):
        if options is None:
            continue
        if not isinstance(options, Mapping):
            problems.append(f"{host.name}: {KEY} of {place} is not a mapping of options and their values")
            continue
        for name, value in options.items():
            if name in PARAMETERS or name in TASK_OPTIONS or name in EXPECTED_OPTIONS:
                merged[name] = value
            elif name != ADDRESSES:
                problems.append(f"{host.name}: {name!r} in {KEY} of {place} is not an option")
            elif not place.startswith("host "):
                problems.append(f"{host.name}: {name!r} in {KEY} of {place} belongs into the data of a host")
    if problems:
        raise OptionError(problems)
    return merged


def _problems(options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the task's own options."""
    for name, choices in (("vantage", VANTAGES), ("connection", CONNECTIONS)):
        if options[name] not in choices:
            yield f"{name}: {options[name]!r} is not one of {', '.join(choices)}"
    if not isinstance(options["become"], bool):
        yield f"become: {options['become']!r} is not true or false"
    if not isinstance(options["interpreter"], str) or not options["interpreter"]:
        yield f"interpreter: {options['interpreter']!r} is not a name or path of a Python"
    password = options["become_password"]
    if password is not None and (not isinstance(password, str) or not password or "\n" in password):
        yield "become_password: is not a password of one line"
    limit = options["time_limit"]
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 1 <= limit <= LONGEST_TIME_LIMIT:
        yield f"time_limit: {limit!r} is not between 1 and {LONGEST_TIME_LIMIT} s"
    try:
        read_rate(1 if options["rate"] is None else options["rate"])
    except OptionError as error:
        yield from error.problems


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


class TaskOptions:
    """All that a call of the task asks of one host, valid.

    Arguments:
        host: the inventory's host.
        given: what the call says; None is not said.
        namings: of the run.

    Attributes:
        requests: the traces: every destination with every port.
        several: whether a list was asked for.
        naming: what is known of addresses.
        vantage, connection, become, become_password, interpreter, time_limit: the task's own options.
        rate: probes per second of all traces of the process that measures; infinite is no limit. None where nobody says one.

    Raises:
        OptionError: every problem at once.
    """

    def __init__(self, host: Host, given: Mapping[str, Any], namings: Namings) -> None:
        options = {
            **TASK_OPTIONS,
            **inventory_options(host),
            **{name: value for name, value in given.items() if value is not None},
        }
        problems = list(_problems(options))
        self.vantage: str = options["vantage"]
        self.connection: str = options["connection"]
        self.become: bool = options["become"]
        self.become_password: str | None = options["become_password"]
        self.interpreter: str = options["interpreter"]
        self.time_limit: float = options["time_limit"]
        self.rate: float | None = None if options["rate"] is None or problems else read_rate(options["rate"])
        common = {name: value for name, value in options.items() if name in PARAMETERS}
        problems += take_packet(common, host.hostname or host.name)
        if "destination" not in common:
            if self.vantage == "host":
                problems.append("destination: is needed with vantage 'host', where the probe leaves from the host itself")
            common["destination"] = host.hostname or host.name
        destinations, ports = _several(common.pop("destination")), _several(common.pop("port", PARAMETERS["port"].default))
        self.several = isinstance(options.get("destination"), (list, tuple)) or isinstance(options.get("port"), (list, tuple))
        if not destinations or not ports or len(destinations) * len(ports) > MOST_TRACES:
            problems.append(f"destination: {len(destinations) * len(ports)} traces are not between 1 and {MOST_TRACES}")
            destinations = ports = []
        self.requests: list[TraceOptions] = []
        for destination in destinations:
            for port in ports:
                try:
                    self.requests.append(TraceOptions.from_dict({**common, "destination": destination, "port": port}))
                except OptionError as error:
                    problems += [problem for problem in error.problems if problem not in problems]
        self.requests = list(dict.fromkeys(self.requests))
        try:
            self.naming: Naming = namings.of(options["networks"], options["devices"], options["asn_database"])
        except OptionError as error:
            problems += error.problems
        if problems:
            raise OptionError(
                [problem if problem.startswith(f"{host.name}: ") else f"{host.name}: {problem}" for problem in problems]
            )
