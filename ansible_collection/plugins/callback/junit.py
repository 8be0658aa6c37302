# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the verdicts of a playbook's traces as JUnit XML, in the form of ``nornir-tcptraceroute check``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: junit
type: aggregate
short_description: Writes the verdicts of traces as JUnit XML
version_added: 0.1.0
author: The nornir_tcptraceroute authors (@nornir-tcptraceroute)
description:
  - Writes one test suite for each trace of M(netprobe.path.tcptraceroute) that something was expected of, by host and by item of
    a loop, and in it one test case for each expectation and one for the baseline, as C(nornir-tcptraceroute check --junit) does.
  - A trace that could not be measured is an error in each of its cases. Where a task has no verdicts at all, because its options
    were refused or its host could not be reached, it is one case of that name.
  - The verdicts count, not whether the play went on after them. Of a task that is tried again, the last time counts. Nothing is
    written of tasks with C(no_log) and of those that expect nothing. In check mode there are no verdicts.
options:
  output_file:
    description:
      - The file, on the controller; it is replaced.
      - Relative to the directory that the play is started in.
    type: path
    default: tcptraceroute-junit.xml
    ini:
      - section: callback_netprobe_path_junit
        key: output_file
    env:
      - name: NETPROBE_PATH_JUNIT_FILE
requirements:
  - C(callbacks_enabled = netprobe.path.junit) in ansible.cfg, or the environment variable E(ANSIBLE_CALLBACKS_ENABLED)
  - the Python package nornir-tcptraceroute on the controller
seealso:
  - module: netprobe.path.tcptraceroute
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from ..plugin_utils.analysis import MISSING
from ..plugin_utils.registered import plain

try:
    from nornir_tcptraceroute.probe.errors import RecordError as PackageRecordError
    from nornir_tcptraceroute.probe.records import Trace
    from nornir_tcptraceroute.reports.junit import Case, Suite, junit_xml
    from nornir_tcptraceroute.reports.table import hop_table
    from nornir_tcptraceroute.reports.table import plain as plain_table
except ImportError as error:
    UNWRITTEN = MISSING or f"the package nornir-tcptraceroute is older than the collection ({error})"
else:
    UNWRITTEN = MISSING

_ACTIONS = ("netprobe.path.tcptraceroute", "tcptraceroute")
#: Options that ask for verdicts.
_ASKING = ("expect", "baseline")


class CallbackModule(CallbackBase):  # type: ignore[misc]  # published without types
    """Collects verdicts while plays run, and writes them when all have ended."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "netprobe.path.junit"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._suites: list[Any] = []
        self._begun: dict[str, float] = {}
        if UNWRITTEN:
            self._display.warning(f"The callback netprobe.path.junit writes nothing: {UNWRITTEN}")
            self.disabled = True

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A host begins a task."""
        self._begun[f"{host.name} {task._uuid}"] = time.monotonic()  # noqa: SLF001

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task went well."""
        self._take(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002 - Ansible's
        """A task failed."""
        self._take(result, failed=True)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._take(result, failed=True)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """An item of a loop went well."""
        self._take(result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """An item of a loop failed."""
        self._take(result, failed=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 - Ansible's hook
        """All plays have ended: write the file."""
        file = Path(self.get_option("output_file"))
        try:
            file.write_text(junit_xml(self._suites), encoding="utf-8")
        except OSError as error:
            self._display.warning(f"{file} can't be written: {error.strerror}")

    def _take(self, told: Any, *, failed: bool = False) -> None:
        # Attributes without an underscore are newer than ansible-core 2.18, the others will go.
        host, task, result = (getattr(told, name, None) or getattr(told, f"_{name}") for name in ("host", "task", "result"))
        if task.action not in _ACTIONS and getattr(task, "resolved_action", None) not in _ACTIONS:
            return
        # The items of a loop have come one by one.
        if "results" in result and "traces" not in result and task.loop is not None:
            return
        place, now = f"{host.name} {task._uuid}", time.monotonic()  # noqa: SLF001
        seconds = now - self._begun.get(place, now)
        # The next item begins.
        self._begun[place] = now
        item = result.get("_ansible_item_label")
        title = task.get_name() if item is None else f"{task.get_name()} ({plain(item)})"
        self._suites += _suites(plain(result), title, str(host.name), seconds, failed=failed and _asked(task.args))


def _asked(arguments: Mapping[str, Any]) -> bool:
    return any(arguments.get(name) is not None for name in _ASKING)


def _suites(result: Mapping[str, Any], title: str, host: str, seconds: float, *, failed: bool) -> Iterator[Any]:
    """The suites of a result: one for each trace that has verdicts, or one for a task that failed before it had any."""
    records = [*result.get("traces", ()), *result.get("problems", ())] if "hops" not in result else [result]
    judged = [record for record in records or [result] if "verdicts" in record]
    for record in judged:
        yield _suite(record, title, host, seconds / len(judged))
    if failed and not judged and "censored" not in result:
        message = " ".join(str(result.get("msg", "it failed without a word")).split())
        yield Suite(f"{title} from {host}", (Case(title, host, "error", message, "", seconds),), hostname=host)


def _suite(record: Mapping[str, Any], title: str, host: str, seconds: float) -> Any:
    destination, port = record.get("destination"), record.get("port")
    place = f": {destination} port {port}" if destination else ""
    name = f"{title}{place} from {host}"
    details = _table(record)
    verdicts = record["verdicts"]
    cases = tuple(
        Case(
            name=verdict["name"],
            classname=name,
            outcome=verdict["outcome"],
            message=verdict["reason"],
            text=f"expected: {verdict['expected']}\nactual: {verdict['actual']}\n\n{details}",
            seconds=seconds / len(verdicts),
        )
        for verdict in verdicts
    )
    properties = {"vantage": host, "attempts": str(record.get("attempts", 1))}
    if destination:
        properties = {"destination": str(destination), "port": str(port), **properties}
    return Suite(name, cases, properties=properties, hostname=host, started_at=record.get("started_at"), output=details)


def _table(record: Mapping[str, Any]) -> str:
    """The hop table; empty where there is no trace."""
    if "hops" not in record:
        return ""
    try:
        return plain_table(hop_table(Trace.from_dict({**record, "warnings": []})))
    except PackageRecordError as error:
        return f"{error}\n"
