"""What the controller makes of a task's traces: findings and names in the hops, with and without the package."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute import Hop, Trace
from nornir_tcptraceroute.lab import Lab, load_topology
from tests.ansible.controller import ROOT, Controller

Vantage = Callable[[Lab], Controller]
NETWORKS = {"west": ["10.2.0.0/16", "10.7.0.0/16"], "core": ["10.0.0.0/8"], "service": "10.14.0.0/24"}
VARIABLES = {"netprobe_networks": NETWORKS, "netprobe_devices": {"10.8.0.2": "core1", "10.14.0.2": ["db1", "db2"]}}
#: Whose alpha's hops are, with these.
NAMED = [(None, "west"), (None, "west"), ("core1", "core"), (None, "core"), ("db1, db2", "service")]


def task(arguments: dict[str, Any] | None = None, **keywords: Any) -> dict[str, Any]:
    whole = {"destination": "service", "port": 443, "family": 4, "names": "none", **(arguments or {})}
    return {"name": "Trace", "netprobe.path.tcptraceroute": whole, "register": "path", **keywords}


def trace_of(result: dict[str, Any]) -> Trace:
    return Trace.from_dict({"warnings": [], **result})


def named(result: dict[str, Any]) -> list[tuple[str | None, str | None]]:
    return [(hop.device, hop.network.name if hop.network else None) for hop in trace_of(result).hops]


def fields(hop: Hop) -> list[tuple[str, str, str, int | None]]:
    return [(found.field, found.sent, found.seen, found.after) for found in hop.modified or ()]


def test_what_the_path_rewrites_is_found_at_its_hop(vantage: Vantage) -> None:
    with Lab(load_topology("rewrite")) as lab:
        arguments = {"destination": "server", "port": 80, "tos": 184, "tcp_options": "linux"}
        played = vantage(lab).play({"tasks": [task(arguments), SHOW]})
        truth = [lab.truth.addresses(name, 4) for name in ("r1", "marker", "clamper", "stripper")]
    assert played.status == 0, played.printed
    trace = trace_of(played.kept["here"])
    hops = {address: hop for hop in trace.hops for address in hop.addresses}
    marker, clamper = (next(hop for address, hop in hops.items() if address in addresses) for addresses in truth[1:3])
    following = [trace.hops[hop.ttl] for hop in (marker, clamper)]
    assert ("dscp", "46", "8", marker.ttl) in fields(following[0])
    assert any(field == "mss" or "mss" in sent for field, sent, _, _ in fields(following[1]))
    assert "dscp 46 -> 8" in played.printed


SHOW = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ (path | netprobe.path.hop_table).splitlines() }}"}}


TELLING = """
description: A simulated network whose routers tell of themselves
vantage: client
target: 198.18.0.1
hosts:
  client:
  cloud: {simulates: {seed: 7, regions: [{prefix: 198.18.0.0/16, hops: 6, mpls: 3, interfaces: 4}]}}
links:
  - [client, cloud]
"""


def test_what_routers_tell_of_themselves_is_found_at_their_hop(vantage: Vantage, tmp_path: Path) -> None:
    (tmp_path / "telling.yaml").write_text(TELLING)
    with Lab(load_topology(tmp_path / "telling.yaml")) as lab:
        played = vantage(lab).play({"tasks": [task({"destination": "198.18.0.1", "port": 80}), SHOW]})
    assert played.status == 0, played.printed
    trace = trace_of(played.kept["here"])
    assert [hop.ttl for hop in trace.hops if hop.mpls] == [3]
    assert [hop.ttl for hop in trace.hops if hop.interface] == [4]
    assert re.search(r"^ +\"? *3 .*MPLS \d+ tc \d ttl \d+", played.printed, re.MULTILINE)
    assert {hop.network.kind for hop in trace.hops if hop.network} == {"benchmarking", "shared"}


@pytest.mark.parametrize("way", ["variables", "options", "inventory", "module_defaults"])
def test_hops_have_the_names_that_the_user_gave(controller: Controller, tmp_path: Path, way: str) -> None:
    play: dict[str, Any] = {"hosts": "alpha", "tasks": [task()]}
    extra: tuple[str, ...] = ()
    told = {name.removeprefix("netprobe_"): value for name, value in VARIABLES.items()}
    if way == "variables":
        # Rendered, as any variable of the user's is.
        play["vars"] = {**VARIABLES, "netprobe_networks": "{{ ours }}", "ours": NETWORKS}
    elif way == "options":
        play["vars"] = {"netprobe_networks": {"not this": "0.0.0.0/0"}}
        play["tasks"] = [task(told)]
    elif way == "module_defaults":
        play["module_defaults"] = {"group/netprobe.path.all": told}
    else:
        inventory = tmp_path / "inventory"
        (inventory / "host_vars").mkdir(parents=True)
        routers = {"core1": {"ansible_host": "10.8.0.2"}, "db1": {}, "db2": {"netprobe_addresses": ["10.14.0.2/24", "fe80::1"]}}
        hosts = {"routers": {"hosts": routers}, "all": {"vars": {"netprobe_networks": NETWORKS}}}
        (inventory / "routers.yaml").write_text(json.dumps(hosts))
        (inventory / "host_vars" / "db1.yaml").write_text("netprobe_addresses: [10.14.0.2]\n")
        extra = ("-i", str(inventory))
    played = controller.play(play, options=extra)
    assert played.status == 0, played.printed
    assert named(played.kept["alpha"]) == NAMED


#: With an inventory of a host that nobody answers for.
DEAD = "fleet: {hosts: {dead: {ansible_host: alpha, ansible_port: 2}}}\n"


@pytest.mark.parametrize(
    ("variables", "arguments", "message"),
    [
        ({"netprobe_networks": {"dc1": ["10.1.0.0/33"]}}, {}, "netprobe_networks.dc1[0]: '10.1.0.0/33' is not a prefix such as"),
        (
            {},
            {"networks": {"a": "10.0.0.0/8", "b": "10.0.0.0/8"}},
            "networks.b: 10.0.0.0/8 stands in networks.a too",
        ),
        ({}, {"networks": "dc1"}, "networks: 'dc1' is not a mapping such as"),
        ({}, {"asn_database": "/nowhere/to/be/found"}, "asn_database: '/nowhere/to/be/found' can't be read: No such file"),
        (
            {"netprobe_devices": {"core1": "10.0.0.1"}},
            {"port": 0},
            "port: 0 is not between 1 and 65535; netprobe_devices.core1:",
        ),
    ],
    ids=["variable", "twice", "no_mapping", "database", "with_others"],
)
def test_what_is_wrong_is_one_sentence_before_a_host_is_contacted(
    controller: Controller, tmp_path: Path, variables: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    (tmp_path / "dead.yaml").write_text(DEAD)
    played = controller.play(
        {"hosts": "dead", "vars": variables, "tasks": [task(arguments, ignore_errors=True)]},
        options=("-i", str(tmp_path / "dead.yaml")),
        ANSIBLE_DISPLAY_TRACEBACK="never",
    )
    assert played.status == 0, played.printed
    assert played.kept["dead"]["msg"].startswith(message)
    assert "Traceback" not in played.printed


def test_check_mode_refuses_bad_networks_and_labels_nothing(controller: Controller) -> None:
    for networks, failed in (({"dc1": "10.0.0.0/8"}, False), ({"dc1": "10.0.0.0/40"}, True)):
        tasks = [task({"networks": networks}, ignore_errors=True)]
        kept = controller.play({"hosts": "gamma", "tasks": tasks}, options=("--check",)).kept["gamma"]
        assert (kept.get("failed", False), "plan" in kept) == (failed, not failed)


FETCH: dict[str, Any] = {
    "name": "Fetch",
    "ansible.builtin.async_status": {"jid": "{{ job.ansible_job_id }}"},
    "register": "path",
    "until": "path is finished",
    "retries": 100,
    "delay": 1,
}


@pytest.mark.parametrize("poll", [0, 1])
def test_the_filter_gives_an_asynchronous_result_what_it_lacks(controller: Controller, poll: int) -> None:
    start = {**task(), "async": 60, "poll": poll, "register": "path" if poll else "job"}
    before = {"name": "Show", "ansible.builtin.debug": {"msg": "lacking={{ 'network' not in path.hops[0] }}"}}
    analyse = {"name": "Analyse", "ansible.builtin.set_fact": {"path": "{{ path | netprobe.path.analysis }}"}}
    tasks = [start, *([] if poll else [FETCH]), before, analyse]
    played = controller.play({"hosts": "alpha", "vars": VARIABLES, "tasks": tasks})
    assert played.status == 0, played.printed
    assert "lacking=True" in played.printed
    assert re.search(r"not\s+analysed:\s+the\s+filter\s+netprobe\.path\.analysis", played.printed)
    assert named(played.kept["alpha"]) == NAMED
    # The warning that it lacked this is gone with it.
    assert not played.kept["alpha"].get("warnings")


def test_the_filter_takes_what_a_loop_or_a_list_of_ports_left(controller: Controller) -> None:
    analyse = {
        "name": "Analyse",
        "ansible.builtin.set_fact": {"path": "{{ path | netprobe.path.analysis(networks={'all': '10.0.0.0/8'}) }}"},
    }
    for registered, key in ((task({"port": "{{ item }}"}, loop=[443, 80]), "results"), (task({"ports": [443, 80]}), "traces")):
        if key == "traces":
            del registered["netprobe.path.tcptraceroute"]["port"]
        played = controller.play({"hosts": "gamma", "tasks": [registered, analyse]})
        assert played.status == 0, played.printed
        records = played.kept["gamma"][key]
        assert [record["port"] for record in records] == [443, 80]
        assert {hop["network"]["name"] for record in records for hop in record["hops"]} == {"all"}


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("path | netprobe.path.analysis(networks={'a': 'b'})", "netprobe.path.analysis: networks.a: 'b' is not a prefix such as"),
        ("path | netprobe.path.analysis(colour='red')", "'colour' is none of networks, devices, asn_database"),
        ("{'changed': false} | netprobe.path.analysis", "No trace is in a result without hops"),
    ],
)
def test_what_the_filter_can_t_take_is_one_sentence(controller: Controller, expression: str, sentence: str) -> None:
    show = {"name": "Show", "ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"}}
    played = controller.play({"hosts": "gamma", "tasks": [task(), show]}, ANSIBLE_DISPLAY_TRACEBACK="never")
    assert played.status == 2
    assert sentence in " ".join(played.printed.split())
    assert "Traceback" not in played.printed


def test_a_device_s_name_can_t_become_a_template(controller: Controller) -> None:
    hostile = {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}
    variables = {"netprobe_devices": {"10.4.0.2": hostile}}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ path.hops[0].notes }}"}}
    fact = {"name": "Fact", "ansible.builtin.set_fact": {"fact": "{{ path.hops[0].device }}"}}
    again = {"name": "Again", "ansible.builtin.debug": {"msg": "again={{ fact }}"}}
    played = controller.play({"hosts": "gamma", "vars": variables, "tasks": [task(), show, fact, again]}, options=("-v",))
    assert played.status == 0, played.printed
    assert "uid=" not in played.printed
    assert "{{" not in played.kept["gamma"]["hops"][0]["device"]


def counting(directory: Path, name: str, *, refuse: bool) -> str:
    """A PYTHONPATH with which each process that imports a package leaves a line in `imports`, or finds none."""
    library = directory / "library"
    package = library / name
    package.mkdir(parents=True)
    count = f"import os\nopen({str(directory / 'imports')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    find = (
        "import sys, importlib.machinery as machinery\n"
        f"found = machinery.PathFinder.find_spec(__name__, [place for place in sys.path if place != {str(library)!r}])\n"
        "__path__[:] = found.submodule_search_locations\n"
        "exec(compile(open(found.origin).read(), found.origin, 'exec'))\n"
    )
    (package / "__init__.py").write_text("raise ImportError('not for this test')\n" if refuse else count + find)
    return f"{library}:{ROOT}"


@pytest.mark.parametrize("name", ["nornir_tcptraceroute", "scapy", "netaddr"])
def test_without_a_package_the_result_is_whole_and_a_warning_says_so(controller: Controller, tmp_path: Path, name: str) -> None:
    path = counting(tmp_path, name, refuse=True)
    played = controller.play({"hosts": "alpha", "vars": VARIABLES, "tasks": [task(), SHOW]}, PYTHONPATH=path)
    assert played.status == 0, played.printed
    assert "Hops are not analysed: Failed to import the required Python library (nornir-tcptraceroute)" in " ".join(
        played.printed.split()
    )
    assert named(played.kept["alpha"]) == [(None, None)] * 5
    assert "alpha to service (10.14.0.2) port 443: open, reached, hop 5" in played.printed


@pytest.mark.parametrize("name", ["scapy", "netaddr"])
def test_a_play_over_twenty_hosts_imports_a_package_once(controller: Controller, tmp_path: Path, name: str) -> None:
    inventory = tmp_path / "twenty.yaml"
    hosts = ", ".join(f"host{number}: {{ansible_host: gamma}}" for number in range(20))
    inventory.write_text(f"fleet: {{children: {{twenty: {{hosts: {{{hosts}}}}}}}}}\n")
    path = counting(tmp_path, name, refuse=False)
    play = {"hosts": "twenty", "tasks": [task({"queries": 1}), SHOW]}
    played = controller.play(play, options=("-i", str(inventory), "--forks", "5"), PYTHONPATH=path)
    assert played.status == 0, played.printed
    assert len(played.kept) == 20
    assert {hop["network"]["kind"] for record in played.kept.values() for hop in record["hops"]} == {"private"}
    assert len((tmp_path / "imports").read_text().splitlines()) == 1
