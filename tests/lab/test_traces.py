"""Traces through real routers: what the probe records is what the topology file says, and what other tools see."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute import Trace

if TYPE_CHECKING:
    from .conftest import Lab, LabFactory

PROBE = [sys.executable, "-m", "nornir_tcptraceroute.probe"]


def run_probe(lab: Lab, *requests: dict[str, Any], node: str = "client") -> list[Trace]:
    """Run requests at the same time in one process on a node of a lab."""
    lines = "".join(json.dumps({"names": "none", **request}) + "\n" for request in requests)
    ended = lab.run(node, PROBE, stdin=None, input=lines)
    assert ended.returncode == 0, ended.stderr
    return [Trace.from_dict(json.loads(line)) for line in ended.stdout.splitlines()]


def trace_one(lab: Lab, destination: str, family: int = 4, **options: Any) -> Trace:
    """Trace to a node's first address, or to an address, from the client."""
    address = destination if re.search(r"[.:]", destination) else lab.truth.address(destination, family)
    (trace,) = run_probe(lab, {"destination": address, **options})
    return trace


def seen(trace: Trace) -> list[str | None]:
    """The address of each hop."""
    return [hop.address for hop in trace.hops]


WHOLE_PATHS = ["chain", "ecmp", "silent", "demo", "rewrite", "sequence", "ratelimit", "mtu"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("network", WHOLE_PATHS)
def test_the_path_is_the_topologys(lab: LabFactory, network: str, family: int) -> None:
    here = lab(network)
    trace = trace_one(here, "server", family)
    paths = here.truth.paths("client", "server", family=family)
    assert any(path.matches(seen(trace)) for path in paths), seen(trace)
    assert (trace.reached, trace.port_state, trace.stop_reason) == (True, "open", "reached")
    assert {hop.silence for hop in trace.hops if hop.address is None} <= {"silent"}
    assert all(hop.loss == 0 for hop in trace.hops if hop.address), trace.hops


PORTS_4 = [
    (80, "open"),
    (79, "closed"),
    (81, "filtered"),
    (82, "closed"),
    (1009, "filtered"),
    (1010, "filtered"),
    (1013, "filtered"),
]
PORTS_4 += [(port, "unreachable") for port in (1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1011, 1012, 1014, 1015)]
PORTS_6 = [
    (80, "open"),
    (79, "closed"),
    (81, "filtered"),
    (82, "closed"),
    (2001, "filtered"),
    (2005, "filtered"),
    (2006, "filtered"),
]
PORTS_6 += [(port, "unreachable") for port in (2000, 2002, 2003, 2004)]


@pytest.mark.parametrize(("family", "port", "state"), [(4, *row) for row in PORTS_4] + [(6, *row) for row in PORTS_6])
def test_every_port_state_and_unreachable_code_is_told(lab: LabFactory, family: int, port: int, state: str) -> None:
    here = lab("ports")
    trace = trace_one(here, "server", family, port=port, max_ttl=8)
    path = here.truth.path("client", "server", family=family, port=port, max_ttl=8)
    assert trace.port_state == state
    # Silence that goes on is one hop in the topology's words.
    assert path.matches(seen(trace)[: len(path.hops)])
    assert not any(seen(trace)[len(path.hops) :])
    if 1000 <= port < 1016 or 2000 <= port < 2007:
        last = trace.hops[-1].replies[0]
        assert (last.kind, last.icmp_type, last.icmp_code) == ("unreachable", 3 if family == 4 else 1, port % 1000)
        assert (trace.stop_reason, trace.reached) == ("unreachable", False)


@pytest.mark.parametrize("family", [4, 6])
def test_a_sequence_shifted_on_the_path_is_matched_and_recorded(lab: LabFactory, family: int) -> None:
    trace = trace_one(lab("sequence"), "server", family)
    altered = [{reply.altered for reply in hop.replies} for hop in trace.hops]
    # The shifter is the second router: its own answer quotes the probe as it came, the others' as it went on.
    assert altered == [{()}, {()}, {("sequence",)}, {("sequence",)}, {()}]
    assert trace.port_state == "open"


@pytest.mark.parametrize("destination", ["203.0.113.80", "203.0.113.90", "2001:db8::80", "2001:db8::90"])
def test_behind_nat_the_path_is_whole(lab: LabFactory, destination: str) -> None:
    here = lab("nat")
    trace = trace_one(here, destination)
    (path,) = here.truth.paths("client", destination)
    assert path.matches(seen(trace)), (seen(trace), path)
    assert trace.port_state == "open"
    rewritten = {name for hop in trace.hops for reply in hop.replies for name in reply.altered}
    # A stateful NAT translates the quotes back, a stateless one shows what it did.
    assert rewritten == ({"address"} if destination.endswith("90") else set())


@pytest.mark.parametrize("family", [4, 6])
def test_a_routing_loop_is_shown_to_the_last_ttl(lab: LabFactory, family: int) -> None:
    here = lab("loop")
    trace = trace_one(here, "server", family, max_ttl=20)
    assert here.truth.path("client", "server", family=family, max_ttl=20).matches(seen(trace))
    assert (trace.stop_reason, trace.port_state, len(trace.hops)) == ("max_ttl", "unknown", 20)


def test_a_packet_longer_than_a_link_carries_is_refused_there_with_the_mtu(lab: LabFactory) -> None:
    trace = trace_one(lab("mtu"), "server", length=1350, dont_fragment=True)
    last = trace.hops[-1].replies[0]
    assert (last.kind, last.icmp_code, last.mtu) == ("unreachable", 4, 1300)
    trace = trace_one(lab("mtu"), "server", 6, length=1350)
    last = trace.hops[-1].replies[0]
    assert (last.kind, last.icmp_type, last.mtu) == ("unreachable", 2, 1300)


SHAPES = [
    {"flags": "SYN,ECE,CWR"},
    {"flags": "ACK"},
    {"flags": "SYN,ACK"},
    {"flags": "FIN,PSH,URG"},
    {"tcp_options": "mss"},
    {"tcp_options": "linux"},
    {"length": 600},
    {"tos": 0x88},
    {"dont_fragment": True},
    {"source_port": 33333},
    {"queries": 1},
    {"parallel": 1},
    {"parallel": 30},
    {"first_ttl": 3},
]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(f"{key}={value}" for key, value in shape.items()))
def test_every_shape_of_probe_shows_the_same_path(lab: LabFactory, shape: dict[str, Any], family: int) -> None:
    here = lab("chain")
    # A live port answers no segment without SYN, RST or ACK, a closed one does (RFC 9293 section 3.10.7).
    port = 79 if shape.get("flags") == "FIN,PSH,URG" else 80
    trace = trace_one(here, "server", family, port=port, **shape)
    path = here.truth.path("client", "server", family=family)
    first = shape.get("first_ttl", 1)
    assert seen(trace) == list(path.addresses)[first - 1 :]
    syn_alone = "ACK" not in shape.get("flags", "SYN").split(",") and "SYN" in shape.get("flags", "SYN")
    assert trace.port_state == ("open" if syn_alone else "unknown")
    if shape.get("flags") == "SYN,ECE,CWR":
        assert trace.hops[-1].replies[0].tcp_flags in ("SYN,ACK", "SYN,ACK,ECE")


def test_a_server_that_does_ecn_answers_an_ecn_syn_so(lab: LabFactory) -> None:
    here = lab("chain")
    assert here.run("server", ["sysctl", "-w", "net.ipv4.tcp_ecn=1"]).returncode == 0
    assert trace_one(here, "server", flags="SYN,ECE,CWR").hops[-1].replies[0].tcp_flags == "SYN,ACK,ECE"


@pytest.mark.parametrize("family", [4, 6])
def test_no_half_open_connection_stays_at_the_destination(lab: LabFactory, family: int) -> None:
    here = lab("chain")
    trace = trace_one(here, "server", family, queries=10)
    assert trace.port_state == "open"
    table = here.run("server", ["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout
    # State 03 is SYN_RECV.
    assert not [line for line in table.splitlines() if len(line.split()) > 3 and line.split()[3] == "03"]


def test_the_flow_is_one_and_keeps_to_one_of_the_equal_paths(lab: LabFactory) -> None:
    here = lab("ecmp")
    traces = run_probe(here, *({"destination": here.truth.address("server"), "queries": 5} for _ in range(16)))
    paths = here.truth.paths("client", "server")
    for trace in traces:
        assert all(len(hop.addresses) == 1 for hop in trace.hops)
        assert any(path.matches(seen(trace)) for path in paths)
    assert len({tuple(seen(trace)) for trace in traces}) > 1


def test_fifty_traces_of_one_target_in_one_process_do_not_mix(lab: LabFactory) -> None:
    here = lab("ecmp")
    destination = here.truth.address("server")
    traces = run_probe(here, *({"destination": destination, "port": 80} for _ in range(50)))
    paths = here.truth.paths("client", "server")
    assert len({trace.source_port for trace in traces}) == len(traces) == 50
    for trace in traces:
        assert any(path.matches(seen(trace)) for path in paths)
        assert all(reply.kind in ("time_exceeded", "tcp") and not reply.duplicate for hop in trace.hops for reply in hop.replies)
        assert not [name for name in trace.counters if name.startswith("ignored")]


def test_fifty_processes_that_trace_one_target_do_not_mix(lab: LabFactory) -> None:
    here = lab("ecmp")
    request = json.dumps({"destination": here.truth.address("server"), "names": "none"})
    processes = [here.popen("client", PROBE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(50)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(request)
        process.stdin.close()
        process.stdin = None
    paths = here.truth.paths("client", "server")
    for process in processes:
        trace = Trace.from_dict(json.loads(process.communicate()[0]))
        assert any(path.matches(seen(trace)) for path in paths)
        assert not [name for name in trace.counters if name.startswith("ignored")]


OTHERS: dict[str, tuple[list[str], str]] = {
    "tcptraceroute": (["-n", "-q", "1", "{}", "80"], r"^ *(\d+)  (\S+)"),
    "traceroute": (["-T", "-n", "-q", "1", "-p", "80", "{}"], r"^ *(\d+)  (\S+)"),
    "mtr": (["-T", "-n", "-P", "80", "-c", "1", "-r", "{}"], r"^ *(\d+)\.\|-- (\S+)"),
    "scamper": (["-O", "text", "-I", "trace -P tcp -d 80 {}"], r"^ *(\d+)  (\S+)"),
}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tool", OTHERS)
def test_other_tools_tell_the_same_hops(lab: LabFactory, tool: str, family: int) -> None:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not installed")
    if (tool, family) == ("tcptraceroute", 6):
        pytest.skip("the classic tool knows no IPv6")
    here = lab("chain")
    destination = here.truth.address("server", family)
    arguments, pattern = OTHERS[tool]
    ended = here.run("client", [program, *(argument.format(destination) for argument in arguments)])
    hops = dict(re.findall(pattern, ended.stdout, re.MULTILINE))
    if not hops:
        pytest.skip(f"{tool} can't trace here: {(ended.stderr or ended.stdout).strip()[:100]}")
    trace = trace_one(here, "server", family, queries=1)
    assert [hops.get(str(hop.ttl), "*") for hop in trace.hops] == [hop.address for hop in trace.hops]


def test_an_interface_asked_for_is_the_one_that_the_probes_leave_through(lab: LabFactory) -> None:
    here = lab(TWO_WAYS)
    destination = here.truth.address("server")
    by_route = trace_one(here, "server")
    for interface in ("left", "right"):
        trace = trace_one(here, destination, interface=interface)
        assert (trace.interface, trace.hops[0].address) == (interface, first_hop(here, interface))
    assert by_route.interface is None


TWO_WAYS = """
description: Two ways to a server, which the client's flows share
vantage: client
target: server
hosts:
  client: {routes: {server: [left, right]}}
  server: {services: [80]}
routers: {left: , right: , far: }
links:
  - [client, left, far]
  - [client, right, far]
  - [far, server]
"""


def first_hop(lab: Lab, router: str) -> str:
    """The address of a router on its link to the client, which is its first."""
    return lab.truth.addresses(router)[0]


FORGER = """
import json, os, random, socket, struct, sys
def checksum(data):
    data += b"\\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 65535) + (total >> 16)
    return ~total & 65535
client, server, port, kinds = json.loads(sys.argv[1])
kinds = kinds.split(",")
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
a = socket.inet_aton
rand = random.Random(1)
for number in range(10000 * len(kinds)):
    kind = kinds[number % len(kinds)]
    sequence, identification = rand.getrandbits(32), rand.getrandbits(16)
    flow = [client, server, port, 80]
    wrong = {"source": (0, "192.0.2.1"), "address": (1, "192.0.2.2"), "source_port": (2, port ^ 1), "port": (3, 81)}
    if kind in wrong: flow[wrong[kind][0]] = wrong[kind][1]
    if kind in ("syn_ack", "rst"):
        segment = struct.pack("!HHIIBBHHH", 80, port, 1, sequence, 80, {"syn_ack": 18, "rst": 20}[kind], 1000, 0, 0)
        pseudo = a(server) + a(client) + struct.pack("!HH", 6, 20)
        segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
        body, protocol, source = segment, 6, server
    else:
        quote = struct.pack("!BBHHHBBH4s4s", 69, 0, 40, identification, 0, 1, 6, 0, a(flow[0]), a(flow[1]))
        quote += struct.pack("!HHI", flow[2], flow[3], sequence)
        icmp = struct.pack("!BBHI", 3 if kind == "unreachable" else 11, 13 if kind == "unreachable" else 0, 0, 0) + quote
        body, protocol, source = icmp[:2] + struct.pack("!H", checksum(icmp)) + icmp[4:], 1, "10.1.0.2"
    header = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(body), 0, 0, 64, protocol, 0, a(source), a(client))
    sender.sendto(header + body, (client, 0))
print("sent")
"""


@pytest.mark.parametrize("kinds", ["sequence,source,source_port,address,port", "unreachable,syn_ack,rst"])
def test_ten_thousand_real_forged_replies_of_each_kind_change_no_hop(lab: LabFactory, kinds: str) -> None:
    """The forger is a router on the path, so that nothing keeps its packets away; what it may not see, it guesses."""
    here = lab("chain")
    client, server = here.truth.address("client"), here.truth.address("server")
    honest = trace_one(here, "server", port=80)
    # One probe at a time, and hops beyond the server's that never answer, keep the trace open while the forger is at work.
    source_port = 40000
    forger = here.popen(
        "r1", [sys.executable, "-c", FORGER, json.dumps([client, server, source_port, kinds])], stdout=subprocess.PIPE, text=True
    )
    traces = []
    while forger.poll() is None:
        traces.append(trace_one(here, "server", port=80, source_port=source_port, queries=10))
    assert forger.communicate()[0] == "sent\n"
    ignored = sum(count for trace in traces for name, count in trace.counters.items() if name.startswith("ignored_"))
    assert ignored > 0
    for trace in traces:
        # (A flood may cost answers, which are asked for again; it never adds or changes one.)
        assert [hop.addresses for hop in trace.hops] == [hop.addresses for hop in honest.hops]
        assert not [reply for hop in trace.hops for reply in hop.replies if reply.duplicate or reply.altered]
        assert trace.port_state == "open"
