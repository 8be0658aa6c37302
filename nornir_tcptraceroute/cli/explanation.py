"""What ``--explain`` adds: the findings of the analysis beneath each hop's line and after the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_tcptraceroute.probe.errors import ProbeError

if TYPE_CHECKING:
    from nornir_tcptraceroute.probe.records import Hop, Trace

__all__ = ("Explanation",)

_NOTE, _FINDING = " " * 6, " " * 2


class Explanation:
    """The analysis, with all that it may need loaded: afterwards Python's own library may be out of reach.

    Arguments:
        networks_file: path of a file with networks and devices (``--networks``), or None.

    Raises:
        OptionError: the file is wrong; every problem with its line.
        ProbeError: a package that the analysis needs is missing.
    """

    def __init__(self, networks_file: str | None) -> None:
        try:
            from nornir_tcptraceroute.analysis import Naming, explain, label
            from nornir_tcptraceroute.analysis.loading import load_all
            from nornir_tcptraceroute.reports import findings, table

            from .networks_file import read_naming

            load_all()
        except ImportError as error:
            package = (error.name or "").partition(".")[0] or "a package"
            raise ProbeError(
                f"--explain needs {package}, which is missing or broken ({error}): pip install --force-reinstall {package}"
            ) from None
        self._naming = read_naming(networks_file) if networks_file is not None else Naming()
        self._explain, self._label = explain, label
        self._findings, self._notes = findings.findings, table.notes_of

    def of(self, trace: Trace) -> Trace:
        """The trace with what its replies and addresses mean."""
        return self._label(self._explain(trace), self._naming)

    def beneath(self, hop: Hop) -> str:
        """The lines beneath those of a hop that was explained, one for each of its notes."""
        return "".join(f"{_NOTE}{note}\n" for note in self._notes(hop))

    def after(self, trace: Trace) -> str:
        """The lines after those of all hops: what the path as a whole does to the probe."""
        return "Findings:\n" + "".join(f"{_FINDING}{finding}\n" for finding in self._findings(trace))
