# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The addresses of an inventory's hosts, from wherever it may say them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.netprobe.path.plugins.module_utils.probe.errors import OptionError
from ansible_collections.netprobe.path.plugins.plugin_utils.analysis import MISSING
from ansible_collections.netprobe.path.plugins.plugin_utils.inventory import devices_of

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

INVENTORY = """
all:
  vars:
    netprobe_addresses: [192.0.2.99]
  children:
    fleet:
      hosts:
        core1: {ansible_host: 10.1.0.1, netprobe_addresses: [10.1.0.1, 10.1.1.1/24, "2001:db8::1/64", "fe80::1%eth0"]}
        core2: {ansible_host: "{{ lookup('pipe', 'id') }}"}
        core3: {ansible_host: core3.example.net}
        10.1.0.4:
        twin: {ansible_host: 10.1.0.1}
        file1:
        file2: {ansible_host: 10.1.0.9}
"""


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    init_plugin_loader([])


def hostvars(directory: Path, inventory: str) -> HostVars:
    (directory / "inventory").mkdir(exist_ok=True)
    (directory / "inventory" / "hosts.yaml").write_text(inventory)
    loader = DataLoader()
    loader.set_basedir(str(directory / "play"))
    manager = InventoryManager(loader=loader, sources=[str(directory / "inventory" / "hosts.yaml")])
    return HostVars(manager, VariableManager(loader=loader, inventory=manager), loader)


def test_addresses_are_those_that_stand_there(tmp_path: Path) -> None:
    for place, host, text in (
        ("inventory", "file1", "ansible_host: 10.1.0.6\n"),
        ("play", "file2", "ansible_host: 10.1.0.7\nnetprobe_addresses: [10.1.0.8]\n"),
    ):
        (tmp_path / place / "host_vars").mkdir(parents=True)
        (tmp_path / place / "host_vars" / f"{host}.yaml").write_text(text)
    assert devices_of(hostvars(tmp_path, INVENTORY)) == {
        "10.1.0.1": ["core1", "twin"],
        "10.1.1.1": ["core1"],
        "2001:db8::1": ["core1"],
        "fe80::1%eth0": ["core1"],
        "10.1.0.4": ["10.1.0.4"],
        "10.1.0.6": ["file1"],
        "10.1.0.7": ["file2"],
        "10.1.0.8": ["file2"],
    }


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ("10.1.0.1", "netprobe_addresses of a: '10.1.0.1' is not a list such as [10.1.0.1, '2001:db8:1::1/64']"),
        ("['{{ x }}']", "netprobe_addresses of a: '{{ x }}' is not an address such as 10.1.0.1 or 2001:db8:1::1/64"),
        ("[5]", "netprobe_addresses of a: 5 is not an address such as 10.1.0.1 or 2001:db8:1::1/64"),
    ],
)
def test_what_is_no_address_is_told_with_its_host(tmp_path: Path, told: str, problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        devices_of(hostvars(tmp_path, f"all: {{hosts: {{a: {{netprobe_addresses: {told}}}}}}}\n"))
    assert list(caught.value.problems) == [problem]
