# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that take what ``netprobe.path.tcptraceroute`` returned; each is documented in the file of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.probe.errors import RecordError
from ..module_utils.probe.records import Hop, Trace
from ..plugin_utils.network_kinds import MISSING, with_network_kinds
from ..plugin_utils.registered import plain, traces_in

__all__ = ("FilterModule",)

_HEADINGS = ("Hop", "Address", "Name", "Loss", "Min", "Avg", "Max ms")


def _traces(value: Any, name: str) -> list[Trace]:
    try:
        return traces_in(value)
    except RecordError as error:
        raise AnsibleFilterError(f"netprobe.path.{name}: {error}") from None


def hop_table(value: Any) -> str:
    """Write traces as tables of their hops, for a person."""
    return "\n\n".join(_table(trace) for trace in _traces(value, "hop_table"))


def _table(trace: Trace) -> str:
    rows = [_HEADINGS, *(_row(hop) for hop in trace.hops)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_title(trace)]
    for row in rows:
        cells = [
            cell.ljust(width) if column in (1, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
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
    return (str(hop.ttl), (hop.address or "*") + more, hop.name or "", loss, *shown)


def hop_addresses(value: Any) -> list[str]:
    """List the addresses that answered on the way, in order, each once."""
    traces = _traces(value, "hop_addresses")
    return list(dict.fromkeys(address for trace in traces for hop in trace.hops for address in hop.addresses))


def network_kinds(value: Any) -> dict[str, Any]:
    """Label the hops of a result with the kind of network that they are in."""
    if MISSING:
        raise AnsibleFilterError(f"netprobe.path.network_kinds: {MISSING}")
    _traces(value, "network_kinds")
    if not isinstance(value, Mapping):
        raise AnsibleFilterError("netprobe.path.network_kinds: one result is wanted: map a list of them")
    return with_network_kinds(plain(value))


class FilterModule:
    """The filters, as Ansible asks for them."""

    def filters(self) -> dict[str, Callable[[Any], Any]]:
        """Names and functions."""
        return {"hop_table": hop_table, "hop_addresses": hop_addresses, "network_kinds": network_kinds}
