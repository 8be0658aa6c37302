# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the replies of a result mean and whose its hops are: the controller's analysis, by the package nornir-tcptraceroute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import missing_required_lib

from ..module_utils.probe.errors import OptionError, RecordError
from ..module_utils.probe.records import Trace
from ..module_utils.result_size import within_bounds
from .registered import plain

# Once, when the controller loads its plugins: each host's task is a fork, which would pay for imports of its own.
try:
    from nornir_tcptraceroute.analysis import Naming, explain, label
    from nornir_tcptraceroute.analysis.inventories import together
    from nornir_tcptraceroute.analysis.loading import load_all
    from nornir_tcptraceroute.probe import errors as package_errors
    from nornir_tcptraceroute.probe import records as package_records

    load_all()
except ImportError as error:
    MISSING = f"Hops are not analysed: {missing_required_lib('nornir-tcptraceroute')} ({error})"
else:
    MISSING = ""

__all__ = ("LATER", "MISSING", "VARIABLE", "Analysed", "analysed", "naming_of", "record_of", "trace_of")

#: The warning of an asynchronous task, which holds until the filter has seen its result.
LATER = "Hops of an asynchronous trace are not analysed: the filter netprobe.path.analysis does it"
#: What the variables that stand in for options begin with.
VARIABLE = "netprobe_"


class Analysed(NamedTuple):
    """A result with the findings in its hops.

    Attributes:
        result: of one trace (``hops``) or of several (``traces``), as the module returned it but for the findings.
        warnings: what the analysis has to say of one trace; those of several are in their records.
    """

    result: dict[str, Any]
    warnings: tuple[str, ...]


def naming_of(told: Mapping[str, Any], devices: Mapping[str, list[str]]) -> Any:
    """Read what is known of addresses.

    Arguments:
        told: ``networks``, ``devices`` and ``asn_database`` as far as they are given, each by its own name where it is an option,
            or with ``netprobe_`` before it where it is a variable; problems are told by that name.
        devices: the inventory's, the names of each address.

    Returns:
        What ``analysed`` labels hops with.

    Raises:
        OptionError: every problem of all three.
    """
    given = {name.removeprefix(VARIABLE): plain(value) for name, value in told.items()}
    if isinstance(given.get("asn_database"), str):
        given["asn_database"] = Path(given["asn_database"]).expanduser()
    try:
        return Naming(given.get("networks"), together(devices, given.get("devices")), given.get("asn_database"))
    except package_errors.OptionError as error:
        raise OptionError([_by_its_name(problem, told) for problem in error.problems]) from None


def _by_its_name(problem: str, told: Mapping[str, Any]) -> str:
    """A problem that begins with the place where it is, by the name that the user knows that by."""
    variables = tuple(name.removeprefix(VARIABLE) for name in told if name.startswith(VARIABLE))
    return VARIABLE + problem if problem.startswith(variables) else problem


def analysed(result: Mapping[str, Any], naming: Any) -> Analysed:
    """Open the evidence of a result's traces and label their hops.

    Arguments:
        result: of one trace or of several, each at most 64 KiB as JSON, and so they stay.
        naming: see ``naming_of``.

    Raises:
        RecordError: a trace is none that the installed package knows, or none at all.
    """
    if "traces" in result and "hops" not in result:
        return Analysed({**result, "traces": [_whole(trace, naming) for trace in result["traces"]]}, ())
    # Warnings of the task may be of Ansible's own, with anything in them.
    record = _whole({**result, "warnings": []}, naming)
    warnings = record.pop("warnings")
    return Analysed({**result, **record}, tuple(warnings))


def trace_of(record: Mapping[str, Any], naming: Any) -> Any:
    """A record as a trace of the package's, its evidence open and its hops labelled.

    Raises:
        RecordError: it is none that the installed package knows, or none at all.
    """
    try:
        return label(explain(package_records.Trace.from_dict(plain(record))), naming)
    except package_errors.RecordError as error:
        raise RecordError(f"{error}; the collection and the package nornir-tcptraceroute have to be of one version") from None


def record_of(trace: Any) -> dict[str, Any]:
    """A trace of the package's as a record of at most 64 KiB."""
    return within_bounds(Trace.from_dict(trace.to_dict()))


def _whole(record: Mapping[str, Any], naming: Any) -> dict[str, Any]:
    return {**record, **record_of(trace_of(record, naming))}
