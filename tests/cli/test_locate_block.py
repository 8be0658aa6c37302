"""``nornir-tcptraceroute locate-block``: text, JSON and exit status, and what it refuses. The verdicts themselves: tests/lab."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.analysis.blocking import REASONS, VERDICTS, Block, locate_block
from nornir_tcptraceroute.cli.locate_block import block_status
from nornir_tcptraceroute.lab import Lab

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = "from nornir_tcptraceroute.cli.nornir_tcptraceroute import main; sys.exit(main())"
COMMAND = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {PROGRAM}", "locate-block"]
QUICK = ["--wait", "0.5", "--max-ttl", "8"]


@pytest.fixture(scope="module")
def ports(lab: Callable[[str], Lab]) -> Lab:
    return lab("ports")


CASES = [
    (80, "79", 0, "80 is open at {server}: nothing blocks it"),
    (79, "80", 0, "79 is closed at {server}, which refuses it by a RST of its own: nothing blocks it"),
    (81, "80", 1, "80 reaches {server}; 81 is dropped silently between hop 2 ({firewall}) and hop 3 ({r3})"),
    (
        82,
        "80",
        1,
        "80 reaches {server}; 82 is answered (RST/ACK) in its place by hop 2 ({firewall}) or between it and hop 3 ({r3})",
    ),
    (
        1013,
        "80",
        1,
        "80 reaches {server}; 1013 is rejected by hop 2 ({firewall}): communication administratively prohibited (ICMP",
    ),
    (81, "81000", 2, ""),
    (81, None, 3, "Where SYN to 81 is blocked can't be told: ACK to 81 is answered no further either: name a port that works"),
]


@pytest.mark.parametrize(("port", "working", "status", "sentence"), CASES)
def test_one_sentence_and_the_status_say_it(ports: Lab, port: int, working: str | None, status: int, sentence: str) -> None:
    options = [] if working is None else ["--working", working]
    ended = ports.run("client", [*COMMAND, "server", str(port), "-4", *QUICK, *options])
    assert ended.returncode == status, (ended.stdout, ended.stderr)
    _r1, firewall, r3, server = ports.truth.path("client", "server").addresses
    assert ended.stdout.startswith(sentence.format(firewall=firewall, r3=r3, server=server)), ended.stdout
    assert bool(ended.stdout) == (status != 2)
    assert ended.stdout == "" or ended.stdout.endswith("\n")


def test_the_document_is_the_verdict_with_both_traces(ports: Lab) -> None:
    ended = ports.run("client", [*COMMAND, "server", "81", "-6", "--working", "80", "--json", *QUICK])
    told: dict[str, Any] = json.loads(ended.stdout)
    blocked, working = Trace.from_dict(told.pop("blocked")), Trace.from_dict(told.pop("working"))
    assert (blocked.port, working.port, blocked.family) == (81, 80, 6)
    assert told == locate_block(blocked, working).to_dict()
    assert set(told) == {field.name for field in fields(Block)} | {"is_blocked"}


def test_no_privilege_for_an_ack_is_one_sentence(ports: Lab) -> None:
    ended = ports.run("client", [*COMMAND, "server", "81"], capabilities=False)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("nornir-tcptraceroute locate-block: raw sockets need CAP_NET_RAW")
    assert ended.stderr.endswith("; or name a port that works with --working\n")
    assert ended.stderr.count("\n") == 1


def test_without_privilege_two_ports_are_compared_by_connections(ports: Lab) -> None:
    ended = ports.run("client", [*COMMAND, "server", "81", "-4", "--working", "80", "--json", *QUICK], capabilities=False)
    told = json.loads(ended.stdout)
    assert (ended.returncode, told["verdict"], told["likely"]["ttl"]) == (1, "dropped", 2), told["sentence"]
    assert {told[name]["method"] for name in ("blocked", "working")} == {"connect"}


WRONG = [
    (["127.0.0.1", "0"], 2, "port: 0 is not between 1 and 65535"),
    (["127.0.0.1", "80", "--working", "80"], 2, "working_port: 80 is the port in question: give another, or none"),
    (["127.0.0.1", "80", "--working", "0"], 2, "working_port: 0 is not between 1 and 65535"),
    (["127.0.0.1", "80", "--queries", "99"], 2, "queries: 99 is not between 1 and 50"),
    (["host.invalid", "80"], 3, "host.invalid does not resolve"),
    (["224.0.0.1", "80"], 3, "224.0.0.1 is never traced to"),
]


@pytest.mark.parametrize(("arguments", "status", "told"), WRONG, ids=str)
def test_what_can_not_be_done_is_one_sentence(arguments: list[str], status: int, told: str) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith(f"nornir-tcptraceroute locate-block: {told}")
    assert ended.stderr.count("\n") == 1


def test_the_readmes_example_is_what_the_command_says(lab: Callable[[str], Lab]) -> None:
    pattern = r"^    \$ nornir-tcptraceroute lab up demo -- nornir-tcptraceroute locate-block (.*)\n((?:    .*\n)+)"
    shown = re.search(pattern, (ROOT / "README.md").read_text(), re.MULTILINE)
    assert shown
    ended = lab("demo").run("client", [*COMMAND, *shown[1].split()])
    assert ended.stdout == re.sub("^    ", "", shown[2], flags=re.MULTILINE)


def test_an_interrupt_ends_it_with_the_shells_status(ports: Lab) -> None:
    command = [*COMMAND, ports.truth.address("server"), "81", "--max-ttl", "255", "--queries", "50"]
    # Python's own handler, which a shell's background would have switched off.
    process = ports.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=restore)
    # Its raw sockets are there once it is about to send.
    while len(ports.run("client", ["cat", "/proc/self/net/raw"]).stdout.splitlines()) < 2:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output, error) == (130, "", "")


def restore() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_a_status(verdict: str) -> None:
    expected = {"open": 0, "closed": 0, "dropped": 1, "rejected": 1, "substituted": 1, "unknown": 3}
    assert block_status(Block(verdict, "")) == expected[verdict]


def test_the_page_tells_every_verdict_and_reason() -> None:
    page = (ROOT / "docs" / "blocking.md").read_text()
    assert [name for name in (*VERDICTS, *REASONS) if f"| `{name}` |" not in page] == []
    assert "| `is_blocked` |" in page
    assert [field.name for field in fields(Block) if f"| `{field.name}` |" not in page] == []
