"""``nornir-tcptraceroute check CHECKS.yaml``: paths measured and judged, a table of verdicts, and files for CI."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nornir_tcptraceroute.analysis.judgement import BASELINE_ACTIONS
from nornir_tcptraceroute.checks.check_file import CheckFile, InventoryNames, read_checks
from nornir_tcptraceroute.checks.running import Outcome, run_checks
from nornir_tcptraceroute.probe.errors import OptionError
from nornir_tcptraceroute.reports.junit import junit_xml
from nornir_tcptraceroute.reports.table import printable

from .check_progress import progress_of
from .check_report import junit_suites, table_of
from .exit_status import signal_status
from .streams import write_error, write_output

__all__ = ("ALL_MET", "BAD_FILE", "NOT_MEASURED", "NOT_MET", "add_arguments", "check_status", "run")

ALL_MET, NOT_MET, BAD_FILE, NOT_MEASURED = range(4)
_NAME = "nornir-tcptraceroute check"


def check_status(outcomes: Sequence[Outcome]) -> int:
    """The exit status of a run.

    Returns:
        1 where something is not met; else 3 where something could not be measured; else 0. What was skipped changes nothing.
    """
    worst = {verdict.outcome for outcome in outcomes for verdict in outcome.verdicts}
    return NOT_MET if "failure" in worst else NOT_MEASURED if "error" in worst else ALL_MET


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check``.

    Arguments:
        parser: that of ``nornir-tcptraceroute check``.
    """
    parser.description = "Measure the paths of a check file, all at the same time, and say which expectations are met."
    parser.epilog = (
        "Exit status: 0 all is met, 1 something is not, 2 a file or the command line is bad and nothing was sent, "
        "3 something could not be measured, 130 Ctrl-C."
    )
    parser.add_argument("file", metavar="CHECKS.yaml", help="the check file; docs/checks.md tells what may stand in it")
    parser.add_argument("--inventory", metavar="FILE", help="Nornir's configuration file, for checks from its hosts")
    parser.add_argument("--junit", metavar="FILE", help="write the verdicts as JUnit XML, one test case for each expectation")
    parser.add_argument("--json", metavar="FILE", help="write verdicts and traces as JSON")
    parser.add_argument(
        "--baselines",
        choices=BASELINE_ACTIONS,
        default="compare",
        help="what is done with baselines: compare each trace with its own (default); record them anew; merge what the traces "
        "show into them, as other equal-cost paths. Only where all that is expected is met",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the checks.

    Returns:
        The exit status.

    Raises:
        OutputLostError: standard output took no more.
    """
    try:
        nornir, inventory = _inventory(arguments.inventory)
        file = read_checks(arguments.file, inventory, need_baselines=arguments.baselines == "compare")
        targets = [Path(name) for name in (arguments.junit, arguments.json) if name is not None]
        for target in targets:
            _make_sure(target)
    except OptionError as error:
        write_error("".join(f"{printable(problem)}\n" for problem in error.problems))
        return BAD_FILE
    try:
        outcomes = _measure(file, nornir, arguments.baselines)
    except KeyboardInterrupt:
        write_error(f"{_NAME}: interrupted\n")
        if nornir is None:
            return signal_status(signal.SIGINT)
        # A return would wait for Nornir's threads, and they for hosts, for as long as a trace may take.
        os._exit(signal_status(signal.SIGINT))
    write_output(table_of(outcomes))
    try:
        if arguments.junit is not None:
            Path(arguments.junit).write_text(junit_xml(junit_suites(outcomes)), encoding="utf-8")
        if arguments.json is not None:
            Path(arguments.json).write_text(json.dumps(_document(outcomes), indent=1) + "\n", encoding="ascii")
    except OSError as error:
        write_error(f"{_NAME}: {printable(str(error.filename))} can't be written: {error.strerror}\n")
        return BAD_FILE
    return check_status(outcomes)


def _inventory(file: str | None) -> tuple[Any, InventoryNames | None]:
    if file is None:
        return None, None
    from nornir_tcptraceroute.checks.from_hosts import inventory_names, open_inventory

    nornir = open_inventory(file)
    return nornir, inventory_names(nornir)


def _make_sure(target: Path) -> None:
    """Find out before the measurement that a file can be written."""
    try:
        with target.open("ab"):
            pass
    except OSError as error:
        raise OptionError([f"{ascii(str(target))[1:-1]}: can't be written: {error.strerror}"]) from None


def _measure(file: CheckFile, nornir: Any, baseline_action: str) -> list[Outcome]:
    names = [(check.name, host) for check in file.checks for host in check.vantages]
    with progress_of(names, sys.stderr) as progress:
        outcomes = run_checks(
            file,
            nornir,
            lambda outcome: progress.settled((outcome.check.name, outcome.host), outcome.judgement.outcome),
            baseline_action=baseline_action,
        )
    if nornir is not None:
        nornir.close_connections(on_good=True, on_failed=True)
    return outcomes


def _document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    verdicts = [verdict.outcome for outcome in outcomes for verdict in outcome.verdicts]
    return {
        "schema": 1,
        "status": check_status(outcomes),
        "summary": {name: verdicts.count(name) for name in ("success", "failure", "error", "skipped")},
        "checks": [outcome.to_dict() for outcome in outcomes],
    }
