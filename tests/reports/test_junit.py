"""JUnit XML: valid by the rules that its readers share, whatever texts stand in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.reports.junit import Case, Suite, junit_xml

SCHEMA = xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))
CASES = (
    Case("reached", "web", "success", "it answered", "all", 0.25),
    Case("transit", "web", "failure", 'not <dc1> & "dc2"', "line 1\nline 2", 0.25),
    Case("forbidden", "web", "skipped", "hop 3 is silent"),
    Case("last_hop", "web", "error", "no route", "why", 1.5),
)
SUITE = Suite("web", CASES, {"port": "443"}, "alpha", "2026-01-02T03:04:05.678901Z", "hop  address\n1    10.0.0.1\n")


def test_the_document() -> None:
    text = junit_xml([SUITE, Suite("empty", ())])
    SCHEMA.validate(text)
    root = ET.fromstring(text)  # noqa: S314 - our own
    counts = {"tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "2.000"}
    assert root.attrib == {"name": "nornir-tcptraceroute", **counts}
    suite = root[0]
    assert suite.attrib == {"name": "web", "hostname": "alpha", "timestamp": "2026-01-02T03:04:05", **counts}
    assert [element.tag for element in suite] == ["properties", *["testcase"] * 4, "system-out"]
    assert suite[0][0].attrib == {"name": "port", "value": "443"}
    reached, transit, forbidden, last = suite.findall("testcase")
    assert (reached.attrib, len(reached)) == ({"name": "reached", "classname": "web", "time": "0.250"}, 0)
    assert transit[0].tag == "failure"
    assert transit[0].attrib == {"message": 'not <dc1> & "dc2"', "type": "expectation"}
    assert transit[0].text == 'not <dc1> & "dc2"\nline 1\nline 2'
    assert (forbidden[0].tag, forbidden[0].attrib, forbidden[0].text) == ("skipped", {"message": "hop 3 is silent"}, None)
    assert (last[0].tag, last[0].get("type")) == ("error", "measurement")
    assert suite.findtext("system-out") == SUITE.output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b", "a\\x00b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\ud800\ufffe\uffff", "\\xd800\\xfffe\\xffff"),
        ("]]> <!-- & &#0;", "]]> <!-- & &#0;"),
        ("r\r\nn", "r\\x0d\nn"),
        ("gr\u00fcn \U0001f600", "gr\u00fcn \U0001f600"),
    ],
)
def test_texts_that_xml_cannot_hold_are_escaped(text: str, shown: str) -> None:
    document = junit_xml([Suite(text, (Case(text, text, "failure", text, text),), {text: text}, text, None, text)])
    SCHEMA.validate(document)
    root = ET.fromstring(document.encode())  # noqa: S314 - our own
    assert root.findtext("testsuite/system-out") == shown
    assert (root.findtext("testsuite/testcase/failure") or "").endswith(f"\n{shown}")


def test_a_text_is_cut_where_it_is_too_long() -> None:
    root = ET.fromstring(junit_xml([Suite("web", (), output="x" * 100_001)]))  # noqa: S314 - our own
    assert root.findtext("testsuite/system-out") == "x" * 100_000 + "..."


def test_whatever_stands_in_it_the_document_is_valid() -> None:
    texts = st.text(st.characters(), max_size=20).map(lambda text: text or "-")
    cases = st.builds(
        Case, texts, texts, st.sampled_from(["success", "failure", "error", "skipped"]), texts, texts, st.floats(0, 1e6)
    )
    suites = st.builds(Suite, texts, st.lists(cases, max_size=2).map(tuple), st.dictionaries(texts, texts, max_size=2), texts)

    @given(st.lists(suites, max_size=2))
    def check(several: list[Suite]) -> None:
        SCHEMA.validate(junit_xml(several).encode())

    check()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('tests="4"', 'tests="four"'),
        ("<failure ", "<failed "),
        ('time="0.250"', 'time="-1"'),
        ("<properties>", "<properties/><properties>"),
        (' classname="web"', ""),
    ],
)
def test_the_schema_refuses_what_is_wrong(old: str, new: str) -> None:
    text = junit_xml([SUITE])
    assert old in text
    assert not SCHEMA.is_valid(text.replace(old, new).replace("</failure>", "</failed>" if "failed" in new else "</failure>"))
