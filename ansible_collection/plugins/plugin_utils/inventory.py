# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The addresses of the play's own inventory, to tell which of its devices a hop is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path

from ..module_utils.probe.errors import OptionError
from ..module_utils.probe.options import is_address
from .registered import plain

# analysis.py tells that the package is missing; what is read here serves the analysis alone.
with suppress(ImportError):
    from nornir_tcptraceroute.analysis.inventories import further_addresses

__all__ = ("ADDRESSES", "devices_of")

#: The variable of a host with further addresses of it.
ADDRESSES = "netprobe_addresses"


def devices_of(hostvars: Any) -> dict[str, list[str]]:
    """The names of each address in the inventory: ``ansible_host``, ``netprobe_addresses``, and names that are addresses.

    They count as they stand there. No template is rendered, which would be dear in an inventory of thousands of hosts and run
    what was written for other plays, and no name is looked up in DNS. Needs the package nornir-tcptraceroute.

    Arguments:
        hostvars: Ansible's variable of that name.

    Raises:
        OptionError: ``netprobe_addresses`` of a host is no list of addresses; each is named.
    """
    devices: dict[str, list[str]] = {}
    problems: list[str] = []
    for host, variables in _hosts(hostvars):
        for address in dict.fromkeys(_addresses(host, variables, problems)):
            devices.setdefault(address, []).append(host)
    if problems:
        raise OptionError(problems)
    return devices


def _hosts(hostvars: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every host and what is said of it alone: in the inventory's files, and in ``host_vars`` beside them and beside the play."""
    # HostVars.raw_get() would do, and takes a second for 1000 hosts, in each of 1000 tasks: it gathers all that is known.
    inventory, loader = hostvars._inventory, hostvars._loader  # noqa: SLF001
    for host in inventory.hosts.values():
        beside_inventory = get_vars_from_inventory_sources(loader, inventory._sources, [host], "task")  # noqa: SLF001
        beside_play = get_vars_from_path(loader, loader.get_basedir(), [host], "task")
        yield str(host.name), {**host.vars, **beside_inventory, **beside_play}


def _addresses(host: str, variables: Mapping[str, Any], problems: list[str]) -> Iterator[str]:
    reached_at = plain(variables.get("ansible_host", host))
    if isinstance(reached_at, str) and is_address(reached_at):
        yield reached_at
    addresses, wrong = further_addresses(plain(variables.get(ADDRESSES, [])), f"{ADDRESSES} of {host}")
    problems += wrong
    yield from addresses
