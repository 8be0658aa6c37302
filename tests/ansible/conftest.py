"""A fleet with SSH servers for the plays."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nornir_tcptraceroute.lab import Lab, load_topology
from tests.ansible.controller import Controller

#: The collection's meta/runtime.yml asks for it.
OLDEST = (2, 16)


def playbook_command() -> str | None:
    """ansible-playbook: of PATH, as .ci/ansible gives one, else of this Python, where the extra "test" has put it."""
    for directory in (os.environ["PATH"], str(Path(sys.executable).parent)):
        found = shutil.which("ansible-playbook", path=directory)
        if found is None:
            continue
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"ansible-playbook \[core (\d+)\.(\d+)", told)
        python = re.search(r"python version = .*\((/.*)\)$", told, re.MULTILINE)
        if version is None or python is None or (int(version[1]), int(version[2])) < OLDEST:
            continue
        # One that a machine happens to have may be without the package.
        if (
            subprocess.run([python[1], "-c", "import nornir_tcptraceroute.analysis"], capture_output=True, check=False).returncode
            == 0
        ):
            return found
    return None


@pytest.fixture(scope="session")
def playbook() -> str:
    found = playbook_command()
    if found is None:
        pytest.skip(
            "neither PATH nor the directory of this Python has an ansible-playbook, 2.16 or newer, whose Python has the package: "
            "pip install '.[test]'"
        )
    return found


@pytest.fixture(scope="session")
def fleet(playbook: str) -> Iterator[Lab]:
    assert playbook
    if os.geteuid() != 0 or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None or shutil.which("sudo") is None:
        pytest.skip("plays with become need hosts with sudo and users of their own: root, sshd and sudo on this machine")
    with Lab(load_topology("fleet")) as created:
        yield created


@pytest.fixture
def controller(fleet: Lab, playbook: str, tmp_path: Path) -> Controller:
    return Controller(fleet, playbook, tmp_path)


@pytest.fixture
def vantage(playbook: str, tmp_path: Path) -> Callable[[Lab], Controller]:
    """A controller that is its own managed host, at the vantage of a lab; it needs neither root nor SSH."""
    inventory = tmp_path / "vantage.yaml"
    python = "{{ ansible_playbook_python }}"
    variables = {"ansible_connection": "local", "ansible_python_interpreter": python, "ansible_become": False}
    inventory.write_text(json.dumps({"fleet": {"hosts": {"here": variables}}}))
    return lambda lab: Controller(lab, playbook, tmp_path, lab.topology.vantage, inventory)
