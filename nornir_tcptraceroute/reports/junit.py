"""JUnit XML, as GitHub's and GitLab's test reports read it.

There is no standard. What is written here is what the readers have in common: suites, cases with ``name``, ``classname`` and
``time``, and in a case at most one of ``failure``, ``error`` and ``skipped`` with its ``message``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

__all__ = ("Case", "Suite", "junit_xml")

# All that XML 1.0 (section 2.2) can't hold, and what a terminal or a log could take for an order.
_FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST_TEXT = 100_000


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        name, classname: the case and what it belongs to, as reports list them.
        outcome: ``success``, ``failure``, ``error`` or ``skipped``.
        message: one sentence. text: all the rest; shown where the case was no success.
        seconds: how long it took.
    """

    name: str
    classname: str
    outcome: str
    message: str
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Suite:
    """Test cases that belong together.

    Attributes:
        name: of the suite. cases: in order.
        properties: values by name. hostname: where it ran.
        started_at: ISO 8601 in UTC; None where not known.
        output: what is worth reading beside the cases.
    """

    name: str
    cases: tuple[Case, ...]
    properties: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    started_at: str | None = None
    output: str = ""


def junit_xml(suites: Sequence[Suite]) -> str:
    r"""Write a JUnit document.

    Arguments:
        suites: in order. Characters that XML can't hold become ``\xNN``, texts are cut after 100,000 characters.

    Returns:
        The document, with its declaration, to be encoded as UTF-8.
    """
    root = ET.Element(
        "testsuites", {"name": "nornir-tcptraceroute", **_counts([case for suite in suites for case in suite.cases])}
    )
    for suite in suites:
        root.append(_suite(suite))
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    found = [case.outcome for case in cases]
    return {
        "tests": str(len(found)),
        "failures": str(found.count("failure")),
        "errors": str(found.count("error")),
        "skipped": str(found.count("skipped")),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _suite(suite: Suite) -> ET.Element:
    attributes = {"name": _safe(suite.name), **_counts(suite.cases)}
    if suite.hostname:
        attributes["hostname"] = _safe(suite.hostname)
    if suite.started_at:
        # The form of JUnit's own: seconds, and no zone.
        attributes["timestamp"] = _safe(suite.started_at)[:19]
    element = ET.Element("testsuite", attributes)
    if suite.properties:
        properties = ET.SubElement(element, "properties")
        for name, value in suite.properties.items():
            ET.SubElement(properties, "property", {"name": _safe(name), "value": _safe(value)})
    element.extend(_case(case) for case in suite.cases)
    if suite.output:
        ET.SubElement(element, "system-out").text = _safe(suite.output)
    return element


def _case(case: Case) -> ET.Element:
    attributes = {"name": _safe(case.name), "classname": _safe(case.classname), "time": f"{case.seconds:.3f}"}
    element = ET.Element("testcase", attributes)
    if case.outcome == "success":
        return element
    why = ET.SubElement(element, case.outcome, {"message": _safe(case.message)})
    if case.outcome != "skipped":
        why.set("type", "expectation" if case.outcome == "failure" else "measurement")
        why.text = _safe(f"{case.message}\n{case.text}")
    return element


def _safe(text: str) -> str:
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return _FORBIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
