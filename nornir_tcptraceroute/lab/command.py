"""`nornir-tcptraceroute lab`: run commands inside a lab, and list the labs that come with the package."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from .errors import LabError
from .lab import Lab
from .reading import load_topology, parse_topology, shipped

if TYPE_CHECKING:
    from types import FrameType

    from .topology import Topology

EXIT_REFUSED = 2
EXIT_SIGNAL = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands `up` and `list`.

    Arguments:
        parser: that of `nornir-tcptraceroute lab`.
    """
    commands = parser.add_subparsers(dest="lab_command", metavar="up|list", required=True)
    up = commands.add_parser(
        "up",
        help="bring a lab up, run a command in it, take it down",
        description="Bring a lab up, run a command on one of its hosts, and take the lab down when the command ends. "
        "The exit code is the command's.",
    )
    up.add_argument("--on", metavar="NODE", help="the node to run the command on (default: the vantage of the file)")
    up.add_argument("lab", metavar="FILE_OR_NAME", help="a topology file, or a name that `lab list` shows")
    up.add_argument(
        "command", metavar="-- COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments (default: a shell)"
    )
    commands.add_parser(
        "list", help="list the labs that come with the package", description="List the labs that come with the package."
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments of `lab` ask for.

    Arguments:
        arguments: as parsed by a parser that add_arguments has filled.

    Returns:
        The exit code: that of the command, 128 + n if signal n ended it, 2 if there is no such lab or it can't be brought up.
    """
    try:
        if arguments.lab_command == "list":
            return _list()
        command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        return _up(arguments.lab, arguments.on, command or [os.environ.get("SHELL") or "/bin/sh"])
    except LabError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"nornir-tcptraceroute: {line}\n")
        return EXIT_REFUSED


def _list() -> int:
    topologies = {name: parse_topology(text, f"{name}.yaml") for name, text in shipped().items()}
    width = max(map(len, topologies))
    for name, topology in topologies.items():
        sys.stdout.write(f"{name:{width}}  {topology.description}\n")
    return 0


def _summary(name: str, lab: Lab, node: str) -> str:
    """One line: what was brought up, and where things are."""
    topology: Topology = lab.topology

    def place(what: str) -> str:
        if what not in topology.nodes:
            return what
        addresses = [address for family in (4, 6) for address in lab.truth.addresses(what, family)[:1]]
        return f"{what}.lab ({', '.join(addresses)})"

    kinds = (("router", len(topology.routers)), ("host", len(topology.hosts)))
    counted = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds)
    target = f"; target {place(topology.target)}" if topology.target else ""
    return f"lab {name}: {counted}; on {place(node)}{target}"


def _pass(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: Ctrl-C reaches the command by itself, and the lab ends after it."""


def _up(file_or_name: str, on: str | None, command: list[str]) -> int:
    topology = load_topology(file_or_name)
    node = on or topology.vantage
    if node not in topology.nodes:
        message = f"{node!r} is not a node of {file_or_name}: {', '.join(topology.nodes)}"
        raise LabError(message)
    with Lab(topology) as lab:
        sys.stderr.write(f"{_summary(file_or_name, lab, node)}\n")
        sys.stderr.flush()
        # A handler, not SIG_IGN: that one the command would inherit.
        before = signal.signal(signal.SIGINT, _pass)
        try:
            code = lab.popen(node, command).wait()
        finally:
            signal.signal(signal.SIGINT, before)
    return code if code >= 0 else EXIT_SIGNAL - code
