"""``nornir-tcptraceroute``: what belongs to the package beside the trace itself, one subcommand each."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Protocol

from nornir_tcptraceroute.version import VERSION

from .exit_status import CLOSED_PIPE, ERROR
from .streams import OutputLostError, write_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("main", "run")

_NAME = "nornir-tcptraceroute"


class _Subcommand(Protocol):
    """A module that does one subcommand."""

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Describe the subcommand's own arguments."""

    def run(self, arguments: argparse.Namespace, /) -> int:
        """Do it; returns the exit status."""
        ...


def _schema() -> _Subcommand:
    from . import schema

    return schema


def _locate_block() -> _Subcommand:
    from . import locate_block

    return locate_block


def _check() -> _Subcommand:
    from . import check

    return check


def _lab() -> _Subcommand:
    from nornir_tcptraceroute.lab import command

    return command


def _pcap() -> _Subcommand:
    from . import pcap

    return pcap


#: Each subcommand with what it does and how to get its module, which is loaded for that subcommand alone: others may lack what
#: they need.
_SUBCOMMANDS: dict[str, tuple[str, Callable[[], _Subcommand]]] = {
    "schema": ("print the JSON Schema of a trace or of a check file", _schema),
    "check": ("measure the paths of a check file, and judge them", _check),
    "locate-block": ("tell where on its way a port is blocked", _locate_block),
    "pcap": ("traces to a capture, and out of one", _pcap),
    "lab": ("run a command in an embedded network of real routers", _lab),
}


def main() -> int:
    """The command: do what the process's arguments say; returns the exit status."""
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Do what a command line asks for.

    Arguments:
        arguments: without the name of the program.

    Returns:
        The exit status, which is that of the subcommand.

    Raises:
        SystemExit: with 2 and a message on standard error for a command line that can't be done, with 0 after ``--help`` and
            ``--version``.
    """
    wanted = next((argument for argument in arguments if not argument.startswith("-")), "")
    parser = argparse.ArgumentParser(
        prog=_NAME, description="Tools around TCP traceroute. The trace itself is: tcptraceroute HOST"
    )
    parser.add_argument("--version", action="version", version=f"{_NAME} {VERSION}")
    parsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    module: _Subcommand | None = None
    for name, (summary, load) in _SUBCOMMANDS.items():
        subparser = parsers.add_parser(name, help=summary)
        if name == wanted:
            try:
                module = load()
            except ModuleNotFoundError as error:
                return _tell_missing(name, error)
            module.add_arguments(subparser)
    parsed = parser.parse_args(arguments)
    # The parser has refused every name but those above.
    assert module is not None
    try:
        return module.run(parsed)
    except OutputLostError as error:
        if error.silent:
            return CLOSED_PIPE
        write_error(f"{_NAME}: {error}\n")
        return ERROR


def _tell_missing(name: str, error: ModuleNotFoundError) -> int:
    package = (error.name or "").partition(".")[0]
    if package == "nornir_tcptraceroute":
        raise error
    write_error(f"{_NAME}: {name} needs the package {package}, which is not installed: pip install '{_NAME}[{name}]'\n")
    return ERROR


if __name__ == "__main__":
    sys.exit(main())
