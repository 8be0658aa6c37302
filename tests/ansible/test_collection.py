"""What the collection says of itself is what the code does; without Ansible."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nornir_tcptraceroute.analysis import blocking, verdicts
from nornir_tcptraceroute.analysis.expectations import WORDS
from nornir_tcptraceroute.probe import records
from nornir_tcptraceroute.probe.options import PARAMETERS, Parameter, TraceOptions
from nornir_tcptraceroute.probe.plan import plan
from nornir_tcptraceroute.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
COLLECTION = ROOT / "ansible_collection"
MODULE = COLLECTION / "plugins" / "modules" / "tcptraceroute.py"


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def document(name: str) -> Any:
    """One of the module's YAML documents."""
    for node in ast.parse(MODULE.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            assert isinstance(node.value, ast.Constant)
            return yaml(str(node.value.value))
    raise AssertionError(name)


OPTIONS = document("DOCUMENTATION")["options"]
RETURN = document("RETURN")
#: Keys that only a task has which expects something.
JUDGED = {"verdicts", "outcome", "attempts", "diff", "block", "working"}


def expected(parameter: Parameter) -> dict[str, Any]:
    """The documentation that an option of a trace has to have, but for the rest of its description."""
    kinds = {"integer": "int", "number": "float", "boolean": "bool"}
    numbers = bool(parameter.choices) and all(isinstance(choice, int) for choice in parameter.choices)
    told: dict[str, Any] = {"type": "int" if numbers else kinds.get(parameter.kind, "str")}
    if parameter.choices:
        told["choices"] = list(parameter.choices)
    if parameter.default is not None and parameter.name != "destination":
        told["default"] = parameter.default
    return told


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS)
def test_every_option_is_documented_as_the_probe_has_it(parameter: Parameter) -> None:
    told = OPTIONS[parameter.name]
    assert {name: value for name, value in told.items() if name != "description"} == expected(parameter)
    first, *rest = told["description"]
    assert first == parameter.help
    if parameter.minimum is not None:
        assert [line.lower() for line in rest] == [f"{parameter.rule}."]


def test_there_are_no_options_but_those_of_a_trace_its_lists_and_the_controller_s() -> None:
    assert OPTIONS.keys() - PARAMETERS.keys() == {
        *("destinations", "ports", "rate", "networks", "devices", "asn_database"),
        *("expect", "baseline", "baseline_action", "retries", "delay", "locate_block", "requests"),
    }


def test_what_may_be_expected_are_the_words_of_all_fronts() -> None:
    kinds = {"boolean": "bool", "true": "bool", "integer": "int", "number": "float", "states": "list", "places": "list"}
    told = OPTIONS["expect"]["suboptions"]
    assert {name: entry["type"] for name, entry in told.items()} == {name: kinds[word.kind] for name, word in WORDS.items()}
    assert all(WORDS[name].help.split(";")[0].split(".")[0][:40] in entry["description"] for name, entry in told.items())


@pytest.mark.parametrize(
    ("place", "record", "more"),
    [
        ((), records.Trace, {"traces", "problems", "plan", *JUDGED}),
        (("probe",), records.ProbeShape, set()),
        (("hops",), records.Hop, set()),
        (("hops", "rtt_ms"), records.RoundTrip, set()),
        (("hops", "replies"), records.Reply, set()),
        (("hops", "replies", "quoted"), records.Quoted, set()),
        (("hops", "mpls"), records.Label, set()),
        (("hops", "interface"), records.Interface, set()),
        (("hops", "modified"), records.Modification, set()),
        (("hops", "network"), records.Network, set()),
        (("packets",), records.Packet, set()),
        (("verdicts",), verdicts.Verdict, set()),
        (("block",), blocking.Block, {"is_blocked"}),
        (("block", "passes"), blocking.Place, set()),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else None,
)
def test_every_field_of_the_result_is_documented(place: tuple[str, ...], record: Any, more: set[str]) -> None:
    told = RETURN
    for name in place:
        told = told[name]["contains"]
    assert told.keys() == {field.name for field in fields(record)} | more
    assert all("sample" in entry or "contains" in entry for entry in told.values())


def test_every_part_of_a_plan_is_documented() -> None:
    assert list(RETURN["plan"]["contains"]) == list(plan(TraceOptions(destination="127.0.0.1")))


def test_there_are_at_least_eight_examples_of_the_module() -> None:
    assert sum("netprobe.path.tcptraceroute" in task for task in document("EXAMPLES")) >= 8


def test_the_versions_are_equal() -> None:
    assert yaml((COLLECTION / "galaxy.yml").read_text())["version"] == VERSION
    assert VERSION in yaml((COLLECTION / "changelogs" / "changelog.yaml").read_text())["releases"]


def test_the_licence_is_the_project_s() -> None:
    assert (COLLECTION / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_link_for_ansible_leads_to_the_collection() -> None:
    assert (ROOT / "ansible_collections" / "netprobe" / "path").readlink() == Path("../../ansible_collection")


@pytest.mark.parametrize("path", sorted(COLLECTION.glob("plugins/module_utils/*.py")), ids=lambda path: path.name)
def test_what_is_carried_to_hosts_compiles_under_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))
