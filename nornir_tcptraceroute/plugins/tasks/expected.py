"""What the task expects of its traces: options from the call and the inventory, baselines, and the judgement of each trace."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nornir.core.inventory import Host

from ...analysis import Naming, expectations
from ...analysis import baseline as baselines
from ...analysis.baseline import Baseline
from ...analysis.expectations import Expectations
from ...analysis.judgement import BASELINE_ACTIONS, Judgement, judgement_of, keep_baseline
from ...analysis.naming import Problem
from ...measurements.settling import Retries
from ...probe.errors import OptionError, ProbeError
from ...probe.options import TraceOptions
from ...probe.records import Trace

__all__ = ("EXPECTED_OPTIONS", "Expected")

#: What the task knows of expectations, with the default of each.
EXPECTED_OPTIONS: dict[str, Any] = {"expect": None, "baseline": None, "baseline_action": "compare", "retries": 0, "delay": 5.0}
MOST_RETRIES = 100
LONGEST_DELAY = 3600


class Expected:
    """What is expected of the traces of one host, valid.

    Arguments:
        host: the inventory's host.
        options: ``EXPECTED_OPTIONS`` as the call and the inventory have them.
        requests: the traces.
        naming: what is known of addresses.
        alone: whether the run has no other host.

    Attributes:
        anything: whether anything is expected.
        retries: how often what is not met is measured again.

    Raises:
        OptionError: every problem at once.
    """

    def __init__(
        self, host: Host, options: Mapping[str, Any], requests: Sequence[TraceOptions], naming: Naming, *, alone: bool
    ) -> None:
        options = {**EXPECTED_OPTIONS, **{name: value for name, value in options.items() if name in EXPECTED_OPTIONS}}
        expect, baseline = options["expect"], options["baseline"]
        problems = [*_number_problems(options), *_expect_problems(expect, naming.names)]
        self._naming = naming
        self._action = options["baseline_action"]
        self._files = {} if baseline is None else _files(baseline, host, requests, problems, alone=alone)
        self._known: dict[Path, Baseline] = {}
        for request, file in self._files.items():
            if file.exists() or self._action == "compare":
                problems += self._take(file, request)
        if problems:
            raise OptionError([f"{host.name}: {problem}" for problem in problems])
        self._expectations = expect if expect is None or isinstance(expect, Expectations) else Expectations.from_dict(expect)
        self.anything = expect is not None or baseline is not None
        self.retries = Retries(options["retries"], options["delay"])

    def _take(self, file: Path, request: TraceOptions) -> Iterator[str]:
        """Read a baseline; gives what is wrong with it."""
        try:
            self._known[file] = baselines.read_of(file, request.destination, request.port)
        except OptionError as error:
            hint = "" if file.exists() else "; baseline_action='record' writes one"
            yield from (f"baseline: {problem}{hint}" for problem in error.problems)

    def judgement(self, request: TraceOptions, measured: Trace | ProbeError) -> Judgement:
        """Judge what was measured for a request.

        Arguments:
            request: one of the traces.
            measured: the trace, explained and labelled, or why there is none.
        """
        file = self._files.get(request)
        compared = self._known.get(file) if file and self._action == "compare" else None
        return judgement_of(measured, self._expectations, self._naming, compared, str(file))

    def keep(self, request: TraceOptions, measured: Trace | ProbeError, judgement: Judgement) -> Judgement:
        """Record the baseline of a request, where that is asked for.

        Arguments:
            request, measured: as for ``judgement``. judgement: the last one of it.

        Returns:
            The judgement with what became of the baseline.
        """
        file = self._files.get(request)
        if file is None or self._action == "compare":
            return judgement
        known, trace = self._known.get(file), measured if isinstance(measured, Trace) else None
        verdict = keep_baseline(file, known, trace, judgement, merged=self._action == "merge", name=str(file))
        return Judgement((*judgement.verdicts, verdict), judgement.difference)

    def diff(self, request: TraceOptions, judgement: Judgement) -> str:
        """The difference from the baseline as a unified diff; empty where there is none."""
        return judgement.difference.diff(str(self._files[request])) if judgement.difference else ""


def _number_problems(options: Mapping[str, Any]) -> Iterator[str]:
    retries, delay, action = options["retries"], options["delay"], options["baseline_action"]
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= MOST_RETRIES:
        yield f"retries: {retries!r} is not a whole number between 0 and {MOST_RETRIES}"
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= LONGEST_DELAY:
        yield f"delay: {delay!r} is not a number between 0 and {LONGEST_DELAY} s"
    if action not in BASELINE_ACTIONS:
        yield f"baseline_action: {action!r} is not one of {', '.join(BASELINE_ACTIONS)}"


def _expect_problems(expect: Any, names: Collection[str]) -> list[str]:
    if expect is None:
        return []
    found = expectations.problems(expect.to_dict() if isinstance(expect, Expectations) else expect, names)
    return [str(Problem(("expect", *problem.place), problem.rule)) for problem in found]


def _files(
    baseline: Any, host: Host, requests: Sequence[TraceOptions], problems: list[str], *, alone: bool
) -> dict[TraceOptions, Path]:
    """The baseline's file of each trace; each has one of its own."""
    if not isinstance(baseline, str) or not baseline.strip() or not baseline.isprintable():
        problems.append(f"baseline: {baseline!r} is not the path of a file")
        return {}
    files: dict[TraceOptions, Path] = {}
    for request in requests:
        text = baseline
        for name, value in (("host", host.name), ("destination", request.destination), ("port", request.port)):
            # A name is part of a file's name, not a way to another directory.
            text = text.replace(f"{{{name}}}", str(value).replace("/", "_"))
        files[request] = Path(text)
    if len(set(files.values())) < len(files) or not (alone or "{host}" in baseline or "{destination}" in baseline):
        problems.append(
            f"baseline: {baseline!r} is one file for several traces: put {{host}}, {{destination}} or {{port}} into its name"
        )
    return files
