"""Runs checks: measures, judges, and measures again while something is not met; from the controller and from hosts at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis import Naming, explain, label
from ..analysis.baseline import Baseline
from ..analysis.judgement import Judgement, judgement_of, keep_baseline
from ..analysis.verdicts import Verdict
from ..measurements.settling import settle
from ..probe.errors import ProbeError
from ..probe.library import trace
from ..probe.records import Trace
from .check_file import Check, CheckFile

if TYPE_CHECKING:
    from nornir.core import Nornir

__all__ = ("Outcome", "outcome_of", "run_checks", "settle_checks")

#: So many checks are measured from the controller at the same time.
MOST_THREADS = 64


@dataclass(frozen=True)
class Outcome:
    """What became of a check at one vantage.

    Attributes:
        check: the check. host: the vantage; None for the controller.
        trace: the last one; None where nothing could be measured.
        judgement: of the expectations and the baseline.
        attempts: how often it was measured. seconds: how long all of it took.
    """

    check: Check
    host: str | None
    trace: Trace | None
    judgement: Judgement
    attempts: int = 1
    seconds: float = 0.0

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Those of the judgement."""
        return self.judgement.verdicts

    @property
    def diff(self) -> str:
        """The difference from the baseline as a unified diff; empty where there is none."""
        difference = self.judgement.difference
        return difference.diff(_baseline_name(self.check, self.host)) if difference else ""

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "name": self.check.name,
            "vantage": self.host or "controller",
            "destination": self.check.request.destination,
            "port": self.check.request.port,
            "outcome": self.judgement.outcome,
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "diff": self.diff or None,
            "trace": self.trace.to_dict() if self.trace else None,
        }


def _baseline_name(check: Check, host: str | None) -> str:
    return ascii(str(check.baselines[host]))[1:-1]


def outcome_of(
    check: Check, host: str | None, measured: Trace | ProbeError, naming: Naming, known: Mapping[Path, Baseline]
) -> Outcome:
    """Judge what was measured for a check.

    Arguments:
        check, host: what was measured, and from where.
        measured: the trace, or why there is none.
        naming: whose addresses are.
        known: the baselines to compare with, by path.
    """
    file = check.baselines.get(host)
    if isinstance(measured, Trace):
        measured = label(explain(measured), naming)
    name = _baseline_name(check, host) if file else ""
    judgement = judgement_of(measured, check.expectations, naming, known.get(file) if file else None, name)
    return Outcome(check, host, measured if isinstance(measured, Trace) else None, judgement)


def settle_checks(
    checks: Sequence[Check],
    measure: Callable[[Sequence[Check]], Sequence[Trace | ProbeError]],
    judged: Callable[[Check, Trace | ProbeError], Outcome],
    told: Callable[[Outcome], None],
) -> None:
    """Measure the checks of one vantage until each is met or has been tried as often as it may be.

    Arguments:
        checks: to be measured together.
        measure: takes the traces of several checks. judged: judges one.
        told: hears of each once it is settled.
    """
    settle(
        checks,
        measure,
        judged,
        lambda outcome: outcome.judgement.met,
        lambda check: check.retries,
        lambda _, outcome, attempts, seconds: told(replace(outcome, attempts=attempts, seconds=seconds)),
    )


def run_checks(
    file: CheckFile,
    nornir: Nornir | None,
    told: Callable[[Outcome], None],
    *,
    baseline_action: str = "compare",
) -> list[Outcome]:
    """Run all checks of a file at the same time.

    Arguments:
        file: the checks.
        nornir: with the inventory's hosts; needed where a check is measured from one.
        told: hears of each outcome as it is settled, from any thread.
        baseline_action: one of ``BASELINE_ACTIONS``.

    Returns:
        The outcomes in the order of the file and of its hosts.
    """
    found: dict[tuple[str, str | None], Outcome] = {}
    compared = file.baselines if baseline_action == "compare" else {}

    def take(outcome: Outcome) -> None:
        found[outcome.check.name, outcome.host] = outcome
        told(outcome)

    def judged(host: str | None, check: Check, measured: Trace | ProbeError) -> Outcome:
        return outcome_of(check, host, measured, file.naming, compared)

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
    if baseline_action == "compare":
        return outcomes
    return [_with_baseline_kept(outcome, file.baselines, merged=baseline_action == "merge") for outcome in outcomes]


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
            settle_checks([check], lambda several: [_measured(one) for one in several], lambda *pair: judged(None, *pair), told)

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


def _with_baseline_kept(outcome: Outcome, known: Mapping[Path, Baseline], *, merged: bool) -> Outcome:
    """The outcome with what became of its baseline."""
    file = outcome.check.baselines.get(outcome.host)
    if file is None:
        return outcome
    name = _baseline_name(outcome.check, outcome.host)
    verdict = keep_baseline(file, known.get(file), outcome.trace, outcome.judgement, merged=merged, name=name)
    return replace(outcome, judgement=Judgement((*outcome.verdicts, verdict)))
