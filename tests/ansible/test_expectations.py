"""What a task expects of its traces: judged on the controller, compared with baselines, and where a port is blocked."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.analysis import baseline
from tests.ansible.controller import Controller
from tests.ansible.test_analysis import counting

NETWORKS = {"backbone": ["10.8.0.0/24", "10.13.0.0/24"], "services": "10.14.0.0/24", "elsewhere": "192.0.2.0/24"}
#: An inventory with a host that nobody answers for.
DEAD = "fleet: {hosts: {dead: {ansible_host: alpha, ansible_port: 2}}}\n"


def task(arguments: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    whole = {"destination": "service", "port": 443, "family": 4, "names": "none", "networks": NETWORKS, **arguments}
    for several, single in (("ports", "port"), ("destinations", "destination")):
        if several in whole:
            del whole[single]
    return {"name": "Trace", "netprobe.path.tcptraceroute": whole, "register": "path", "ignore_errors": True, **keywords}


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {verdict["name"]: verdict["outcome"] for verdict in result["verdicts"]}


def said(text: str) -> str:
    return " ".join(text.split())


def test_what_is_met_changes_nothing(controller: Controller) -> None:
    expect = {
        "reached": True,
        "port_state": "open",
        "transit": ["backbone", "10.13.0.2"],
        "max_hops": "{{ most }}",
        "no_nat": True,
    }
    played = controller.play({"vars": {"most": 5}, "tasks": [task({"expect": expect})]})
    assert played.status == 0, played.printed
    for result in played.kept.values():
        assert outcomes(result) == dict.fromkeys(expect, "success")
        assert (result["outcome"], result["changed"], result["failed"], result["attempts"]) == ("success", False, False, 1)
        assert Trace.from_dict({"warnings": [], **result}).reached
        assert result["hops"][-1]["network"]["name"] == "services"


def test_what_is_not_met_fails_with_the_reason_and_the_whole_trace(controller: Controller) -> None:
    expect = {"reached": True, "forbidden": "backbone, elsewhere", "max_hops": 2}
    result = controller.play({"hosts": "gamma", "tasks": [task({"expect": expect})]}).kept["gamma"]
    assert outcomes(result) == {"reached": "success", "forbidden": "failure", "max_hops": "failure"}
    assert (result["outcome"], result["failed"]) == ("failure", True)
    assert result["msg"] == (
        "service port 443 is not as expected: forbidden: the path passes backbone at hop 2 (10.13.0.2); "
        "max_hops: the destination is 3 hops away"
    )
    assert [verdict["actual"] for verdict in result["verdicts"]] == [True, ["backbone at hop 2 (10.13.0.2)"], 3]
    assert [hop["ttl"] for hop in result["hops"]] == [1, 2, 3]


def test_what_silence_leaves_open_is_a_warning_and_no_failure(controller: Controller) -> None:
    expect = {"port_state": "filtered", "forbidden": "elsewhere"}
    arguments = {"port": 25, "wait": 0.5, "max_ttl": 5, "queries": 1, "expect": expect}
    played = controller.play({"hosts": "gamma", "tasks": [task(arguments)]})
    result = played.kept["gamma"]
    assert outcomes(result) == {"port_state": "success", "forbidden": "skipped"}
    assert (result["outcome"], result["failed"]) == ("skipped", False)
    assert "service port 25: forbidden is neither met nor unmet: no hop that answered is elsewhere, but" in said(played.printed)


def test_what_could_not_be_measured_is_an_error_of_its_own(controller: Controller) -> None:
    arguments = {"destination": "nowhere.invalid", "expect": {"reached": False}}
    result = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}).kept["gamma"]
    assert (result["failed"], result["outcome"], outcomes(result)) == (True, "error", {"reached": "error"})
    assert result["msg"].startswith("nowhere.invalid does not resolve")
    assert "hops" not in result


def test_each_of_several_traces_is_judged(controller: Controller) -> None:
    arguments = {
        "destinations": ["service", "nowhere.invalid"],
        "ports": [443, 8080],
        "expect": {"port_state": "open"},
    }
    result = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}).kept["gamma"]
    assert [(trace["port"], outcomes(trace)["port_state"]) for trace in result["traces"]] == [(443, "success"), (8080, "failure")]
    assert [(each["port"], each["outcome"]) for each in result["problems"]] == [(443, "error"), (8080, "error")]
    assert result["failed"]
    assert re.fullmatch(
        r"2 of 4 traces could not be measured: nowhere\.invalid does not resolve.*; "
        r"service port 8080 is not as expected: port_state: port 8080 of service is closed, not open",
        result["msg"],
    )


def test_each_item_of_a_loop_is_judged(controller: Controller) -> None:
    looped = task(
        {"port": "{{ item.port }}", "expect": "{{ item.expect }}"},
        loop=[
            {"port": 443, "expect": {"port_state": "open"}},
            {"port": 8080, "expect": {"port_state": ["filtered", "unreachable"]}},
        ],
    )
    result = controller.play({"hosts": "gamma", "tasks": [looped]}).kept["gamma"]
    assert [(item["outcome"], item["failed"]) for item in result["results"]] == [("success", False), ("failure", True)]


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (
            {"expect": {"reached": "perhaps", "colour": "red", "transit": "nobody", "max_hops": 0}, "port": 0},
            {},
            "port: 0 is not between 1 and 65535; expect.reached: 'perhaps' is not true or false; expect.colour: is not an",
        ),
        ({"expect": {"forbidden": ["backbone", "dc9"]}}, {}, "expect.forbidden[1]: 'dc9' is no address, no prefix and no name"),
        ({"expect": "reached"}, {}, "expect: 'reached' is not a mapping of expectations"),
        (
            {"expect": {"reached": True}, "retries": -1, "delay": "soon"},
            {},
            "retries: -1 is not a whole number between 0 and 100; delay: 'soon' is not a number between 0 and 3600 s",
        ),
        (
            {"baseline": "nowhere.yaml"},
            {},
            "baseline: {directory}/nowhere.yaml: can't be read: No such file or directory; baseline_action:",
        ),
        (
            {"baseline": "b.yaml", "ports": [80, 443]},
            {},
            "baseline: 'b.yaml' is one file for several traces: put {destination} or",
        ),
        (
            {"baseline": "b.yaml", "baseline_action": "update"},
            {},
            "baseline_action: 'update' is not one of compare, record, merge",
        ),
        ({"locate_block": {"working_port": 443}}, {}, "locate_block: working_port: 443 is the port in question"),
        ({"locate_block": True}, {}, "locate_block: True is not {working_port: PORT}"),
        ({"locate_block": {}, "ports": [80, 443]}, {}, "locate_block: a block is located for one destination and one port"),
        ({"expect": {"reached": True}}, {"async": 30}, "expect: an asynchronous task can't be judged: give the result of"),
        ({"requests": [{"destination": "service"}]}, {}, "'requests': is not an option of a trace"),
    ],
    ids=["words", "name", "text", "numbers", "missing", "several", "action", "port", "block", "ports", "async", "requests"],
)
def test_what_is_wrong_is_told_before_a_host_is_contacted(
    controller: Controller, tmp_path: Path, arguments: dict[str, Any], keywords: dict[str, Any], message: str
) -> None:
    (tmp_path / "dead.yaml").write_text(DEAD)
    play = {"hosts": "dead", "tasks": [task(arguments, **keywords)]}
    played = controller.play(play, options=("-i", str(tmp_path / "dead.yaml")), ANSIBLE_DISPLAY_TRACEBACK="never")
    assert played.status == 0, played.printed
    assert played.kept["dead"]["msg"].startswith(message.replace("{directory}", str(tmp_path)))
    assert "Traceback" not in played.printed


def test_without_the_package_nothing_can_be_expected(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "dead.yaml").write_text(DEAD)
    path = counting(tmp_path, "nornir_tcptraceroute", refuse=True)
    arguments = {"expect": {"reached": True}, "baseline": "b.yaml", "locate_block": {}, "networks": None}
    play = {"hosts": "dead", "tasks": [task(arguments)]}
    played = controller.play(play, options=("-i", str(tmp_path / "dead.yaml")), PYTHONPATH=path)
    told = played.kept["dead"]["msg"].split("; ")
    assert [each.partition(":")[0] for each in told] == ["expect", "baseline", "locate_block"]
    assert all("Failed to import the required Python library (nornir-tcptraceroute)" in each for each in told)


def test_the_filter_judges_an_asynchronous_result(controller: Controller) -> None:
    start = task({}, **{"async": 60, "poll": 1})
    judge = {
        "name": "Judge",
        "ansible.builtin.set_fact": {"path": "{{ path | netprobe.path.analysis(expect=wanted) }}"},
        "vars": {"wanted": {"port_state": "open", "transit": "backbone", "max_hops": 2}},
    }
    kept = controller.play({"hosts": "gamma", "vars": {"netprobe_networks": NETWORKS}, "tasks": [start, judge]}).kept["gamma"]
    assert outcomes(kept) == {"port_state": "success", "transit": "success", "max_hops": "failure"}
    assert kept["outcome"] == "failure"
    wrong = {**judge, "vars": {"wanted": {"colour": "red"}}}
    played = controller.play({"hosts": "gamma", "tasks": [start, wrong]}, ANSIBLE_DISPLAY_TRACEBACK="never")
    assert "netprobe.path.analysis: expect.colour: is not an expectation" in said(played.printed)


def test_check_mode_checks_what_is_expected_and_sends_nothing(controller: Controller, tmp_path: Path) -> None:
    before = controller.segments_at_service()
    arguments = {"expect": {"reached": True}, "baseline": "b.yaml", "baseline_action": "record"}
    good = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}, options=("--check",)).kept["gamma"]
    assert ("plan" in good, good["changed"], (tmp_path / "b.yaml").exists()) == (True, False, False)
    bad = controller.play({"hosts": "gamma", "tasks": [task({"expect": {"reached": 5}})]}, options=("--check",)).kept["gamma"]
    assert bad["msg"] == "expect.reached: 5 is not true or false"
    assert controller.segments_at_service() == before


#: Opens port 8888 once a connection to it has been refused.
LATE = """
import socket, time
def refused():
    names, values = (line.split() for line in open('/proc/net/snmp') if line.startswith('Tcp:'))
    return int(values[names.index('OutRsts')])
before = refused()
print('waiting', flush=True)
while refused() == before:
    time.sleep(0.05)
server = socket.create_server(('', 8888))
server.settimeout(60)
server.accept()
"""


def test_a_network_that_converges_is_measured_again(controller: Controller) -> None:
    with controller.lab.popen("service", ["/usr/bin/python3", "-c", LATE], stdout=subprocess.PIPE) as late:
        try:
            assert late.stdout is not None
            assert late.stdout.readline() == b"waiting\n"
            arguments = {"ports": [8888, 443], "queries": 1, "expect": {"port_state": "open"}, "retries": 100, "delay": 0.5}
            result = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}).kept["gamma"]
        finally:
            late.kill()
    assert not result["failed"], result["msg"]
    late_port, other_port = result["traces"]
    assert late_port["attempts"] > 1
    assert other_port["attempts"] == 1


def test_a_baseline_is_recorded_compared_and_shown(controller: Controller, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"baseline": "known/{host}-{destination}-{port}.yaml"}
    record = task({**arguments, "baseline_action": "record"})
    first = controller.play({"hosts": "alpha, gamma", "tasks": [record]}, options=("--diff",))
    files = {host: tmp_path / "known" / f"{host}-service-443.yaml" for host in ("alpha", "gamma")}
    for host, file in files.items():
        assert (first.kept[host]["changed"], outcomes(first.kept[host])) == (True, {"baseline": "success"})
        assert baseline.read(file).destination == "service"
    assert '+destination: "service"' in first.printed

    again = controller.play({"hosts": "gamma", "tasks": [record]}).kept["gamma"]
    assert (again["changed"], "diff" in again) == (False, False)
    same = controller.play({"hosts": "alpha, gamma", "tasks": [task(arguments)]}, options=("--diff",))
    assert same.status == 0
    assert all((kept["outcome"], kept["changed"]) == ("success", False) for kept in same.kept.values())

    known = files["gamma"].read_text()
    files["gamma"].write_text(known.replace("10.4.0.2", "192.0.2.1"))
    for options in (("--diff",), ()):
        other = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}, options=options)
        kept = other.kept["gamma"]
        assert kept["msg"].startswith("service port 443 is not as expected: baseline: hop 1 is 10.4.0.2, not 192.0.2.1")
        assert kept["diff"]["before_header"] == "known/gamma-service-443.yaml"
        assert (kept["failed"], kept["changed"], kept["diff"]["after"]) == (True, False, known)
        shown = re.search(r"^-  1: \[192\.0\.2\.1\]\n\+  1: \[10\.4\.0\.2\]$", other.printed, re.MULTILINE)
        assert (shown is not None) is bool(options)

    merged = controller.play({"hosts": "gamma", "tasks": [task({**arguments, "baseline_action": "merge"})]}).kept["gamma"]
    assert merged["changed"]
    assert baseline.read(files["gamma"]).hops[0] == ("10.4.0.2", "192.0.2.1")


def test_a_baseline_is_not_recorded_where_something_is_not_met(controller: Controller, tmp_path: Path) -> None:
    arguments = {"baseline": "b.yaml", "baseline_action": "record", "expect": {"max_hops": 1}}
    kept = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}).kept["gamma"]
    assert outcomes(kept) == {"max_hops": "failure", "baseline": "skipped"}
    assert not (tmp_path / "b.yaml").exists()


def test_several_traces_have_baselines_of_their_own(controller: Controller, tmp_path: Path) -> None:
    arguments = {"ports": [443, 80], "baseline": "{port}.yaml", "baseline_action": "record"}
    kept = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}).kept["gamma"]
    assert (kept["changed"], len(kept["diff"])) == (True, 2)
    assert [baseline.read(tmp_path / f"{port}.yaml").port for port in (443, 80)] == [443, 80]


@pytest.mark.parametrize(
    ("port", "locate_block", "verdict", "sentence"),
    [
        (25, {"working_port": 443}, "dropped", "443 reaches 10.14.0.2; 25 is dropped silently between hop 2 (10.13.0.2)"),
        (25, {}, "unknown", "ACK to 25 is answered no further either"),
        (
            23,
            {"working_port": "443"},
            "rejected",
            "23 is rejected by hop 2 (10.13.0.2): communication administratively prohibited",
        ),
        (80, {"working_port": 443}, "open", ""),
    ],
    ids=["dropped", "by_ack", "rejected", "open"],
)
def test_where_a_port_is_blocked(
    controller: Controller, port: int, locate_block: dict[str, Any], verdict: str, sentence: str
) -> None:
    arguments = {"port": port, "wait": 0.5, "max_ttl": 6, "locate_block": locate_block}
    played = controller.play({"hosts": "gamma", "tasks": [task(arguments)]})
    kept = played.kept["gamma"]
    assert played.status == 0, played.printed
    assert not kept["failed"], kept["msg"]
    assert (kept["block"]["verdict"], kept["port"], kept["working"]["port"]) == (
        verdict,
        port,
        int(locate_block.get("working_port", port)),
    ), kept["block"]
    assert sentence in kept["block"]["sentence"]
    assert Trace.from_dict(kept["working"]).vantage == "gamma"


def test_a_block_and_expectations_in_one_task(controller: Controller) -> None:
    arguments = {"port": 25, "wait": 0.5, "max_ttl": 6, "locate_block": {"working_port": 443}, "expect": {"port_state": "open"}}
    kept = controller.play({"hosts": "gamma", "tasks": [task(arguments)]}).kept["gamma"]
    assert (kept["failed"], kept["outcome"], kept["block"]["verdict"]) == (True, "failure", "dropped")


#: As tests/reports holds what the check command writes to it.
SCHEMA = Path(__file__).resolve().parent.parent / "reports" / "junit.xsd"


def suites_of(
    controller: Controller, tmp_path: Path, *plays: dict[str, Any], options: tuple[str, ...] = ()
) -> dict[str, dict[str, str]]:
    """Name of each suite, and the outcome of each of its cases, from a valid file."""
    file = tmp_path / "paths.xml"
    enabled = "netprobe.path.junit"
    played = controller.play(*plays, options=options, ANSIBLE_CALLBACKS_ENABLED=enabled, NETPROBE_PATH_JUNIT_FILE=str(file))
    assert file.exists(), played.printed
    xmlschema.XMLSchema(str(SCHEMA)).validate(str(file))
    root = ET.parse(file).getroot()  # noqa: S314 - our own
    assert root.get("tests") == str(len(root.findall("testsuite/testcase")))
    return {
        suite.attrib["name"]: {case.attrib["name"]: case[0].tag if len(case) else "success" for case in suite.findall("testcase")}
        for suite in root
    }


def test_the_callback_writes_a_case_for_each_expectation_host_and_item(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "dead.yaml").write_text(DEAD)
    looped = task({"port": "{{ item }}", "expect": {"port_state": "open", "max_hops": 3}}, loop=[443, 8080])
    several = task(
        {"destinations": ["service", "nowhere.invalid"], "expect": {"reached": True}}, when="inventory_hostname == 'gamma'"
    )
    silent = {"port": 25, "wait": 0.5, "max_ttl": 5, "queries": 1, "expect": {"forbidden": "elsewhere"}}
    others = [
        task({"expect": {"colour": "red"}}, name="Refused"),
        task({}, name="Nothing expected"),
        task({"expect": {"reached": True}}, name="Secret", no_log=True),
        task(silent, name="Silent"),
    ]
    plays = (
        {"hosts": "alpha, gamma", "tasks": [{**looped, "name": "Ports"}, {**several, "name": "Names"}]},
        {"hosts": "gamma", "tasks": others},
        {"hosts": "dead", "tasks": [task({"expect": {"reached": True}}, name="Dead")]},
    )
    found = suites_of(controller, tmp_path, *plays, options=("-i", str(tmp_path / "dead.yaml")))
    assert found == {
        "Ports (443): service port 443 from alpha": {"port_state": "success", "max_hops": "failure"},
        "Ports (8080): service port 8080 from alpha": {"port_state": "failure", "max_hops": "failure"},
        "Ports (443): service port 443 from gamma": {"port_state": "success", "max_hops": "success"},
        "Ports (8080): service port 8080 from gamma": {"port_state": "failure", "max_hops": "success"},
        "Names: service port 443 from gamma": {"reached": "success"},
        "Names: nowhere.invalid port 443 from gamma": {"reached": "error"},
        "Refused from gamma": {"Refused": "error"},
        "Silent: service port 25 from gamma": {"forbidden": "skipped"},
        "Dead from dead": {"Dead": "error"},
    }
