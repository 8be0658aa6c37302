"""Topology files: what is refused and how, and what follows from one, without bringing anything up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.lab import LabError, Topology, TopologyError, Truth, load_topology, parse_topology
from nornir_tcptraceroute.lab.blueprint import make_blueprint
from nornir_tcptraceroute.lab.plan import Plan, make_plan
from nornir_tcptraceroute.lab.reading import shipped
from nornir_tcptraceroute.lab.topology import ACTIONS

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
description: A good one
vantage: client
target: server
hosts:
  client:
  server: {services: [80]}
routers:
  r1:
  r2: {silent: true}
links:
  - [client, r1, r2, server]
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


BAD = [
    ("", ["1: not a topology: a mapping with 'description', 'vantage', 'hosts', 'routers' and 'links'"]),
    ("- a\n", ["1: not a topology: a mapping with 'description', 'vantage', 'hosts', 'routers' and 'links'"]),
    ("a: [", ["1: not YAML: expected the node content, but found '<stream end>'"]),
    ("a: 1\na: 2\n", ['2: not YAML: found duplicate key "a" with value "2" (original value: "1")']),
    ("a: &x 1\nb: *x\n", ["2: an alias can't stand in a topology file"]),
    ("[" * 13 + "]" * 13, ["1: more than 12 levels"]),
    (
        "a: !!python/object:os.system {}\n",
        ["1: not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"],
    ),
    ("#" * (256 * 1024 + 1), ["1: the file is larger than 262144 bytes"]),
    ("a: \x01\n", ["1: not YAML: unacceptable character #x0001: special characters are not allowed"]),
    (
        "{description: A, vantage: a}",
        ["1: hosts: is missing", "1: links: is missing"],
    ),
    (changed("vantage: client", "vantage: r1"), ["2: vantage: 'r1' is not a host of this file"]),
    (changed("target: server", "target: nowhere"), ["3: target: 'nowhere' is neither a node of this file nor an address"]),
    (changed("services:", "service:"), ["6: hosts.server.service: is not a key that may stand here"]),
    (
        changed("[80]", "[0, 70000]"),
        [
            "6: hosts.server.services.0: 0: input should be greater than or equal to 1",
            "6: hosts.server.services.70000: 70000: input should be less than or equal to 65535",
        ],
    ),
    (
        changed("silent: true", "silent: perhaps"),
        ["9: routers.r2.silent: 'perhaps': input should be a valid boolean, unable to interpret input"],
    ),
    (changed("silent: true", "icmp_rate: 10"), ["9: routers.r2.icmp_rate: 10 is not a rate such as 10/s or 30/min"]),
    (changed("silent: true", "loss: 2"), ["9: routers.r2.loss: 2 is not a share above 0 and up to 1"]),
    (changed("silent: true", "loss: 0"), ["9: routers.r2.loss: 0 is not a share above 0 and up to 1"]),
    (changed("silent: true", "set_dscp: 64"), ["9: routers.r2.set_dscp: 64: input should be less than or equal to 63"]),
    (changed("silent: true", "set_ttl: 0"), ["9: routers.r2.set_ttl: 0: input should be greater than or equal to 1"]),
    (changed("silent: true", "services: [80]"), ["9: routers.r2.services: is not a key that may stand here"]),
    (changed("silent: true", "masquerade: client"), ["9: routers.r2.masquerade: 'client' is not a neighbour of 'r2'"]),
    (changed("silent: true", "shift_sequence: r9"), ["9: routers.r2.shift_sequence: 'r9' is not a neighbour of 'r2'"]),
    (
        changed("silent: true", "snat: [{out: client, address: 10.0.0.1}]"),
        ["9: routers.r2.snat.0.out: 'client' is not a neighbour of 'r2'"],
    ),
    (
        changed("silent: true", "routes: {server: client, nowhere: r1}"),
        [
            "9: routers.r2.routes.nowhere: 'nowhere' is neither a node nor a prefix",
            "9: routers.r2.routes.server: 'client' is not a neighbour of 'r2'",
        ],
    ),
    (
        changed("silent: true", 'dnat: [{address: 192.0.2.1, to: "::1"}]'),
        ["9: routers.r2.dnat.0.to: ::1 is not of the family of 192.0.2.1"],
    ),
    (
        changed("silent: true", "rewrite: [{address: 192.0.2.1, to: nobody}]"),
        ["9: routers.r2.rewrite.0.to: 'nobody' is neither a node nor an address"],
    ),
    (
        changed("silent: true", "firewall: [{port: 81, do: no-route, family: 4}]"),
        ["9: routers.r2.firewall.0: 'no-route' does not exist in IPv4"],
    ),
    (
        changed("silent: true", "set_ttl: 64, routes: {server: r1}"),
        ["9: routers.r2.set_ttl: can't stand in a file with routes, dnat or rewrite: packets that go round would never die"],
    ),
    (
        changed("  r1:\n", "  R1:\n"),
        [
            (
                "8: routers.R1: 'R1' is not a node name: up to 12 of a-z, 0-9 and '-', beginning with a letter, "
                "and not lo, all, default or localhost"
            ),
        ],
    ),
    (
        changed("  r1:\n", "  server:\n"),
        ["8: routers.server: 'server' is a host as well", "11: links.0: 'r1' is neither a host nor a router of this file"],
    ),
    (changed("[client, r1, r2, server]", "[client, r1, server]"), ["9: routers.r2: 'r2' has no link"]),
    (changed("[client, r1, r2, server]", "[client, r1, r1, r2, server]"), ["11: links.0: 'r1' is linked to itself"]),
    (
        changed("[client, r1, r2, server]", "{between: [client, r1, r2, server], mtu: 1000}"),
        ["11: links.0.mtu: 1000 is less than 1280, which IPv6 needs; say 'ipv6: false' for this link"],
    ),
    (
        changed("[client, r1, r2, server]", "{between: [client, r1, r2, server], ipv4: [10.0.0.1/24, 10.0.0.2/24]}"),
        ["11: links.0.ipv4: addresses are given for a link of two nodes, not for a chain"],
    ),
    (
        GOOD + "  - {between: [r1, r2], ipv4: [10.0.0.1/24, 10.0.1.2/24]}\n",
        ["12: links.1.ipv4: 10.0.0.1/24 and 10.0.1.2/24 are not two addresses of one prefix"],
    ),
    (GOOD + "  - [client, r1]\n" * 198, ["10: links: 201 links are more than 200"]),
    # All problems at once, each with its own line.
    (
        changed("vantage: client", "vantage: r1")
        .replace("silent: true", "masquerade: client")
        .replace("target: server", "target: x"),
        [
            "2: vantage: 'r1' is not a host of this file",
            "3: target: 'x' is neither a node of this file nor an address",
            "9: routers.r2.masquerade: 'client' is not a neighbour of 'r2'",
        ],
    ),
]


def plan_of(text: str) -> Plan:
    return make_plan(parse_topology(text))


@pytest.mark.parametrize(("text", "problems"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_bad_file_is_refused_whole_with_every_problem(text: str, problems: list[str]) -> None:
    with pytest.raises(TopologyError) as refused:
        parse_topology(text, "file.yaml")
    assert list(refused.value.problems) == [f"file.yaml:{problem}" for problem in problems]
    assert str(refused.value) == "\n".join(refused.value.problems)


def test_an_unknown_action_tells_all_there_are() -> None:
    with pytest.raises(TopologyError) as refused:
        parse_topology(changed("silent: true", "firewall: [{do: explode}]"), "file.yaml")
    (problem,) = refused.value.problems
    assert problem.startswith("file.yaml:9: routers.r2.firewall.0.do: 'explode': input should be 'drop', 'reset', ")
    assert all(repr(action) in problem for action in ACTIONS)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \xe9"])
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(content)
    with pytest.raises(TopologyError, match=r":1: not UTF-8 text$"):
        load_topology(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"none\.yaml' is neither a file nor a shipped lab \(chain, demo, "):
        load_topology(tmp_path / "none.yaml")
    with pytest.raises(LabError, match="Is a directory"):
        load_topology(tmp_path)


# What a simulating host plays is not in the file's plan: test_simulation.py has that.
@pytest.mark.parametrize("name", [name for name in shipped() if name != "simulated"])
def test_shipped_topologies_lead_somewhere(name: str) -> None:
    topology = load_topology(name)
    assert topology.target is not None
    target = topology.target
    paths = Truth(make_plan(topology)).paths(topology.vantage, target)
    assert {path.end for path in paths} == ({"max_ttl"} if name == "loop" else {"open"})


yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["r1", "client", "10.0.0.1/24", "10/s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["do", "port", "to", "r1"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(["hosts", "routers", "links", "vantage", "target", "description"]), yaml_values)
def test_whatever_stands_in_a_file_is_read_or_refused(key: str, value: Any) -> None:
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(GOOD)
    content[key] = value
    written = StringIO()
    yaml.dump(content, written)
    read_or_refused(written.getvalue())


options = [
    *Topology.model_fields,
    "silent",
    "firewall",
    "routes",
    "dnat",
    "rewrite",
    "snat",
    "loss",
    "strip_option",
    "between",
    "mtu",
    "ipv4",
]


@given(st.sampled_from(options), yaml_values)
def test_whatever_an_option_says_is_read_or_refused(option: str, value: Any) -> None:
    import json

    read_or_refused(changed("silent: true", f"{option}: {json.dumps(value, allow_nan=False) if not has_float(value) else 'x'}"))


def has_float(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(has_float(inner) for inner in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refused(text)


def read_or_refused(text: str) -> None:
    try:
        topology = parse_topology(text, "file.yaml")
    except TopologyError as error:
        told = error.problems
    else:
        make_blueprint(make_plan(topology))
        return
    assert told
    assert all(problem.startswith("file.yaml:") and "\n" not in problem for problem in told)


def test_addresses_follow_from_the_number_of_the_link() -> None:
    truth = Truth(plan_of(GOOD))
    assert [truth.addresses(node, 4) for node in ("client", "r1", "r2", "server")] == [
        ("10.1.0.1",),
        ("10.1.0.2", "10.2.0.1"),
        ("10.2.0.2", "10.3.0.1"),
        ("10.3.0.2",),
    ]
    assert [truth.address(node, 6) for node in ("client", "r1", "r2", "server")] == [
        "fd00:1::1",
        "fd00:1::2",
        "fd00:2::2",
        "fd00:3::2",
    ]


def test_the_way_is_the_shortest_by_cost() -> None:
    links = "[[a, r1], {between: [r1, r2], cost: 5}, [r1, r3, r2], [r2, b]]"
    text = f"{{description: D, vantage: a, hosts: {{a: , b: }}, routers: {{r1: , r2: , r3: }}, links: {links}}}"
    assert Truth(plan_of(text)).path("a", "b").nodes == ("r1", "r3", "r2", "b")


def test_no_way_leads_through_a_host() -> None:
    links = "[[a, r1, h, r2, b], [r1, r3, r2]]"
    text = f"{{description: D, vantage: a, hosts: {{a: , h: , b: }}, routers: {{r1: , r2: , r3: }}, links: {links}}}"
    assert Truth(plan_of(text)).path("a", "b").nodes == ("r1", "r3", "r2", "b")


def test_equal_ways_are_used_only_where_the_file_asks() -> None:
    links = "[[a, r1], [r1, x, r2], [r1, y, r2], [r2, b]]"
    ways = []
    for asked in ("{}", "{multipath: true}"):
        text = f"{{description: D, vantage: a, hosts: {{a: , b: }}, routers: {{r1: {asked}, x: , y: , r2: }}, links: {links}}}"
        ways.append([path.nodes for path in Truth(plan_of(text)).paths("a", "b")])
    assert ways == [[("r1", "x", "r2", "b")], [("r1", "x", "r2", "b"), ("r1", "y", "r2", "b")]]


def test_a_path_matches_what_a_trace_saw() -> None:
    path = Truth(plan_of(GOOD)).path("client", "server")
    assert path.addresses == ("10.1.0.2", None, "10.3.0.2")
    assert path.matches(["10.1.0.2", None, "10.3.0.2"])
    assert not path.matches(["10.1.0.2", "10.2.0.2", "10.3.0.2"])
    assert not path.matches(["10.1.0.2", None])
    assert not path.matches([None, None, "10.3.0.2"])


@pytest.mark.parametrize(
    ("rule", "family", "port", "nodes", "kinds", "end"),
    [
        ("{port: 80, do: drop}", 4, 80, ("r1", "r1"), ("time_exceeded", "silent"), "filtered"),
        ("{port: 80, do: drop, family: 6}", 4, 80, ("r1", "r2", "server"), ("time_exceeded", "time_exceeded", "tcp"), "open"),
        ("{port: [79, 80], do: net-prohibited}", 4, 80, ("r1", "r1"), ("time_exceeded", "unreachable"), "unreachable"),
        (
            "{port: [79, 80], do: net-prohibited}",
            6,
            80,
            ("r1", "r2", "server"),
            ("time_exceeded", "time_exceeded", "tcp"),
            "open",
        ),
        ("{do: reset}", 6, 9, ("r1", "r1"), ("time_exceeded", "tcp"), "closed"),
        ("{port: 80, do: drop}", 4, 81, ("r1", "r2", "server"), ("time_exceeded", "time_exceeded", "tcp"), "closed"),
    ],
)
def test_the_truth_about_a_firewall(
    rule: str, family: int, port: int, nodes: tuple[str, ...], kinds: tuple[str, ...], end: str
) -> None:
    text = GOOD.replace("  r1:\n", f"  r1: {{firewall: [{rule}]}}\n").replace("{silent: true}", "")
    path = Truth(plan_of(text)).path("client", "server", family=family, port=port)
    assert (path.nodes, tuple(hop.kind for hop in path.hops), path.end) == (nodes, kinds, end)


def test_the_truth_for_all_ways_together() -> None:
    truth = Truth(make_plan(load_topology("ecmp")))
    hops = truth.hops("client", "server")
    assert [len(hop) for hop in hops] == [1, 1, 2, 2, 2, 1, 2, 2, 2, 1]
    with pytest.raises(ValueError, match="4 ways lead from client to server"):
        truth.path("client", "server")
    with pytest.raises(KeyError, match="has no IPv6 address"):
        Truth(plan_of(changed("[client, r1, r2, server]", "{between: [client, r1, r2, server], ipv6: false}"))).path(
            "client", "server", family=6
        )
