"""The documentation tells of what is there, all of it and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nornir_tcptraceroute.probe import records

ROOT = Path(__file__).resolve().parent.parent
RECORDS = (ROOT / "docs" / "records.md").read_text()


def section(title: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    found = re.search(rf"^##+ {re.escape(title)}$(.*?)(?=^#|\Z)", RECORDS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/records.md has no section {title}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """The names in the first column of a table."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize(
    "record",
    [records.Trace, records.ProbeShape, records.Hop, records.RoundTrip, records.Reply, records.Quoted],
    ids=lambda record: record.__name__,
)
def test_every_field_of_a_record_is_told_in_order(record: Any) -> None:
    assert first_cells(section(record.__name__)) == [field.name for field in fields(record)]


@pytest.mark.parametrize(
    ("title", "values"), [("Port state", records.PORT_STATES), ("Stop reason", records.STOP_REASONS)], ids=["port", "stop"]
)
def test_every_value_of_a_choice_is_told(title: str, values: tuple[str, ...]) -> None:
    assert first_cells(section(title)) == list(values)


@pytest.mark.parametrize("kind", records.REPLY_KINDS)
def test_every_kind_of_reply_is_told(kind: str) -> None:
    assert f"`{kind}`" in section("Reply")


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
)
def test_every_link_inside_the_project_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    headings = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    broken = [
        target
        for target in targets
        if (target.startswith("#") and target[1:] not in headings)
        or not (target.startswith("#") or ((ROOT / page).parent / target.partition("#")[0]).exists())
    ]
    assert broken == []


def test_every_module_is_on_the_map() -> None:
    rooms = re.search(r"^## The rooms$(.*?)^Planned", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE | re.DOTALL)
    assert rooms
    places = [ROOT / "nornir_tcptraceroute", ROOT / "ansible_collection" / "plugins" / "module_utils" / "probe"]
    modules = {path.name for place in places for path in place.rglob("*.py")} - {"__init__.py"}
    assert modules <= set(re.findall(r"[a-z_]+\.py", rooms[1]))
