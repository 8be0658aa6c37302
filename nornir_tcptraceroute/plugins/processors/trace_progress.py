"""Shows a run while it goes on: a live table of hosts and a bar, on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ...probe.options import TraceOptions
from ...probe.tracer import Event
from ..tasks.result import TracerouteResult

if TYPE_CHECKING:
    from typing import Self

MOST_ROWS = 20


class _Row:
    """What is known of a host."""

    def __init__(self) -> None:
        self.state, self.ttl, self.hop = "tracing", 0, ""


class TraceProgress:
    """A processor with a live table of hosts, each with its current TTL and last hop, and a bar for the run.

    TTL and hop are shown for traces from the controller; a managed host tells its trace when it has ended. On anything but a
    terminal it says nothing. As a context manager it also leaves the terminal clean when `raise_on_error` ends a run::

        with TraceProgress() as progress:
            result = nr.with_processors([progress]).run(task=tcptraceroute, port=443)

    Arguments:
        console: where to show it; standard error unless told otherwise.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=self._console
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _shown(self) -> Group:
        table = Table("host", "state", "TTL", "last hop", box=None)
        with self._lock:
            for name, row in self._chosen():
                table.add_row(Text(name), Text(row.state), Text(str(row.ttl or "")), Text(row.hop))
        return Group(table, self._bar)

    def _chosen(self) -> Iterator[tuple[str, _Row]]:
        """The rows that fit: hosts that are being traced, then the last that have ended."""
        running = [entry for entry in self._rows.items() if entry[1].state == "tracing"]
        ended = [entry for entry in self._rows.items() if entry[1].state != "tracing"]
        kept = running[:MOST_ROWS]
        yield from [*(ended[len(kept) - MOST_ROWS :] if len(kept) < MOST_ROWS else []), *kept]

    def task_started(self, task: Task) -> None:
        """Begin to show."""
        self._stop()
        if not self._console.is_terminal:
            return
        with self._lock:
            self._rows.clear()
        for known in list(self._bar.task_ids):
            self._bar.remove_task(known)
        self._bar.add_task(task.name, total=len(task.nornir.inventory.hosts))
        self._live = Live(get_renderable=self._shown, console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def task_completed(self, task: Task, result: AggregatedResult) -> None:  # noqa: ARG002 - Nornir's hook
        """Leave the terminal clean."""
        self._stop()

    def task_instance_started(self, task: Task, host: Host) -> None:  # noqa: ARG002 - Nornir's hook
        """A host's turn has come."""
        with self._lock:
            self._rows[host.name] = _Row()

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:  # noqa: ARG002 - Nornir's hook
        """A host has ended."""
        with self._lock:
            row = self._rows.setdefault(host.name, _Row())
            row.state = "failed" if result.failed else "ended"
            single = result[0] if result else None
            if isinstance(single, TracerouteResult) and single.trace:
                trace = single.trace
                row.state = trace.port_state
                row.ttl = trace.hops[-1].ttl if trace.hops else 0
                row.hop = next((hop.name or hop.address or "" for hop in reversed(trace.hops) if hop.address), "")
        for bar in self._bar.task_ids:
            self._bar.advance(bar)

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Nothing to do."""

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Nothing to do."""

    def trace_event(self, task: Task, host: Host, request: TraceOptions, event: Event) -> None:  # noqa: ARG002 - the task's hook
        """A hop is complete, or a probe was sent."""
        with self._lock:
            row = self._rows.get(host.name)
            if row is None:
                return
            row.ttl = max(row.ttl, event.ttl)
            if event.hop is not None and event.hop.address:
                row.hop = event.hop.address
