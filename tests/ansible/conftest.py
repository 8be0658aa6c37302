"""A fleet with SSH servers for the plays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nornir_tcptraceroute.lab import Lab, load_topology
from tests.ansible.controller import Controller


@pytest.fixture(scope="session")
def fleet() -> Iterator[Lab]:
    if shutil.which("ansible-playbook") is None:
        pytest.skip("ansible-playbook is not in PATH: .ci/ansible installs it and runs these tests")
    if os.geteuid() != 0 or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None or shutil.which("sudo") is None:
        pytest.skip("plays with become need hosts with sudo and users of their own: root, sshd and sudo on this machine")
    with Lab(load_topology("fleet")) as created:
        yield created


@pytest.fixture
def controller(fleet: Lab, tmp_path: Path) -> Controller:
    return Controller(fleet, tmp_path)
