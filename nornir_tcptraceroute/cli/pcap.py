"""``nornir-tcptraceroute pcap``: traces to a capture that Wireshark opens, and hop tables out of a capture."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from nornir_tcptraceroute.probe.errors import RecordError
from nornir_tcptraceroute.probe.records import Trace
from nornir_tcptraceroute.reports.pcap import PcapError, read_pcap, write_pcap
from nornir_tcptraceroute.reports.table import hop_table, plain, printable

from .exit_status import ERROR, SUCCESS
from .streams import OutputLostError, write_error, write_output

__all__ = ("add_arguments", "run")

_NAME = "nornir-tcptraceroute pcap"
_STANDARD = "-"
_EXAMPLES = """examples:
  tcptraceroute --json --evidence all www.example.net 443 > trace.json
  nornir-tcptraceroute pcap write trace.json trace.pcap

  tcpdump -i any -w capture.pcap 'tcp or icmp or icmp6'    (and at the same time: traceroute -T -p 443 www.example.net)
  nornir-tcptraceroute pcap read capture.pcap

exit status: 0 done, 1 could not be read or written, 2 bad command line
"""
_STATUS = "Exit status: 0 done, 1 could not be read or written, 2 bad command line."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands ``write`` and ``read``.

    Arguments:
        parser: that of ``nornir-tcptraceroute pcap``.
    """
    parser.description = "Write traces as a capture in pcap form, and rebuild the TCP traces of any tool from a capture."
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="pcap_command", metavar="write|read", required=True)
    write = commands.add_parser(
        "write",
        help="write the packets of traces as a capture",
        description="Write every packet of one or more traces, which were taken with evidence all, as a capture in pcap form.",
        epilog=_STATUS,
    )
    write.add_argument("traces", metavar="TRACE.json", help="traces as JSON, one document or one a line; - for standard input")
    write.add_argument("capture", metavar="OUT.pcap", help="the file to write, replaced if it is there; - for standard output")
    read = commands.add_parser(
        "read",
        help="print the hop tables of the TCP traces in a capture",
        description="Print the hop tables of the TCP traces in a capture (pcap or pcapng), whatever tool sent their probes. "
        "It has to be taken where the probes left.",
        epilog=_STATUS,
    )
    read.add_argument("capture", metavar="IN.pcap", help="the capture; - for standard input")
    read.add_argument("--json", action="store_true", help="print each trace as one line of JSON instead")


def run(arguments: argparse.Namespace) -> int:
    """Write or read.

    Returns:
        The exit status.

    Raises:
        OutputLostError: standard output took no more.
    """
    try:
        if arguments.pcap_command == "write":
            _write(arguments.traces, arguments.capture)
        else:
            _read(arguments.capture, as_json=arguments.json)
    except (PcapError, RecordError) as error:
        write_error(f"{_NAME}: {error}\n")
        return ERROR
    except OSError as error:
        write_error(f"{_NAME}: {error.filename or 'the file'}: {error.strerror}\n")
        return ERROR
    return SUCCESS


def _write(source: str, target: str) -> None:
    traces = list(_traces(source))
    if target != _STANDARD:
        write_pcap(traces, target)
        return
    with _standard(1, "wb") as output:
        try:
            write_pcap(traces, output)
            output.flush()
        except OSError as error:
            raise OutputLostError(error) from None


def _traces(source: str) -> Iterator[Trace]:
    """The traces of a file, which holds one document or one a line."""
    shown = "standard input" if source == _STANDARD else source
    if source == _STANDARD:
        with _standard(0, "rb") as file:
            text = file.read()
    else:
        text = Path(source).read_bytes()
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        documents = [json.loads(text)]
    except (ValueError, RecursionError):
        documents = [_document(line, f"{shown}, line {number}") for number, line in enumerate(lines, 1)]
    for document in documents:
        for record in document if isinstance(document, list) else [document]:
            # A line of SaveTraces tells the trace's host beside it.
            yield Trace.from_dict(record["trace"] if isinstance(record, dict) and "trace" in record else record)


def _document(line: bytes, place: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise RecordError(f"{place} is no JSON: give what tcptraceroute --json --evidence all prints") from None


def _read(source: str, *, as_json: bool) -> None:
    if source == _STANDARD:
        with _standard(0, "rb") as file:
            traces = read_pcap(file)
    else:
        traces = read_pcap(source)
    for number, trace in enumerate(traces):
        if as_json:
            write_output(json.dumps(trace.to_dict()) + "\n")
        else:
            write_output(("\n" if number else "") + _title(trace) + plain(hop_table(trace)))
    warnings = dict.fromkeys(warning for trace in traces for warning in trace.warnings)
    write_error("".join(f"Warning: {printable(warning)}\n" for warning in warnings))


def _title(trace: Trace) -> str:
    reached = trace.port_state if trace.reached else f"not reached, {trace.port_state}"
    return printable(f"{trace.started_at}: {trace.address} port {trace.port} from {trace.source}: {reached}") + "\n"


def _standard(descriptor: int, mode: str) -> BinaryIO:
    file: Any = os.fdopen(descriptor, mode, closefd=False)
    return file  # type: ignore[no-any-return]
