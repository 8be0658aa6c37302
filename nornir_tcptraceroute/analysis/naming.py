"""Says whose an address is: the user's networks by longest prefix, the inventory's devices, special ranges, AS numbers."""

from __future__ import annotations

import os
import re
import stat
import string
import struct
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import netaddr

from ..probe.errors import OptionError, shown
from ..probe.records import Hop, Network, Trace

if TYPE_CHECKING:
    from maxminddb import Reader

__all__ = ("KINDS", "Naming", "Place", "Problem", "label", "problems", "safe_text")

#: The ranges that say something of an address, by name (RFC 6890 and the registries that it began).
RANGES: Mapping[str, tuple[str, ...]] = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "link_local": ("169.254.0.0/16", "fe80::/10"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "shared": ("100.64.0.0/10",),
    "benchmarking": ("198.18.0.0/15", "2001:2::/48"),
    "documentation": ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
}
PUBLIC = "public"
KINDS = (*RANGES, PUBLIC)

#: So many characters of a name are kept, after escaping, and so many names of one address are told.
LONGEST_NAME = 150
MOST_NAMES = 3
#: So many addresses of a hop are told of beside the first.
MOST_OTHERS = 10
#: What a record holds.
MOST_NOTES = 100
LARGEST_DATABASE = 512 << 20
# So many records of a database, found in so many steps, show whether it tells AS numbers.
_ENOUGH_RECORDS = 100
_MOST_STEPS = 1000

# The rest of ASCII means more than itself to a terminal, a shell, a template or a page.
_SAFE = frozenset(string.ascii_letters + string.digits + " .,_-:/()+&'@#*!=;?[]~")

Place: TypeAlias = tuple[str | int, ...]
_Value = TypeVar("_Value")


class Problem(NamedTuple):
    """What is wrong with networks or devices.

    Attributes:
        place: where it stands, such as ``("networks", "dc1", 0)`` for the first prefix of dc1.
        rule: what is wrong with it and what to write instead; with the place before it, a sentence.
    """

    place: Place
    rule: str

    def __str__(self) -> str:
        return f"{_path(self.place)}: {self.rule}"


def safe_text(text: str) -> str:
    r"""Make a name that people give, with its spaces and commas, fit for a terminal, a log and a template.

    ASCII letters, digits, spaces and ``.,_-:/()+&'@#*!=;?[]~`` stay, anything else becomes ``\xNN`` for each byte of its UTF-8
    form. Names from DNS have a rule of their own, ``safe_name``.

    Arguments:
        text: the name as it was given.

    Returns:
        At most 150 characters; a longer result ends with ``...``.
    """
    return _escaped(text, _SAFE)


def _escaped(text: str, safe: Container[str]) -> str:
    pieces = []
    length = 0
    for character in text[: LONGEST_NAME + 1]:
        octets = character.encode("utf-8", "surrogatepass")
        pieces.append(character if character in safe else "".join(f"\\x{octet:02x}" for octet in octets))
        length += len(pieces[-1])
    if length <= LONGEST_NAME:
        return "".join(pieces)
    while length > LONGEST_NAME - 3:
        length -= len(pieces.pop())
    return "".join(pieces) + "..."


class _Prefixes(Generic[_Value]):
    """Finds the longest of many prefixes that holds an address: one dictionary for each length that occurs, longest first."""

    def __init__(self, entries: Iterable[tuple[netaddr.IPNetwork, _Value]]) -> None:
        tables: dict[int, dict[int, dict[int, _Value]]] = {4: {}, 6: {}}
        for network, value in entries:
            shift = _width(network.version) - network.prefixlen
            tables[network.version].setdefault(shift, {})[network.first >> shift] = value
        self._tables = {version: sorted(found.items()) for version, found in tables.items()}

    def values(self) -> Iterator[_Value]:
        """What the prefixes stand for."""
        for tables in self._tables.values():
            for _, table in tables:
                yield from table.values()

    def longest(self, address: netaddr.IPAddress) -> _Value | None:
        number = int(address)
        for shift, table in self._tables[address.version]:
            if number >> shift in table:
                return table[number >> shift]
        return None


def _width(version: int) -> int:
    return 32 if version == 4 else 128


_KIND_OF = _Prefixes((netaddr.IPNetwork(prefix), kind) for kind, prefixes in RANGES.items() for prefix in prefixes)


def _address(text: str) -> netaddr.IPAddress | None:
    """An address without its zone, which says how the vantage reaches it and not whose it is; None for what is no address."""
    try:
        return netaddr.IPAddress(text.partition("%")[0])
    except (netaddr.AddrFormatError, ValueError):
        return None


class Naming:
    """Knows whose addresses are. Built once, used for any number of traces, from any thread; it never changes.

    Arguments:
        networks: prefixes of each of the user's networks, such as ``{"dc1": ["10.1.0.0/16", "2001:db8:1::/48"]}``; a single one
            may stand without a list, an address is a prefix of its own. Of several that hold an address, the longest counts.
        devices: the name of each address's device, such as ``{"10.1.0.1": "core1"}``, or several names. Zones of addresses
            (RFC 4007 section 11) are left out.
        asn_database: a MaxMind DB file with AS numbers, such as GeoLite2-ASN, DB-IP's or IPinfo's; it is read whole, at most
            512 MiB. Needs the package ``maxminddb``.

    Raises:
        OptionError: every problem of all three at once, one sentence each.
    """

    __slots__ = ("_database", "_devices", "_networks")

    def __init__(
        self,
        networks: Mapping[str, str | Sequence[str]] | None = None,
        devices: Mapping[str, str | Sequence[str]] | None = None,
        asn_database: str | os.PathLike[str] | None = None,
    ) -> None:
        reading = _Reading(networks, devices)
        told = [str(problem) for problem in reading.problems]
        self._networks = _Prefixes(
            (network, (safe_text(name), str(network.cidr))) for network, (name, _) in reading.owners.items()
        )
        self._devices = {address: tuple(sorted(names)) for address, names in reading.devices.items()}
        self._database: _AsnDatabase | None = None
        if asn_database is not None:
            try:
                self._database = _AsnDatabase(asn_database)
            except OptionError as error:
                told += error.problems
        if told:
            raise OptionError(told)

    def network(self, address: str) -> Network | None:
        """The network of an address: its kind and the user's longest prefix, without what an AS database knows.

        Arguments:
            address: IPv4 or IPv6, with or without zone.

        Returns:
            None for what is no address.
        """
        number = _address(address)
        if number is None:
            return None
        name, prefix = self._networks.longest(number) or (None, None)
        return Network(_KIND_OF.longest(number) or PUBLIC, name, prefix)

    @property
    def names(self) -> frozenset[str]:
        """Every name of a network and of a device, escaped."""
        networks = (name for name, _ in self._networks.values())
        return frozenset((*networks, *(name for names in self._devices.values() for name in names)))

    def devices(self, address: str) -> tuple[str, ...]:
        """The names of the devices that an address belongs to, escaped, in the order of the alphabet; mostly one or none."""
        return self._devices.get(_address(address), ()) if self._devices else ()

    def autonomous_system(self, address: str) -> tuple[int, str | None] | None:
        """Number and escaped name of the system that announces an address; None where it is not known.

        Raises:
            OptionError: the database is damaged where it should tell.
        """
        number = _address(address)
        return None if self._database is None or number is None else self._database.find(number)


def problems(networks: object, devices: object) -> tuple[Problem, ...]:
    """All that is wrong with networks and devices, with the places that it stands at, for who knows the lines of a file.

    Arguments:
        networks, devices: as Naming takes them; anything at all.
    """
    return tuple(_Reading(networks, devices).problems)


class _Reading:
    """Networks and devices, checked.

    Attributes:
        owners: the name of each prefix, and where it stands.
        devices: the escaped names of each address.
        problems: what is wrong with the rest.
    """

    def __init__(self, networks: object, devices: object) -> None:
        self.owners: dict[netaddr.IPNetwork, tuple[str, Place]] = {}
        self.devices: dict[netaddr.IPAddress | None, set[str]] = {}
        self.problems: list[Problem] = []
        self._read_networks({} if networks is None else networks)
        self._read_devices({} if devices is None else devices)

    def _refuse(self, place: Place, rule: str) -> None:
        self.problems.append(Problem(place, rule))

    def _read_networks(self, networks: object) -> None:
        if not isinstance(networks, Mapping):
            self._refuse(("networks",), f"{_shown(networks)} is not a mapping such as {{'dc1': ['10.1.0.0/16']}}")
            return
        for name, prefixes in networks.items():
            if not _is_name(name):
                self._refuse(("networks",), f"{_shown(name)} is not a name: {_NAME_RULE}")
                continue
            place: Place = ("networks", name)
            if not isinstance(prefixes, (str, list, tuple)):
                self._refuse(place, f"{_shown(prefixes)} is not a list of prefixes such as ['10.1.0.0/16', '2001:db8:1::/48']")
                continue
            several = [(place, prefixes)] if isinstance(prefixes, str) else [((*place, n), one) for n, one in enumerate(prefixes)]
            for where, prefix in several:
                self._read_prefix(name, prefix, where)

    def _read_prefix(self, name: str, prefix: object, place: Place) -> None:
        try:
            network = _network(prefix)
        except ValueError as error:
            self._refuse(place, str(error))
            return
        other, elsewhere = self.owners.setdefault(network, (name, place))
        if other != name:
            self._refuse(place, f"{network} stands in {_path(elsewhere)} too: leave it in one of the two")

    def _read_devices(self, devices: object) -> None:
        if not isinstance(devices, Mapping):
            self._refuse(("devices",), f"{_shown(devices)} is not a mapping such as {{'10.1.0.1': 'core1'}}")
            return
        for address, names in devices.items():
            if not isinstance(address, str):
                self._refuse(("devices",), f"{_shown(address)} is not an address such as 10.1.0.1 or 2001:db8::1")
                continue
            number = _address(address)
            if number is None:
                self._refuse(("devices", address), f"is not an address such as 10.1.0.1 or 2001:db8::1{_meant(address)}")
                continue
            for name in names if isinstance(names, (list, tuple)) else [names]:
                if not _is_name(name):
                    self._refuse(("devices", address), f"{_shown(name)} is not a name: {_NAME_RULE}")
                    continue
                # A comma is what stands between two names.
                self.devices.setdefault(number, set()).add(_escaped(name, _SAFE - {","}))


_NAME_RULE = "it has to be text, and not empty"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _network(prefix: object) -> netaddr.IPNetwork:
    """The network that a prefix is.

    Raises:
        ValueError: says why it is none, and what may have been meant.
    """
    try:
        network = netaddr.IPNetwork(prefix) if isinstance(prefix, str) else None
    except (netaddr.AddrFormatError, ValueError):
        network = None
    if network is None or not isinstance(prefix, str):
        raise ValueError(f"{_shown(prefix)} is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48")
    whole = network.cidr
    if not re.fullmatch(r"[0-9a-fA-F:.]+(/[0-9]{1,3})?", prefix):
        raise ValueError(f"{_shown(prefix)} has no plain length: write {whole}")
    if network.ip != whole.ip:
        alone = f"{network.ip}/{_width(network.version)}"
        raise ValueError(f"{_shown(prefix)} has host bits set: write {whole} for the network, or {alone} for the address alone")
    return whole


def _meant(address: str) -> str:
    """What to write for a prefix that stands where an address should."""
    try:
        return f": write {netaddr.IPNetwork(address).ip}"
    except (netaddr.AddrFormatError, ValueError):
        return ""


def _path(place: Place) -> str:
    """A place as an error tells it: ``networks.dc1[0]``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{_shown(step)[1:-1]}" for step in place)
    return "".join(steps).removeprefix(".")


def _shown(value: object) -> str:
    return shown(value, LONGEST_NAME)


# How the reader fails over bytes that no writer would have written; beside its own error none is documented.
_DAMAGE = (RuntimeError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError, struct.error)


class _AsnDatabase:
    """A MaxMind DB file with AS numbers.

    Arguments:
        file: its path.

    Raises:
        OptionError: it can't be read, is damaged, or tells no AS numbers.
    """

    __slots__ = ("_file", "_reader", "_version")

    def __init__(self, file: object) -> None:
        if not isinstance(file, (str, os.PathLike)):
            raise OptionError([f"asn_database: {_shown(file)} is not the path of a file"])
        self._file = _shown(os.fspath(file))
        try:
            from maxminddb import MODE_FD, open_database
        except ImportError:
            raise OptionError(
                ["asn_database: needs the package maxminddb, which is not installed: pip install 'nornir-tcptraceroute[asn]'"]
            ) from None
        try:
            found = Path(file).stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_DATABASE:
                raise OSError(0, f"it is no file of at most {LARGEST_DATABASE >> 20} MiB")  # noqa: TRY301 - told like the system's own
            with Path(file).open("rb") as stream:
                # The reader in pure Python, which a damaged file can't crash. It reads the file whole, and knows it by its name.
                self._reader: Reader = open_database(stream, MODE_FD)
            self._version: Literal[4, 6] = 4 if self._reader.metadata().ip_version == 4 else 6
            tells = any(_system(record) for record in islice(self._records(), _ENOUGH_RECORDS))
        except OSError as error:
            raise OptionError([f"asn_database: {self._file} can't be read: {error.strerror}"]) from None
        except _DAMAGE as error:
            raise self._damaged(error) from None
        if not tells:
            raise OptionError([f"asn_database: {self._file} tells no AS numbers: take one that does, such as GeoLite2-ASN"])

    def _damaged(self, error: BaseException) -> OptionError:
        reason = _shown(str(error) or type(error).__name__)
        return OptionError([f"asn_database: {self._file} is no MaxMind DB file, or is damaged ({reason}): fetch it again"])

    def _records(self) -> Iterator[object]:
        """The first records of the file in the order of their addresses; a tree that leads nowhere ends after some steps."""
        width, number = _width(self._version), 0
        for _ in range(_MOST_STEPS):
            record, length = self._reader.get_with_prefix_len(str(netaddr.IPAddress(number, self._version)))
            if record is not None:
                yield record
            step = 1 << (width - length)
            number = (number // step + 1) * step
            if number >> width:
                return

    def find(self, address: netaddr.IPAddress) -> tuple[int, str | None] | None:
        """What the file says of an address."""
        if address.version > self._version:
            return None
        try:
            return _system(self._reader.get(str(address)))
        except _DAMAGE as error:
            raise self._damaged(error) from None


#: What a record calls the number and the name of a system: MaxMind and DB-IP, IPinfo.
_FIELDS = (("autonomous_system_number", "autonomous_system_organization"), ("asn", "as_name"))


def _system(record: object) -> tuple[int, str | None] | None:
    """Number and escaped name of the autonomous system in a record of the database."""
    if not isinstance(record, Mapping):
        return None
    for number_field, name_field in _FIELDS:
        number, name = record.get(number_field), record.get(name_field)
        if isinstance(number, str) and re.fullmatch(r"AS[0-9]{1,10}", number):
            number = int(number[2:])
        if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**32:
            return number, safe_text(name) if isinstance(name, str) and name.strip() else None
    return None


def label(trace: Trace, naming: Naming) -> Trace:
    """Say of every hop that answered whose it is.

    Arguments:
        trace: the record; what is in its hops' notes stays, what this function would say again is not repeated.
        naming: what is known of addresses.

    Returns:
        The trace with `network`, `device` and `notes` in its hops: the kind of each address's network and the user's name for it
        ("core1, in dc1"), or its kind where that says more ("private"), and its autonomous system ("AS64496 Example"). Of a hop
        with several addresses, the others are in the notes. A database that turns out to be damaged is told in `warnings`.
    """
    faults: dict[str, None] = {}
    hops = tuple(_labelled(hop, naming, faults) for hop in trace.hops)
    return replace(trace, hops=hops, warnings=(*trace.warnings, *(fault for fault in faults if fault not in trace.warnings)))


def _labelled(hop: Hop, naming: Naming, faults: dict[str, None]) -> Hop:
    network = _full_network(hop.address, naming, faults) if hop.address is not None else None
    if hop.address is None or network is None:
        return hop
    notes = list(_notes(hop.address, network, naming))
    for other in [address for address in hop.addresses if address != hop.address][:MOST_OTHERS]:
        found = _full_network(other, naming, faults)
        told = list(_notes(other, found, naming)) if found is not None else []
        notes += [f"{other}: {'; '.join(told)}"] if told else []
    return replace(
        hop,
        network=network,
        device=", ".join(_few(naming.devices(hop.address), "...")) or None,
        notes=tuple(dict.fromkeys([*(hop.notes or ()), *notes]))[:MOST_NOTES],
    )


def _full_network(address: str, naming: Naming, faults: dict[str, None]) -> Network | None:
    network = naming.network(address)
    if network is None:
        return None
    try:
        number, organization = naming.autonomous_system(address) or (None, None)
    except OptionError as error:
        # The trace and all other labels are as good as ever.
        faults[str(error)] = None
        return network
    return replace(network, asn=number, organization=organization)


def _notes(address: str, network: Network, naming: Naming) -> Iterator[str]:
    names = naming.devices(address)
    device = " or ".join(_few(names, f"{len(names) - MOST_NAMES} others"))
    place = f"in {network.name}" if network.name is not None else ""
    if device or place:
        yield ", ".join(filter(None, (device, place)))
    if not place and network.kind != PUBLIC:
        yield network.kind.replace("_", "-")
    if network.asn is not None:
        yield " ".join(filter(None, (f"AS{network.asn}", network.organization)))


def _few(names: Sequence[str], rest: str) -> list[str]:
    return [*names[:MOST_NAMES], *([rest] if len(names) > MOST_NAMES else [])]
