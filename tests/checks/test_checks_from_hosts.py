"""Checks from hosts of a Nornir inventory, over real SSH servers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute.lab import Lab
from tests.checks.test_check_command import JUNIT, LONG, OURS
from tests.nornir.conftest import managed

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: openssh-client")


def inventory(directory: Path, hosts: dict[str, Any], **configuration: Any) -> Path:
    """Nornir's files; JSON is YAML."""
    (directory / "hosts.yaml").write_text(json.dumps({name: {**host, "groups": ["fleet"]} for name, host in hosts.items()}))
    (directory / "groups.yaml").write_text("fleet: {}\n")
    config = directory / "config.yaml"
    options = {"host_file": str(directory / "hosts.yaml"), "group_file": str(directory / "groups.yaml")}
    document = {"inventory": {"plugin": "SimpleInventory", "options": options}, "logging": {"enabled": False}, **configuration}
    config.write_text(json.dumps(document))
    return config


def run(fleet: Lab, directory: Path, checks: str, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = directory / "checks.yaml"
    file.write_text(checks)
    return fleet.run("controller", [*OURS, str(file), "--inventory", str(config), *options], timeout=LONG)


GOOD = {
    "alpha": managed("alpha", "root", "openssh"),
    "beta": managed("beta", "netops", "netmiko", become=True),
    "gamma": managed("gamma", "root", "paramiko"),
}
CHECKS = """\
checks:
- name: service
  destination: service
  port: 443
  family: 4
  groups: fleet
  # One flow, so that the equal-cost paths of beta are one path.
  source_port: 41001
  baseline: baselines/{host}.yaml
  expect: {reached: true, port_state: open, no_nat: true}
- name: mail
  destination: service
  port: 25
  family: 4
  wait: 1
  hosts: [alpha, beta]
  retries: 1
  delay: 0.1
  expect: {reached: true}
- name: the same from two options
  destination: service
  port: 443
  family: 4
  queries: 1
  hosts: alpha
  expect: {max_hops: 9}
- name: from here
  destination: service
  port: 443
  family: 4
  names: none
  expect: {reached: true}
"""


def test_hosts_and_the_controller_measure_at_once(fleet: Lab, tmp_path: Path) -> None:
    config = inventory(tmp_path, GOOD)
    recorded = run(fleet, tmp_path, CHECKS, config, "--baselines", "record")
    assert recorded.returncode == 1, recorded.stderr
    junit, document = tmp_path / "junit.xml", tmp_path / "result.json"
    done = run(fleet, tmp_path, CHECKS, config, "--junit", str(junit), "--json", str(document))
    assert done.returncode == 1, done.stderr
    result = json.loads(document.read_text())
    assert [(one["name"], one["vantage"], one["outcome"], one["attempts"]) for one in result["checks"]] == [
        ("service", "alpha", "success", 1),
        ("service", "beta", "success", 1),
        ("service", "gamma", "success", 1),
        ("mail", "alpha", "failure", 2),
        ("mail", "beta", "failure", 2),
        ("the same from two options", "alpha", "success", 1),
        ("from here", "controller", "success", 1),
    ]
    assert {len(hop["replies"]) for hop in result["checks"][5]["trace"]["hops"]} == {1}
    assert [one["trace"]["source"] for one in result["checks"][:3]] == [
        fleet.truth.address(node, 4) for node in ("alpha", "beta", "gamma")
    ]
    # Each host has a path of its own.
    kept = {name: (tmp_path / "baselines" / f"{name}.yaml").read_text() for name in GOOD}
    assert len(set(kept.values())) == 3
    JUNIT.validate(junit.read_text())


def test_a_host_without_a_session_is_an_error_and_the_others_go_on(fleet: Lab, tmp_path: Path) -> None:
    locked = managed("alpha", "netops", "netmiko", password="no")  # noqa: S106 - which is not the right one
    hosts = {**GOOD, "alpha": locked, "beta": managed("bare", "root", "openssh")}
    hosts["gamma"]["data"]["tcptraceroute"]["bogus"] = 1
    config = inventory(tmp_path, {**hosts, "delta": GOOD["alpha"]}, core={"raise_on_error": True})
    checks = "checks:\n- {name: a, destination: service, port: 443, family: 4, vantage: host, expect: {reached: true}}\n"
    try:
        done = run(fleet, tmp_path, checks, config)
    finally:
        del hosts["gamma"]["data"]["tcptraceroute"]["bogus"]
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("ERROR") == 3
    assert "alpha: it refused the login" in done.stdout
    assert "beta: " in done.stdout
    assert "has no such Python" in done.stdout
    assert "gamma: 'bogus' in tcptraceroute of host gamma is not an option" in done.stdout
    assert "1 check" not in done.stdout.splitlines()[-1]
    assert done.stdout.splitlines()[-1] == "4 checks, 4 expectations: 1 met, 3 could not be measured"


def test_ctrl_c_ends_it_while_hosts_measure(fleet: Lab, tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(
        "checks:\n- {name: a, destination: service, port: 25, family: 4, wait: 60, hosts: alpha, expect: {reached: true}}\n"
    )
    config = inventory(tmp_path, GOOD)
    program = fleet.popen(
        "controller",
        [*OURS, str(file), "--inventory", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    sockets = "from pathlib import Path\nimport time\ncount = lambda: len(Path('/proc/net/raw').read_text().splitlines())\n"
    fleet.run("alpha", [sys.executable, "-c", f"{sockets}while count() < 2: time.sleep(0.01)"], timeout=LONG)
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=LONG)
    assert (program.returncode, output, errors) == (130, "", "nornir-tcptraceroute check: interrupted\n")
    # The probe on the host ends with it.
    fleet.run("alpha", [sys.executable, "-c", f"{sockets}while count() > 1: time.sleep(0.01)"], timeout=LONG)
