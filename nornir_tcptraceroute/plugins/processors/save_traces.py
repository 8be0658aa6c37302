"""Writes every trace to a file as it ends."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from ..tasks.result import TracerouteResult


class SaveTraces:
    """A processor that appends one line of JSON for each trace to a file, as the trace's host ends.

    A line is ``{"host", "destination", "port", "trace"}``, or has ``error`` with one sentence in place of ``trace``.

    Arguments:
        path: the file; it is made if it isn't there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    def _write(self, host: Host, result: MultiResult) -> None:
        # A subtask's own result is delivered by itself.
        singles = [single for single in result[:1] if isinstance(single, TracerouteResult) and (single.trace or single.failed)]
        lines = []
        for single in singles:
            told = {"trace": single.trace.to_dict()} if single.trace else {"error": str(single.exception)}
            lines.append(json.dumps({"host": host.name, "destination": single.destination, "port": single.port, **told}) + "\n")
        if lines:
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))

    def task_started(self, task: Task) -> None:
        """Nothing to do."""

    def task_completed(self, task: Task, result: AggregatedResult) -> None:
        """Nothing to do: all is written."""

    def task_instance_started(self, task: Task, host: Host) -> None:
        """Nothing to do."""

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:  # noqa: ARG002 - Nornir's hook
        """Write the host's trace."""
        self._write(host, result)

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Nothing to do."""

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:  # noqa: ARG002 - Nornir's hook
        """Write one of the host's traces."""
        self._write(host, result)
