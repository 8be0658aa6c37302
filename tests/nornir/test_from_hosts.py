"""Traces from managed hosts, over real SSH servers: what works, and what each failure says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from nornir.core.task import AggregatedResult

from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.lab import Lab
from nornir_tcptraceroute.plugins.tasks import TracerouteResult
from tests.nornir.conftest import DIRECTORY, Run, managed

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed: openssh-client")
CONNECTIONS = ("netmiko", "paramiko", "openssh")
BY_PASSWORD = ("netmiko", "paramiko")
OPERATOR = "operator-password"

GOOD: dict[str, dict[str, Any]] = {
    **{f"{name}-key-sudo": managed("alpha", "netops", name, become=True) for name in CONNECTIONS},
    **{f"{name}-key-root": managed("beta", "root", name) for name in CONNECTIONS},
    **{f"{name}-root-needs-no-sudo": managed("gamma", "root", name, become=True) for name in CONNECTIONS},
    **{
        f"{name}-key-sudo-password": managed("gamma", "operator", name, become=True, become_password=OPERATOR)
        for name in CONNECTIONS
    },
    **{f"{name}-password-sudo": managed("beta", "netops", name, password="netops-password", become=True) for name in BY_PASSWORD},
    **{
        f"{name}-password-sudo-password": managed(
            "alpha", "operator", name, password=OPERATOR, become=True, become_password=OPERATOR
        )
        for name in BY_PASSWORD
    },
}

# Stand-ins for a host's Python; the third argument is what the real one would run. OpenSSH's processes are the user's to kill.
PYTHON_3_6 = """#!/bin/sh
exec python3 -I -c 'import sys; sys.version_info = (3, 6, 9); sys.version = "3.6.9 (default)"; exec(sys.argv[1])' "$3"
"""
SILENT = "#!/bin/sh\nexec sleep 1000\n"
KILLS = """#!/bin/sh
exec python3 -I -c '
import os, re, signal, sys
print(re.search("tcptraceroute-[0-9a-f]+", sys.argv[1])[0], "ready", flush=True)
sys.stdin.buffer.read()
number = os.getppid()
while number > 1:
    status = dict(line.split(":", 1) for line in open("/proc/%d/status" % number))
    if status["Name"].strip().startswith("sshd"):
        os.kill(number, signal.SIGKILL)
        break
    number = int(status["PPid"])
' "$3"
"""
STAND_INS = {"python3.6": PYTHON_3_6, "python-silent": SILENT, "python-kills": KILLS}
PLACE = "/tmp/tcptraceroute-test"

BAD: dict[str, tuple[dict[str, Any], str]] = {
    **{f"{name}-no-python": (managed("bare", "root", name), "has no such Python") for name in CONNECTIONS},
    "old-python": (managed("alpha", "root", "openssh", interpreter=f"{PLACE}/python3.6"), "Python is 3.6.9, and 3.8"),
    **{
        f"{name}-silent": (managed("alpha", "root", name, interpreter=f"{PLACE}/python-silent", time_limit=2), "within 2 s")
        for name in CONNECTIONS
    },
    **{f"{name}-wrong-password": (managed("alpha", "netops", name, password="no"), "refused the login") for name in BY_PASSWORD},
    "openssh-no-key": (
        managed(
            "alpha", "netops", "openssh", extras={"options": ["-F", f"{DIRECTORY}/ssh_config", "-o", "PubkeyAuthentication=no"]}
        ),
        "could not log in",
    ),
    **{
        f"{name}-unknown-key": (managed("alpha", "root", name, extras={"alt_key_file": "/dev/null"}), "not in known_hosts")
        for name in BY_PASSWORD
    },
    "openssh-unknown-key": (
        managed(
            "alpha",
            "root",
            "openssh",
            extras={"options": ["-o", "UserKnownHostsFile=/dev/null", "-F", f"{DIRECTORY}/ssh_config"]},
        ),
        "not the one in known_hosts",
    ),
    **{f"{name}-down": (managed("service", "root", name), "nothing listens on its SSH port") for name in CONNECTIONS},
    **{f"{name}-no-privilege": (managed("alpha", "guest", name, method="raw"), "need CAP_NET_RAW") for name in CONNECTIONS},
}
NEED_USERS: dict[str, tuple[dict[str, Any], str]] = {
    "sudo-asks": (managed("alpha", "operator", "netmiko", become=True), "sudo asks for a password"),
    "sudo-refuses": (managed("beta", "operator", "openssh", become=True, become_password="no"), "sudo refused the password"),
    "sudo-not-allowed": (
        managed("beta", "guest", "paramiko", become=True, become_password="guest-password"),
        "guest is not in the sudoers file",
    ),
    **{
        f"{name}-closed": (managed("gamma", "netops", name, interpreter=f"{PLACE}/python-kills"), "connection")
        for name in CONNECTIONS
    },
}


@pytest.fixture(scope="module")
def stand_ins(fleet: Lab) -> Iterator[None]:
    def on(node: str, command: str, **options: Any) -> None:
        ssh = ["ssh", "-F", f"{DIRECTORY}/ssh_config", f"root@{node}.lab", command]
        ended = fleet.run("controller", ssh, **options)
        assert ended.returncode == 0, ended.stderr

    for node in ("alpha", "gamma"):
        on(node, f"mkdir -p {PLACE}")
        for name, text in STAND_INS.items():
            on(node, f"cat > {PLACE}/{name} && chmod 755 {PLACE}/{name}", stdin=None, input=text)
    yield
    for node in ("alpha", "gamma"):
        on(node, f"rm -rf {PLACE}")


@pytest.fixture(scope="module")
def outcomes(run_on_controller: Run, real_users: bool, stand_ins: None) -> AggregatedResult:  # noqa: ARG001
    hosts = {**GOOD, **{name: host for name, (host, _) in BAD.items()}}
    if real_users:
        hosts |= {name: host for name, (host, _) in NEED_USERS.items()}
    return run_on_controller(hosts, destination="service", port=443, family=4, workers=len(hosts))


def single(outcomes: AggregatedResult, name: str) -> TracerouteResult:
    """The one result of a host; it stands as JSON."""
    (result,) = outcomes[name]
    assert isinstance(result, TracerouteResult)
    assert (result.destination, result.port) == ("service", 443)
    json.dumps(result.result)
    return result


@pytest.mark.parametrize("name", GOOD)
def test_a_host_traces_what_the_topology_says(fleet: Lab, outcomes: AggregatedResult, name: str) -> None:
    result = single(outcomes, name)
    assert not result.failed, result.result
    assert result.trace == Trace.from_dict(result.result)
    node = GOOD[name]["hostname"].removesuffix(".lab")
    assert (result.trace.vantage, result.trace.port_state) == (node, "open")
    paths = fleet.truth.paths(node, "service", family=4, port=443)
    assert any(path.matches([hop.address for hop in result.trace.hops]) for path in paths)


def failed_with(outcomes: AggregatedResult, name: str, sentence: str) -> None:
    result = single(outcomes, name)
    assert result.failed
    assert result.trace is None
    assert result.exception is not None
    text = str(result.result)
    assert sentence in text
    assert text.startswith(f"{name}: ")
    assert "\n" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("name", BAD)
def test_a_failure_is_one_sentence(outcomes: AggregatedResult, name: str) -> None:
    failed_with(outcomes, name, BAD[name][1])


@pytest.mark.parametrize("name", NEED_USERS)
def test_a_failure_of_a_user_is_one_sentence(outcomes: AggregatedResult, real_users: bool, name: str) -> None:
    if not real_users:
        pytest.skip("the fleet has users and sudo where root brings it up, with OpenSSH's server and sudo installed")
    failed_with(outcomes, name, NEED_USERS[name][1])


def test_one_host_down_one_without_python_one_works(run_on_controller: Run) -> None:
    hosts = {
        "down": managed("service", "root", "netmiko"),
        "bare": managed("bare", "root", "netmiko"),
        "works": managed("beta", "root", "netmiko"),
    }
    result = run_on_controller(hosts, destination="service", port=80)
    assert {name: several.failed for name, several in result.items()} == {"down": True, "bare": True, "works": False}
    assert set(result.failed_hosts) == {"down", "bare"}


def test_several_destinations_give_one_sub_result_each(run_on_controller: Run) -> None:
    hosts = {"beta": managed("beta", "root", "openssh")}
    result = run_on_controller(hosts, destination=["service", "nowhere.invalid"], port=[80, 8080], family=6)
    listed: list[Any] = list(result["beta"])
    summary, *singles = listed
    told = [(one.name, one.failed, one.trace.port_state if one.trace else None) for one in singles]
    assert told == [
        ("tcptraceroute service:80", False, "open"),
        ("tcptraceroute service:8080", False, "closed"),
        ("tcptraceroute nowhere.invalid:80", True, None),
        ("tcptraceroute nowhere.invalid:8080", True, None),
    ]
    assert [line["port_state"] for line in summary.result["traces"]] == ["open", "closed", None, None]
    assert all(one.destination in one.name for one in singles)
    assert "nowhere.invalid" in singles[2].result


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_dry_run_tells_the_plan(fleet: Lab, run_on_controller: Run, connection: str) -> None:
    hosts = {"alpha": managed("alpha", "root", connection)}
    result = run_on_controller(hosts, destination="service", port=443, family=4, dry_run=True)
    (plan,) = result["alpha"]
    assert not plan.failed, plan.result
    source, address = fleet.truth.address("alpha", 4), fleet.truth.address("service", 4)
    assert plan.result["dry_run"] is True
    assert (plan.result["source"], plan.result["address"], plan.result["interface"]) == (source, address, "west")
    assert (plan.result["probes"], plan.result["problem"]) == (90, None)


def test_no_file_is_left_on_the_host(fleet: Lab, run_on_controller: Run, real_users: bool) -> None:
    if not real_users:
        pytest.skip("the host shares its files with this machine, where others write too")
    find = "find /etc /home /root /tmp /var/tmp /dev/shm -type f | sort"
    command = ["ssh", "-F", f"{DIRECTORY}/ssh_config", "root@gamma.lab", find]
    before = fleet.run("controller", command).stdout
    hosts = {"gamma": managed("gamma", "netops", "openssh", become=True)}
    result = run_on_controller(hosts, destination="service", port=443)
    assert not result.failed
    assert fleet.run("controller", command).stdout == before
    assert "/etc/passwd" in before
