"""docs/checks.md says what the reader, the judge and the command do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nornir_tcptraceroute.analysis.baseline import from_document
from nornir_tcptraceroute.analysis.document import parse
from nornir_tcptraceroute.analysis.expectations import WORDS, Expectations
from nornir_tcptraceroute.analysis.judgement import BASELINE_ACTIONS, Judgement
from nornir_tcptraceroute.analysis.verdicts import OUTCOMES, Verdict
from nornir_tcptraceroute.checks.check_file import CHECK_KEYS, InventoryNames, read_checks
from nornir_tcptraceroute.checks.running import Outcome
from nornir_tcptraceroute.plugins.tasks.expected import EXPECTED_OPTIONS
from nornir_tcptraceroute.probe.records import PORT_STATES
from tests.checks.test_running import check

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "checks.md").read_text()


def section(title: str) -> str:
    found = re.search(rf"^##+ {re.escape(title)}$(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def block(title: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def first_cells(text: str) -> list[str]:
    """The names in the first columns of a section's tables."""
    return [name for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)]


def test_every_word_is_told() -> None:
    assert first_cells(section("What can be expected")) == list(WORDS)


def test_what_is_skipped_is_told_of_every_word_that_can_be() -> None:
    assert first_cells(section("What is proved, and what is skipped")) == [
        name for name in WORDS if name not in {"reached", "port_state"}
    ]
    assert all(f"`{outcome}`" in section("What is proved, and what is skipped") for outcome in OUTCOMES)


def test_every_key_of_a_check_is_told() -> None:
    assert set(first_cells(section("Keys of a check"))) == set(CHECK_KEYS)


def test_every_state_and_every_use_of_baselines_is_told() -> None:
    assert all(f"`{state}`" in section("What can be expected") for state in PORT_STATES)
    assert all(f"`{action}`" in section("A check file") for action in BASELINE_ACTIONS[1:])


def test_every_field_of_the_document_is_told() -> None:
    outcome = Outcome(check(), None, None, Judgement((Verdict("reached", "error", "why", expected=True, actual=None),)))
    told = first_cells(section("A check file").partition("for each check and vantage")[2])
    assert set(outcome.to_dict()) <= set(told)
    assert all(f"`{name}`" in section("A check file") for name in outcome.to_dict()["verdicts"][0])


def test_every_option_of_the_task_is_told() -> None:
    told = (DOCS / "nornir.md").read_text()
    assert all(f"| `{name}` |" in told for name in EXPECTED_OPTIONS)


def test_the_check_file_is_one(tmp_path: Path) -> None:
    file = tmp_path / "checks.yaml"
    file.write_text(block("A check file", "yaml"))
    inventory = InventoryNames(("r1", "r2"), {"edge": frozenset({"r1", "r2"})})
    first, second = read_checks(file, inventory, need_baselines=False).checks
    assert first.expectations is not None
    assert second.hosts == ("r1", "r2")


def test_the_baseline_is_one() -> None:
    baseline = from_document(parse(block("Baselines", "yaml"), "docs"))
    assert (baseline.distances, len(baseline.hops)) == ((5,), 4)


@pytest.mark.parametrize("title", ["Nornir", "Python"])
def test_the_code_is_python_and_its_names_are_there(title: str) -> None:
    code = block(title, "python")
    compile(code, title, "exec")
    for line in code.splitlines():
        if line.startswith("from "):
            exec(line, {})  # noqa: S102 - the documentation's own imports
    expect = re.search(r"(?:expect=|from_dict\()(\{.*?\})", code)
    assert expect
    Expectations.from_dict(eval(expect[1]))  # noqa: S307 - likewise
