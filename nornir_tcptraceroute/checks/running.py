"""Runs checks: measures, judges, and measures again while something is not met; from the controller and from hosts at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis import Naming, explain, label
from ..analysis import baseline as baselines
from ..analysis.baseline import Baseline, Difference, baseline_verdict, compare
from ..analysis.verdicts import Verdict, judge, unmeasured, worst
from ..probe.errors import OptionError, ProbeError
from ..probe.library import trace
from ..probe.records import Trace
from .check_file import Check, CheckFile

if TYPE_CHECKING:
    from nornir.core import Nornir

__all__ = ("BASELINES", "Outcome", "outcome_of", "run_checks", "settle")

#: What is done with baselines: compared, recorded anew, or extended by what the traces show.
BASELINES = ("compare", "record", "merge")
#: So many checks are measured from the controller at the same time.
MOST_THREADS = 64
_RETRIED = {"failure", "error"}


@dataclass(frozen=True)
class Outcome:
    """What became of a check at one vantage.

    Attributes:
        check: the check. host: the vantage; None for the controller.
        trace: the last one; None where nothing could be measured.
        verdicts: of each expectation, then of the baseline.
        difference: from the baseline; None where there is none.
        attempts: how often it was measured. seconds: how long all of it took.
    """

    check: Check
    host: str | None
    trace: Trace | None
    verdicts: tuple[Verdict, ...]
    difference: Difference | None
    attempts: int
    seconds: float

    @property
    def worst(self) -> str:
        """The worst outcome of its verdicts."""
        return worst(self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "name": self.check.name,
            "vantage": self.host or "controller",
            "destination": self.check.request.destination,
            "port": self.check.request.port,
            "outcome": self.worst,
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "diff": self.difference.diff(_baseline_name(self.check, self.host)) if self.difference else None,
            "trace": self.trace.to_dict() if self.trace else None,
        }


def _baseline_name(check: Check, host: str | None) -> str:
    return ascii(str(check.baselines[host]))[1:-1]


def outcome_of(
    check: Check,
    host: str | None,
    measured: Trace | ProbeError,
    naming: Naming,
    known: Mapping[Path, Baseline],
    *,
    compared: bool = True,
) -> Outcome:
    """Judge what was measured for a check.

    Arguments:
        check, host: what was measured, and from where.
        measured: the trace, or why there is none.
        naming: whose addresses are.
        known: the baselines by path.
        compared: whether the trace is compared with the baseline.
    """
    file = check.baselines.get(host) if compared else None
    if isinstance(measured, Trace):
        measured = label(explain(measured), naming)
        verdicts = judge(measured, check.expectations, naming) if check.expectations else []
        difference = None
        if file is not None and measured.stop_reason not in {"error", "interrupted"}:
            difference = compare(measured, known[file])
            verdicts.append(baseline_verdict(difference, _baseline_name(check, host)))
        elif file is not None:
            verdicts.append(Verdict("baseline", "error", "the trace was not completed", _baseline_name(check, host), None))
        return Outcome(check, host, measured, tuple(verdicts), difference, 1, 0.0)
    reason = " ".join(str(measured).split())
    verdicts = unmeasured(check.expectations, reason) if check.expectations else []
    if check.baselines.get(host) is not None:
        verdicts.append(Verdict("baseline", "error", reason, _baseline_name(check, host), None))
    return Outcome(check, host, None, tuple(verdicts), None, 1, 0.0)


def settle(
    checks: Sequence[Check],
    measure: Callable[[Sequence[Check]], Sequence[Trace | ProbeError]],
    judged: Callable[[Check, Trace | ProbeError], Outcome],
    told: Callable[[Outcome], None],
    *,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Measure checks of one vantage until each is met or has been tried as often as it may be.

    Arguments:
        checks: to be measured together; what is tried again is measured with what is due by then.
        measure: takes the traces of several checks.
        judged: judges one.
        told: hears of each check once it is settled.
        now, wait: clock and pause, in seconds.
    """
    begun = now()
    due = dict.fromkeys(checks, begun)
    attempts = dict.fromkeys(checks, 0)
    while due:
        pause = min(due.values()) - now()
        if pause > 0:
            wait(pause)
        turn = [check for check, time_ in due.items() if time_ <= now()]
        for check, measured in zip(turn, measure(turn), strict=True):
            attempts[check] += 1
            outcome = judged(check, measured)
            if outcome.worst in _RETRIED and attempts[check] <= check.retries:
                due[check] = now() + check.delay
                continue
            del due[check]
            told(
                Outcome(check, outcome.host, outcome.trace, outcome.verdicts, outcome.difference, attempts[check], now() - begun)
            )


def run_checks(
    file: CheckFile,
    nornir: Nornir | None,
    told: Callable[[Outcome], None],
    *,
    use_of_baselines: str = "compare",
) -> list[Outcome]:
    """Run all checks of a file at the same time.

    Arguments:
        file: the checks.
        nornir: with the inventory's hosts; needed where a check is measured from one.
        told: hears of each outcome as it is settled, from any thread.
        use_of_baselines: one of ``BASELINES``.

    Returns:
        The outcomes in the order of the file and of its hosts.
    """
    found: dict[tuple[str, str | None], Outcome] = {}

    def take(outcome: Outcome) -> None:
        found[outcome.check.name, outcome.host] = outcome
        told(outcome)

    def judged(host: str | None, check: Check, measured: Trace | ProbeError) -> Outcome:
        return outcome_of(check, host, measured, file.naming, file.baselines, compared=use_of_baselines == "compare")

    workers = [threading.Thread(target=_from_controller, args=(file.checks, judged, take), daemon=True)]
    remote = [check for check in file.checks if check.hosts]
    if remote:
        assert nornir is not None
        from .from_hosts import from_hosts

        workers.append(threading.Thread(target=from_hosts, args=(nornir, remote, judged, take), daemon=True))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    outcomes = [found[check.name, host] for check in file.checks for host in check.vantages]
    if use_of_baselines == "compare":
        return outcomes
    return [_recorded(outcome, file.baselines, merged=use_of_baselines == "merge") for outcome in outcomes]


def _from_controller(
    checks: Sequence[Check],
    judged: Callable[[str | None, Check, Trace | ProbeError], Outcome],
    told: Callable[[Outcome], None],
) -> None:
    """Run the checks that are measured from here, each in a thread of its own as far as there are threads."""
    waiting = iter([check for check in checks if not check.hosts])
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                check = next(waiting, None)
            if check is None:
                return
            settle([check], lambda several: [_measured(one) for one in several], lambda *pair: judged(None, *pair), told)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(checks), MOST_THREADS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _measured(check: Check) -> Trace | ProbeError:
    try:
        return trace(check.request)
    except ProbeError as error:
        return error


def _recorded(outcome: Outcome, known: Mapping[Path, Baseline], *, merged: bool) -> Outcome:
    """Write the baseline of an outcome, where its path is known to be good."""
    path = outcome.check.baselines.get(outcome.host)
    if path is None or outcome.trace is None:
        return outcome
    name = _baseline_name(outcome.check, outcome.host)
    if outcome.worst in _RETRIED:
        verdict = Verdict("baseline", "skipped", "it is not recorded, as not everything that is expected is met", name, None)
    else:
        before = known.get(path)
        try:
            new = baselines.merge(before, outcome.trace) if merged and before else baselines.record(outcome.trace)
            changed = baselines.write(path, new)
        except OptionError as error:
            verdict = Verdict("baseline", "error", str(error), name, None)
        else:
            verdict = Verdict("baseline", "success", f"it is {'recorded' if changed else 'as it was'}", name, [])
    return Outcome(
        outcome.check, outcome.host, outcome.trace, (*outcome.verdicts, verdict), None, outcome.attempts, outcome.seconds
    )
