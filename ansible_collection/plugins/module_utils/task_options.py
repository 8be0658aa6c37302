# BSD-3-Clause, see LICENSE
"""The options of a task: from what a playbook says to the requests of the probe, on the controller and on the host alike."""

from __future__ import annotations

from itertools import product
from typing import Any, Dict, List, Mapping, Tuple

from ansible.module_utils.common.validation import check_type_bool, check_type_float, check_type_int, check_type_list

from .probe.errors import OptionError
from .probe.options import PARAMETERS, Parameter, TraceOptions
from .probe.pacing import PROCESS_RATE, read_rate

__all__ = (
    "EXPECTATIONS",
    "JUDGING",
    "MOST_TRACES",
    "NAMING",
    "ON_CONTROLLER",
    "argument_spec",
    "converted",
    "rate_of",
    "requests_of",
)

#: Kinds of what may be expected of a path, by the words for it.
EXPECTATIONS = {
    "reached": "bool",
    "port_state": "list",
    "transit": "list",
    "ordered": "list",
    "forbidden": "list",
    "first_hop": "list",
    "last_hop": "list",
    "min_hops": "int",
    "max_hops": "int",
    "max_rtt_ms": "float",
    "max_loss_pct": "float",
    "unmodified": "bool",
    "no_nat": "bool",
}
#: Options that are for the controller alone: what is known of addresses, and what becomes of the traces.
NAMING = ("networks", "devices", "asn_database")
JUDGING: Dict[str, Dict[str, Any]] = {
    "expect": {
        "type": "dict",
        "options": {
            name: {"type": kind, "elements": "str"} if kind == "list" else {"type": kind} for name, kind in EXPECTATIONS.items()
        },
    },
    "baseline": {"type": "str"},
    "baseline_action": {"type": "str", "choices": ["compare", "record", "merge"], "default": "compare"},
    "retries": {"type": "int", "default": 0},
    "delay": {"type": "float", "default": 5.0},
    "locate_block": {"type": "dict", "options": {"working_port": {"type": "int"}}},
}
ON_CONTROLLER = (*NAMING, *JUDGING)

#: So many traces at most in one task.
MOST_TRACES = 1000
#: Stands for a destination that is missing, while the other options are checked.
_UNNAMED = "destination"

_TYPES = {"integer": "int", "number": "float", "boolean": "bool"}


def argument_spec() -> Dict[str, Dict[str, Any]]:
    """The module's arguments as Ansible wants them told: those of TraceOptions, and the lists for several traces."""
    spec = {name: _argument(parameter) for name, parameter in PARAMETERS.items()}
    del spec["destination"]["default"]
    spec["destinations"] = {"type": "list", "elements": "str"}
    spec["ports"] = {"type": "list", "elements": "int"}
    spec["rate"] = {"type": "str", "default": "{:g}".format(PROCESS_RATE)}
    spec["requests"] = {"type": "list", "elements": "dict"}
    for name in NAMING:
        spec[name] = {"type": "str" if name == "asn_database" else "dict"}
    spec.update(JUDGING)
    return spec


def _argument(parameter: Parameter) -> Dict[str, Any]:
    argument: Dict[str, Any] = {"type": _type(parameter)}
    if parameter.choices:
        argument["choices"] = list(parameter.choices)
    if parameter.default is not None:
        argument["default"] = parameter.default
    return argument


def _type(parameter: Parameter) -> str:
    numbers = parameter.choices and all(isinstance(choice, int) for choice in parameter.choices)
    return "int" if numbers else _TYPES.get(parameter.kind, "str")


def rate_of(arguments: Mapping[str, Any]) -> float:
    """Read the rate of a task: probes per second of all its traces together; infinite is no limit.

    Raises:
        OptionError: it is none.
    """
    rate = arguments.get("rate")
    return PROCESS_RATE if rate is None else read_rate(_text(rate) if isinstance(rate, str) else rate)


def requests_of(arguments: Mapping[str, Any]) -> Tuple[List[TraceOptions], bool]:
    """Read a task's arguments.

    Arguments:
        arguments: names and values, of the kinds that a playbook may give (``"443"`` is a number, ``yes`` is true); None is
            as good as absent.

    Returns:
        The requests, one for each destination and port in the order of the lists, none twice; and whether the task asked for
        several, and so for a list of traces.

    Raises:
        OptionError: names every argument that is unknown or breaks its rule.
    """
    own = (*ON_CONTROLLER, "rate")
    given = {str(name): value for name, value in arguments.items() if value is not None and name not in own}
    lists, problems = _lists(given)
    try:
        rate_of(arguments)
    except OptionError as error:
        problems += error.problems
    common = {name: _plain(PARAMETERS[name], value) if name in PARAMETERS else value for name, value in given.items()}
    missing = "destination" not in common and "destination" not in lists
    if missing and "packet" not in common:
        problems.append("destination: is missing; give it, or destinations")
    # Of a packet it is the packet's.
    unnamed = PARAMETERS["destination"].default if "packet" in common else _UNNAMED
    destinations = lists.get("destination") or [common.get("destination", unnamed)]
    ports = lists.get("port") or [common.get("port", PARAMETERS["port"].default)]
    count = len(destinations) * len(ports)
    if count > MOST_TRACES:
        raise OptionError([*problems, "destinations: {} traces are more than {} in one task".format(count, MOST_TRACES)])
    requests: Dict[TraceOptions, None] = {}
    for destination, port in product(destinations, ports):
        try:
            requests[TraceOptions.from_dict({**common, "destination": destination, "port": port})] = None
        except OptionError as error:
            problems += error.problems
    if problems:
        # What is wrong with all requests is told once.
        raise OptionError(list(dict.fromkeys(problems)))
    return list(requests), bool(lists)


def _lists(given: Dict[str, Any]) -> Tuple[Dict[str, List[Any]], List[str]]:
    """Take the lists out of what was given: their values by the name of the single option, and what is wrong with them."""
    lists: Dict[str, List[Any]] = {}
    problems = []
    for plural, singular in (("destinations", "destination"), ("ports", "port")):
        if plural not in given:
            continue
        # The module itself sees the default where a task gave none.
        if singular in given and given[singular] != PARAMETERS[singular].default:
            problems.append("{}: can't be given together with {}".format(plural, singular))
        try:
            values = check_type_list(given.pop(plural))
        except TypeError:
            values = []
        if not values:
            problems.append("{}: is not a list with something in it".format(plural))
        lists[singular] = [_plain(PARAMETERS[singular], value) for value in values]
    return lists, problems


def _plain(parameter: Parameter, value: Any) -> Any:
    return converted(_type(parameter), value)


def converted(kind: str, value: Any) -> Any:
    """A value of the kind that an argument has; what can't be converted stays as it is, to be refused in words of its own.

    Arguments:
        kind: as in ``argument_spec``, but no list and no dict.
        value: as a playbook may give it.
    """
    try:
        if isinstance(value, bool):
            # A bool is an int to Python and to Ansible, but no port number.
            return value
        if kind == "int":
            return int(check_type_int(value))
        if kind == "float":
            return float(check_type_float(value))
        if kind == "bool":
            return check_type_bool(value)
    except (TypeError, ValueError):
        return _text(value) if isinstance(value, str) else value
    # An interface may be called 7.
    return _text(value) if isinstance(value, (str, int, float)) else value


def _text(value: Any) -> str:
    """A plain text: the controller's are of a class of their own, and those of ansible-core 2.16 answer str() with themselves."""
    return str.__str__(value) if isinstance(value, str) else str(value)
