"""One trace judged: its expectations and its baseline together, and a baseline recorded where all is as it should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..probe.errors import OptionError, ProbeError
from ..probe.records import Trace
from .baseline import Baseline, Difference, baseline_verdict, compare, merge, record, write
from .expectations import Expectations
from .naming import Naming
from .verdicts import Verdict, judge, unmeasured, worst

__all__ = ("BASELINE_ACTIONS", "Judgement", "judgement_of", "keep_baseline")

#: What is done with a baseline: compared, recorded anew, or extended by what the trace shows.
BASELINE_ACTIONS = ("compare", "record", "merge")


@dataclass(frozen=True)
class Judgement:
    """What became of all that is expected of one trace.

    Attributes:
        verdicts: of each expectation, then of the baseline.
        difference: from the baseline; None where it was not compared.
    """

    verdicts: tuple[Verdict, ...] = ()
    difference: Difference | None = None

    @property
    def outcome(self) -> str:
        """The worst outcome of the verdicts."""
        return worst(self.verdicts)

    @property
    def met(self) -> bool:
        """Whether nothing is known to be otherwise than expected, and all could be measured."""
        return self.outcome in {"success", "skipped"}

    @property
    def unmet(self) -> tuple[Verdict, ...]:
        """The verdicts that are neither a success nor skipped."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome in {"failure", "error"})


def judgement_of(
    measured: Trace | ProbeError,
    expectations: Expectations | None,
    naming: Naming | None = None,
    baseline: Baseline | None = None,
    name: str = "baseline",
) -> Judgement:
    """Judge what was measured.

    Arguments:
        measured: the trace, explained and labelled, or why there is none.
        expectations: what is expected; None for nothing.
        naming: whose addresses are; without it, the labels of the hops count.
        baseline: what the trace is compared with; None for nothing.
        name: what the baseline is called, usually the path of its file.
    """
    if not isinstance(measured, Trace) or measured.stop_reason in {"error", "interrupted"}:
        if isinstance(measured, Trace):
            verdicts = judge(measured, expectations or Expectations(reached=True), naming)
            reason = verdicts[0].reason
        else:
            reason = " ".join(str(measured).split())
        told = unmeasured(expectations, reason) if expectations else []
        return Judgement((*told, *([Verdict("baseline", "error", reason, name, None)] if baseline else [])))
    told = judge(measured, expectations, naming) if expectations else []
    if baseline is None:
        return Judgement(tuple(told))
    difference = compare(measured, baseline)
    return Judgement((*told, baseline_verdict(difference, name)), difference)


def keep_baseline(
    file: Path, known: Baseline | None, trace: Trace | None, judgement: Judgement, *, merged: bool, name: str
) -> Verdict:
    """Write a baseline, where the path is known to be good.

    Arguments:
        file: the baseline's. known: what it holds; None where it is not there.
        trace: the path; None where there is none.
        judgement: of the expectations; where any is not met, nothing is written.
        merged: add to what is known instead of recording anew.
        name: what the baseline is called.

    Returns:
        What became of it; ``actual`` tells whether the file has changed.
    """
    if trace is None:
        return Verdict("baseline", "error", "it is not recorded, as nothing could be measured", name, None)
    if not judgement.met:
        return Verdict("baseline", "skipped", "it is not recorded, as not all that is expected is met", name, None)
    try:
        new = merge(known, trace) if merged and known else record(trace)
        changed = write(file, new)
    except OptionError as error:
        return Verdict("baseline", "error", str(error), name, None)
    return Verdict("baseline", "success", f"it is {'recorded' if changed else 'as it was'}", name, changed)
