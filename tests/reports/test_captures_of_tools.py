"""Captures of real tools in the lab, read back into the hop tables that the tools printed; and ours, opened by Wireshark."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from nornir_tcptraceroute.probe.records import Hop, Trace
from nornir_tcptraceroute.reports.pcap import read_pcap, write_pcap
from tests.reports.captures import pcap
from tests.reports.test_capture import assert_same_path
from tests.reports.test_pcap import survives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_tcptraceroute.lab import Lab

    LabFactory = Callable[[str], Lab]

#: Says that all before it has been captured; sent again and again, so that none can be lost.
MARK = b"the end of what was to be captured"
MARKER = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    while True:
        sender.sendto(sys.argv[2].encode(), (sys.argv[1], 9))
        time.sleep(0.01)
"""


class Run(NamedTuple):
    """What a tool printed, and what was captured meanwhile."""

    output: str
    capture: bytes


def program(*names: str, version: str = "", banner: str = "") -> str:
    """The path of the first of these that says what it is, as several tools bear one name."""
    for path in filter(None, map(shutil.which, names)):
        if not version:
            return path
        told = subprocess.run([path, version], capture_output=True, text=True, check=False)
        if re.search(banner, told.stdout + told.stderr):
            return path
    pytest.skip(f"{names[0]} is not installed")


def captured(lab: Lab, device: str, command: list[str]) -> Run:
    """Run a tool on the client while tcpdump writes what passes a device there."""
    # The buffer has room for as many packets as fit at their longest, so that is said to be short.
    short = ["-s", "2048", "-B", "8192", "--immediate-mode"]
    tcpdump = [program("tcpdump"), "-i", device, *short, "-U", "-Z", "root", "-w", "-"]
    neighbour = lab.truth.address(lab.topology.links[0].between[1])
    started = []
    try:
        listener = lab.popen("client", tcpdump, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(listener)
        assert listener.stdout is not None
        assert listener.stderr is not None
        said = [listener.stderr.readline()]
        while b"listening" not in said[-1]:
            if b"Operation not permitted" in said[-1] and os.geteuid():
                pytest.skip(f"as an ordinary user, even in a namespace: {said[-1].decode().strip()}")
            assert said[-1], said
            said.append(listener.stderr.readline())
        ended = lab.run("client", command)
        started.append(lab.popen("client", [sys.executable, "-c", MARKER, neighbour, MARK.decode()]))
        data = b""
        while MARK not in data:
            more = listener.stdout.read(65536)
            assert more, "tcpdump ended"
            data += more
        listener.terminate()
        data += listener.stdout.read()
    finally:
        for process in started:
            process.terminate()
            process.communicate()
    assert ended.returncode == 0, ended.stderr
    return Run(ended.stdout, data)


def printed(output: str) -> list[tuple[int, str, int]]:
    """Of each line of a traceroute without names: TTL, address, and how many times stand behind it."""
    lines = re.findall(r"^ *(\d+)  (\S+)((?: \[[\w, ]+\])?(?:  [0-9.]+ ms)+)", output, re.MULTILINE)
    return [(int(ttl), address, times.count(" ms")) for ttl, address, times in lines]


def shown(trace: Trace) -> list[tuple[int, str | None, int]]:
    """The same of a record."""
    return [(hop.ttl, hop.address, sum(answer.rtt_ms is not None for answer in hop.replies)) for hop in trace.hops]


def read(run: Run) -> Trace:
    (trace,) = read_pcap(io.BytesIO(run.capture))
    return trace


CLASSIC = ("tcptraceroute.mt", "/usr/bin/tcptraceroute", "/usr/sbin/tcptraceroute", "tcptraceroute")


@pytest.mark.parametrize("options", ["-n", "-n --track-port", "-n -A", "-n -q 1 -l 200", "-n -p 5555 -t 16 -F -S -E"])
@pytest.mark.parametrize("device", ["any", "r1"])
def test_the_classic_tools_run(lab: LabFactory, device: str, options: str) -> None:
    classic = program(*CLASSIC, version="-v", banner=r"(?m)^tcptraceroute 1\.5beta7$")
    run = captured(lab("chain"), device, [classic, *options.split(), "server.lab"])
    trace = read(run)
    assert shown(trace) == printed(run.output)
    assert len(trace.hops) == 12
    assert trace.reached
    # The classic tool calls the port closed that answers an ACK with RST.
    assert trace.port_state == ("unknown" if "-A" in options.split() else "open")
    assert "[open" in run.output or "-A" in options


@pytest.mark.parametrize("destination", ["203.0.113.80", "203.0.113.90"])
def test_the_classic_tools_run_through_address_translation(lab: LabFactory, destination: str) -> None:
    classic = program(*CLASSIC, version="-v", banner=r"(?m)^tcptraceroute 1\.5beta7$")
    run = captured(lab("nat"), "any", [classic, "-n", destination])
    trace = read(run)
    assert shown(trace) == printed(run.output)
    rewritten = {name for hop in trace.hops for answer in hop.replies for name in answer.altered}
    assert rewritten == ({"address"} if destination.endswith("90") else set())


@pytest.mark.parametrize(("port", "state"), [(9999, "closed"), (81, "filtered"), (1013, "filtered"), (1001, "unreachable")])
def test_the_classic_tools_run_to_ports_of_every_kind(lab: LabFactory, port: int, state: str) -> None:
    classic = program(*CLASSIC, version="-v", banner=r"(?m)^tcptraceroute 1\.5beta7$")
    command = [classic, "-n", "-w", "1", "-q", "1", "-m", "4", "server.lab", str(port)]
    # It ends with 1 where nothing answers.
    run = captured(lab("ports"), "any", ["sh", "-c", '"$@" || true', "sh", *command])
    trace = read(run)
    assert trace.port_state == state
    assert [line for line in shown(trace) if line[1]] == [line for line in printed(run.output) if line[1] != "*"]


@pytest.mark.parametrize("options", ["", "-N 1", "-q 5", "--sport=40000"])
@pytest.mark.parametrize("family", [4, 6])
def test_the_run_of_traceroute(lab: LabFactory, family: int, options: str) -> None:
    traceroute = program("traceroute", "/usr/sbin/traceroute", version="-V", banner="Modern traceroute")
    here = lab("chain")
    # Otherwise it may give up an answer that takes three times as long as another, which is no time here.
    patience = ["-w", "3,0,0"]
    command = [traceroute, "-T", "-n", f"-{family}", "-p", "80", *patience, *options.split(), "server.lab"]
    run = captured(here, "any", command)
    trace = read(run)
    assert shown(trace) == printed(run.output)
    assert [hop.address for hop in trace.hops] == list(here.truth.path("client", "server", family=family).addresses)
    assert (trace.family, trace.port_state, trace.probe.tcp_options) == (family, "open", "linux")
    assert bool(trace.warnings) is ("--sport" not in options)


@pytest.mark.parametrize("family", [4, 6])
def test_the_run_of_mtr(lab: LabFactory, family: int) -> None:
    mtr, here = program("mtr"), lab("chain")
    command = [mtr, "--tcp", "-n", f"-{family}", "-P", "80", "-c", "2", "-i", "0.1", "--report", "server.lab"]
    trace = read(captured(here, "any", command))
    assert [hop.address for hop in trace.hops] == list(here.truth.path("client", "server", family=family).addresses)
    assert all(len([answer for answer in hop.replies if answer.address]) >= 2 for hop in trace.hops)
    assert trace.port_state == "open"


@pytest.mark.parametrize("family", [4, 6])
def test_the_run_of_scamper(lab: LabFactory, family: int) -> None:
    scamper, here = program("scamper"), lab("chain")
    command = [scamper, "-c", "trace -P tcp -d 80 -q 1", "-i", here.truth.address("server", family)]
    trace = read(captured(here, "any", command))
    assert [hop.address for hop in trace.hops] == list(here.truth.path("client", "server", family=family).addresses)
    assert trace.port_state == "open"


def ours(lab: Lab, family: int, node: str = "server") -> list[str]:
    request = json.dumps({"destination": lab.truth.address(node, family), "names": "none", "evidence": "all"})
    return ["sh", "-c", f"echo '{request}' | {sys.executable} -m nornir_tcptraceroute.probe"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("network", ["chain", "sequence", "rewrite", "silent"])
def test_our_own_run_is_what_was_captured_and_what_we_write(lab: LabFactory, network: str, family: int) -> None:
    run = captured(lab(network), "any", ours(lab(network), family))
    record = Trace.from_dict(json.loads(run.output))
    assert_same_path(record, written(record))
    of_tcpdump = read(run)
    assert [hop.address for hop in of_tcpdump.hops] == [hop.address for hop in record.hops]
    assert of_tcpdump.port_state == record.port_state
    assert [altered(hop) for hop in of_tcpdump.hops] == [altered(hop) for hop in record.hops]
    assert of_tcpdump.counters["sent"] == record.counters["sent"]
    # The probes are the same to the byte.
    assert packets(of_tcpdump, "sent") == packets(record, "sent")


def written(record: Trace) -> Trace:
    file = io.BytesIO()
    write_pcap(record, file)
    file.seek(0)
    (again,) = read_pcap(file)
    return again


def altered(hop: Hop) -> set[str]:
    return {name for answer in hop.replies for name in answer.altered}


def packets(trace: Trace, direction: str) -> list[str]:
    return [packet.data for packet in trace.packets or () if packet.direction == direction]


@pytest.mark.parametrize("family", [4, 6])
def test_wireshark_has_nothing_to_say_of_our_packets(lab: LabFactory, tmp_path: Path, family: int) -> None:
    tshark = program("tshark")
    here = lab("chain")
    record = Trace.from_dict(json.loads(here.run("client", ours(here, family)).stdout))
    path = tmp_path / "trace.pcap"
    assert write_pcap(record, path) == len(record.packets or ())
    bad = ["_ws.malformed", "ip.checksum.status == 0", "icmp.checksum.status == 0", "icmpv6.checksum.status == 0"]
    # (A server whose network card is to sum up its segments has not done so where no card is: between namespaces.)
    bad.append("(tcp.checksum.status == 0 and tcp.dstport == 80)")
    checks = [word for name in ("ip", "tcp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    for query, expected in ((" or ".join(bad), 0), ("tcp or icmp or icmpv6", len(record.packets or ()))):
        done = subprocess.run([tshark, "-r", path, *checks, "-Y", query], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == expected


def test_every_truncation_of_a_capture_is_survived(lab: LabFactory) -> None:
    here = lab("ports")
    data = captured(here, "any", ours(here, 4)).capture
    for length in range(0, len(data), 1 + len(data) // 500):
        survives(data[:length])
    assert len(data) > len(pcap([]))
