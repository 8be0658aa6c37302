# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a task expects of its traces: checked before a host is contacted, measured until it is met, judged by the package."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..module_utils.probe.errors import OptionError, RecordError
from ..module_utils.probe.options import TraceOptions
from ..module_utils.task_options import EXPECTATIONS, JUDGING, converted
from .analysis import MISSING, record_of, trace_of
from .registered import plain

# Once, as in the module above.
try:
    from nornir_tcptraceroute.analysis import baseline as baselines
    from nornir_tcptraceroute.analysis import expectations
    from nornir_tcptraceroute.analysis.judgement import BASELINE_ACTIONS, Judgement, judgement_of, keep_baseline
    from nornir_tcptraceroute.analysis.naming import Problem
    from nornir_tcptraceroute.measurements.blocking import block_requests, measure_block
    from nornir_tcptraceroute.measurements.settling import Retries, settle
    from nornir_tcptraceroute.probe import errors as package_errors
    from nornir_tcptraceroute.probe import options as package_options
except ImportError as error:
    UNJUDGED = MISSING or f"the package nornir-tcptraceroute is not whole, or not of the collection's version: {error}"
else:
    UNJUDGED = MISSING
# It is told here of what was asked for, not of hops.
UNJUDGED = UNJUDGED.removeprefix("Hops are not analysed: ")

__all__ = ("ASKING", "UNJUDGED", "Expected", "expectations_of", "judged_result")

#: Any of these asks for a judgement; the other options of it say how.
ASKING = ("expect", "baseline", "locate_block")
_MOST_RETRIES = 100
_LONGEST_DELAY = 3600

#: Runs the module on the host for these requests, and returns its result.
Execute = Callable[[Sequence[TraceOptions]], dict[str, Any]]


class _Answer(NamedTuple):
    """What came back for a request: the trace, explained and labelled, or why there is none; and where a block was found."""

    measured: Any
    found: Any = None


class _Settled(NamedTuple):
    """What became of a request."""

    answer: _Answer
    judgement: Any
    attempts: int = 1


class Expected:
    """What is expected of the traces of one task on one host, valid.

    Arguments:
        told: ``JUDGING`` as far as the task gives them.
        requests: the traces; empty where they are not valid.
        naming: what is known of addresses; None where that is not valid.
        host: the inventory's name of the host. path_of: where on the controller a file is that the task names.

    Attributes:
        anything: whether anything is expected.

    Raises:
        OptionError: every problem at once.
    """

    def __init__(
        self, told: Mapping[str, Any], requests: Sequence[TraceOptions], naming: Any, host: str, path_of: Callable[[str], str]
    ) -> None:
        asked = [name for name in ASKING if told.get(name) is not None]
        self.anything = bool(asked)
        if UNJUDGED:
            if asked:
                raise OptionError([f"{name}: needs the controller's analysis: {UNJUDGED}" for name in asked])
            return
        self._requests = requests
        self._naming = naming
        self._known: dict[TraceOptions, Any] = {}
        self._answered: dict[str, Any] = {}
        options = {name: told.get(name) for name in JUDGING}
        problems: list[str] = []
        self._retries = _retries_of(options, problems)
        self._action = options["baseline_action"] or "compare"
        if self._action not in BASELINE_ACTIONS:
            problems.append(f"baseline_action: {self._action!r} is not one of {', '.join(BASELINE_ACTIONS)}")
        names = naming.names if naming is not None else None
        self._expectations = _read(options["expect"], names, problems)
        self._names = _baseline_names(plain(options["baseline"]), host, requests, problems)
        self._files = {request: Path(path_of(name)) for request, name in self._names.items()}
        for request, file in self._files.items():
            if file.exists() or self._action == "compare":
                problems += self._take_baseline(request, file)
        self._block = options["locate_block"] is not None
        self._working_port = self._read_block(plain(options["locate_block"]), problems) if self._block else None
        if problems:
            raise OptionError(problems)

    def _take_baseline(self, request: TraceOptions, file: Path) -> Iterator[str]:
        """Read a baseline; gives what is wrong with it."""
        try:
            self._known[request] = baselines.read_of(file, request.destination, request.port)
        except package_errors.OptionError as error:
            hint = "" if file.exists() else "; baseline_action: record writes one"
            yield from (f"baseline: {problem}{hint}" for problem in error.problems)

    def _read_block(self, told: Any, problems: list[str]) -> Any:
        """The port that works; None for the port in question."""
        if not isinstance(told, dict) or set(told) - {"working_port"}:
            problems.append(f"locate_block: {told!r} is not {{working_port: PORT}}, or {{}} to ask the port in question by ACK")
            return None
        port = converted("int", told["working_port"]) if told.get("working_port") is not None else None
        if len(self._requests) > 1:
            problems.append("locate_block: a block is located for one destination and one port at a time")
        elif self._requests:
            try:
                block_requests(_for_package(self._requests[0]), port)
            except package_errors.OptionError as error:
                problems += [f"locate_block: {problem}" for problem in error.problems]
        return port

    def result(self, execute: Execute, *, several: bool) -> dict[str, Any]:
        """Measure, measure again what is not as it is expected, judge, and keep the baselines that are to be kept.

        Arguments:
            execute: runs the module on the host.
            several: whether the task asked for a list of traces.

        Returns:
            The result of the task: of one trace, or ``traces`` and ``problems``.
        """
        settled: dict[TraceOptions, _Settled] = {}

        def measure(requests: Sequence[TraceOptions]) -> list[_Answer]:
            return [self._with_block(execute)] if self._block else self._measure(execute, requests)

        def take(request: TraceOptions, found: _Settled, attempts: int, _seconds: float) -> None:
            settled[request] = self._kept(request, found._replace(attempts=attempts))

        settle(
            self._requests,
            measure,
            lambda request, answer: _Settled(answer, self._judgement(request, answer)),
            lambda found: found.judgement.met,
            lambda _: self._retries,
            take,
        )
        found = {request: settled[request] for request in self._requests}
        return self._several(found) if several else self._single(found)

    def _judgement(self, request: TraceOptions, answer: _Answer) -> Any:
        compared = self._known.get(request) if self._action == "compare" else None
        return judgement_of(answer.measured, self._expectations, self._naming, compared, self._names.get(request, ""))

    def _kept(self, request: TraceOptions, found: _Settled) -> _Settled:
        """With what became of the baseline that is to be kept."""
        if request not in self._files or self._action == "compare":
            return found
        measured = found.answer.measured
        trace = None if isinstance(measured, package_errors.ProbeError) else measured
        merged, name = self._action == "merge", self._names[request]
        verdict = keep_baseline(self._files[request], self._known.get(request), trace, found.judgement, merged=merged, name=name)
        return found._replace(judgement=Judgement((*found.judgement.verdicts, verdict), found.judgement.difference))

    # Measuring.

    def _ask(self, execute: Execute, requests: Sequence[TraceOptions]) -> list[Any]:
        """What came back for requests, in whatever order: traces, explained and labelled, or reasons, by destination and port."""
        raw = execute(requests)
        self._answered = {
            name: value for name, value in raw.items() if name not in ("traces", "problems", "msg", "failed", "changed")
        }
        if "traces" not in raw:
            reason = package_errors.ProbeError(str(raw.get("msg", "the module ended without a result")))
            return [((request.destination, request.port), reason) for request in requests]
        outcomes: list[Any] = []
        for record in raw["traces"]:
            try:
                trace = trace_of(record, self._naming)
            except RecordError as error:
                outcomes.append(((record.get("destination"), record.get("port")), package_errors.ProbeError(str(error))))
            else:
                outcomes.append(((trace.destination, trace.port), trace))
        return outcomes + [
            ((problem["destination"], problem["port"]), package_errors.ProbeError(str(problem["msg"])))
            for problem in raw.get("problems", ())
        ]

    def _measure(self, execute: Execute, requests: Sequence[TraceOptions]) -> list[_Answer]:
        outcomes = dict(self._ask(execute, requests))
        missing = package_errors.ProbeError("the trace that came back is not the one that was asked for: try again")
        return [_Answer(outcomes.get((request.destination, request.port), missing)) for request in requests]

    def _with_block(self, execute: Execute) -> _Answer:
        def measure(requests: Sequence[Any]) -> list[Any]:
            asked = [TraceOptions.from_dict(request.to_dict()) for request in requests]
            return [pair[1] for pair in self._ask(execute, asked)]

        try:
            found = measure_block(_for_package(self._requests[0]), measure, working_port=self._working_port)
        except package_errors.ProbeError as error:
            return _Answer(error)
        return _Answer(found.blocked, found)

    # Telling.

    def _single(self, settled: Mapping[TraceOptions, _Settled]) -> dict[str, Any]:
        ((request, found),) = settled.items()
        told = self._told(request, found)
        warnings = [*self._answered.get("warnings", ()), *told.pop("warnings", ()), *_skipped(request, found)]
        differences = [diff for diff in [self._diff(request, found)] if diff]
        return {
            **self._answered,
            **told,
            **({"warnings": warnings} if warnings else {}),
            **({"diff": differences[0]} if differences else {}),
            **_failure(settled),
            "changed": _has_changed(found),
        }

    def _several(self, settled: Mapping[TraceOptions, _Settled]) -> dict[str, Any]:
        measured = {request: found for request, found in settled.items() if not _is_unmeasured(found)}
        warnings = [warning for request, found in settled.items() for warning in _skipped(request, found)]
        warnings = [*self._answered.get("warnings", ()), *warnings]
        differences = [diff for request, found in measured.items() if (diff := self._diff(request, found))]
        problems = [self._told(request, found) for request, found in settled.items() if request not in measured]
        return {
            **self._answered,
            "traces": [self._told(request, found) for request, found in measured.items()],
            **({"problems": problems} if problems else {}),
            **({"warnings": warnings} if warnings else {}),
            **({"diff": differences} if differences else {}),
            **_failure(settled),
            "changed": any(map(_has_changed, settled.values())),
        }

    @staticmethod
    def _told(request: TraceOptions, found: _Settled) -> dict[str, Any]:
        """The record of a trace, or the reason why there is none, and what it was judged to be."""
        judged = _judged(found.judgement) if found.judgement.verdicts else {}
        answer = found.answer
        if _is_unmeasured(found):
            place = {"destination": request.destination, "port": request.port}
            return {**place, "msg": str(answer.measured), "attempts": found.attempts, **judged}
        told = {**record_of(answer.measured), "attempts": found.attempts, **judged}
        if answer.found is not None:
            told.update(block=answer.found.block.to_dict(), working=record_of(answer.found.working))
        return told

    def _diff(self, request: TraceOptions, found: _Settled) -> dict[str, str] | None:
        """What Ansible shows with ``--diff``: where the path differs from the baseline, or what was recorded."""
        difference = found.judgement.difference
        name = self._names.get(request, "")
        if difference is not None and difference.before != difference.after:
            return {"before": difference.before, "after": difference.after, "before_header": name, "after_header": "trace"}
        if not _has_changed(found):
            return None
        known = self._known.get(request)
        after = self._files[request].read_text(encoding="ascii")
        return {"before": known.text() if known else "", "after": after, "before_header": name, "after_header": name}


def _for_package(request: TraceOptions) -> Any:
    """A request of the collection as one of the package, which are two classes."""
    return package_options.TraceOptions.from_dict(request.to_dict())


def _is_unmeasured(found: _Settled) -> bool:
    return isinstance(found.answer.measured, package_errors.ProbeError)


def _has_changed(found: _Settled) -> bool:
    """Whether a baseline's file was written."""
    return any(verdict.name == "baseline" and verdict.actual is True for verdict in found.judgement.verdicts)


def _judged(judgement: Any) -> dict[str, Any]:
    return {"verdicts": [verdict.to_dict() for verdict in judgement.verdicts], "outcome": judgement.outcome}


def _skipped(request: TraceOptions, found: _Settled) -> Iterator[str]:
    """A warning for each expectation that the trace neither proves nor refutes."""
    for verdict in found.judgement.verdicts:
        if verdict.outcome == "skipped":
            yield f"{request.destination} port {request.port}: {verdict.name} is neither met nor unmet: {verdict.reason}"


def _failure(settled: Mapping[TraceOptions, _Settled]) -> dict[str, Any]:
    """What a task that fails has to say: what could not be measured, and what is not as it is expected."""
    lost = [str(found.answer.measured) for found in settled.values() if _is_unmeasured(found)]
    unmet = {
        request: found.judgement for request, found in settled.items() if not _is_unmeasured(found) and found.judgement.unmet
    }
    told = [
        f"{request.destination} port {request.port} {_what(judgement)}: "
        + "; ".join(f"{verdict.name}: {verdict.reason}" for verdict in judgement.unmet)
        for request, judgement in unmet.items()
    ]
    if lost and len(settled) > 1:
        told.insert(0, f"{len(lost)} of {len(settled)} traces could not be measured: {lost[0]}")
    elif lost:
        told = lost
    return {"failed": True, "msg": "; ".join(told)} if told else {"failed": False}


def _what(judgement: Any) -> str:
    failed = any(verdict.outcome == "failure" for verdict in judgement.verdicts)
    return "is not as expected" if failed else "could not be judged"


def _retries_of(options: Mapping[str, Any], problems: list[str]) -> Any:
    retries, delay = (
        JUDGING[name]["default"] if options[name] is None else converted(JUDGING[name]["type"], plain(options[name]))
        for name in ("retries", "delay")
    )
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= _MOST_RETRIES:
        problems.append(f"retries: {retries!r} is not a whole number between 0 and {_MOST_RETRIES}")
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= _LONGEST_DELAY:
        problems.append(f"delay: {delay!r} is not a number between 0 and {_LONGEST_DELAY} s")
    return Retries(retries, delay)


def _read(told: Any, names: Collection[str] | None, problems: list[str]) -> Any:
    """The expectations; None for none."""
    if told is None:
        return None
    told = plain(told)
    if isinstance(told, dict):
        told = {word: _expectation(word, value) for word, value in told.items() if value is not None}
    found = expectations.problems(told, names)
    problems += [str(Problem(("expect", *problem.place), problem.rule)) for problem in found]
    return None if found else expectations.Expectations.from_dict(told)


def _expectation(word: str, value: Any) -> Any:
    """What is expected, of its kind where a template or a command line made it a text."""
    kind = EXPECTATIONS.get(word)
    if kind == "list":
        return [part.strip() for part in value.split(",")] if isinstance(value, str) and "," in value else value
    # A number is no boolean, and 1.5 is no whole number.
    return converted(kind, value) if kind and isinstance(value, str) else value


def _baseline_names(baseline: Any, host: str, requests: Sequence[TraceOptions], problems: list[str]) -> dict[TraceOptions, str]:
    """The file of each trace's baseline as the user knows it; each has one of its own."""
    if baseline is None:
        return {}
    if not isinstance(baseline, str) or not baseline.strip() or not baseline.isprintable():
        problems.append(f"baseline: {baseline!r} is not the path of a file")
        return {}
    names: dict[TraceOptions, str] = {}
    for request in requests:
        text = baseline
        for name, value in (("host", host), ("destination", request.destination), ("port", request.port)):
            # A name is part of a file's name, not a way to another directory.
            text = text.replace(f"{{{name}}}", str(value).replace("/", "_"))
        names[request] = text
    if len(set(names.values())) < len(names):
        problems.append(f"baseline: {baseline!r} is one file for several traces: put {{destination}} or {{port}} into its name")
    return names


def expectations_of(told: Any, naming: Any) -> Any:
    """Read expectations that stand by themselves, as the filter's do.

    Raises:
        OptionError: every problem, or that they can't be judged here.
    """
    if UNJUDGED:
        raise OptionError([f"expect: needs the controller's analysis: {UNJUDGED}"])
    problems: list[str] = []
    found = _read(told, naming.names, problems)
    if problems:
        raise OptionError(problems)
    return found


def judged_result(result: Mapping[str, Any], expected: Any, naming: Any) -> dict[str, Any]:
    """A module's result with verdicts.

    Arguments:
        result: of one trace or of several, analysed.
        expected: see ``expectations_of``. naming: what is known of addresses.

    Raises:
        RecordError: a trace is none.
    """
    if "traces" in result and "hops" not in result:
        return {**result, "traces": [judged_result(trace, expected, naming) for trace in result["traces"]]}
    judgement = judgement_of(trace_of({**result, "warnings": []}, naming), expected, naming)
    return {**result, **_judged(judgement)}
