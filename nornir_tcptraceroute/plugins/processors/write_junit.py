"""Writes what became of traces as JUnit XML."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from ...analysis.verdicts import worst
from ...reports.junit import Case, Suite, junit_xml
from ...reports.table import hop_table, plain
from ..tasks.result import TracerouteResult

if TYPE_CHECKING:
    from typing import Self


class WriteJUnit:
    """A processor that writes a JUnit file: a suite for each host, a test case for each of its traces.

    A case fails where something is not as it is expected, and is an error where it could not be measured. Without expectations
    it passes once it is measured. The file is written when a run ends, with all that the processor has seen so far; as a context
    manager the processor also writes when `raise_on_error` ends a run::

        with WriteJUnit("paths.xml") as junit:
            nr.with_processors([junit]).run(task=tcptraceroute, destination="db.example.net", expect={"reached": True})

    Arguments:
        path: the file; it is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._cases: dict[str, list[Case]] = {}
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.write()

    def write(self) -> None:
        """Write the file.

        Raises:
            OSError: it can't be written.
        """
        with self._lock:
            suites = [Suite(host, tuple(cases), hostname=host) for host, cases in sorted(self._cases.items())]
        self._path.write_text(junit_xml(suites), encoding="utf-8")

    def _take(self, host: Host, result: MultiResult, task: Task) -> None:
        # A subtask's own result is delivered by itself.
        single = result[0] if result else None
        if isinstance(single, TracerouteResult) and isinstance(single.result, dict) and "traces" in single.result:
            return
        with self._lock:
            seconds = time.monotonic() - self._begun.get(host.name, time.monotonic())
            if isinstance(single, TracerouteResult):
                self._cases.setdefault(host.name, []).append(_case(host, single, seconds))
            elif result.failed and single is not None and not result[1:]:
                told = str(single.exception or single.result)
                self._cases.setdefault(host.name, []).append(
                    Case(task.name, host.name, "error", told, str(single.result), seconds)
                )

    def task_started(self, task: Task) -> None:
        """Nothing to do."""

    def task_completed(self, task: Task, result: AggregatedResult) -> None:  # noqa: ARG002 - Nornir's hook
        """Write the file."""
        self.write()

    def task_instance_started(self, task: Task, host: Host) -> None:  # noqa: ARG002 - Nornir's hook
        """The host's turn has come."""
        with self._lock:
            self._begun[host.name] = time.monotonic()

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Take the host's trace."""
        self._take(host, result, task)

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Nothing to do."""

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Take one of the host's traces."""
        self._take(host, result, task)


def _case(host: Host, single: TracerouteResult, seconds: float) -> Case:
    """The test case of a trace."""
    name = f"{single.destination or 'traceroute'}{f' port {single.port}' if single.port else ''}"
    if single.trace is None:
        outcome = "error" if single.failed else "skipped"
        return Case(name, host.name, outcome, str(single.result) if single.failed else "a dry run measures nothing", "", seconds)
    outcome = worst(single.verdicts)
    told = [verdict for verdict in single.verdicts if verdict.outcome == outcome]
    lines = [f"{verdict.name}: {verdict.outcome}: {verdict.reason}" for verdict in single.verdicts]
    text = "\n".join([*lines, "", plain(hop_table(single.trace)), single.diff or ""])
    # One that is partly skipped and otherwise as expected has passed.
    met = any(verdict.outcome == "success" for verdict in single.verdicts)
    outcome = "success" if outcome == "skipped" and met else outcome
    return Case(name, host.name, outcome, "; ".join(f"{verdict.name}: {verdict.reason}" for verdict in told), text, seconds)
