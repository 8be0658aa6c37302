"""Names of hops: networks by longest prefix, devices, special ranges, AS numbers; and what is refused."""

from __future__ import annotations

import ipaddress
import os
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter

from nornir_tcptraceroute import Hop, Network, OptionError, ProbeShape, Trace
from nornir_tcptraceroute.analysis import Naming, label
from nornir_tcptraceroute.analysis.naming import KINDS, LONGEST_NAME, problems, safe_text

SHAPE = ProbeShape("SYN", "linux", 60, 0, dont_fragment=True)


def hop(*addresses: str, ttl: int = 1, notes: tuple[str, ...] | None = None) -> Hop:
    return Hop(ttl, addresses[0] if addresses else None, addresses, None, (), None, None, notes=notes)


def trace_of(*hops: Hop) -> Trace:
    return Trace(
        destination="server",
        address="192.0.2.1",
        family=4,
        port=80,
        vantage="client",
        source="10.0.0.1",
        source_port=40000,
        interface=None,
        method="raw",
        probe=SHAPE,
        started_at="2026-01-01T00:00:00Z",
        elapsed_ms=1.0,
        reached=True,
        port_state="open",
        stop_reason="reached",
        hops=hops,
        counters={},
    )


def labelled(naming: Naming, *addresses: str) -> Hop:
    """The one hop of a trace after it was labelled; that it can be written and read back is made sure of."""
    trace = label(trace_of(hop(*addresses)), naming)
    assert Trace.from_dict(trace.to_dict()) == trace
    return trace.hops[0]


def database(file: Path, records: dict[str, Any], version: int = 6) -> Path:
    writer = MMDBWriter(version, ipv4_compatible=version == 6, database_type="Test-ASN")
    for prefix, record in records.items():
        writer.insert_network(netaddr.IPSet([prefix]), record)
    writer.to_db_file(str(file))
    return file


def system(number: Any, name: Any) -> dict[str, Any]:
    return {"autonomous_system_number": number, "autonomous_system_organization": name}


NETWORKS = {
    "dc1": ["10.1.0.0/16", "2001:db8:1::/48"],
    "dc1 rack 7": ["10.1.7.0/24"],
    "all": "0.0.0.0/0",
    "one": ["10.1.7.9", "2001:DB8:1::9"],
}
DEVICES = {"10.1.0.1": "core1", "2001:db8:1::1": ["b", "a"], "192.0.2.1": "edge", "2001:DB8:1:0::1": "a", "fe80::1%eth9": "gw"}


@pytest.mark.parametrize(
    ("address", "network", "device", "notes"),
    [
        ("10.1.0.1", Network("private", "dc1", "10.1.0.0/16"), "core1", ("core1, in dc1",)),
        ("10.1.7.1", Network("private", "dc1 rack 7", "10.1.7.0/24"), None, ("in dc1 rack 7",)),
        ("10.1.7.9", Network("private", "one", "10.1.7.9/32"), None, ("in one",)),
        ("10.2.0.1", Network("private", "all", "0.0.0.0/0"), None, ("in all",)),
        ("2001:db8:1::1", Network("documentation", "dc1", "2001:db8:1::/48"), "a, b", ("a or b, in dc1",)),
        ("2001:db8:1:0:0:0:0:9", Network("documentation", "one", "2001:db8:1::9/128"), None, ("in one",)),
        ("2001:db8:2::1", Network("documentation"), None, ("documentation",)),
        ("fe80::1%eth0", Network("link_local"), "gw", ("gw", "link-local")),
        ("2a00::1", Network("public"), None, ()),
        # From a record that is no probe's; the schema allows any text.
        ("no address", None, None, None),
    ],
)
def test_a_hop_is_named(address: str, network: Network | None, device: str | None, notes: tuple[str, ...] | None) -> None:
    named = labelled(Naming(NETWORKS, DEVICES), address)
    assert (named.network, named.device, named.notes) == (network, device, notes)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::2", "public"),
        ("169.254.1.1", "link_local"),
        ("fe80::1", "link_local"),
        ("febf::1", "link_local"),
        ("fec0::1", "public"),
        ("10.255.255.255", "private"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("172.32.0.0", "public"),
        ("192.168.0.1", "private"),
        ("fd00::1", "private"),
        ("100.64.0.1", "shared"),
        ("100.127.255.255", "shared"),
        ("100.128.0.0", "public"),
        ("198.18.0.1", "benchmarking"),
        ("2001:2::1", "benchmarking"),
        ("203.0.113.9", "documentation"),
        ("3fff::1", "documentation"),
        ("1.1.1.1", "public"),
        ("2600::", "public"),
    ],
)
def test_every_kind_is_told(address: str, kind: str) -> None:
    named = labelled(Naming(), address)
    assert named.network == Network(kind)
    assert kind in KINDS
    assert named.notes == (() if kind == "public" else (kind.replace("_", "-"),))


def test_a_silent_hop_stays_as_it_is() -> None:
    silent = hop(ttl=2)
    assert label(trace_of(silent), Naming(NETWORKS)).hops == (silent,)


def test_notes_that_were_there_stay_and_none_is_said_twice() -> None:
    naming = Naming(NETWORKS, DEVICES)
    once = label(trace_of(hop("10.1.0.1", notes=("MPLS 100704 tc 0 ttl 1",))), naming)
    assert once.hops[0].notes == ("MPLS 100704 tc 0 ttl 1", "core1, in dc1")
    assert label(once, naming) == once


def test_every_address_of_a_hop_is_named() -> None:
    named = labelled(Naming(NETWORKS, DEVICES), "10.1.0.1", "192.0.2.1", "2a00::1", "10.1.7.1")
    assert named.device == "core1"
    assert named.notes == ("core1, in dc1", "192.0.2.1: edge, in all", "10.1.7.1: in dc1 rack 7")


def test_many_devices_with_one_address_are_told_shortly() -> None:
    names = [f"lab{number:03d}" for number in range(500)]
    naming = Naming(devices={"10.0.0.1": random.Random(1).sample(names, 500)})
    named = labelled(naming, "10.0.0.1")
    assert naming.devices("10.0.0.1") == tuple(names)
    assert named.device == "lab000, lab001, lab002, ..."
    assert named.notes == ("lab000 or lab001 or lab002 or 497 others", "private")


HOSTILE = [
    ("Data centre 1, north (A&B)", "Data centre 1, north (A&B)"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("{{ lookup('pipe', 'id') }}", "\\x7b\\x7b lookup('pipe'\\x2c 'id') \\x7d\\x7d"),
    ("<b>`$x`|\\", "\\x3cb\\x3e\\x60\\x24x\\x60\\x7c\\x5c"),
    ("Z\u00fcrich\n", "Z\\xc3\\xbcrich\\x0a"),
    ("\ud800\udcff", "\\xed\\xa0\\x80\\xed\\xb3\\xbf"),
]


@pytest.mark.parametrize(("name", "escaped"), HOSTILE)
def test_names_are_escaped(name: str, escaped: str) -> None:
    named = labelled(Naming({name: ["10.0.0.0/8"]}, {"10.0.0.1": name}), "10.0.0.1")
    assert named.network is not None
    assert named.network.name is not None
    assert named.network.name.replace(",", "\\x2c") == named.device == escaped.replace(",", "\\x2c")


@given(st.text())
def test_an_escaped_name_is_bounded_and_escaping_is_exact(name: str) -> None:
    escaped = safe_text(name)
    assert len(escaped) <= LONGEST_NAME
    assert escaped.isascii()
    assert escaped.isprintable() or not escaped
    if not escaped.endswith("..."):
        assert escaped.encode().decode("unicode_escape").encode("latin-1") == name.encode("utf-8", "surrogatepass")


def test_the_longest_names_fit_into_a_record(tmp_path: Path) -> None:
    name = "\u00fc" * 1000
    file = database(tmp_path / "asn.mmdb", {"10.0.0.0/8": system(4294967295, name)})
    devices = {f"10.0.0.{number}": [f"{digit}{name}" for digit in range(9)] for number in range(1, 200)}
    named = labelled(Naming({name: ["10.0.0.0/8"]}, devices, file), *devices)
    assert named.notes is not None
    assert len(named.notes) == 12


PREFIXES_4 = st.builds(
    lambda number, length: ipaddress.ip_network((number >> (32 - length) << (32 - length), length)),
    # Few bits, so that prefixes lie inside each other.
    st.sampled_from([0x0A000000, 0x0A010000, 0x0A010100, 0x0A010101, 0xC0000201]),
    st.integers(0, 32),
)
PREFIXES_6 = st.builds(
    lambda number, length: ipaddress.ip_network((number >> (128 - length) << (128 - length), length)),
    st.sampled_from([0x20010DB8 << 96, (0x20010DB8 << 96) + (1 << 80), (0x20010DB8 << 96) + 1, 1, 0xFE80 << 112]),
    st.integers(0, 128),
)


@given(
    st.lists(st.one_of(PREFIXES_4, PREFIXES_6), unique=True, max_size=30),
    st.lists(st.one_of(st.integers(0, 2**32 - 1).map(ipaddress.ip_address), st.ip_addresses()), max_size=5),
)
def test_the_longest_prefix_is_that_of_a_search_through_all(prefixes: list[Any], others: list[Any]) -> None:
    naming = Naming({f"n{number}": [str(prefix)] for number, prefix in enumerate(prefixes)})
    edges = [edge for prefix in prefixes for edge in (prefix.network_address, prefix.broadcast_address)]
    for address in [*edges, *others]:
        holding = [prefix for prefix in prefixes if address.version == prefix.version and address in prefix]
        longest = max(holding, key=lambda prefix: prefix.prefixlen, default=None)
        network = naming.network(str(address))
        assert network is not None
        assert network.prefix == (str(longest) if longest else None)
        assert network.name == (f"n{prefixes.index(longest)}" if longest else None)


HOST_BITS = "'{}' has host bits set: write {} for the network, or {} for the address alone"
REFUSED: list[tuple[Any, Any, list[str]]] = [
    ({"dc1": ["10.1.0.0/16"]}, {"10.1.0.1": "core1"}, []),
    (
        ["10.1.0.0/16"],
        "core1",
        [
            "networks: ['10.1.0.0/16'] is not a mapping such as {'dc1': ['10.1.0.0/16']}",
            "devices: 'core1' is not a mapping such as {'10.1.0.1': 'core1'}",
        ],
    ),
    (
        {"dc1": ["10.1.0.1/16", "2001:db8::1/32"]},
        {},
        [
            f"networks.dc1[0]: {HOST_BITS.format('10.1.0.1/16', '10.1.0.0/16', '10.1.0.1/32')}",
            f"networks.dc1[1]: {HOST_BITS.format('2001:db8::1/32', '2001:db8::/32', '2001:db8::1/128')}",
        ],
    ),
    (
        {"dc1": "10.1.0.0/33", "dc2": [5, None, "", "10.1", "fe80::/10%eth0", "10.0.0.0/8\n", "10.0.0.0/255.0.0.0"]},
        None,
        [
            "networks.dc1: '10.1.0.0/33' is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "networks.dc2[0]: 5 is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "networks.dc2[1]: None is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "networks.dc2[2]: '' is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "networks.dc2[3]: '10.1' is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "networks.dc2[4]: 'fe80::/10%eth0' is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "networks.dc2[5]: '10.0.0.0/8\\n' has no plain length: write 10.0.0.0/8",
            "networks.dc2[6]: '10.0.0.0/255.0.0.0' has no plain length: write 10.0.0.0/8",
        ],
    ),
    (
        {
            "dc1": ["10.1.0.0/16", "10.1.0.0/16"],
            "dc2": ["10.2.0.0/16", "10.1.0.0/16"],
            "dc3": ["2001:DB8:0::/32"],
            "x": "2001:db8::/32",
        },
        {},
        [
            "networks.dc2[1]: 10.1.0.0/16 stands in networks.dc1[0] too: leave it in one of the two",
            "networks.x: 2001:db8::/32 stands in networks.dc3[0] too: leave it in one of the two",
        ],
    ),
    (
        {5: ["10.0.0.0/8"], "": ["10.0.0.0/8"], "dc1": 5, "dc2": {"10.0.0.0/8": 1}, "d\x1b": [5]},
        {5: "x", "10.0.0.300": "x", "10.0.0.1/24": "x", "10.0.0.1": None, "10.0.0.2": ["a", 2], "::1": " "},
        [
            "networks: 5 is not a name: it has to be text, and not empty",
            "networks: '' is not a name: it has to be text, and not empty",
            "networks.dc1: 5 is not a list of prefixes such as ['10.1.0.0/16', '2001:db8:1::/48']",
            "networks.dc2: {'10.0.0.0/8': 1} is not a list of prefixes such as ['10.1.0.0/16', '2001:db8:1::/48']",
            "networks.d\\x1b[0]: 5 is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "devices: 5 is not an address such as 10.1.0.1 or 2001:db8::1",
            "devices.10.0.0.300: is not an address such as 10.1.0.1 or 2001:db8::1",
            "devices.10.0.0.1/24: is not an address such as 10.1.0.1 or 2001:db8::1: write 10.0.0.1",
            "devices.10.0.0.1: None is not a name: it has to be text, and not empty",
            "devices.10.0.0.2: 2 is not a name: it has to be text, and not empty",
            "devices.::1: ' ' is not a name: it has to be text, and not empty",
        ],
    ),
    (
        {"dc1": [1 << 20000]},
        {1 << 20000: "x"},
        [
            "networks.dc1[0]: <int> is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "devices: <int> is not an address such as 10.1.0.1 or 2001:db8::1",
        ],
    ),
]


@pytest.mark.parametrize(("networks", "devices", "told"), REFUSED)
def test_all_that_is_wrong_is_told_at_once(networks: Any, devices: Any, told: list[str], tmp_path: Path) -> None:
    assert [str(problem) for problem in problems(networks, devices)] == told
    missing = tmp_path / "none.mmdb"
    with pytest.raises(OptionError) as raised:
        Naming(networks, devices, missing)
    assert list(raised.value.problems) == [*told, f"asn_database: '{missing}' can't be read: No such file or directory"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
)


@given(VALUES, VALUES)
def test_anything_at_all_is_taken_or_refused_in_sentences(networks: Any, devices: Any) -> None:
    told = [str(problem) for problem in problems(networks, devices)]
    assert all(sentence.isascii() and sentence.isprintable() and len(sentence) < 500 for sentence in told)
    if told:
        with pytest.raises(OptionError) as raised:
            Naming(networks, devices)
        assert list(raised.value.problems) == told
    else:
        Naming(networks, devices)


def test_systems_are_told(tmp_path: Path) -> None:
    records = {
        "192.0.2.0/24": system(64496, "Example, Inc."),
        "198.51.100.0/24": {"asn": "AS64497", "as_name": "Caf\u00e9 {x}", "country": "DE"},
        "203.0.113.0/24": system(64498, None),
        "2001:db8::/32": system(4200000000, "Six"),
        # None of these says whose it is.
        "10.0.0.0/24": system(0, "zero"),
        "10.0.1.0/24": system("12", "text"),
        "10.0.2.0/24": system(number=True, name="true"),
        "10.0.3.0/24": system(2**32, "more than 32 bits"),
        "10.0.4.0/24": {"country": "DE"},
    }
    file = database(
        tmp_path / "asn.mmdb", {prefix: {k: v for k, v in one.items() if v is not None} for prefix, one in records.items()}
    )
    naming = Naming({"dc1": ["192.0.2.0/25"]}, {"192.0.2.1": "core1"}, str(file))
    expected = {
        "192.0.2.1": (64496, "Example, Inc.", ("core1, in dc1", "AS64496 Example, Inc.")),
        "198.51.100.9": (64497, "Caf\\xc3\\xa9 \\x7bx\\x7d", ("documentation", "AS64497 Caf\\xc3\\xa9 \\x7bx\\x7d")),
        "203.0.113.9": (64498, None, ("documentation", "AS64498")),
        "2001:db8::1": (4200000000, "Six", ("documentation", "AS4200000000 Six")),
        "1.1.1.1": (None, None, ()),
        **{f"10.0.{third}.1": (None, None, ("private",)) for third in range(5)},
    }
    found = {address: labelled(naming, address) for address in expected}
    assert {
        address: (one.network.asn, one.network.organization, one.notes) for address, one in found.items() if one.network
    } == expected


def test_a_database_of_ipv4_knows_nothing_of_ipv6(tmp_path: Path) -> None:
    naming = Naming(asn_database=database(tmp_path / "asn.mmdb", {"192.0.2.0/24": system(64496, "Example")}, version=4))
    assert labelled(naming, "2001:db8::1").network == Network("documentation")
    assert labelled(naming, "192.0.2.1").network == Network("documentation", asn=64496, organization="Example")


def test_a_database_that_tells_no_systems_is_refused(tmp_path: Path) -> None:
    for name, records in (("country", {"192.0.2.0/24": {"country": "DE"}}), ("empty", {})):
        file = database(tmp_path / name, records)
        with pytest.raises(OptionError) as raised:
            Naming(asn_database=file)
        assert str(raised.value) == f"asn_database: '{file}' tells no AS numbers: take one that does, such as GeoLite2-ASN"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no MaxMind DB file, or is damaged"),
        (b"PK\x03\x04 this is no database", "is no MaxMind DB file, or is damaged"),
        (b"\xab\xcd\xefMaxMind.com", "is no MaxMind DB file, or is damaged"),
        (None, "can't be read: it is no file of at most 512 MiB"),
    ],
)
def test_a_file_that_is_no_database_is_refused(content: bytes | None, told: str, tmp_path: Path) -> None:
    file = tmp_path / "asn.mmdb"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=told) as raised:
        Naming(asn_database=file)
    assert len(raised.value.problems) == 1
    assert "\n" not in str(raised.value)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "large").open("wb") as large:
        large.truncate((512 << 20) + 1)
    for name in ("fifo", "large"):
        with pytest.raises(OptionError, match="can't be read: it is no file of at most 512 MiB"):
            Naming(asn_database=tmp_path / name)


@pytest.mark.parametrize("path", [5, True, "a\0b", b"bytes"], ids=repr)
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(OptionError, match=r"^asn_database: "):
        Naming(asn_database=path)


def test_without_maxminddb_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "maxminddb", None)
    with pytest.raises(OptionError, match=r"needs the package maxminddb, .* pip install 'nornir-tcptraceroute\[asn\]'"):
        Naming(asn_database="asn.mmdb")


def test_a_damaged_database_costs_no_more_than_its_own_labels(tmp_path: Path) -> None:
    """Every byte of a database set to others: it is refused when it is opened, or told in the trace's warnings, or read."""
    file = database(tmp_path / "asn.mmdb", {"10.0.0.0/8": system(64496, "Example"), "2001:db8::/32": system(64497, "Six")})
    whole = file.read_bytes()
    generator = random.Random(5)
    trace = trace_of(hop("10.1.0.1"), hop(ttl=2), hop("2001:db8::1", ttl=3), hop("10.1.0.1", ttl=4))
    refused = warned = 0
    for _ in range(1500):
        changed = bytearray(whole)
        for _ in range(generator.choice((1, 1, 3, 20))):
            changed[generator.randrange(len(changed))] = generator.choice((0, 255, generator.randrange(256)))
        file.write_bytes(changed[: generator.choice((len(changed), generator.randrange(len(changed))))])
        try:
            naming = Naming({"dc1": ["10.1.0.0/16"]}, asn_database=file)
        except OptionError:
            refused += 1
            continue
        told = label(trace, naming)
        assert Trace.from_dict(told.to_dict()) == told
        assert [one.network and one.network.name for one in told.hops] == ["dc1", None, None, "dc1"]
        warned += bool(told.warnings)
        assert len(told.warnings) <= 2
        assert label(told, naming).warnings == told.warnings
    assert refused > 100
    assert warned > 10


def test_it_never_changes() -> None:
    networks = {"dc1": ["10.0.0.0/8"]}
    naming = Naming(networks)
    networks["dc1"].append("192.0.2.0/24")
    assert naming.network("192.0.2.1") == Network("documentation")
    with pytest.raises(AttributeError):
        naming.anything = 1  # type: ignore[attr-defined]


def test_threads_share_one(tmp_path: Path) -> None:
    prefixes = {f"10.{number}.0.0/16": system(64512 + number, f"system {number}") for number in range(100)}
    naming = Naming(asn_database=database(tmp_path / "asn.mmdb", prefixes))
    trace = trace_of(*(hop(f"10.{number}.0.1", ttl=number + 1) for number in range(100)))
    expected = label(trace, naming)
    told: list[Trace] = []
    threads = [threading.Thread(target=lambda: told.extend(label(trace, naming) for _ in range(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [expected] * 40
    assert [one.network and one.network.asn for one in replace(expected).hops] == [64512 + number for number in range(100)]
