"""Reads check files, and says what is wrong with them: file, line, place and rule of every problem, before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..analysis import Naming, document, expectations, naming
from ..analysis import baseline as baselines
from ..analysis.baseline import Baseline
from ..analysis.document import Document
from ..analysis.expectations import Expectations
from ..analysis.inventories import together
from ..analysis.naming import Place, Problem
from ..measurements.settling import Retries
from ..probe.errors import OptionError, shown
from ..probe.options import PARAMETERS, TraceOptions

__all__ = ("CHECK_KEYS", "FILE_KEYS", "NUMBERS", "Check", "CheckFile", "InventoryNames", "read_checks")

MOST_CHECKS = 1000
LONGEST_NAME = 200
#: Keys of a check beside the options of a trace.
CHECK_KEYS = ("name", "vantage", "hosts", "groups", "expect", "baseline", "retries", "delay")
FILE_KEYS = ("networks", "devices", "checks")
VANTAGES = ("controller", "host")
#: Lowest and highest value, and what holds where the key is not given.
NUMBERS: dict[str, tuple[int, int, float]] = {"retries": (0, 100, 0), "delay": (0, 3600, 5.0)}
#: What stands for the host's name in the path of a baseline.
HOST = "{host}"


@dataclass(frozen=True)
class InventoryNames:
    """What a check file may refer to of a Nornir inventory.

    Attributes:
        groups: each group with the names of the hosts in it. hosts: all names of hosts.
        devices: names of devices by address, as Naming takes them.
    """

    hosts: tuple[str, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    devices: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Check:
    """One check; no two are equal.

    Attributes:
        name: unique in its file.
        request: the trace.
        options: what the file says of the trace; from a host, the rest is the inventory's.
        hosts: names of the hosts that it is measured from, in order; empty for the controller.
        expectations: None where only the baseline counts.
        baselines: path of the baseline's file by host; the controller is None. Empty where there is none.
        retries: how often it is measured again while something is not met.
    """

    name: str
    request: TraceOptions
    options: Mapping[str, Any]
    hosts: tuple[str, ...]
    expectations: Expectations | None
    baselines: Mapping[str | None, Path]
    retries: Retries

    @property
    def vantages(self) -> tuple[str | None, ...]:
        """Where it is measured from: names of hosts, or None for the controller."""
        return self.hosts or (None,)


@dataclass(frozen=True)
class CheckFile:
    """A check file, read and valid.

    Attributes:
        checks: in the order of the file.
        naming: what is known of addresses, from the file and the inventory.
        baselines: the baselines' contents by path; those that are to be recorded may be missing.
    """

    checks: tuple[Check, ...]
    naming: Naming
    baselines: Mapping[Path, Baseline]


def read_checks(
    file: str | os.PathLike[str], inventory: InventoryNames | None = None, *, need_baselines: bool = True
) -> CheckFile:
    """Read a check file and the baselines that it names.

    Arguments:
        file: its path.
        inventory: where hosts and groups are looked up; None where there is no inventory.
        need_baselines: whether a baseline that is not there is a problem, or will be recorded.

    Raises:
        OptionError: one line ``file:line: place: rule`` for each problem.
    """
    source = document.read(file)
    reading = _Reading(source, Path(file).parent, inventory)
    checks = reading.checks()
    if reading.problems:
        raise source.refusal(reading.problems)
    known: dict[Path, Baseline] = {}
    told: list[str] = []
    for index, check in enumerate(checks):
        for path in dict.fromkeys(check.baselines.values()):
            told += _take_baseline(path, check, known, source, ("checks", index, "baseline"), need_baselines=need_baselines)
    if told:
        raise OptionError(told)
    return CheckFile(tuple(checks), reading.naming(), known)


def _take_baseline(
    path: Path, check: Check, known: dict[Path, Baseline], source: Document, place: Place, *, need_baselines: bool
) -> list[str]:
    """Read a baseline into ``known``; returns what is wrong."""
    if not need_baselines and not path.exists():
        return []
    try:
        known[path] = baselines.read_of(path, check.request.destination, check.request.port)
    except OptionError as error:
        hint = "" if path.exists() else "; --baselines record writes one"
        where = f"{source.source}:{source.line(place)}: {Problem(place, '')}"
        return [f"{where}{problem}{hint}" for problem in error.problems]
    return []


class _Reading:
    """A check file and what is wrong with it."""

    def __init__(self, source: Document, directory: Path, inventory: InventoryNames | None) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._directory = directory
        self._inventory = inventory
        self._content = source.content if isinstance(source.content, Mapping) else {}
        self._names: dict[str, int] = {}
        self._files: dict[Path, str] = {}

    def _refuse(self, place: Place, rule: str) -> None:
        self.problems.append(Problem(place, rule))

    def naming(self) -> Naming:
        """What is known of addresses."""
        return Naming(self._content.get("networks"), self._devices())

    def _devices(self) -> Any:
        return together(self._inventory.devices if self._inventory else {}, self._content.get("devices"))

    def checks(self) -> list[Check]:
        """The checks that are in order."""
        if not isinstance(self._source.content, Mapping) or "checks" not in self._source.content:
            self._refuse((), "this is no check file: a mapping with 'checks', and 'networks' and 'devices' if they are needed")
            return []
        for key in self._content:
            if key not in FILE_KEYS:
                self._refuse((str(key),), f"is not a key that may stand here: {', '.join(FILE_KEYS)}")
        self.problems += naming.problems(self._content.get("networks"), self._content.get("devices"))
        entries = self._content["checks"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= MOST_CHECKS:
            self._refuse(("checks",), f"is not a list of 1 to {MOST_CHECKS} checks")
            return []
        names = None if self.problems else self._known_names()
        return [check for index, entry in enumerate(entries) if (check := self._check(index, entry, names)) is not None]

    def _known_names(self) -> set[str]:
        """Every name that an expectation may use."""
        return {*(self._content.get("networks") or {}), *(name for names in self._devices().values() for name in names)}

    def _check(self, index: int, entry: Any, names: Collection[str] | None) -> Check | None:
        place: Place = ("checks", index)
        before = len(self.problems)
        if not isinstance(entry, Mapping):
            self._refuse(place, f"{shown(entry)} is not a check: a mapping with 'name', 'destination' and 'expect'")
            return None
        for key in entry:
            if key not in CHECK_KEYS and key not in PARAMETERS:
                self._refuse((*place, str(key)), f"is not a key of a check; there are {', '.join((*CHECK_KEYS, *PARAMETERS))}")
        name = self._name(entry, place, index)
        options = {key: value for key, value in entry.items() if key in PARAMETERS}
        request = self._request(options, place)
        hosts = self._hosts(entry, place)
        numbers = {key: self._number(entry, place, key) for key in NUMBERS}
        expected = None
        if "expect" in entry:
            found = expectations.problems(entry["expect"], names)
            self.problems += [Problem((*place, "expect", *problem.place), problem.rule) for problem in found]
            expected = Expectations.from_dict(entry["expect"]) if not found else None
        elif "baseline" not in entry:
            self._refuse(place, "neither 'expect' nor 'baseline' says what the path has to be")
        files = self._baselines(entry, place, hosts, name)
        if len(self.problems) > before or request is None:
            return None
        return Check(name, request, options, hosts, expected, files, Retries(int(numbers["retries"]), float(numbers["delay"])))

    def _name(self, entry: Mapping[str, Any], place: Place, index: int) -> str:
        name = entry.get("name")
        if "name" not in entry:
            self._refuse((*place, "name"), "is missing")
        elif not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            self._refuse((*place, "name"), f"{shown(name)} is not a text of 1 to {LONGEST_NAME} printable characters")
        elif self._names.setdefault(name, index) != index:
            self._refuse((*place, "name"), f"{shown(name)} is the name of checks[{self._names[name]}] too")
        return str(name)

    def _request(self, options: Mapping[str, Any], place: Place) -> TraceOptions | None:
        if "destination" not in options:
            self._refuse((*place, "destination"), "is missing")
            options = {**options, "destination": "localhost"}
        try:
            return TraceOptions.from_dict(options)
        except OptionError as error:
            for problem in error.problems:
                option, _, rule = problem.partition(": ")
                self._refuse((*place, option), rule)
        return None

    def _number(self, entry: Mapping[str, Any], place: Place, key: str) -> float:
        lowest, highest, default = NUMBERS[key]
        value = entry.get(key, default)
        kinds = int if key == "retries" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value <= highest:
            kind, unit = ("a whole number", "") if key == "retries" else ("a number", " s")
            self._refuse((*place, key), f"{shown(value)} is not {kind} between {lowest} and {highest}{unit}")
            return default
        return value

    def _hosts(self, entry: Mapping[str, Any], place: Place) -> tuple[str, ...]:
        """The hosts that a check is measured from."""
        chosen = [key for key in ("hosts", "groups") if key in entry]
        vantage = entry.get("vantage", "host" if chosen else "controller")
        if vantage not in VANTAGES:
            self._refuse((*place, "vantage"), f"{shown(vantage)} is not one of {', '.join(VANTAGES)}")
            return ()
        if vantage == "controller":
            for key in chosen:
                self._refuse((*place, key), "can't stand beside vantage: controller")
            return ()
        if self._inventory is None:
            self._refuse((*place, chosen[0] if chosen else "vantage"), "needs an inventory: name Nornir's file with --inventory")
            return ()
        picked = {name for key in chosen for name in self._picked(entry[key], (*place, key), key)} if chosen else None
        hosts = tuple(name for name in self._inventory.hosts if picked is None or name in picked)
        if not hosts and not self.problems:
            self._refuse((*place, chosen[0] if chosen else "vantage"), "no host of the inventory is meant")
        return hosts

    def _picked(self, value: Any, place: Place, key: str) -> Iterator[str]:
        assert self._inventory is not None
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names:
            self._refuse(place, f"{shown(value)} is not a name of the inventory's {key}, or a list of them")
            return
        for index, name in enumerate(names):
            where = place if isinstance(value, str) else (*place, index)
            if key == "groups" and isinstance(name, str) and name in self._inventory.groups:
                yield from self._inventory.groups[name]
            elif key == "hosts" and name in self._inventory.hosts:
                yield name
            else:
                self._refuse(where, f"{shown(name)} is not one of the inventory's {key}")

    def _baselines(self, entry: Mapping[str, Any], place: Place, hosts: tuple[str, ...], name: str) -> dict[str | None, Path]:
        if "baseline" not in entry:
            return {}
        value = entry["baseline"]
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self._refuse((*place, "baseline"), f"{shown(value)} is not the path of a file")
            return {}
        if len(hosts) > 1 and HOST not in value:
            self._refuse((*place, "baseline"), f"{shown(value)} is one file for {len(hosts)} hosts: put {HOST} into its name")
            return {}
        # A host's name is a name of a file, not a way to another directory.
        files = {
            host: self._directory / value.replace(HOST, (host or "controller").replace("/", "_")) for host in hosts or (None,)
        }
        for path in files.values():
            if self._files.setdefault(path, name) != name:
                self._refuse((*place, "baseline"), f"{shown(value)} is the file of the check {shown(self._files[path])} too")
                break
        return files
