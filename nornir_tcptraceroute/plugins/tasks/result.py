"""The result of the task, as Nornir's functions and processors take it."""

from __future__ import annotations

import logging
from typing import Any

from nornir.core.inventory import Host
from nornir.core.task import Result

from ...probe.errors import ProbeError
from ...probe.records import Trace


class TracerouteResult(Result):
    """What became of one trace, or of several at once.

    Arguments:
        host: the inventory's host.
        destination: what was traced to; None for several.
        port: likewise.
        outcome: the trace, or why there is none.
        kwargs: for Result.

    Attributes:
        result: a plain dictionary of JSON types: the trace (docs/records.md); for several, `traces` with one line on each; in a
            dry run, the plan. When failed, the reason, one sentence.
        trace: the Trace, or None.
        destination, port: what was traced to, when it failed too.
        failed: only where it could not be measured.
        severity_level: WARNING for a destination that was not reached.
    """

    trace: Trace | None
    destination: str | None
    port: int | None

    def __init__(
        self,
        host: Host | None,
        destination: str | None = None,
        port: int | None = None,
        outcome: Trace | ProbeError | None = None,
        **kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = {}
        if isinstance(outcome, Trace):
            settings["result"] = outcome.to_dict()
            if not outcome.reached:
                settings["severity_level"] = logging.WARNING
        elif outcome is not None:
            settings |= {"result": str(outcome), "exception": outcome, "failed": True, "severity_level": logging.ERROR}
        super().__init__(host, **{**settings, **kwargs})
        self.trace = outcome if isinstance(outcome, Trace) else None
        self.destination = destination
        self.port = port
