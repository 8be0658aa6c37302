"""The file of --networks: what it says is taken, what is wrong with it is told with its line."""

from __future__ import annotations

from pathlib import Path

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter

from nornir_tcptraceroute import Network, OptionError
from nornir_tcptraceroute.cli.networks_file import MOST_BYTES, read_naming


def told(file: Path) -> list[str]:
    with pytest.raises(OptionError) as raised:
        read_naming(str(file))
    assert all(problem.startswith(f"{file}:") for problem in raised.value.problems)
    return [problem.removeprefix(f"{file}:") for problem in raised.value.problems]


def test_what_it_says_is_taken(tmp_path: Path) -> None:
    writer = MMDBWriter(4)
    writer.insert_network(netaddr.IPSet(["10.0.0.0/8"]), {"asn": "AS64496", "as_name": "Example"})
    (tmp_path / "data").mkdir()
    writer.to_db_file(str(tmp_path / "data" / "asn.mmdb"))
    file = tmp_path / "networks.yaml"
    file.write_text(
        "# Names that YAML would take for numbers and truths are names all the same.\n"
        "networks:\n"
        "  dc1: [10.1.0.0/16, '2001:db8:1::/48']\n"
        "  7:\n"
        "    - 10.7.0.0/16\n"
        "  yes: 2001:db8:2::/48\n"
        "devices:\n"
        "  10.1.0.1: core1\n"
        "  2001:db8:1::1: [core1, core2]\n"
        "asn_database: data/asn.mmdb\n"
    )
    naming = read_naming(str(file))
    assert naming.network("10.1.0.1") == Network("private", "dc1", "10.1.0.0/16")
    assert naming.network("10.7.0.1") == Network("private", "7", "10.7.0.0/16")
    assert naming.network("2001:db8:2::1") == Network("documentation", "yes", "2001:db8:2::/48")
    assert naming.devices("2001:db8:1::1") == ("core1", "core2")
    assert naming.autonomous_system("10.1.0.1") == (64496, "Example")


@pytest.mark.parametrize("text", ["networks:\n", "networks: {}\ndevices: ~\n", "{}"])
def test_an_empty_section_names_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "networks.yaml"
    file.write_text(text)
    assert read_naming(str(file)).network("10.0.0.1") == Network("private")


NOT_A_MAPPING = "1: is not a mapping with networks, devices or asn_database"
PREFIXES = "networks:\n  dc1:\n    - 10.1.0.0/16\n    - 10.2.0.1/16\n  dc2: [10.1.0.0/16,\n    10.3.0.0/33]\n  dc3:\n"
HOST_BITS = "'10.2.0.1/16' has host bits set: write 10.2.0.0/16 for the network, or 10.2.0.1/32 for the address alone"
WRONG = [
    ("", [NOT_A_MAPPING]),
    ("- 1\n", [NOT_A_MAPPING]),
    ("text", [NOT_A_MAPPING]),
    ("a: [1\n", ["2: this is not YAML: expected ',' or ']', but got '<stream end>'"]),
    ("a: \0", ["1: this is not YAML: unacceptable character #x0000"]),
    ("[" * 5000, ["1: there are more than 20 levels"]),
    ("networks: {}\n---\nnetworks: {}\n", ["2: this is not YAML: but found another document"]),
    (
        "network:\n  dc1: [10.0.0.0/8]\ndevices: {10.0.0.1: a}\n'x\\e': 1\n",
        [
            "1: network: is not one of networks, devices, asn_database",
            "4: x\\\\e: is not one of networks, devices, asn_database",
        ],
    ),
    (
        PREFIXES + "devices:\n  10.0.0.300: core1\n  10.0.0.1: ~\n  10.0.0.2: {a: b}\n",
        [
            f"4: networks.dc1[1]: {HOST_BITS}",
            "5: networks.dc2[0]: 10.1.0.0/16 stands in networks.dc1[0] too: leave it in one of the two",
            "6: networks.dc2[1]: '10.3.0.0/33' is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48",
            "7: networks.dc3: None is not a list of prefixes such as ['10.1.0.0/16', '2001:db8:1::/48']",
            "9: devices.10.0.0.300: is not an address such as 10.1.0.1 or 2001:db8::1",
            "10: devices.10.0.0.1: None is not a name: it has to be text, and not empty",
            "11: devices.10.0.0.2: {'a': 'b'} is not a name: it has to be text, and not empty",
        ],
    ),
    ("networks:\n  dc1: [10.0.0.0/8]\n  dc1: [10.1.0.0/16]\n", ["3: dc1 stands in line 2 too"]),
    ("networks:\n  1: [10.0.0.0/8]\n  '1': [10.1.0.0/16]\n", ["3: 1 stands in line 2 too"]),
    ("networks:\n  dc1: &x [10.0.0.0/8]\n  dc2: *x\n", ["3: an alias can't stand here: write out what it stands for"]),
    ("networks:\n  ? [a, b]\n  : [10.0.0.0/8]\n", ["2: a key has to be text"]),
    ("networks:\n  dc1: [[a]]\n", ["2: networks.dc1[0]: ['a'] is not a prefix such as 10.1.0.0/16 or 2001:db8:1::/48"]),
    ("asn_database: no.mmdb\n", ["1: asn_database: '{0}/no.mmdb' can't be read: No such file or directory"]),
    ("networks: {}\nasn_database: [a]\n", ["2: asn_database: ['a'] is not the path of a file"]),
]


@pytest.mark.parametrize(("text", "problems"), WRONG, ids=[repr(text[:20]) for text, _ in WRONG])
def test_what_is_wrong_is_told_with_its_line(text: str, problems: list[str], tmp_path: Path) -> None:
    file = tmp_path / "networks.yaml"
    file.write_text(text)
    assert told(file) == [problem.replace("{0}", str(tmp_path)) for problem in problems]


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    assert told(tmp_path / "none.yaml") == [" can't be read: No such file or directory"]
    assert told(tmp_path) == [" can't be read: Is a directory"]
    (tmp_path / "latin").write_bytes(b"networks: {\xfc: [10.0.0.0/8]}")
    assert told(tmp_path / "latin") == ["1: this is not UTF-8 text"]
    (tmp_path / "large").write_bytes(b"#" * (MOST_BYTES + 1))
    assert told(tmp_path / "large") == ["1: the file is larger than 4 MiB"]


TOKENS = (
    ["networks", "devices", "asn_database", ":", ": ", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "? "],
    ["10.0.0.0/8", "10.0.0.1", "::1", "name", "~", "'", '"', "!!int ", "<<", "---\n", "#", "|", "%", "\t", "\x85"],
)
YAMLISH = st.lists(st.sampled_from([token for tokens in TOKENS for token in tokens]), max_size=30).map("".join)


@given(st.one_of(YAMLISH, st.text(max_size=50)))
def test_any_text_is_taken_or_refused_in_sentences(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_naming(str(file))
    except OptionError as error:
        problems = error.problems
    else:
        problems = ()
    assert all("\n" not in problem and problem.isascii() and problem.isprintable() for problem in problems)
