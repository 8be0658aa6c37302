# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads traces out of what a play registered, for filters and tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.probe.errors import RecordError
from ..module_utils.probe.records import Trace

__all__ = ("plain", "traces_in")

_LONGEST_WARNING = 1000


def traces_in(value: Any) -> list[Trace]:
    """The traces of a registered result: of one trace, of several (``traces``), of a loop (``results``), or a list of these.

    Raises:
        RecordError: something in it is no trace, such as the result of a task that failed or ran in check mode.
    """
    if isinstance(value, Mapping) and "traces" in value and "hops" not in value:
        return traces_in(value["traces"])
    if isinstance(value, Mapping) and "results" in value and "hops" not in value:
        return traces_in(value["results"])
    if isinstance(value, (list, tuple)):
        return [trace for item in value for trace in traces_in(item)]
    if isinstance(value, Mapping) and "hops" not in value:
        raise RecordError(
            "No trace is in a result without hops: it is that of a task that failed, was skipped, or ran in check mode"
        )
    if isinstance(value, Mapping):
        # Warnings of the task may be of Ansible's own, with anything in them.
        value = {**value, "warnings": [_printable(warning) for warning in value.get("warnings", [])]}
    return [Trace.from_dict(plain(value))]


def _printable(warning: Any) -> str:
    """A warning as a record may hold it."""
    text = str(warning)[:_LONGEST_WARNING]
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text)


def plain(value: Any) -> Any:
    """A value without the classes of Ansible's own, which carry tags or are not rendered yet; what JSON has not stays."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # Not str(value): the texts of ansible-core 2.16 to 2.18 answer that with themselves.
        return str.__str__(value)
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return value
