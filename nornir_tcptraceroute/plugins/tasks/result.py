"""The result of the task, as Nornir's functions and processors take it."""

from __future__ import annotations

import logging
from typing import Any

from nornir.core.inventory import Host
from nornir.core.task import Result

from ...analysis.judgement import Judgement
from ...analysis.verdicts import Verdict
from ...probe.errors import ProbeError
from ...probe.records import Trace


class ExpectationError(Exception):
    """A path is not as it is expected. The text says what, and why."""


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
        failed: only where it could not be measured, or is known not to be as it is expected.
        verdicts: what became of each expectation; empty where nothing is expected. `result` holds them too.
        attempts: how often it was measured.
        diff: the difference from the baseline, as a unified diff.
        severity_level: WARNING for a destination that was not reached.
    """

    trace: Trace | None
    destination: str | None
    port: int | None
    verdicts: tuple[Verdict, ...]
    attempts: int

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
        self.verdicts = ()
        self.attempts = 1

    def take(self, judgement: Judgement, diff: str, attempts: int) -> None:
        """Take what the trace was judged to be.

        Arguments:
            judgement: the last one. diff: from the baseline. attempts: how often it was measured.
        """
        self.verdicts, self.diff, self.attempts = judgement.verdicts, diff, attempts
        self.changed = any(verdict.name == "baseline" and verdict.actual is True for verdict in judgement.verdicts)
        if isinstance(self.result, dict):
            self.result["verdicts"] = [verdict.to_dict() for verdict in judgement.verdicts]
        if judgement.unmet and not self.failed:
            self.failed, self.severity_level = True, logging.ERROR
            told = (f"{verdict.name}: {verdict.reason}" for verdict in judgement.unmet)
            name = f"{self.host.name}: " if self.host else ""
            self.exception = ExpectationError(f"{name}{self.destination} port {self.port}: {'; '.join(told)}")
