"""``nornir-tcptraceroute locate-block HOST PORT``: where on its way a port is blocked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

# Both before privileges are dropped: afterwards Python's own library may be out of reach.
from nornir_tcptraceroute.analysis import tcp_answers  # noqa: F401 - which loads Scapy
from nornir_tcptraceroute.analysis.blocking import Block
from nornir_tcptraceroute.measurements.blocking import block_requests, measure_block
from nornir_tcptraceroute.probe.engine import Engine
from nornir_tcptraceroute.probe.errors import OptionError, PrivilegeError, ProbeError
from nornir_tcptraceroute.probe.flow import Flow, open_flow
from nornir_tcptraceroute.probe.options import PARAMETERS, TraceOptions
from nornir_tcptraceroute.probe.privileges import drop_privileges
from nornir_tcptraceroute.probe.records import Trace

from .exit_status import signal_status
from .streams import write_error, write_output

__all__ = ("BLOCKED", "NOT_BLOCKED", "NOT_KNOWN", "REFUSED", "add_arguments", "block_status", "run")

#: Exit statuses. 2 is argparse's own for a command line that can't be done.
NOT_BLOCKED, BLOCKED, REFUSED, NOT_KNOWN = range(4)
_KEYBOARD = 2
_NAME = "nornir-tcptraceroute locate-block"
#: The options of a trace that the command takes, with their values' names.
_OPTIONS = {
    "max_ttl": "TTL",
    "queries": "N",
    "wait": "SECONDS",
    "source": "ADDRESS",
    "source_port": "PORT",
    "interface": "INTERFACE",
}


def block_status(block: Block) -> int:
    """The exit status of a verdict.

    Returns:
        0 for a port that nothing blocks (open, or closed by the destination itself); 1 for one that is dropped, rejected, or
        answered by something else in the destination's name; 3 where that can't be told.
    """
    if block.is_blocked is None:
        return NOT_KNOWN
    return BLOCKED if block.is_blocked else NOT_BLOCKED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``locate-block``.

    Arguments:
        parser: that of ``nornir-tcptraceroute locate-block``.
    """
    parser.description = "Trace a port beside one that works, and tell where on its way it is blocked."
    parser.epilog = "Exit status: 0 not blocked, 1 blocked, 2 bad command line, 3 could not be measured or told."
    parser.add_argument("host", metavar="HOST", help="host name or address of the destination")
    parser.add_argument("port", metavar="PORT", type=int, help="TCP port in question, 1 to 65535")
    parser.add_argument(
        "--working", metavar="PORT", type=int, help="a port of the same host that works; by default PORT is asked by ACK as well"
    )
    parser.add_argument("--json", action="store_true", help="print the verdict and both traces as one JSON document")
    versions = parser.add_mutually_exclusive_group()
    versions.add_argument("-4", dest="family", action="store_const", const=4, help="use IPv4")
    versions.add_argument("-6", dest="family", action="store_const", const=6, help="use IPv6")
    for name, metavar in _OPTIONS.items():
        parameter = PARAMETERS[name]
        kind = {"integer": int, "number": float}.get(parameter.kind, str)
        option = f"--{name.replace('_', '-')}"
        text = f"{parameter.help} ({parameter.default})" if parameter.default is not None else parameter.help
        parser.add_argument(option, metavar=metavar, type=kind, help=text.replace("%", "%%"))


def run(arguments: argparse.Namespace) -> int:
    """Find the block; gives up the privileges of this process for good.

    Returns:
        The exit status.

    Raises:
        OutputLostError: standard output took no more.
    """
    given = {name: getattr(arguments, name) for name in (*_OPTIONS, "family") if getattr(arguments, name) is not None}
    try:
        options = TraceOptions.from_dict({"destination": arguments.host, "port": arguments.port, "names": "none", **given})
        block_requests(options, arguments.working)
    except OptionError as error:
        write_error("".join(f"{_NAME}: {problem}\n" for problem in error.problems))
        return REFUSED
    try:
        with Engine() as engine:
            found = measure_block(options, _Prober(engine).measure, working_port=arguments.working)
    except ProbeError as error:
        # An ACK is no connection; two SYNs can be sent as connections.
        hint = (
            "; or name a port that works with --working"
            if isinstance(error, PrivilegeError) and arguments.working is None
            else ""
        )
        write_error(f"{_NAME}: {error}{hint}\n")
        return NOT_KNOWN
    except KeyboardInterrupt:
        return signal_status(_KEYBOARD)
    if arguments.json:
        write_output(json.dumps(found.to_dict()) + "\n")
    else:
        write_output(f"{found.block.sentence}\n" + "".join(f"  {note}\n" for note in found.block.notes))
        warnings = dict.fromkeys((*found.blocked.warnings, *found.working.warnings))
        write_error("".join(f"Warning: {warning}\n" for warning in warnings))
    return block_status(found.block)


class _Prober:
    """Takes traces in this thread, without any privilege from the first packet on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dropped = False

    def measure(self, requests: Sequence[TraceOptions]) -> list[Trace | ProbeError]:
        """Take traces at the same time."""
        outcomes: list[Trace | ProbeError] = []
        flows: list[Flow] = []
        for request in requests:
            try:
                flows.append(open_flow(request))
            except ProbeError as error:
                outcomes.append(error)
        for flow in flows:
            self._engine.open(flow)
        if not self._dropped:
            drop_privileges()
            self._dropped = True
        for flow in flows:
            self._engine.add(flow, outcomes.append)
        self._engine.run()
        return outcomes
