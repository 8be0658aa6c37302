"""The tools that a benchmark compares: how each is called, and how what it says is read."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ("OURS", "SCAPY", "Answers", "Tool", "installed", "of_record", "ours", "read_lines", "read_scamper")

#: What a tool says of a path: for each TTL, address and round trip in milliseconds of each answer (None where it says none).
Answers = dict[int, list[tuple[str, float | None]]]

PORT = "80"
SCAPY = """
import sys
from scapy.all import conf, traceroute
conf.verb = 0
answered, _ = traceroute(sys.argv[1:], dport={port}, timeout=2, verbose=0)
for sent, received in answered:
    print(sent.dst, sent.ttl, received.src, 1000 * (received.time - sent.sent_time))
"""


@dataclass(frozen=True)
class Tool:
    """A tool with its options.

    Arguments:
        name: as tables call it, options included.
        command: argument vector for a destination.
        read: its output, to the answers for each TTL.
        queries: for each hop.
    """

    name: str
    command: Callable[[str], list[str]]
    read: Callable[[str], Answers]
    queries: int = 3


def _record(output: str) -> Answers:
    return of_record(json.loads(output))


def of_record(trace: dict[str, Any]) -> Answers:
    """The answers in one of our records."""
    return {
        hop["ttl"]: [
            (reply["address"], reply["rtt_ms"]) for reply in hop["replies"] if reply["address"] and not reply["duplicate"]
        ]
        for hop in trace["hops"]
    }


def read_lines(output: str) -> Answers:
    """`traceroute` and the classic tool: a line for each hop, an address where it changes, a time for each answer."""
    answers: Answers = {}
    for line in output.splitlines():
        found = re.match(r"\s*(\d+)\s+(.*)", line)
        if found is None:
            continue
        told = answers.setdefault(int(found[1]), [])
        address = ""
        for word in re.findall(r"[0-9a-f.:]+ ms|[0-9a-f]+[.:][0-9a-f.:]+|\*", found[2]):
            if word.endswith(" ms"):
                told.append((address, float(word[:-3])))
            elif word != "*":
                address = word
    return answers


def read_scamper(output: str) -> Answers:
    """Scamper's JSON, one object a line."""
    answers: Answers = {}
    for line in output.splitlines():
        record = json.loads(line)
        if record["type"] == "trace":
            for hop in record.get("hops", ()):
                answers.setdefault(hop["probe_ttl"], []).append((hop["addr"], hop["rtt"]))
    return answers


def _mtr(output: str) -> Answers:
    hubs = json.loads(output)["report"]["hubs"]
    return {hub["count"]: [(hub["host"], hub["Avg"])] for hub in hubs if hub["host"] != "???"}


def _scapy(output: str) -> Answers:
    answers: Answers = {}
    for line in output.splitlines():
        _, ttl, address, milliseconds = line.split()
        answers.setdefault(int(ttl), []).append((address, float(milliseconds)))
    return answers


def ours(*options: str, queries: int = 3) -> Tool:
    """Our command, as JSON."""
    command = [sys.executable, "-m", "nornir_tcptraceroute.cli.tcptraceroute", "--json", "-n", *options]
    asked = [] if queries == 3 else ["-q", str(queries)]
    name = " ".join(["tcptraceroute (ours)", *options, *asked])
    return Tool(name, lambda destination: [*command, *asked, destination, PORT], _record, queries)


OURS = ours()


def _peers() -> Iterator[tuple[str, Tool]]:
    yield (
        "tcptraceroute.mt",
        Tool("tcptraceroute (classic)", lambda destination: ["tcptraceroute.mt", "-n", destination, PORT], read_lines),
    )
    for queries in (3, 1):
        name = "traceroute -T" + (f" -q {queries}" if queries != 3 else "")
        yield (
            "traceroute",
            Tool(
                name,
                lambda destination, asked=str(queries): ["traceroute", "-T", "-n", "-q", asked, "-p", PORT, destination],
                read_lines,
                queries,
            ),
        )
    yield (
        "scamper",
        Tool(
            "scamper -p 1000 -q 3 -Q",
            lambda destination: ["scamper", "-p", "1000", "-O", "json", "-I", f"trace -P tcp -d {PORT} -q 3 -Q {destination}"],
            read_scamper,
        ),
    )
    yield (
        "mtr",
        Tool(
            "mtr -T -c 3 -i 0.1 -G 1",
            lambda destination: ["mtr", "-T", "-P", PORT, "-c", "3", "-i", "0.1", "-G", "1", "-n", "-j", destination],
            _mtr,
        ),
    )
    yield (
        "",
        Tool("scapy traceroute()", lambda destination: [sys.executable, "-c", SCAPY.format(port=PORT), destination], _scapy, 1),
    )


def installed(*names: str) -> list[Tool]:
    """The peers of these names that are installed here, in this order; one that is not is left out of the tables."""
    found = {tool.name: tool for program, tool in _peers() if not program or shutil.which(program)}
    return [found[name] for name in names if name in found]
