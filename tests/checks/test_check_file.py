"""Check files: read as a whole or refused with every line that is wrong; and the published schema says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from nornir_tcptraceroute import PARAMETERS, OptionError, TraceOptions
from nornir_tcptraceroute.analysis import baseline
from nornir_tcptraceroute.analysis.expectations import WORDS, Expectations
from nornir_tcptraceroute.checks.check_file import CHECK_KEYS, FILE_KEYS, NUMBERS, InventoryNames, read_checks
from nornir_tcptraceroute.probe.records import PORT_STATES
from tests.analysis.paths import path

SCHEMA: dict[str, Any] = json.loads((Path(__file__).parents[2] / "nornir_tcptraceroute" / "check.schema.json").read_text("ascii"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
INVENTORY = InventoryNames(
    ("alpha", "beta", "gamma"), {"west": frozenset({"beta", "alpha"}), "none": frozenset()}, {"10.9.0.1": ["alpha"]}
)
GOOD = """\
networks: {dc1: [10.1.0.0/16], "the core": 10.2.0.0/16}
devices: {10.1.0.1: edge1, 10.2.0.1: [core1, spare]}
checks:
- name: web
  destination: web.example
  port: 443
  queries: 2
  expect:
    reached: true
    transit: [dc1, the core, spare, alpha]
- name: db
  destination: 192.0.2.7
  hosts: [beta]
  groups: west
  baseline: baselines/{host}.yaml
  retries: 3
  delay: 0.5
"""


def written(directory: Path, text: str) -> Path:
    file = directory / "checks.yaml"
    file.write_text(text)
    return file


def refused(directory: Path, text: str, inventory: InventoryNames | None = INVENTORY) -> list[str]:
    """The problems of a file, without its directory."""
    with pytest.raises(OptionError) as caught:
        read_checks(written(directory, text), inventory, need_baselines=False)
    return [problem.replace(f"{directory}/", "") for problem in caught.value.problems]


def test_a_file_is_read(tmp_path: Path) -> None:
    file = read_checks(written(tmp_path, GOOD), INVENTORY, need_baselines=False)
    web, db = file.checks
    assert web.request == TraceOptions(destination="web.example", port=443, queries=2)
    assert web.expectations == Expectations(reached=True, transit=("dc1", "the core", "spare", "alpha"))
    assert (web.vantages, web.baselines, web.retries) == ((None,), {}, (0, 5.0))
    assert (db.vantages, db.expectations, db.retries) == (("alpha", "beta"), None, (3, 0.5))
    assert db.baselines == {name: tmp_path / "baselines" / f"{name}.yaml" for name in ("alpha", "beta")}
    assert db.options == {"destination": "192.0.2.7"}
    assert file.naming.devices("10.9.0.1") == ("alpha",)
    assert file.naming.devices("10.2.0.1") == ("core1", "spare")


@pytest.mark.parametrize(
    ("lines", "hosts"),
    [
        ("", (None,)),
        ("vantage: controller", (None,)),
        ("vantage: host", ("alpha", "beta", "gamma")),
        ("hosts: gamma", ("gamma",)),
        ("groups: [west]\n  vantage: host", ("alpha", "beta")),
    ],
)
def test_where_a_check_is_measured_from(tmp_path: Path, lines: str, hosts: tuple[str | None, ...]) -> None:
    text = f"checks:\n- name: a\n  destination: b\n  expect: {{reached: true}}\n  {lines}\n"
    assert read_checks(written(tmp_path, text), INVENTORY).checks[0].vantages == hosts


# What is replaced in the good file, by what, and the problem.
BAD: list[tuple[str, str, str]] = [
    (GOOD, "", "checks.yaml:1: this is no check file"),
    (GOOD, "- a", "checks.yaml:1: this is no check file"),
    (GOOD, "checks: []", "checks.yaml:1: checks: is not a list of 1 to 1000 checks"),
    (GOOD, "checks: {a: 1}", "checks.yaml:1: checks: is not a list"),
    (GOOD, "checks: [a]", "checks.yaml:1: checks[0]: 'a' is not a check"),
    (GOOD, "checks: *a", "checks.yaml:1: an alias can't stand here"),
    ("networks:", "network:", "checks.yaml:1: network: is not a key that may stand here: networks, devices, checks"),
    ("10.1.0.0/16", "10.1.0.1/16", "checks.yaml:1: networks.dc1[0]: '10.1.0.1/16' has host bits set"),
    ("10.1.0.1: edge1", "10.1.0: edge1", "checks.yaml:2: devices.10.1.0: is not an address"),
    ("- name: web\n  dest", "- dest", "checks.yaml:4: checks[0].name: is missing"),
    ("name: db", "name: web", "checks.yaml:11: checks[1].name: 'web' is the name of checks[0] too"),
    ("name: db", 'name: "d\\nb"', "checks.yaml:11: checks[1].name: 'd\\nb' is not a text of 1 to 200 printable"),
    ("name: db", "name: 7", "checks.yaml:11: checks[1].name: 7 is not a text"),
    ("  destination: 192.0.2.7\n", "", "checks.yaml:11: checks[1].destination: is missing"),
    ("192.0.2.7", "192.0.2.700", "checks.yaml:12: checks[1].destination: '192.0.2.700' is not a host name"),
    ("port: 443", "port: 0", "checks.yaml:6: checks[0].port: 0 is not between 1 and 65535"),
    ("port: 443", "prot: 443", "checks.yaml:6: checks[0].prot: is not a key of a check; there are name, vantage"),
    ("queries: 2", "first_ttl: 9\n  max_ttl: 3", "checks.yaml:7: checks[0].first_ttl: 9 is not at most max_ttl (3)"),
    ("reached: true", "reached: 1", "checks.yaml:9: checks[0].expect.reached: 1 is not true or false"),
    ("reached: true", "reach: 1", "checks.yaml:9: checks[0].expect.reach: is not an expectation"),
    ("spare, alpha", "spear", "checks.yaml:10: checks[0].expect.transit[2]: 'spear' is no address, no prefix and no name: known"),
    ("  baseline: baselines/{host}.yaml\n", "", "checks.yaml:11: checks[1]: neither 'expect' nor 'baseline'"),
    (
        "{host}",
        "all",
        "checks.yaml:15: checks[1].baseline: 'baselines/all.yaml' is one file for 2 hosts: put {host} into its name",
    ),
    ("baselines/{host}.yaml", "7", "checks.yaml:15: checks[1].baseline: 7 is not the path of a file"),
    ("hosts: [beta]", "hosts: [beta, delta]", "checks.yaml:13: checks[1].hosts[1]: 'delta' is not one of the inventory's hosts"),
    ("groups: west", "groups: east", "checks.yaml:14: checks[1].groups: 'east' is not one of the inventory's groups"),
    ("groups: west", "groups: [[a]]", "checks.yaml:14: checks[1].groups[0]: ['a'] is not one of the inventory's groups"),
    ("groups: west", "groups: 5", "checks.yaml:14: checks[1].groups: 5 is not a name of the inventory's groups"),
    ("hosts: [beta]\n  groups: west", "groups: none", "checks.yaml:13: checks[1].groups: no host of the inventory is meant"),
    ("retries: 3", "vantage: controller", "checks.yaml:13: checks[1].hosts: can't stand beside vantage: controller"),
    ("retries: 3", "vantage: there", "checks.yaml:16: checks[1].vantage: 'there' is not one of controller, host"),
    ("retries: 3", "retries: -1", "checks.yaml:16: checks[1].retries: -1 is not a whole number between 0 and 100"),
    ("retries: 3", "retries: 1.5", "checks.yaml:16: checks[1].retries: 1.5 is not a whole number"),
    ("delay: 0.5", "delay: soon", "checks.yaml:17: checks[1].delay: 'soon' is not a number between 0 and 3600 s"),
]


@pytest.mark.parametrize(("old", "new", "told"), BAD, ids=[case[2][12:60] for case in BAD])
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    problems = refused(tmp_path, GOOD.replace(old, new))
    assert any(problem.startswith(told) for problem in problems), problems
    assert all(problem.isascii() and problem.isprintable() for problem in problems)


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        GOOD.replace("443", "0").replace("reached: true", "reached: x").replace("db", "web").replace("retries: 3", "retries: x")
    )
    lines = [int(problem.split(":")[1]) for problem in refused(tmp_path, text)]
    assert lines == [6, 9, 11, 16]


def test_hosts_need_an_inventory(tmp_path: Path) -> None:
    text = GOOD.replace(", alpha]", "]")
    assert refused(tmp_path, text, None) == [
        "checks.yaml:13: checks[1].hosts: needs an inventory: name Nornir's file with --inventory"
    ]


def test_names_of_the_inventory_are_known_only_with_it(tmp_path: Path) -> None:
    text = GOOD.split("- name: db", maxsplit=1)[0]
    assert "'alpha' is no address" in refused(tmp_path, text, None)[0]


def test_two_checks_do_not_share_a_baseline(tmp_path: Path) -> None:
    text = "checks:\n" + "".join(f"- {{name: {name}, destination: {name}, baseline: x.yaml}}\n" for name in "ab")
    assert refused(tmp_path, text) == ["checks.yaml:3: checks[1].baseline: 'x.yaml' is the file of the check 'a' too"]


def test_baselines_are_read_before_anything_is_sent(tmp_path: Path) -> None:
    file = written(tmp_path, "checks:\n- {name: a, destination: web.example, port: 443, baseline: b/x.yaml}\n")
    place = f"{file}:2: checks[0].baseline: "
    kept = tmp_path / "b" / "x.yaml"

    def problems() -> tuple[str, ...]:
        with pytest.raises(OptionError) as caught:
            read_checks(file)
        return caught.value.problems

    assert problems() == (f"{place}{kept}: can't be read: No such file or directory; --baselines record writes one",)
    baseline.write(kept, baseline.record(path("10.0.0.1", port=80)))
    assert problems() == (f"{place}{kept} is of web.example port 80, not of web.example port 443",)
    kept.write_text(kept.read_text().replace("10.0.0.1", "10.0.0.x"))
    assert problems() == (f"{place}{kept}:10: hops.1[0]: '10.0.0.x' is not an IP address",)
    baseline.write(kept, baseline.record(path("10.0.0.1")))
    assert read_checks(file).baselines == {kept: baseline.record(path("10.0.0.1"))}


def test_a_hosts_name_leads_to_no_other_directory(tmp_path: Path) -> None:
    inventory = InventoryNames(("../../etc/alpha",))
    text = "checks:\n- {name: a, destination: b, vantage: host, baseline: 'b/{host}.yaml'}\n"
    (check,) = read_checks(written(tmp_path, text), inventory, need_baselines=False).checks
    assert list(check.baselines.values()) == [tmp_path / "b" / ".._.._etc_alpha.yaml"]


# The published schema.


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_knows_every_key_and_no_other() -> None:
    check, expect = SCHEMA["$defs"]["check"], SCHEMA["$defs"]["expect"]
    assert set(SCHEMA["properties"]) == set(FILE_KEYS)
    assert set(check["properties"]) == {*CHECK_KEYS, *PARAMETERS}
    assert set(expect["properties"]) == set(WORDS)
    assert SCHEMA["additionalProperties"] is check["additionalProperties"] is expect["additionalProperties"] is False


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_schema_of_an_option_is_that_of_the_probe(name: str) -> None:
    parameter, schema = PARAMETERS[name], SCHEMA["$defs"]["check"]["properties"][name]
    assert schema["description"].endswith(".")
    assert (schema.get("minimum"), schema.get("maximum")) == (parameter.minimum, parameter.maximum)
    if parameter.kind == "choice":
        assert schema["enum"] == [*parameter.choices, *([None] if parameter.optional else [])]
    else:
        assert ("null" in schema["type"]) == parameter.optional
    if name != "destination":
        assert schema.get("default") == parameter.default


@pytest.mark.parametrize("name", WORDS)
def test_the_schema_of_a_word_is_that_of_the_reader(name: str) -> None:
    word, schema = WORDS[name], SCHEMA["$defs"]["expect"]["properties"][name]
    assert schema["description"] == word.help
    if word.kind in {"integer", "number"}:
        assert (schema["minimum"], schema["maximum"], schema["type"]) == (word.minimum, word.maximum, word.kind)


def test_the_schema_has_the_numbers_and_states_of_the_reader() -> None:
    properties = SCHEMA["$defs"]["check"]["properties"]
    limits = {name: tuple(properties[name][limit] for limit in ("minimum", "maximum", "default")) for name in NUMBERS}
    assert limits == NUMBERS
    assert SCHEMA["$defs"]["port_states"]["oneOf"][0]["enum"] == list(PORT_STATES)


#: What only the reader can know: names, addresses, the inventory, contradictions between values.
BEYOND_THE_SCHEMA = (
    *("host bits", "is not an address", "name of checks[0]", "printable", "is no address", "at most max_ttl", "inventory"),
    *("is one file for", "can't stand beside", "192.0.2.700", "an alias"),
)
BOTH = [case for case in BAD if "is not a name of" in case[2] or not any(words in case[2] for words in BEYOND_THE_SCHEMA)]


@pytest.mark.parametrize(("old", "new", "told"), BOTH, ids=[case[2][12:60] for case in BOTH])
def test_the_schema_refuses_what_the_reader_refuses(old: str, new: str, told: str) -> None:
    document = YAML(typ="safe", pure=True).load(GOOD.replace(old, new))
    assert not VALIDATOR.is_valid(document), told


def test_the_schema_takes_what_the_reader_takes() -> None:
    VALIDATOR.validate(YAML(typ="safe", pure=True).load(GOOD))
