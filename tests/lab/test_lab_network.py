"""Every feature of a lab is seen on the wire, and traces agree with the topology file."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.lab import Answer, Lab, load_topology
from nornir_tcptraceroute.lab.reading import shipped

if TYPE_CHECKING:
    from .conftest import LabFactory, Prober

FAMILIES = (4, 6)
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
UNREACHABLE = {4: 3, 6: 1}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
SYN_ACK, RST = 0x12, 0x04
# Labs whose routers answer by chance or now and then.
IRREGULAR = {"loss", "ratelimit"}

TWO_NETWORKS = """
description: Two networks beside each other, one for each family
vantage: client
hosts: {client: , server: {services: [80]}}
routers: {four: , six: }
links:
  - {between: [client, four], ipv6: false}
  - {between: [four, server], ipv6: false}
  - {between: [client, six], ipv4: false}
  - {between: [six, server], ipv4: false}
"""

TWINS = """
description: Two routers side by side that have the same address, and a way back that is not the way there
vantage: client
hosts: {client: , server: {services: [80]}}
routers:
  r1: {multipath: true}
  twin1:
  twin2:
  merge: {routes: {client: twin2}}
links:
  - [client, r1]
  - {between: [r1, twin1], ipv4: [10.50.0.1/24, 10.50.0.2/24], ipv6: ["fd00:50::1/64", "fd00:50::2/64"]}
  - {between: [r1, twin2], ipv4: [10.50.0.1/24, 10.50.0.2/24], ipv6: ["fd00:50::1/64", "fd00:50::2/64"]}
  - [twin1, merge]
  - [twin2, merge]
  - [merge, server]
"""

HOST_REFUSES = """
description: The server itself refuses, and a source that is translated to a given address
vantage: client
hosts:
  client:
  server: {services: [80], firewall: [{port: 81, do: host-prohibited}, {port: 82, do: reset}, {do: drop, port: [83, 84]}]}
routers:
  r1: {addresses: [198.51.100.7], snat: [{out: r2, address: 198.51.100.7}]}
  r2:
links:
  - [client, r1, r2, server]
"""


def expected(answer: Answer, family: int, *, ending: str) -> tuple[Any, ...]:
    """What a prober must tell of an answer: kind, type and code."""
    if answer.kind == "time_exceeded":
        return ("icmp", *TIME_EXCEEDED[family])
    if answer.kind == "unreachable":
        return ("icmp", UNREACHABLE[family], answer.code)
    if answer.kind == "tcp":
        return ("tcp", SYN_ACK if ending == "open" else RST, None)
    return (None, None, None)


def told(reply: dict[str, Any]) -> tuple[Any, ...]:
    if reply["kind"] == "tcp":
        # A RST that answers a SYN acknowledges it as well (RFC 9293 section 3.10.7.1).
        return ("tcp", SYN_ACK if reply["flags"] & SYN_ACK == SYN_ACK else reply["flags"] & RST, None)
    return (reply["kind"], reply.get("type"), reply.get("code"))


def assert_truth(lab: Lab, prober: Prober, destination: str, family: int, **options: Any) -> list[dict[str, Any]]:
    """A trace shows one of the paths of the topology file: addresses, kinds and codes, hop by hop. Returns the replies."""
    port = options.get("port", 80)
    paths = lab.truth.paths(lab.topology.vantage, destination, family=family, port=port)
    address = lab.truth.address(destination, family) if destination in lab.topology.nodes else destination
    silent = [hop.ttl for path in paths for hop in path.hops if hop.kind == "silent"]
    replies = prober(lab, address, last_ttl=max(len(path.hops) for path in paths), silent_ttls=silent, **options)
    seen = [reply["address"] for reply in replies]
    matching = [path for path in paths if path.matches(seen)]
    assert matching, (seen, [path.addresses for path in paths])
    kinds = [expected(hop, family, ending=matching[0].end) for hop in matching[0].hops]
    assert [told(reply) for reply in replies] == kinds
    return replies


def destinations(name: str) -> list[tuple[str, str, int]]:
    """All that can be traced to from the client of a shipped lab."""
    topology = load_topology(name)
    routers = [router for router in topology.routers.values() if router]
    translated = [str(rule.address) for router in routers for rule in router.dnat]
    translated += [str(rule.address) for router in routers for rule in router.rewrite]
    # A router in the middle, where there is one, as a target, and every host.
    middle = list(topology.routers)[len(topology.routers) // 2 :][:1]
    nodes = [(name, node, family) for node in (*middle, *topology.hosts) if node != topology.vantage for family in FAMILIES]
    return nodes + [(name, address, 6 if ":" in address else 4) for address in translated]


@pytest.mark.parametrize(
    ("name", "destination", "family"), [case for name in shipped() if name not in IRREGULAR for case in destinations(name)]
)
def test_a_trace_shows_what_the_topology_file_says(
    lab: LabFactory, prober: Prober, name: str, destination: str, family: int
) -> None:
    assert_truth(lab(name), prober, destination, family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", [80, 81, 82, 83, *range(1000, 1004), *range(1005, 1016), *range(2000, 2007)])
def test_ports(lab: LabFactory, prober: Prober, port: int, family: int) -> None:
    assert_truth(lab("ports"), prober, "server", family, port=port)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", [22, 23, 25, 80, 161, 443, 3389, 9999])
def test_ports_of_the_demo(lab: LabFactory, prober: Prober, port: int, family: int) -> None:
    assert_truth(lab("demo"), prober, "server", family, port=port)


@pytest.mark.parametrize("port", [80, 81, 82, 83, 84, 85])
def test_a_host_that_refuses_behind_a_translated_source(lab: LabFactory, prober: Prober, port: int) -> None:
    replies = assert_truth(lab(HOST_REFUSES), prober, "server", 4, port=port)
    # The translation shows nowhere: the router that did it undoes it in what is quoted.
    assert {reply["quote"][24:32] for reply in replies if "quote" in reply} == {"0a010001"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["ecmp", "demo"])
def test_flows_share_equal_paths_and_each_keeps_to_one(lab: LabFactory, prober: Prober, name: str, family: int) -> None:
    network = lab(name)
    paths = network.truth.paths("client", "server", family=family)
    taken = set()
    # Each flow takes one of up to four paths by a hash of its ports: that 40 flows leave one out has a chance of 4 * 0.75 ** 40 <
    # 0.0001.
    for _ in range(40):
        replies = prober(network, network.truth.address("server", family), silent_ttls=[6] if name == "demo" else [])
        matching = [path for path in paths if path.matches([reply["address"] for reply in replies])]
        assert matching
        taken.update(matching)
        if len(taken) == len(paths):
            break
    # Kernels before 6.11 have one seed for all routers: a flow that goes left once goes left everywhere.
    seeded = Path("/proc/sys/net/ipv4/fib_multipath_hash_seed").exists()
    assert len(taken) == (len(paths) if seeded else 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_host_with_one_network_for_each_family(lab: LabFactory, prober: Prober, family: int) -> None:
    network = lab(TWO_NETWORKS)
    assert network.truth.path("client", "server", family=family).nodes == ({4: "four", 6: "six"}[family], "server")
    assert_truth(network, prober, "server", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_routers_with_one_address(lab: LabFactory, prober: Prober, family: int) -> None:
    network = lab(TWINS)
    shown = {path.nodes: path.addresses[1] for path in network.truth.paths("client", "server", family=family)}
    assert shown == dict.fromkeys(
        [("r1", twin, "merge", "server") for twin in ("twin1", "twin2")], {4: "10.50.0.2", 6: "fd00:50::2"}[family]
    )
    for _ in range(8):
        assert_truth(network, prober, "server", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loop_shows_two_routers_until_the_last_ttl(lab: LabFactory, family: int) -> None:
    path = lab("loop").truth.path("client", "server", family=family, max_ttl=9)
    assert path.nodes == ("r1", "r2", "r3", "r2", "r3", "r2", "r3", "r2", "r3")
    assert path.end == "max_ttl"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shifted_sequence_shows_in_quotes_and_not_in_answers(lab: LabFactory, prober: Prober, family: int) -> None:
    replies = assert_truth(lab("sequence"), prober, "server", family, sequence=1000)
    quoted = [reply["quoted_sequence"] for reply in replies[:-1]]
    # r1 and the shifter itself see the original; what is behind them does not.
    assert quoted == [1001, 1002, 1003 + 2**31, 1004 + 2**31]
    assert replies[-1]["acknowledged"] == 1000 + 5 + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_works_through_a_shifted_sequence(lab: LabFactory, family: int) -> None:
    network = lab("sequence")
    program = "import socket, sys; c = socket.create_connection((sys.argv[1], 80), 10); print(c.recv(9)); c.close()"
    ended = network.run("client", [sys.executable, "-c", program, network.truth.address("server", family)])
    assert ended.stdout == "b''\n", ended.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_rewritten_shows_in_quotes(lab: LabFactory, prober: Prober, family: int) -> None:
    # MSS 1460, SACK permitted, timestamp, NOP, window scale 7.
    options = "020405b40402080a000000010000000001030307"
    replies = assert_truth(lab("rewrite"), prober, "server", family, tos=0xB9, options=options)
    classes = [
        (int(reply["quote"][:4], 16) if family == 4 else int(reply["quote"][:4], 16) >> 4) & 0xFF for reply in replies[:-1]
    ]
    # r1, marker, clamper, stripper, r5: each quotes what came in, so a change shows one hop later.
    assert classes == [0xB9, 0xB9, 0x20, 0x20, 0x20]
    shown = [reply["transport"][40:80] for reply in replies[:-1]]
    clamped = options.replace("05b4", "03e8")
    stripped = clamped.replace("0402", "0101").replace("080a0000000100000000", "01" * 10)
    assert shown == [options, options, options, clamped, stripped]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_rewritten_keeps_its_checksums(lab: LabFactory, family: int) -> None:
    network = lab("rewrite")
    program = "import socket, sys; c = socket.create_connection((sys.argv[1], 80), 10); print(c.getsockopt(6, 2)); c.close()"
    ended = network.run("client", [sys.executable, "-c", program, network.truth.address("server", family)])
    assert 0 < int(ended.stdout) <= 1000, ended.stderr  # 2 is TCP_MAXSEG


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lifted_ttl_hides_the_hops_behind(lab: LabFactory, family: int) -> None:
    path = lab("rewrite").truth.path("client", "far", family=family)
    assert path.nodes == ("r1", "marker", "clamper", "stripper", "r5", "lifter", "far")


@pytest.mark.parametrize(("address", "family"), [("203.0.113.90", 4), ("2001:db8::90", 6)])
def test_stateless_rewriting_shows_in_quotes(lab: LabFactory, prober: Prober, address: str, family: int) -> None:
    network = lab("nat")
    replies = assert_truth(network, prober, address, family)
    inside = network.truth.address("rewritten", family)
    start, end = {4: (16, 20), 6: (24, 40)}[family]
    kind = {4: "IPv4Address", 6: "IPv6Address"}[family]
    quoted = [_address(kind, bytes.fromhex(reply["quote"])[start:end]) for reply in replies[:-1]]
    assert quoted == [address, inside, inside]


def _address(kind: str, packed: bytes) -> str:
    import ipaddress

    return str(getattr(ipaddress, kind)(packed))


SNIFF = """
import ipaddress, socket, sys
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print("ready", flush=True)
while True:
    packet = packets.recv(9999)
    if packet[0] >> 4 == 4 and packet[9] == 6:
        print(ipaddress.ip_address(packet[12:16]))
        break
    if packet[0] >> 4 == 6 and packet[6] == 6:
        print(ipaddress.ip_address(packet[8:24]))
        break
"""


@pytest.mark.parametrize(
    ("topology", "node", "family", "source"),
    [("nat", "r3", 4, "10.3.0.1"), ("nat", "r3", 6, "fd00:3::1"), (HOST_REFUSES, "r2", 4, "198.51.100.7")],
)
def test_a_translated_source_is_what_the_next_router_sees(
    lab: LabFactory, prober: Prober, topology: str, node: str, family: int, source: str
) -> None:
    network = lab(topology)
    with network.popen(node, [sys.executable, "-c", SNIFF], stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout is not None
        assert sniffer.stdout.readline() == "ready\n"
        prober(network, network.truth.address("server", family), first_ttl=9, last_ttl=9)
        assert sniffer.stdout.readline() == f"{source}\n"


@pytest.mark.parametrize("address", ["203.0.113.80", "2001:db8::80"])
def test_destination_translation_hides_the_inside(lab: LabFactory, prober: Prober, address: str) -> None:
    replies = assert_truth(lab("nat"), prober, address, 6 if ":" in address else 4)
    # The translating router and those behind it answer in the name of the address that the outside knows.
    assert [reply["address"] for reply in replies[-3:]] == [address] * 3
    assert [reply["kind"] for reply in replies[-3:]] == ["icmp", "icmp", "tcp"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("payload", "node", "mtu"), [(1370, "r2", 1400), (1300, "r3", 1300)])
def test_an_mtu_step(lab: LabFactory, prober: Prober, payload: int, node: str, mtu: int, family: int) -> None:
    network = lab("mtu")
    (reply,) = prober(network, network.truth.address("server", family), first_ttl=60, last_ttl=60, payload=payload)
    position = {"r2": 1, "r3": 2}[node]
    assert reply["address"] == network.truth.path("client", "server", family=family).addresses[position]
    assert (reply["type"], reply["code"], reply["mtu"]) == (*TOO_BIG[family], mtu)


BURST = """
import socket, sys, time
family, protocol, offset, kind, *option = eval(sys.argv[2])
sending = socket.socket(family, socket.SOCK_DGRAM)
sending.setsockopt(*option, 5)
errors = socket.socket(family, socket.SOCK_RAW, protocol)
errors.setblocking(False)
start, sent, answered = time.monotonic(), 0, 0
while answered < 4:
    sending.sendto(b"x", (sys.argv[1], 33434))
    sent += 1
    try:
        answered += errors.recv(9999)[offset] == kind
    except BlockingIOError:
        pass
print(sent, answered, time.monotonic() - start)
"""


@pytest.mark.parametrize(
    ("family", "details"),
    [
        (4, "socket.AF_INET, 1, 20, 11, socket.IPPROTO_IP, socket.IP_TTL"),
        (6, "socket.AF_INET6, 58, 0, 3, 41, socket.IPV6_UNICAST_HOPS"),
    ],
)
def test_an_icmp_rate(lab: LabFactory, family: int, details: str) -> None:
    network = lab("ratelimit")
    ended = network.run("client", [sys.executable, "-c", BURST, network.truth.address("server", family), details])
    sent, answered, seconds = map(float, ended.stdout.split())
    # One may have been saved up; then ten come each second, however many are asked for.
    assert answered <= 2 + 10 * seconds
    assert sent > 2 * answered


def test_without_a_rate_every_probe_is_answered(lab: LabFactory, prober: Prober) -> None:
    network = lab("chain")
    for family in FAMILIES:
        counted = [
            len(prober(network, network.truth.address("server", family), first_ttl=1, last_ttl=11, waited_for=False))
            for _ in range(5)
        ]
        assert counted == [11] * 5


@pytest.mark.parametrize("family", FAMILIES)
def test_loss(lab: LabFactory, prober: Prober, family: int) -> None:
    network = lab("loss")
    server = network.truth.address("server", family)
    # TTLs above 255 are sent as 255; each of the 400 is answered by the closed port, if neither it nor its answer is lost: 0.8 *
    # 0.8.
    replies = prober(network, server, port=81, first_ttl=256, last_ttl=655, waited_for=False, wait=3.0)
    assert abs(len(replies) - 400 * 0.64) < 6 * (400 * 0.64 * 0.36) ** 0.5
    before = prober(network, server, first_ttl=3, last_ttl=3)
    assert before[0]["address"] == network.truth.path("client", "server", family=family).addresses[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_services_say_their_line_to_many(lab: LabFactory, family: int) -> None:
    network = lab("demo")
    program = """
import socket, sys
connections = [socket.create_connection((sys.argv[1], 80), 10) for _ in range(300)]
print({connection.makefile().read() for connection in connections})
"""
    ended = network.run("client", [sys.executable, "-c", program, network.truth.address("server", family)])
    assert ended.stdout == "{'hello from the lab\\n'}\n", ended.stderr


def test_names_are_known_and_nobody_is_asked(lab: LabFactory) -> None:
    network = lab("demo")
    program = """
import socket
print(sorted({entry[4][0] for entry in socket.getaddrinfo('core.lab', None)}))
print(socket.gethostbyaddr('10.2.0.2')[0], socket.gethostbyaddr('fd00:2::2')[0], socket.gethostname())
for asked in ('example.org', 'nobody.lab'):
    try:
        print(socket.getaddrinfo(asked, None))
    except socket.gaierror:
        print('unknown')
"""
    ended = network.run("client", [sys.executable, "-c", program])
    every = sorted([*network.truth.addresses("core", 4), *network.truth.addresses("core", 6)])
    assert ended.stdout.splitlines() == [str(every), "edge.lab edge.lab client", "unknown", "unknown"], ended.stderr


def test_every_node_has_only_its_own_network(lab: LabFactory) -> None:
    network = lab("demo")
    program = "import socket; print(sorted(name for _, name in socket.if_nameindex()))"
    for node in network.topology.nodes:
        ended = network.run(node, [sys.executable, "-c", program])
        assert ended.stdout == f"{sorted(['lo', *network.plan.nodes[node].interfaces])}\n"


def _classic(lines: str) -> list[str | None]:
    """The addresses of a numeric hop table, hop by hop."""
    found = re.findall(r"^ *\d+ +(\*|[0-9a-f.:]+)", lines, re.MULTILINE)
    return [None if address == "*" else address for address in found]


def _scamper(lines: str) -> list[str | None]:
    return _classic("\n".join(lines.splitlines()[1:]))


def _mtr(lines: str) -> list[str | None]:
    """The addresses of mtr's report, hop by hop."""
    found = re.findall(r"^ *\d+\.\|-- (\S+)", lines, re.MULTILINE)
    return [None if address == "???" else address for address in found]


CLASSIC = {
    "mtr": (["mtr", "-T", "-P", "80", "-n", "-r", "-c", "1", "-G", "1"], FAMILIES, _mtr),
    "tcptraceroute": (["tcptraceroute", "-n", "-q", "1", "-w", "1"], (4,), _classic),
    "traceroute": (["traceroute", "-T", "-n", "-p", "80", "-w", "1"], FAMILIES, _classic),
    "scamper": (["scamper", "-I"], FAMILIES, _scamper),
}


@pytest.mark.parametrize(
    ("tool", "name", "family"),
    [
        (tool, name, family)
        for tool, (_, families, _) in CLASSIC.items()
        for name in ("chain", "silent", *["ecmp"] * (tool != "mtr"))  # mtr makes each probe another flow.
        for family in families
    ],
)
def test_classic_tools_tell_the_same(lab: LabFactory, tool: str, name: str, family: int) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    network = lab(name)
    command, _, read = CLASSIC[tool]
    address = network.truth.address("server", family)
    argv = [*command, f"trace -P tcp -d 80 -q 1 -w 1 {address}"] if tool == "scamper" else [*command, address]
    if (tool, name) == ("traceroute", "ecmp"):
        argv += ["--sport=41000"]  # Else each probe is another flow.
    ended = network.run("client", argv)
    if tool == "scamper" and "could not setgroups" in ended.stderr:
        pytest.skip("scamper sets its groups, which a user namespace of an ordinary user doesn't allow")
    seen = read(ended.stdout)
    assert any(path.matches(seen) for path in network.truth.paths("client", "server", family=family)), (
        ended.stdout,
        ended.stderr,
    )


def test_probe_checksums_are_whole(lab: LabFactory, prober: Prober) -> None:
    """The prober's own segments are well-formed: the server answers them, which it does for right checksums only."""
    network = lab("chain")
    (reply,) = prober(network, network.truth.address("server"), first_ttl=64, last_ttl=64, payload=3)
    assert struct.pack("!I", reply["acknowledged"]) == struct.pack("!I", 1000 + 64 + 1)
