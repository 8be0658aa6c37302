# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that take what ``netprobe.path.tcptraceroute`` returned; each is documented in the file of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from jinja2 import pass_context

from ..module_utils.probe.errors import OptionError, RecordError
from ..module_utils.probe.records import Hop, Trace
from ..module_utils.task_options import NAMING
from ..plugin_utils.registered import plain, traces_in

__all__ = ("FilterModule",)

_HEADINGS = ("Hop", "Address", "Name", "Loss", "Min", "Avg", "Max ms", "Notes")
_LEFT = ("Address", "Name", "Notes")


def _traces(value: Any, name: str) -> list[Trace]:
    try:
        return traces_in(value)
    except RecordError as error:
        raise AnsibleFilterError(f"netprobe.path.{name}: {error}") from None


def hop_table(value: Any) -> str:
    """Write traces as tables of their hops, for a person."""
    return "\n\n".join(_table(trace) for trace in _traces(value, "hop_table"))


def _table(trace: Trace) -> str:
    shown = len(_HEADINGS) if any(hop.notes for hop in trace.hops) else len(_HEADINGS) - 1
    rows = [row[:shown] for row in (_HEADINGS, *(_row(hop) for hop in trace.hops))]
    widths = [max(len(row[column]) for row in rows) for column in range(shown)]
    lines = [_title(trace)]
    for row in rows:
        cells = [
            cell.ljust(width) if heading in _LEFT else cell.rjust(width)
            for heading, cell, width in zip(rows[0], row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in trace.warnings)])


def _title(trace: Trace) -> str:
    destination = trace.destination if trace.destination == trace.address else f"{trace.destination} ({trace.address})"
    end = f"reached, hop {trace.hops[-1].ttl}" if trace.reached and trace.hops else f"not reached ({trace.stop_reason})"
    return f"{trace.vantage} to {destination} port {trace.port}: {trace.port_state}, {end}"


def _row(hop: Hop) -> tuple[str, ...]:
    loss = "" if hop.loss is None else f"{hop.loss:.0%}"
    times = hop.rtt_ms
    shown = ("", "", "") if times is None else tuple(f"{each:.3f}" for each in (times.min, times.avg, times.max))
    more = f" +{len(hop.addresses) - 1}" if len(hop.addresses) > 1 else ""
    return (str(hop.ttl), (hop.address or "*") + more, hop.name or "", loss, *shown, "; ".join(hop.notes or ()))


def hop_addresses(value: Any) -> list[str]:
    """List the addresses that answered on the way, in order, each once."""
    traces = _traces(value, "hop_addresses")
    return list(dict.fromkeys(address for trace in traces for hop in trace.hops for address in hop.addresses))


@pass_context
def analysis(context: Any, value: Any, **options: Any) -> Any:
    """Say of every hop of a result what its replies mean and whose it is."""
    # Not at the top: what only another filter of this file needs would be imported for each host's task.
    from ..plugin_utils.analysis import LATER, MISSING, VARIABLE, analysed, naming_of
    from ..plugin_utils.expected import expectations_of, judged_result
    from ..plugin_utils.inventory import devices_of

    if MISSING:
        raise AnsibleFilterError(f"netprobe.path.analysis: {MISSING}")
    expect = options.pop("expect", None)
    unknown = [name for name in options if name not in NAMING]
    if unknown:
        raise AnsibleFilterError(f"netprobe.path.analysis: {unknown[0]!r} is none of {', '.join(NAMING)}, expect")
    told = {f"{VARIABLE}{name}": context.get(f"{VARIABLE}{name}") for name in NAMING if options.get(name) is None}
    told.update(options)

    def each(item: Any) -> Any:
        if isinstance(item, (list, tuple)):
            return [each(one) for one in item]
        if isinstance(item, Mapping) and "results" in item and "hops" not in item:
            return {**item, "results": each(item["results"])}
        found = analysed(item, naming)
        warnings = [warning for warning in item.get("warnings", ()) if warning != LATER]
        result = {**found.result, "warnings": [*warnings, *found.warnings]}
        return result if expected is None else judged_result(result, expected, naming)

    _traces(value, "analysis")
    try:
        naming = naming_of({name: given for name, given in told.items() if given is not None}, devices_of(context["hostvars"]))
        expected = None if expect is None else expectations_of(expect, naming)
        return each(plain(value))
    except OptionError as error:
        raise AnsibleFilterError(f"netprobe.path.analysis: {'; '.join(error.problems)}") from None
    except RecordError as error:
        raise AnsibleFilterError(f"netprobe.path.analysis: {error}") from None


class FilterModule:
    """The filters, as Ansible asks for them."""

    def filters(self) -> dict[str, Callable[[Any], Any]]:
        """Names and functions."""
        return {"hop_table": hop_table, "hop_addresses": hop_addresses, "analysis": analysis}
