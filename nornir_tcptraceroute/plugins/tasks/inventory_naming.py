"""Whose the hops of a run are: the inventory's devices with their addresses, and the networks that its options name."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nornir.core.inventory import Host, Inventory

from ...analysis import Naming
from ...analysis.inventories import further_addresses, together
from ...probe.errors import OptionError
from ...probe.options import is_address

__all__ = ("ADDRESSES", "KEY", "Namings", "device_addresses", "namings_of")

#: Where the data of hosts, groups and defaults hold options of the task.
KEY = "tcptraceroute"
#: The option that only a host's own data may hold.
ADDRESSES = "addresses"


def device_addresses(inventory: Inventory) -> dict[str, list[str]]:
    """The addresses of an inventory's devices: `hostname` where it is one, and `addresses` of `tcptraceroute:` in a host's data.

    A host without `hostname` whose name is an address counts by its name. No name is looked up in DNS.

    Arguments:
        inventory: Nornir's; a filtered one has the hosts that are left alone.

    Returns:
        The names of each address, as Naming and the task's option `devices` take them.

    Raises:
        OptionError: `addresses` of a host is no list of addresses; each is named.
    """
    devices: dict[str, list[str]] = {}
    problems: list[str] = []
    for host in inventory.hosts.values():
        for address in _addresses(host, problems):
            devices.setdefault(address, []).append(host.name)
    if problems:
        raise OptionError(problems)
    return devices


def _addresses(host: Host, problems: list[str]) -> Iterator[str]:
    """The addresses of a host, each once at most in each place."""
    # A file of the inventory may hold a number there.
    named = str(host.hostname or host.name)
    if is_address(named):
        yield named
    options = host.data.get(KEY)
    told = options.get(ADDRESSES) if isinstance(options, Mapping) else None
    if told is None:
        return
    addresses, wrong = further_addresses(told, f"{host.name}: {ADDRESSES}")
    problems += wrong
    yield from addresses


class Namings:
    """What is known of addresses, made once for all hosts that are traced at the same time.

    Arguments:
        inventory: of the run.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._lock = threading.Lock()
        self._made: list[tuple[tuple[Any, ...], Naming]] = []
        self._devices: dict[str, list[str]] | None = None

    def of(self, networks: Any, devices: Any, asn_database: Any) -> Naming:
        """What is known with the options of a host.

        Arguments:
            networks, asn_database: as Naming takes them.
            devices: likewise; they are added to the inventory's.

        Raises:
            OptionError: every problem of the options and of the inventory's addresses.
        """
        asked = networks, devices, asn_database
        with self._lock:
            for known, naming in self._made:
                if known == asked:
                    return naming
            naming = self._make(*asked)
            self._made.append((asked, naming))
            return naming

    def _make(self, networks: Any, devices: Any, asn_database: Any) -> Naming:
        problems: list[str] = []
        if self._devices is None:
            try:
                self._devices = device_addresses(self._inventory)
            except OptionError as error:
                problems += error.problems
        try:
            naming = Naming(networks, together(self._devices or {}, devices), asn_database)
        except OptionError as error:
            raise OptionError([*problems, *error.problems]) from None
        if problems:
            raise OptionError(problems)
        return naming


class _Shared:
    """The namings in use, by inventory: they end with the last trace that needs them, as the inventory may change then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: dict[int, tuple[Namings, int]] = {}

    @contextmanager
    def of(self, inventory: Inventory) -> Iterator[Namings]:
        key = id(inventory)
        with self._lock:
            namings, users = self._users.get(key) or (Namings(inventory), 0)
            self._users[key] = namings, users + 1
        try:
            yield namings
        finally:
            with self._lock:
                namings, users = self._users.pop(key)
                if users > 1:
                    self._users[key] = namings, users - 1


#: The namings of an inventory, for a ``with`` block.
namings_of = _Shared().of
