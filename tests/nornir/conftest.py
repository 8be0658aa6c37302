"""Nornir runs on the fleet's controller, and what hosts of an inventory there look like."""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from nornir.core.task import AggregatedResult

from nornir_tcptraceroute.lab import Lab

CONTROLLER = Path(__file__).parent / "controller.py"
DIRECTORY = "/var/opt/fleet"
STRICT = {"system_host_keys": False, "alt_host_keys": True, "alt_key_file": f"{DIRECTORY}/known_hosts"}
KEY: dict[str, dict[str, Any]] = {
    "netmiko": {"use_keys": True, "key_file": f"{DIRECTORY}/id_ed25519"},
    "paramiko": {"key_filename": f"{DIRECTORY}/id_ed25519"},
}

#: What a test says of the run, beside the arguments of the task.
OF_THE_RUN = {"dry_run", "group", "defaults", "count", "task"}
Run = Callable[..., AggregatedResult]


def managed(node: str, user: str, connection: str, *, password: str | None = None, **options: Any) -> dict[str, Any]:
    """A host of the inventory: by password where one is given, else by key."""
    extras: dict[str, Any] = {**STRICT, **({} if password else KEY.get(connection, {}))}
    if connection == "paramiko":
        extras |= {"look_for_keys": False, "allow_agent": False}
    if connection == "openssh":
        extras = {"options": ["-F", f"{DIRECTORY}/ssh_config"]}
    extras |= options.pop("extras", {})
    return {
        "hostname": f"{node}.lab",
        "username": user,
        "password": password,
        "connection_options": {connection: {"extras": extras}},
        "data": {"tcptraceroute": {"vantage": "host", "connection": connection, "names": "none", **options}},
    }


@pytest.fixture(scope="session")
def run_on_controller(fleet: Lab) -> Run:
    """Runs the task over an inventory on the controller; the result comes back pickled."""

    def run(hosts: Mapping[str, Any], *, runner: str = "threaded", workers: int = 20, **options: Any) -> AggregatedResult:
        call = {name: options.pop(name) for name in list(options) if name not in OF_THE_RUN}
        plugin = {"plugin": runner, "options": {} if runner != "threaded" else {"num_workers": workers}}
        with tempfile.TemporaryDirectory() as directory:
            specification = {"directory": directory, "host": hosts, "runner": plugin, "call": call, **options}
            ended = fleet.run(
                "controller", [sys.executable, str(CONTROLLER)], stdin=None, input=json.dumps(specification), timeout=120
            )
            assert ended.returncode == 0, ended.stderr
            result, most = pickle.loads(Path(directory, "result").read_bytes())  # noqa: S301 - our own
        if options.get("count"):
            result.raw_sockets = most
        assert isinstance(result, AggregatedResult)
        return result

    return run


@pytest.fixture(scope="session")
def real_users(fleet: Lab) -> bool:
    """Whether the managed hosts have users of their own, and sudo."""
    ssh = ["ssh", "-F", f"{DIRECTORY}/ssh_config", "netops@alpha.lab", "id -un; command -v sudo"]
    told = fleet.run("controller", ssh).stdout.split()
    return bool(told) and told[0] == "netops" and len(told) == 2
