"""The probe as a program: requests in, traces out, and how it ends in every case."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.probe.records import Trace
from tests.unit.namespaces import isolated, privileged, reason_without_ipv6

from .silent_destination import ADDRESS, FOREVER, SilentDestination, raw_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
PROBE = ROOT / "ansible_collection" / "plugins" / "module_utils" / "probe"
COMMAND = (sys.executable, "-m", "nornir_tcptraceroute.probe")
LOOPBACK = {"destination": "127.0.0.1", "names": "none"}
SILENT = {"destination": ADDRESS, "names": "none", "max_ttl": 1, "queries": 1, "wait": FOREVER}
needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed, and it tells the order of system calls"
)


def lines(*requests: object) -> bytes:
    """One request on each line."""
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def probe(data: bytes, command: Sequence[str] = COMMAND, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the probe to its end."""
    return subprocess.run(command, input=data, capture_output=True, cwd=ROOT, timeout=FOREVER, check=False, **keywords)


def started(*requests: object, **keywords: Any) -> subprocess.Popen[bytes]:
    """Start the probe; its output can be read as it comes."""
    running = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, **keywords
    )
    assert running.stdin is not None
    running.stdin.write(lines(*requests))
    running.stdin.close()
    running.stdin = None
    return running


def traces(output: bytes) -> list[Trace]:
    """The records of an output in which every line is one."""
    return [Trace.from_dict(json.loads(line)) for line in output.splitlines()]


# Requests and traces.


@pytest.mark.parametrize(
    ("data", "ports"),
    [
        pytest.param(json.dumps(LOOPBACK).encode(), [80], id="one object"),
        pytest.param(json.dumps({**LOOPBACK, "port": 443}, indent=2).encode(), [443], id="one object over several lines"),
        pytest.param(json.dumps([{**LOOPBACK, "port": port} for port in (1, 2, 3)]).encode(), [1, 2, 3], id="a list"),
        pytest.param(lines(*({**LOOPBACK, "port": port} for port in (1, 2, 3))), [1, 2, 3], id="lines"),
        pytest.param(b"\n\n" + lines(LOOPBACK) + b"\n  \n", [80], id="empty lines"),
        pytest.param(lines(LOOPBACK, LOOPBACK), [80, 80], id="the same twice"),
        pytest.param(b"\xef\xbb\xbf" + lines(LOOPBACK), [80], id="a byte order mark"),
        pytest.param(lines(*({**LOOPBACK, "port": port} for port in range(1, 101))), list(range(1, 101)), id="a hundred"),
    ],
)
@privileged
def test_requests_become_traces(data: bytes, ports: list[int]) -> None:
    done = probe(data)
    assert (done.returncode, done.stderr) == (0, b"")
    found = traces(done.stdout)
    assert sorted(trace.port for trace in found) == ports
    assert len({trace.source_port for trace in found}) == len(ports)
    assert all((trace.reached, trace.port_state, trace.method) == (True, "closed", "raw") for trace in found)
    assert all(line.isascii() for line in done.stdout.splitlines())


@pytest.mark.skipif(reason_without_ipv6() is not None, reason=reason_without_ipv6() or "")
@privileged
def test_both_versions_at_once() -> None:
    done = probe(lines(LOOPBACK, {**LOOPBACK, "destination": "::1"}))
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted((trace.family, trace.address) for trace in traces(done.stdout)) == [(4, "127.0.0.1"), (6, "::1")]


@privileged
def test_what_can_not_be_measured_is_told_in_its_place() -> None:
    done = probe(lines({**LOOPBACK, "interface": "nosuch0"}, LOOPBACK, {"destination": "224.0.0.1", "port": 443}))
    assert (done.returncode, done.stderr) == (4, b"")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == 3
    errors = {each["error"]["message"].partition(":")[0]: each for each in told if "error" in each}
    assert [each["error"]["type"] for each in errors.values()] == ["RouteError", "RouteError"]
    assert errors["nosuch0 is not an interface of this host"]["request"] == {**LOOPBACK, "interface": "nosuch0"}
    assert errors["224.0.0.1 is never traced to"]["request"] == {"destination": "224.0.0.1", "port": 443}
    assert [each["address"] for each in told if "error" not in each] == ["127.0.0.1"]


NO_REQUEST = "Standard input holds no request: give one object of option names and values, or one on each line"
NO_OBJECT = "a request is an object of option names and values"


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        (b"", [NO_REQUEST]),
        (b" \n\n", [NO_REQUEST]),
        (b"[]", [NO_REQUEST]),
        (b"7", [NO_OBJECT]),
        (b"null", [NO_OBJECT]),
        (b'"127.0.0.1"', [NO_OBJECT]),
        (b'[1, {"destination": "127.0.0.1"}, []]', ["request 1: " + NO_OBJECT, "request 3: " + NO_OBJECT]),
        (b"{}", ["destination: '' is not a host name or an IP address"]),
        (b'{"destination": "127.0.0.1", "ports": 1}', ["'ports': is not an option of a trace"]),
        (
            b'{"destination": "a b", "port": 0, "max_ttl": 256, "wait": NaN}',
            [
                "destination: 'a b' is not a host name or an IP address",
                "port: 0 is not between 1 and 65535",
                "max_ttl: 256 is not between 1 and 255",
                "wait: nan is not between 0.05 and 300 s",
            ],
        ),
        (
            b'{"destination": "127.0.0.1", "port": 0}\nnonsense\n{"destination": "127.0.0.1"}\n{"queries": 0}\n',
            [
                "request 1: port: 0 is not between 1 and 65535",
                "line 2 of standard input is not JSON: ",
                "request 4: destination: '' is not a host name or an IP address",
                "request 4: queries: 0 is not between 1 and 50",
            ],
        ),
        (b"\xff\xfe\xfd", ["line 1 of standard input is not JSON: "]),
        (b"[" * 100000, ["line 1 of standard input is not JSON: "]),
        (b'{"destination": "\\u001b[31m\\ud800"}', [r"destination: '\x1b[31m\ud800' is not a host name or an IP address"]),
        (b"1\n" * 150, ["request {}: {}".format(number, NO_OBJECT) for number in range(1, 101)] + ["and 50 more"]),
        (b" " * (16 << 20) + b"7", ["Standard input holds more than 16777216 bytes of requests: split them"]),
    ],
    ids=lambda value: str(value[:30]) if isinstance(value, bytes) else "",
)
def test_bad_requests_are_all_told_at_once(data: bytes, problems: list[str]) -> None:
    done = probe(data)
    assert (done.returncode, done.stdout) == (2, b"")
    told = done.stderr.decode("ascii").splitlines()
    assert len(told) == len(problems)
    for line, problem in zip(told, problems, strict=True):
        assert line == problem or (problem.endswith(": ") and line.startswith(problem))


@needs_strace
def test_nothing_is_opened_for_a_bad_request(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    data = lines(LOOPBACK, {**LOOPBACK, "port": 0})
    done = probe(data, ("strace", "-f", "-e", "trace=socket,socketpair", "-o", str(log), *COMMAND))
    if "ptrace" in done.stderr.decode():
        pytest.skip("strace may not trace here: " + done.stderr.decode().splitlines()[0])
    assert done.returncode == 2
    assert "socket" not in log.read_text()


def test_a_closed_input_is_no_request() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND], capture_output=True, cwd=ROOT, timeout=FOREVER, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", NO_REQUEST + "\n")


# Output that can't be written.


def test_a_closed_output_is_one_sentence() -> None:
    done = probe(lines(LOOPBACK), ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND])
    assert (done.returncode, done.stderr) == (4, b"Standard output is closed: give the traces a place to go\n")


@pytest.mark.parametrize("request_", [LOOPBACK, {"destination": "224.0.0.1"}], ids=["trace", "error"])
@privileged
def test_a_full_output_is_one_sentence(request_: dict[str, Any]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            COMMAND, input=lines(request_), stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=FOREVER, check=False
        )
    assert (done.returncode, done.stderr) == (4, b"Standard output can't be written: No space left on device\n")


@isolated
def test_a_reader_that_has_gone_ends_the_traces_quietly() -> None:
    with SilentDestination() as there:
        running = started(SILENT, LOOPBACK)
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        there.next_probe()
        # The trace of the loopback meets the broken pipe, and the silent one, which has minutes left, ends with it.
        assert running.wait(FOREVER) == 128 + signal.SIGPIPE
        assert running.stderr.read() == b""
        running.stderr.close()


# Signals.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@isolated
def test_a_signal_ends_open_traces_with_what_is_known(number: signal.Signals) -> None:
    with SilentDestination() as there:
        running = started(LOOPBACK, SILENT, {**SILENT, "port": 443})
        assert running.stdout is not None
        # What ended is told at once.
        (first,) = traces(running.stdout.readline())
        assert (first.address, first.stop_reason) == ("127.0.0.1", "reached")
        for _ in range(2):
            there.next_probe()
        running.send_signal(number)
        output, errors = running.communicate(timeout=FOREVER)
        assert (running.returncode, errors) == (128 + number, b"")
        interrupted = traces(output)
        assert sorted(trace.port for trace in interrupted) == [80, 443]
        for trace in interrupted:
            assert (trace.stop_reason, trace.reached, trace.port_state) == ("interrupted", False, "unknown")
        assert raw_sockets() == 0


@isolated
def test_a_program_in_the_background_ignores_the_keyboard() -> None:
    with SilentDestination() as there:
        running = started(SILENT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        there.next_probe()
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        output, errors = running.communicate(timeout=FOREVER)
        assert (running.returncode, errors) == (128 + signal.SIGTERM, b"")
        assert [trace.stop_reason for trace in traces(output)] == ["interrupted"]


def test_ctrl_c_while_names_are_resolved_is_quiet() -> None:
    script = """
import socket, sys, threading
def wait(*_):
    print("resolving", flush=True)
    threading.Event().wait()
socket.getaddrinfo = wait
from nornir_tcptraceroute.probe.program import run
sys.exit(run())
"""
    running = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(lines({"destination": "slow.example"}))
    running.stdin.close()
    running.stdin = None
    assert running.stdout.readline() == b"resolving\n"
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=FOREVER)
    assert (running.returncode, output, errors) == (130, b"", b"")


# Privileges.


def without_net_raw() -> None:
    """For a process that is about to start: let it have no CAP_NET_RAW, as in most containers."""
    bounding_set_drop, net_raw = 24, 13
    ctypes.CDLL(None).prctl(bounding_set_drop, ctypes.c_ulong(net_raw), *[ctypes.c_ulong(0)] * 3)


def test_without_privilege_one_sentence_and_status_3() -> None:
    done = probe(lines({**LOOPBACK, "method": "raw"}), preexec_fn=without_net_raw)
    assert (done.returncode, done.stdout) == (3, b"")
    (told,) = done.stderr.decode().splitlines()
    assert told.startswith("raw sockets need CAP_NET_RAW, which this process (uid {}) does not have: ".format(os.geteuid()))


@isolated
def test_nothing_is_left_of_root_while_packets_are_read() -> None:
    with SilentDestination() as there:
        running = started(SILENT)
        there.next_probe()
        text = Path("/proc", str(running.pid), "status").read_text()
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=FOREVER)
        assert {
            name: int(value, 16) for name, value in status.items() if name in {"CapPrm", "CapEff", "CapInh", "CapAmb"}
        } == dict.fromkeys(("CapPrm", "CapEff", "CapInh", "CapAmb"), 0)
        assert status["NoNewPrivs"] == "1"
        mapped = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
        if mapped > 1:
            assert set(status["Uid"].split()) == {"65534"}


@needs_strace
@privileged
def test_privileges_are_dropped_before_the_first_packet_is_read(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    calls = "trace=socket,prctl,capset,setgroups,setresgid,setresuid,recvmsg,sendmsg"
    done = probe(lines(LOOPBACK), ("strace", "-f", "-e", calls, "-o", str(log), *COMMAND))
    if "ptrace" in done.stderr.decode():
        pytest.skip("strace may not trace here: " + done.stderr.decode().splitlines()[0])
    assert done.returncode == 0, done.stderr
    order = re.findall(r"^\d+ +(\w+\([^,)]*(?:, SOCK_RAW)?)", log.read_text(), re.MULTILINE)

    def first(start: str) -> int:
        return next(place for place, call in enumerate(order) if call.startswith(start))

    raw = [place for place, call in enumerate(order) if call.startswith("socket(AF_INET, SOCK_RAW")]
    assert len(raw) == 3
    assert raw[-1] < first("prctl(PR_SET_NO_NEW_PRIVS") < first("capset(")
    if os.geteuid() == 0 and any(call.startswith("setresuid(") for call in order):
        assert raw[-1] < first("setgroups(") < first("setresgid(") < first("setresuid(") < first("capset(")
    assert first("capset(") < min(first("sendmsg("), first("recvmsg("))


# The same files elsewhere.


@privileged
def test_the_files_run_alone_under_any_name(tmp_path: Path) -> None:
    shutil.copytree(PROBE, tmp_path / "carried_elsewhere", ignore=shutil.ignore_patterns("__pycache__"))
    script = "import runpy, sys; sys.path.insert(0, sys.argv.pop()); runpy.run_module('carried_elsewhere', run_name='__main__')"
    done = probe(lines(LOOPBACK), (sys.executable, "-I", "-S", "-c", script, str(tmp_path)))
    assert (done.returncode, done.stderr) == (0, b"")
    assert [trace.address for trace in traces(done.stdout)] == ["127.0.0.1"]


@privileged
def test_more_traces_than_the_soft_limit_of_open_files_allows() -> None:
    done = probe(
        lines(*({**LOOPBACK, "queries": 1, "port": port} for port in range(1, 201))),
        ["sh", "-c", 'ulimit -S -n 64; exec "$@"', "sh", *COMMAND],
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(traces(done.stdout)) == 200


@privileged
def test_a_source_port_in_use_is_that_requests_problem_alone() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        done = probe(lines({**LOOPBACK, "source_port": port}, LOOPBACK))
    assert (done.returncode, done.stderr) == (4, b"")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each.get("error", {}).get("type") for each in told] == ["TransportError", None]


# Many traces.


@privileged
def test_the_rate_is_an_argument() -> None:
    done = probe(lines(LOOPBACK), (*COMMAND, "--rate", "unlimited"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(traces(probe(lines(LOOPBACK), (*COMMAND, "--rate=7.5")).stdout)) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--rate", "0"], "rate: '0' is not between 1 and 1000000 probes per second, nor 'unlimited'"),
        (["--rate"], "usage: python3 -m nornir_tcptraceroute.probe [--rate N|unlimited] < requests"),
        (["--rate", "5", "host"], "usage: python3 -m nornir_tcptraceroute.probe [--rate N|unlimited] < requests"),
    ],
)
def test_other_arguments_are_refused(arguments: list[str], problem: str) -> None:
    done = probe(lines(LOOPBACK), (*COMMAND, *arguments))
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", problem + "\n")


@isolated
def test_a_signal_leaves_out_what_had_not_begun() -> None:
    with SilentDestination() as there:
        running = started(*({**SILENT, "port": port} for port in range(1, 1501)))
        there.next_probe()
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=FOREVER)
        assert (running.returncode, errors) == (130, b"")
        told = traces(output)
        assert 1 <= len(told) <= 1000
        assert {trace.stop_reason for trace in told} == {"interrupted"}


@privileged
def test_a_hard_limit_of_open_files_makes_the_window_smaller() -> None:
    done = probe(
        lines(*({**LOOPBACK, "queries": 1, "port": port} for port in range(1, 301))),
        ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *COMMAND],
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert all(trace.reached for trace in traces(done.stdout))
    assert len(done.stdout.splitlines()) == 300


@privileged
def test_a_privileged_source_port_is_reserved_before_the_privilege_is_gone() -> None:
    done = probe(lines({**LOOPBACK, "source_port": 1023}, {**LOOPBACK, "source_port": 1023}))
    told = [json.loads(line) for line in done.stdout.splitlines()]
    if "Permission denied" in str(told):
        pytest.skip("this user may not bind port 1023")
    assert (done.returncode, done.stderr) == (4, b"")
    assert sorted(each.get("source_port", 0) for each in told) == [0, 1023]
    assert "Source port 1023 is in use" in str(told)
