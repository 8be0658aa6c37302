"""YAML files that users write: where things stand in them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nornir_tcptraceroute import OptionError
from nornir_tcptraceroute.analysis.document import MOST_BYTES, parse, read
from nornir_tcptraceroute.analysis.naming import Place, Problem

TEXT = """\
# a comment
networks:
  dc1: [10.0.0.0/8,
        192.0.2.0/24]
checks:
- name: a
  expect: {reached: true,
           transit: [x]}
- name: b
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((), 1),
        (("networks",), 2),
        (("networks", "dc1"), 3),
        (("networks", "dc1", 1), 4),
        (("networks", "dc1", 5), 3),
        (("networks", "dc2"), 2),
        (("checks", 0), 6),
        (("checks", 0, "expect", "transit", 0), 8),
        (("checks", 1, "name"), 9),
        (("checks", 1, "name", "deeper"), 9),
        (("nowhere",), 1),
    ],
)
def test_the_line_of_a_place(place: Place, line: int) -> None:
    assert parse(TEXT, "file").line(place) == line


def test_problems_are_told_in_the_order_of_the_file() -> None:
    refusal = parse(TEXT, "f.yaml").refusal([Problem(("checks", 1), "b"), Problem(("networks", "dc1"), "a"), Problem((), "c")])
    assert refusal.problems == ("f.yaml:1: c", "f.yaml:3: networks.dc1: a", "f.yaml:9: checks[1]: b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1\nb: *x", "f:2: an alias can't stand here"),
        ("a: 1\nb: 1\na: 2", "f:3: a stands in line 1 too"),
        ("a: [1", "f:1: this is not YAML: expected ',' or ']'"),
        ("a: " + "9" * 5000, "f:1: this is not YAML: Exceeds the limit"),
        ("a: 2026-99-99", "f:1: this is not YAML: month must be in 1..12"),
        ("a: é\nb: \x07", "f:2: this is not YAML: unacceptable character #x0007"),
        ("a: !!python/object:os.system 1", "f:1: this is not YAML: could not determine a constructor"),
        ("{a: 1}: 2", "f:1: a key has to be text"),
        ("a: !!binary xx", "f:1: this is not YAML: failed to decode base64"),
        ("a: 1\n0x1: 1\n1: 1", 'f:3: this is not YAML: found duplicate key "1"'),
        ("--- 1\n--- 2", "f:2: this is not YAML: but found another document"),
        ("- " * 30 + "a", "f:1: there are more than 20 levels"),
        ("[" * 5000, "f:1: there are more than 20 levels"),
        ("#" * MOST_BYTES + "\na: 1", "f:1: the file is larger than 1 MiB"),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(text, "f")
    (problem,) = caught.value.problems
    assert problem.startswith(told)
    assert problem.isprintable()


def test_keys_that_stand_twice_are_told_all_at_once() -> None:
    with pytest.raises(OptionError) as caught:
        parse("a:\n  b: 1\n  b: 2\n? [c]\n: 3\na: 4\n", "f")
    assert caught.value.problems == ("f:3: b stands in line 2 too", "f:4: a key has to be text", "f:6: a stands in line 1 too")


def test_scalars_are_what_yaml_takes_them_for_or_text() -> None:
    text = "1: [yes, true, 0x10, 1.50, ~, '~', 2026-01-01, !!int x]\n<<: &a {}\nb: &a"
    assert parse(text, "f", as_text=True).content == {
        "1": ["yes", "true", "0x10", "1.50", None, "~", "2026-01-01", "x"],
        "<<": {},
        "b": None,
    }
    assert parse("1: [yes, true, 0x10, 1.50, ~]\n'1': a", "f").content == {1: ["yes", True, 16, 1.5, None], "1": "a"}
    assert parse("", "f").content is None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for file, content, told in [
        (tmp_path / "none", None, "none: can't be read: No such file or directory"),
        (tmp_path, None, "can't be read: Is a directory"),
        (tmp_path / "latin", b"a: 1\nb: \xe4", "latin:2: this is not UTF-8 text"),
        (tmp_path / "large", b"#" * (MOST_BYTES + 1), "large:1: the file is larger than 1 MiB"),
    ]:
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(OptionError) as caught:
            read(file)
        assert told in str(caught.value)
    with pytest.raises(OptionError, match="can't be read: embedded null byte"):
        read("a\0b")
