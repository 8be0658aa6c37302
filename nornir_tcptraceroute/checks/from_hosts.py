"""Runs checks from hosts of a Nornir inventory: by its own runner, each host's checks over one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nornir import InitNornir
from nornir.core import Nornir
from nornir.core.task import Result, Task

from ..plugins.tasks.connections import connect
from ..plugins.tasks.inventory_naming import Namings, device_addresses
from ..plugins.tasks.inventory_options import TaskOptions
from ..probe.errors import OptionError, ProbeError
from ..probe.options import TraceOptions
from ..probe.records import Trace
from ..remote import run as remote
from ..remote.errors import RemoteError
from .check_file import Check, InventoryNames
from .running import Outcome, settle_checks

__all__ = ("from_hosts", "inventory_names", "open_inventory")

_Judged = Callable[[str | None, Check, Trace | ProbeError], Outcome]


def open_inventory(file: str) -> Nornir:
    """Read a Nornir configuration file and its inventory.

    Raises:
        OptionError: they can't be read.
    """
    if not Path(file).is_file():
        raise OptionError([f"{ascii(file)[1:-1]}: can't be read: there is no such file"])
    try:
        return InitNornir(config_file=file)
    except Exception as error:  # noqa: BLE001 - Nornir and its plugins raise what they like; the reason is told
        reason = ascii(" ".join(str(error).split()))[1:-1][:300]
        raise OptionError([f"{ascii(file)[1:-1]}: this is no configuration that Nornir can use: {reason}"]) from None


def inventory_names(nornir: Nornir) -> InventoryNames:
    """What a check file may refer to of an inventory.

    Raises:
        OptionError: the addresses of a device are none.
    """
    inventory = nornir.inventory
    groups: dict[str, set[str]] = {name: set() for name in inventory.groups}
    for host in inventory.hosts.values():
        for group in host.extended_groups():
            groups.setdefault(group.name, set()).add(host.name)
    members = {name: frozenset(hosts) for name, hosts in groups.items()}
    return InventoryNames(tuple(inventory.hosts), members, device_addresses(inventory))


def from_hosts(nornir: Nornir, checks: Sequence[Check], judged: _Judged, told: Callable[[Outcome], None]) -> None:
    """Run checks from the hosts that they name, and tell of every one of them.

    Arguments:
        nornir: with all hosts.
        checks: each with its hosts.
        judged: judges one at a host.
        told: hears of each outcome.
    """
    settled: set[tuple[str, str]] = set()

    def take(outcome: Outcome) -> None:
        assert outcome.host is not None
        settled.add((outcome.host, outcome.check.name))
        told(outcome)

    wanted = {host for check in checks for host in check.hosts}
    chosen = nornir.filter(filter_func=lambda host: host.name in wanted)
    results = chosen.run(task=_run_on_host, name="checks", raise_on_error=False, checks=tuple(checks), judged=judged, told=take)
    for check in checks:
        for host in check.hosts:
            if (host, check.name) not in settled:
                reason = str(results[host].exception) if host in results else "Nornir did not run it"
                told(judged(host, check, RemoteError(f"{host}: {reason}")))


def _run_on_host(task: Task, checks: Sequence[Check], judged: _Judged, told: Callable[[Outcome], None]) -> Result:
    """The task: all checks of the task's host."""
    host = task.host.name
    mine = [check for check in checks if host in check.hosts]
    namings = Namings(task.nornir.inventory)
    settle_checks(
        mine,
        lambda several: _measured(task, several, namings),
        lambda check, measured: judged(host, check, measured),
        told,
    )
    return Result(task.host)


def _measured(task: Task, checks: Sequence[Check], namings: Namings) -> list[Trace | ProbeError]:
    """The traces of several checks, or why there are none."""
    options: dict[Check, TaskOptions] = {}
    found: dict[Check, Trace | ProbeError] = {}
    for check in checks:
        try:
            options[check] = TaskOptions(task.host, {**check.options, "vantage": "host"}, namings)
        except OptionError as error:
            found[check] = error
    for turn in _turns(options):
        settings = options[turn[0]]
        requests = [options[check].requests[0] for check in turn]
        try:
            measured: Sequence[Trace | ProbeError] = remote.measure(
                connect(task, settings.connection),
                requests,
                interpreter=settings.interpreter,
                become=settings.become,
                become_password=settings.become_password,
                time_limit=settings.time_limit,
            )
        except ProbeError as error:
            measured = [error] * len(turn)
        found.update(zip(turn, map(_with_host(task.host.name), measured), strict=True))
    return [found[check] for check in checks]


def _turns(options: Mapping[Check, TaskOptions]) -> Iterator[list[Check]]:
    """What is measured in one conversation: at most one trace of a destination and port, by which answers are told apart."""
    left = list(options)
    while left:
        turn: dict[tuple[str, int], Check] = {}
        for check in left:
            request: TraceOptions = options[check].requests[0]
            turn.setdefault((request.destination, request.port), check)
        yield list(turn.values())
        left = [check for check in left if check not in turn.values()]


def _with_host(name: str) -> Callable[[Any], Any]:
    """Errors begin with the host."""

    def named(measured: Trace | ProbeError) -> Trace | ProbeError:
        if isinstance(measured, Trace) or str(measured).startswith(f"{name}: "):
            return measured
        return RemoteError(f"{name}: {measured}")

    return named
