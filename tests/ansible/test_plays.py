"""Plays over real SSH against managed hosts of the lab: every way that a task may be run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute import Trace
from tests.ansible.controller import ROOT, Controller

#: The names on the way to the service; beta's router has two equal ways, and may go either.
WAYS = {
    "alpha": [["west.lab", "north.lab", "core.lab", "firewall.lab", "service.lab"]],
    "beta": [["east.lab", middle, "core.lab", "firewall.lab", "service.lab"] for middle in ("north.lab", "south.lab")],
    "gamma": [["core.lab", "firewall.lab", "service.lab"]],
}
TRACE: dict[str, Any] = {"destination": "service", "port": 443, "family": 4, "names": "all"}


def task(arguments: dict[str, Any] | None = None, **keywords: Any) -> dict[str, Any]:
    return {
        "name": "Trace",
        "netprobe.path.tcptraceroute": TRACE if arguments is None else arguments,
        "register": "path",
        **keywords,
    }


def names(record: dict[str, Any]) -> list[str]:
    return [hop["name"] for hop in record["hops"]]


@pytest.mark.parametrize(
    ("environment", "play", "options"),
    [
        ({"ANSIBLE_PIPELINING": "false"}, {}, ()),
        ({"ANSIBLE_PIPELINING": "true"}, {}, ()),
        ({}, {"become": False, "remote_user": "root", "vars": {"ansible_user": "root"}}, ()),
        ({}, {"strategy": "free"}, ("--forks", "10")),
        ({}, {"strategy": "host_pinned"}, ("--forks", "1")),
    ],
    ids=["plain", "pipelining", "as_root", "free", "one_fork"],
)
def test_every_host_traces(
    controller: Controller, environment: dict[str, str], play: dict[str, Any], options: tuple[str, ...]
) -> None:
    played = controller.play({"tasks": [task()], **play}, options=options, **environment)
    assert played.status == 0, played.printed
    assert played.kept.keys() == WAYS.keys()
    for host, record in played.kept.items():
        assert names(record) in WAYS[host]
        assert (record["vantage"], record["port_state"], record["reached"], record["changed"]) == (host, "open", True, False)
        assert {hop["network"]["kind"] for hop in record["hops"]} == {"private"}
        assert Trace.from_dict({"warnings": [], **record}).reached


def test_the_result_has_the_keys_of_a_trace_and_no_others(controller: Controller) -> None:
    played = controller.play({"hosts": "gamma", "tasks": [task()]})
    fields = set(Trace.__dataclass_fields__) - {"warnings", "packets"}
    assert played.kept["gamma"].keys() - {"warnings"} == fields | {"changed", "failed"}


def test_without_become_one_sentence_says_what_to_do(controller: Controller) -> None:
    played = controller.play({"become": False, "hosts": "alpha", "tasks": [task({**TRACE, "method": "raw"}, ignore_errors=True)]})
    message = played.kept["alpha"]["msg"]
    assert message.startswith("raw sockets need CAP_NET_RAW")
    assert "'become: true'" in message
    assert "Traceback" not in played.printed


def test_without_become_connections_trace(controller: Controller) -> None:
    played = controller.play({"become": False, "tasks": [task()]})
    assert played.status == 0, played.printed
    for host, record in played.kept.items():
        assert (record["method"], record["port_state"]) == ("connect", "open")
        assert names(record) in WAYS[host]
        assert {hop["network"]["name"] for hop in record["hops"]} <= {"branches", "backbone", "services"}


def test_check_mode_tells_the_plan_and_sends_nothing(controller: Controller) -> None:
    before = controller.segments_at_service()
    played = controller.play({"tasks": [task({**TRACE, "max_ttl": 12, "queries": 2})]}, options=("--check",))
    assert played.status == 0, played.printed
    truth = controller.lab.truth
    for host in WAYS:
        (plan,) = played.kept[host]["plan"]
        assert plan.pop("source") in truth.addresses(host, 4)
        # Interfaces of the lab are called as their neighbours are.
        assert plan.pop("interface") + ".lab" == WAYS[host][0][0]
        assert plan == {
            "destination": "service",
            "address": "10.14.0.2",
            "family": 4,
            "port": 443,
            "probes": 24,
            "probes_per_second": 500.0,
            "method": "raw",
            "problem": None,
        }
    assert all("hops" not in record for record in played.kept.values())
    assert controller.segments_at_service() == before
    # The same count sees a trace.
    assert controller.play({"hosts": "gamma", "tasks": [task()]}).status == 0
    assert controller.segments_at_service() > before


def test_check_mode_tells_which_names_do_not_resolve(controller: Controller) -> None:
    arguments = {"destinations": ["service", "nowhere.invalid"], "port": 443, "family": 4}
    played = controller.play({"hosts": "gamma", "tasks": [task(arguments, ignore_errors=True)]}, options=("--check",))
    kept = played.kept["gamma"]
    assert kept["msg"].startswith("1 of 2 traces could not be measured: nowhere.invalid does not resolve")
    assert [plan["address"] for plan in kept["plan"]] == ["10.14.0.2"]


def test_without_the_privilege_check_mode_fails_as_the_trace_would(controller: Controller) -> None:
    raw = task({**TRACE, "method": "raw"}, ignore_errors=True)
    played = controller.play({"become": False, "hosts": "alpha", "tasks": [raw]}, options=("--check",))
    assert played.kept["alpha"]["msg"].startswith("raw sockets need CAP_NET_RAW")


def test_delegated_the_delegate_traces(controller: Controller) -> None:
    played = controller.play({"hosts": "alpha", "tasks": [task(delegate_to="gamma")]})
    assert played.kept["alpha"]["vantage"] == "gamma"
    assert names(played.kept["alpha"]) in WAYS["gamma"]


def test_a_loop_and_a_list_give_the_same(controller: Controller) -> None:
    ports = [443, 80, 8080]
    looped = task({**TRACE, "port": "{{ item }}"}, loop=ports)
    listed = task({**{name: value for name, value in TRACE.items() if name != "port"}, "ports": ports})
    kept = [controller.play({"hosts": "gamma", "tasks": [each]}).kept["gamma"] for each in (looped, listed)]
    for records in (kept[0]["results"], kept[1]["traces"]):
        assert [(record["port"], record["port_state"]) for record in records] == [(443, "open"), (80, "open"), (8080, "closed")]
        assert all(names(record) in WAYS["gamma"] for record in records)
        assert {hop["network"]["kind"] for record in records for hop in record["hops"]} == {"private"}


def test_what_can_be_measured_of_several_is_there_when_the_task_fails(controller: Controller) -> None:
    arguments = {"destinations": ["service", "nowhere.invalid"], "port": 443, "family": 4, "names": "all"}
    played = controller.play({"hosts": "gamma", "tasks": [task(arguments, ignore_errors=True)]})
    kept = played.kept["gamma"]
    assert kept["failed"] is True
    assert kept["msg"].startswith("1 of 2 traces could not be measured: nowhere.invalid does not resolve")
    assert [names(record) for record in kept["traces"]] == WAYS["gamma"]
    assert [problem["destination"] for problem in kept["problems"]] == ["nowhere.invalid"]


@pytest.fixture
def with_a_dead_host(tmp_path: Path) -> str:
    inventory = tmp_path / "dead.yaml"
    inventory.write_text("fleet: {hosts: {dead: {ansible_host: alpha, ansible_port: 2}}}\n")
    return str(inventory)


def test_an_unreachable_host_keeps_no_other_from_tracing(controller: Controller, with_a_dead_host: str) -> None:
    played = controller.play({"tasks": [task()]}, options=("-i", with_a_dead_host))
    assert played.status == 4
    assert played.kept.keys() == WAYS.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "destination: is missing; give it, or destinations"),
        ({"destination": "-oProxyCommand=id"}, "destination: '-oProxyCommand=id' is not a host name or an IP address"),
        (
            {"destination": "service", "port": 0, "colour": "red"},
            "'colour': is not an option of a trace; port: 0 is not between 1 and 65535",
        ),
        ({"destination": "service", "ports": [80, "x"]}, "port: 'x' is not a whole number between 1 and 65535"),
    ],
    ids=["none", "option", "several", "list"],
)
def test_bad_options_are_one_sentence_and_contact_no_host(
    controller: Controller, with_a_dead_host: str, arguments: dict[str, Any], message: str
) -> None:
    played = controller.play(
        {"hosts": "dead", "tasks": [task(arguments, ignore_errors=True)]},
        options=("-i", with_a_dead_host),
        ANSIBLE_DISPLAY_TRACEBACK="never",
    )
    assert played.status == 0, played.printed
    assert played.kept["dead"]["msg"] == message
    assert "Traceback" not in played.printed


HOSTILE = "{{lookup('pipe','id')}}"
ESCAPED = r"\x7b\x7blookup\x28\x27pipe\x27\x2c\x27id\x27\x29\x7d\x7d"


def test_a_name_that_is_a_template_stays_what_it_is(controller: Controller) -> None:
    plant = {
        "name": "Plant",
        "ansible.builtin.shell": 'cp /etc/hosts /root/hosts && { echo "10.4.0.2 $name"; cat /root/hosts; } > /etc/hosts',
        "environment": {"name": "{{ hostile }}"},
    }
    restore = {"name": "Restore", "ansible.builtin.command": "cp /root/hosts /etc/hosts"}
    ways = [
        {"name": "Fact", "ansible.builtin.set_fact": {"fact": "{{ path.hops[0].name }}"}},
        {"name": "Debug", "ansible.builtin.debug": {"msg": "{{ path.hops[0].name }}"}},
        {"name": "Debug fact", "ansible.builtin.debug": {"msg": "again={{ fact }}"}},
        {"name": "Debug variable", "ansible.builtin.debug": {"var": "path.hops[0]"}},
        {"name": "Other host", "ansible.builtin.debug": {"msg": "{{ hostvars['gamma'].path.hops[0].name }}"}},
        {"name": "Table", "ansible.builtin.debug": {"msg": "{{ (path | netprobe.path.hop_table).splitlines()[2] }}"}},
        {"name": "File", "ansible.builtin.copy": {"content": "{{ path.hops[0].name }}", "dest": "/root/name", "mode": "0600"}},
        {"name": "Read", "ansible.builtin.command": "cat /root/name", "register": "file"},
        {"name": "Show", "ansible.builtin.debug": {"var": "file.stdout"}},
    ]
    variables = {"hostile": {"__ansible_unsafe": HOSTILE}}
    played = controller.play(
        {"hosts": "gamma", "vars": variables, "tasks": [plant, task(), restore, *ways]}, options=("--diff", "-v")
    )
    assert played.status == 0, played.printed
    assert played.kept["gamma"]["hops"][0]["name"] == ESCAPED
    assert "uid=" not in played.printed
    assert played.printed.replace("\\\\", "\\").count(ESCAPED) >= 8
    assert {key for key in played.kept["gamma"] if key.startswith("ansible")} == set()


#: Binds where a resolver would be asked, and answers nothing.
MUTE_RESOLVER = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53)); time.sleep(600)"


def test_a_mute_resolver_costs_two_seconds_and_a_warning(controller: Controller) -> None:
    files = ("hosts", "nsswitch.conf", "resolv.conf")
    keep = [f"cp /etc/{name} /root/{name}" for name in files]
    change = [
        # sudo looks for its own host.
        "{ echo 10.14.0.2 service; echo 127.0.1.1 gamma; } > /etc/hosts",
        "echo hosts: files dns > /etc/nsswitch.conf",
        "echo nameserver 127.0.0.1 > /etc/resolv.conf",
        f'nohup /usr/bin/python3 -c "{MUTE_RESOLVER}" > /dev/null 2>&1 & echo $! > /root/mute.pid',
    ]
    restore = ["kill $(cat /root/mute.pid)", *(f"cp /root/{name} /etc/{name}" for name in files)]
    tasks = [
        {"name": "Take names away", "ansible.builtin.shell": "\n".join(["set -e", *keep, *change])},
        task(ignore_errors=True),
        {"name": "Give them back", "ansible.builtin.shell": "\n".join(restore)},
    ]
    played = controller.play({"hosts": "gamma", "tasks": tasks})
    assert played.status == 0, played.printed
    record = played.kept["gamma"]
    assert names(record) == [None, None, "service"]
    assert len(record["warnings"]) == 1
    assert record["warnings"][0].startswith("2 of 3 addresses have no name because their lookups had not ended within 2 s")


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        ({"port": 443, "expect": {"port_state": "open", "transit": ["10.13.0.0/24"]}}, 0),
        ({"port": 443}, 0),
        ({"port": 443, "expect": {"transit": "192.0.2.0/24"}}, 2),
        ({"port": 8080}, 2),
    ],
    ids=["met", "open", "other_way", "closed"],
)
def test_the_role_judges(controller: Controller, expected: dict[str, Any], status: int) -> None:
    role = {"role": "netprobe.path.validate", "validate_paths": [{"destination": "service", **expected}]}
    defaults = {"group/netprobe.path.all": {"family": 4, "names": "all"}}
    played = controller.play({"hosts": "gamma", "module_defaults": defaults, "roles": [role], "tasks": []})
    assert played.status == status, played.printed
    assert ("gamma to service (10.14.0.2) port" in played.printed) is (status == 2)


def test_the_playbook_traces(controller: Controller) -> None:
    played = controller.run("netprobe.path.trace", "-e", "destination=service", "-e", "port=443", "-e", "family=4")
    assert played.status == 0, played.printed
    assert len(re.findall(r"to service \(10\.14\.0\.2\) port 443: open, reached, hop [35]", played.printed)) == 3


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples" / "playbooks").iterdir()))
def test_an_example_runs(controller: Controller, name: str) -> None:
    played = controller.run(str(ROOT / "examples" / "playbooks" / name))
    assert played.status == 0, played.printed
    assert not re.search(r"WARNING(?!.*not analysed)", played.printed), played.printed
