"""``tcptraceroute HOST [PORT] [LENGTH]``: the probe behind the command line of mct/tcptraceroute 1.5beta7."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from nornir_tcptraceroute.version import VERSION

from .classic_arguments import USAGE, Request, UsageError, help_text, parse
from .exit_status import CLOSED_PIPE, ERROR, SUCCESS
from .streams import OutputLostError, open_missing_streams, write_error, write_output

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("main", "run")

_VERSION_TEXT = f"\ntcptraceroute {VERSION} (nornir_tcptraceroute), in place of tcptraceroute 1.5beta7\n\n"


def main() -> int:
    """The command: trace as the process's arguments say; returns the exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the first probe is sent there is nothing to tell, and so nothing to do but to end.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    open_missing_streams()
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Do what a command line asks for.

    Arguments:
        arguments: without the name of the program.

    Returns:
        The exit status.
    """
    try:
        return _run(arguments)
    except OutputLostError as error:
        if error.silent:
            return CLOSED_PIPE
        write_error(f"tcptraceroute: {error}\n")
        return ERROR


def _run(arguments: Sequence[str]) -> int:
    try:
        request = parse(arguments)
    except UsageError as error:
        write_output(_VERSION_TEXT if error.show_usage else "")
        write_error("".join(f"tcptraceroute: {problem}\n" for problem in error.problems))
        write_error(USAGE if error.show_usage else "")
        return ERROR
    if isinstance(request, Request):
        return _trace(request)
    write_output(_VERSION_TEXT)
    if request == "version":
        return SUCCESS
    write_error(help_text())
    return ERROR


def _trace(request: Request) -> int:
    # Here and not above: what asks for no trace need not load what traces.
    from nornir_tcptraceroute.probe.errors import OptionError, ProbeError

    from .session import trace

    try:
        if request.targets is None:
            return trace(request)
        from .targets import trace_targets

        return trace_targets(request)
    except ProbeError as error:
        problems = error.problems if isinstance(error, OptionError) else [str(error)]
        write_error("".join(f"tcptraceroute: {problem}\n" for problem in problems))
        return ERROR


if __name__ == "__main__":
    sys.exit(main())
