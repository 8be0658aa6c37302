"""Blocks and substitutions that a router really does: the verdict names the right hop, and none where nothing is blocked."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Lab, LabFactory

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = "from nornir_tcptraceroute.cli.nornir_tcptraceroute import main; sys.exit(main())"
COMMAND = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {PROGRAM}", "locate-block"]

# r1 is hop 1, the firewall 2, r3 3, r4 4, and the server 5; the two other hosts are behind the firewall too.
NETWORK = """
description: A port for every way to block it, and for every place
vantage: client
target: server
hosts:
  client:
  server:
    services: [80, 96, 101]
    firewall:
      - {port: 90, do: drop}
      - {port: 91, do: port-unreachable}
  near: {services: [97]}
  far: {services: [98]}
routers:
  r1:
  firewall:
    firewall:
      - {port: 81, do: drop}
      - {port: 82, do: reset}
      - {port: 1000, do: net-unreachable}
      - {port: 1001, do: host-unreachable}
      - {port: 1003, do: port-unreachable, family: 4}
      - {port: 1009, do: net-prohibited}
      - {port: 1010, do: host-prohibited}
      - {port: 1013, do: admin-prohibited, family: 4}
      - {port: 2000, do: no-route}
      - {port: 2001, do: admin-prohibited, family: 6}
      - {port: 2003, do: address-unreachable}
      - {port: 2004, do: port-unreachable, family: 6}
      - {port: 2005, do: policy-fail}
      - {port: 2006, do: reject-route}
  r3:
  r4:
    firewall:
      - {port: 92, do: reset}
      - {port: 93, do: drop}
  quiet: {silent: true}
links:
  - [client, r1, firewall, r3, r4, server]
  - [firewall, near]
  - [firewall, quiet, far]
"""

# What the topology file has no words for. NEAR and FAR are addresses.
RULES = {
    "client": """
table inet blocking { chain output { type filter hook output priority 0; tcp dport 95 drop; }; }
""",
    "r3": """
table inet blocking { chain arriving { type filter hook prerouting priority -300; tcp dport 94 drop; }; }
table inet rejecting {
  chain arriving { type filter hook prerouting priority 0; tcp dport 100 reject with icmpx admin-prohibited; }
}
table inet answers { chain passing { type filter hook forward priority 0; tcp sport 101 drop; }; }
""",
    "firewall": """
table inet blocking {
  chain arriving {
    type nat hook prerouting priority -100
    ip daddr SERVER4 tcp dport 97 dnat ip to NEAR4
    ip daddr SERVER4 tcp dport 98 dnat ip to FAR4
    ip6 daddr SERVER6 tcp dport 97 dnat ip6 to NEAR6
    ip6 daddr SERVER6 tcp dport 98 dnat ip6 to FAR6
  }
}
""",
}
SYN_PROXY = """
table inet proxy {
  chain arriving { type filter hook prerouting priority -300; tcp dport 96 tcp flags & (syn | ack) == syn notrack; }
  chain passing {
    type filter hook forward priority 0
    tcp dport 96 ct state invalid,untracked synproxy mss 1400 wscale 7 timestamp sack-perm
    tcp dport 96 ct state invalid drop
  }
}
"""


@dataclass(frozen=True)
class Case:
    """What the verdict on a port must be: ``places`` are the TTLs of passes, blocks and likely."""

    port: int
    verdict: str
    places: tuple[int | None, int | None, int | None]
    words: str = ""
    families: tuple[int, ...] = (4, 6)
    nft: bool = False


CASES = [
    Case(80, "open", (None, None, None)),
    Case(79, "closed", (None, None, None)),
    Case(81, "dropped", (2, 3, 2), "is dropped silently between hop 2 ("),
    Case(82, "substituted", (2, 3, 2), "is answered (RST/ACK) in its place by hop 2 ("),
    Case(90, "dropped", (4, 5, None), "and the destination itself (hop 5)"),
    Case(91, "rejected", (4, 5, 5), "by the destination itself (hop 5): port unreachable"),
    Case(92, "substituted", (4, 5, 4), "is answered (RST/ACK) in its place by hop 4 ("),
    Case(93, "dropped", (4, 5, None), "is dropped silently between hop 4 ("),
    Case(94, "dropped", (2, 3, 2), "else hop 3 (", nft=True),
    Case(95, "dropped", (None, 0, 0), "is dropped by the vantage itself", nft=True),
    Case(100, "rejected", (2, 3, 3), "communication administratively prohibited", nft=True),
    Case(101, "dropped", (4, 5, None), "or its answers on the way back", nft=True),
    Case(97, "substituted", (1, 2, 2), "SYN/ACK", nft=True),
    Case(98, "substituted", (1, 2, 2), "SYN/ACK", nft=True),
    Case(1000, "rejected", (1, 2, 2), "network unreachable (ICMP type 3 code 0)", (4,)),
    Case(1001, "rejected", (1, 2, 2), "host unreachable (ICMP type 3 code 1)", (4,)),
    Case(1003, "rejected", (1, 2, 2), "port unreachable (ICMP type 3 code 3)", (4,)),
    Case(1009, "rejected", (1, 2, 2), "network administratively prohibited (ICMP type 3 code 9)", (4,)),
    Case(1010, "rejected", (1, 2, 2), "host administratively prohibited (ICMP type 3 code 10)", (4,)),
    Case(1013, "rejected", (1, 2, 2), "communication administratively prohibited (ICMP type 3 code 13)", (4,)),
    Case(2000, "rejected", (1, 2, 2), "no route to destination (ICMPv6 type 1 code 0)", (6,)),
    Case(2001, "rejected", (1, 2, 2), "communication administratively prohibited (ICMPv6 type 1 code 1)", (6,)),
    Case(2003, "rejected", (1, 2, 2), "address unreachable (ICMPv6 type 1 code 3)", (6,)),
    Case(2004, "rejected", (1, 2, 2), "port unreachable (ICMPv6 type 1 code 4)", (6,)),
    Case(2005, "rejected", (1, 2, 2), "source address failed ingress/egress policy (ICMPv6 type 1 code 5)", (6,)),
    Case(2006, "rejected", (1, 2, 2), "reject route to destination (ICMPv6 type 1 code 6)", (6,)),
]


def load_rules(lab: Lab, node: str, rules: str) -> str:
    """Have a node load rules; tells why it can't."""
    for name in ("server", "near", "far"):
        for family in (4, 6):
            rules = rules.replace(f"{name.upper()}{family}", lab.truth.address(name, family))
    ended = lab.run(node, [shutil.which("nft") or "nft", "-f", "-"], stdin=None, input=rules)
    return "" if ended.returncode == 0 else str(ended.stderr)


def locate(lab: Lab, destination: str, port: int, family: int, *options: str) -> tuple[int, dict[str, Any]]:
    """What the command says of a port, as JSON, and its exit status."""
    arguments = [destination, str(port), f"-{family}", "--json", "--wait", "0.5", "--max-ttl", "8", *options]
    ended = lab.run("client", [*COMMAND, *arguments])
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


@pytest.fixture(scope="module")
def network(lab: LabFactory) -> Lab:
    return lab(NETWORK)


@pytest.fixture(scope="module")
def rules(network: Lab) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed, which loads the rules that a topology file has no words for")
    for node, text in RULES.items():
        assert load_rules(network, node, text) == ""


@pytest.mark.parametrize(
    ("case", "family"),
    [(case, family) for case in CASES for family in case.families],
    ids=lambda value: str(getattr(value, "port", value)),
)
def test_the_verdict_names_the_hop(network: Lab, request: pytest.FixtureRequest, case: Case, family: int) -> None:
    if case.nft:
        request.getfixturevalue("rules")
    working = "79" if case.port == 80 else "80"
    status, told = locate(network, "server", case.port, family, "--working", working)
    assert told["verdict"] == case.verdict, told["sentence"]
    places = [told[name] for name in ("passes", "blocks", "likely")]
    assert tuple(place and place["ttl"] for place in places) == case.places, told["sentence"]
    right = network.truth.path("client", "server", family=family).addresses
    for place in places:
        if place is not None and place["ttl"]:
            assert place["address"] == right[place["ttl"] - 1], told["sentence"]
    assert case.words in " ".join([told["sentence"], *told["notes"]])
    assert status == (0 if case.verdict in {"open", "closed"} else 1)


@pytest.mark.parametrize("family", [4, 6])
def test_a_syn_proxy_is_found(network: Lab, family: int) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed, which sets up a SYN proxy")
    refused = load_rules(network, "firewall", SYN_PROXY) if family == 4 else ""
    if refused:
        pytest.skip(f"this kernel has no SYN proxy in nftables: {refused.splitlines()[0]}")
    if network.run("firewall", ["sysctl", "-w", "net.netfilter.nf_conntrack_tcp_loose=0"]).returncode:
        pytest.skip("this kernel does not let a lab's router track connections strictly, as a SYN proxy needs")
    status, told = locate(network, "server", 96, family, "--working", "80")
    if not told["blocked"]["reached"]:
        pytest.skip("this kernel takes the rule for a SYN proxy and answers nothing")
    assert (status, told["verdict"], told["how"]) == (1, "substituted", "SYN/ACK"), told
    assert any("has window 0: a SYN proxy" in note for note in told["notes"])
    assert told["likely"]["ttl"] == 2
    assert told["likely"]["address"] == network.truth.path("client", "server", family=family).addresses[1]


@pytest.mark.parametrize("family", [4, 6])
def test_syn_beside_ack_to_the_same_port(network: Lab, family: int) -> None:
    # The reset takes SYNs alone in this rule of the router's; an ACK passes.
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed, which loads a rule for SYNs alone")
    chain = "type filter hook forward priority 0; tcp dport 99 tcp flags & (syn | ack) == syn drop;"
    rule = f"table inet syns {{ chain passing {{ {chain} }}; }}"
    assert family == 6 or load_rules(network, "r3", rule) == ""
    status, told = locate(network, "server", 99, family)
    assert (status, told["verdict"], told["likely"]["ttl"]) == (1, "dropped", 3), told["sentence"]
    assert told["sentence"].startswith("ACK to 99 reaches ")
    assert "; SYN to 99 is dropped silently between hop 3 (" in told["sentence"]


@pytest.mark.parametrize("family", [4, 6])
def test_where_nothing_works_beside_it_nothing_is_claimed(network: Lab, family: int) -> None:
    status, told = locate(network, "server", 81, family, "--working", "81" if family == 0 else "90")
    # 90 gets to the server's door, which 81 does not.
    assert (status, told["verdict"], told["likely"]["ttl"]) == (1, "dropped", 2), told["sentence"]
    assert "90 comes as far as hop 4 (" in told["sentence"]
    status, told = locate(network, "server", 90, family, "--working", "93")
    assert (status, told["verdict"], told["reason"]) == (3, "unknown", "nothing_works"), told["sentence"]


FORKED = """
description: Ways of one and of two routers that the flows share, and a firewall behind them
vantage: client
target: server
hosts:
  client:
  server: {services: [80]}
routers:
  fork: {multipath: true}
  a1:
  b1:
  b2:
  firewall:
    firewall:
      - {port: [9001, 9002, 9003, 9004], do: drop}
      - {port: [9005, 9006, 9007, 9008], do: reset}
  last:
links:
  - [client, fork]
  - {between: [fork, a1, firewall], cost: 3}
  - {between: [fork, b1, b2, firewall], cost: 2}
  - [firewall, last, server]
"""


@pytest.mark.parametrize("family", [4, 6])
def test_flows_that_go_different_ways_are_brought_together(lab: LabFactory, family: int) -> None:
    here = lab(FORKED)
    firewall, last = here.truth.addresses("firewall", family), here.truth.addresses("last", family)
    told = []
    for port in range(9001, 9009):
        _status, verdict = locate(here, "server", port, family, "--working", "80", "--max-ttl", "9")
        told.append(verdict["verdict"])
        if verdict["verdict"] in {"unknown", "closed"}:
            assert any("another way" in text for text in (verdict["sentence"], *verdict["notes"])), verdict["sentence"]
            continue
        assert verdict["verdict"] == ("dropped" if port < 9005 else "substituted"), verdict["sentence"]
        assert verdict["likely"]["address"] in firewall
        assert verdict["blocks"]["address"] in last
    # One working trace in two goes the same way, and nine are taken at most.
    assert told.count("unknown") + told.count("closed") <= 1


CLEAN = ["chain", "silent", "ratelimit", "ecmp", "demo", "loss"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", CLEAN)
def test_on_a_clean_network_nothing_is_called_blocked(lab: LabFactory, name: str, family: int) -> None:
    here = lab(name)
    for port, working in ((80, 79), (79, None)):
        options = ["--working", str(working)] if working else []
        _status, told = locate(here, "server", port, family, *options, "--max-ttl", "14")
        assert told["verdict"] in {"unknown", "open" if port == 80 else "closed"}, told["sentence"]


@pytest.mark.parametrize("family", [4, 6])
def test_beside_equal_paths_the_right_firewall_is_named(lab: LabFactory, family: int) -> None:
    here = lab("demo")
    status, told = locate(here, "server", 25, family, "--working", "80", "--max-ttl", "12")
    names = {here.truth.address("firewall", family), *here.truth.addresses("firewall", family)}
    assert (status, told["verdict"]) == (1, "dropped"), told["sentence"]
    assert told["passes"]["address"] in names
    assert told["blocks"]["role"] == "destination"
