"""Baselines: a path that changes is told, and an equal-cost path that doesn't is not."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute import OptionError
from nornir_tcptraceroute.analysis.baseline import baseline_verdict, compare, from_document, merge, read, record, write
from nornir_tcptraceroute.analysis.document import parse
from nornir_tcptraceroute.probe.records import Trace
from tests.analysis.paths import TARGET, Stop, path
from tests.analysis.test_verdicts import clean_network

A, B, C, D, E, X, Y, Z = (f"10.0.{number}.1" for number in range(1, 9))

CASES: list[tuple[str, Trace, Trace, str, list[str]]] = [
    # what, the known-good path, the later one, the outcome, what is told
    ("the same", path(A, B, C), path(A, B, C), "success", []),
    ("a hop is silent now", path(A, B, C), path(A, None, C), "success", []),
    ("a hop was silent then", path(A, None, C), path(A, B, C), "success", []),
    ("all is silent now", path(A, B), path(None, None), "success", []),
    ("another router", path(A, B, C), path(A, X, C), "failure", [f"hop 2 is {X}, not {B}"]),
    ("two others", path(A, B, C, D), path(A, X, Y, D), "failure", [f"hop 2 is {X}, not {B}", f"hop 3 is {Y}, not {C}"]),
    ("one more at a hop", path(A, B, C), path(A, (B, X), C), "failure", [f"hop 2 is {X}, not {B}"]),
    ("one of an equal-cost pair", path(A, (B, D), C), path(A, D, C), "success", []),
    ("none of an equal-cost pair", path(A, (B, D), C), path(A, X, C), "failure", [f"hop 2 is {X}, not {B} or {D}"]),
    ("longer", path(A, B, C), path(A, X, Y, B, C), "failure", ["the path is 2 hops longer from hop 2 on"]),
    ("longer at once", path(A, B), path(X, A, B), "failure", ["the path is 1 hop longer from hop 1 on"]),
    ("longer at the end", path(A, B), path(A, B, X), "failure", ["the path is 1 hop longer from hop 3 on"]),
    ("shorter", path(A, B, C, D), path(A, D), "failure", ["the path is 2 hops shorter from hop 2 on"]),
    ("shorter at the end", path(A, B), path(A), "failure", ["the path is 1 hop shorter from hop 2 on"]),
    ("nothing between any more", path(A), path(), "failure", ["the path is 1 hop shorter from hop 1 on"]),
    ("longer behind silence", path(A, None, D), path(A, X, Y, D), "failure", ["the path is 1 hop longer from hop 3 on"]),
    (
        "there and back",
        path(A, B, C, D),
        path(A, X, B, C),
        "failure",
        ["the path is 1 hop longer from hop 2 on", "the path is as long as it was from hop 5 on"],
    ),
    (
        "changed and longer",
        path(A, B, C),
        path(A, X, Y, Z, C),
        "failure",
        [f"hop 2 is {X}, not {B}", "the path is 2 hops longer from hop 3 on"],
    ),
    ("not reached any more", path(A, B, C), path(A, B, None, None, end=None), "skipped", []),
    ("nothing answers any more", path(A, B, C), path(None, None, end=None), "skipped", []),
    ("elsewhere and not reached", path(A, B, C), path(A, X, None, end=None), "failure", [f"hop 2 is {X}, not {B}"]),
    ("never reached", path(A, B, None, end=None), path(A, B, None, None, end=None), "success", []),
    ("never reached, seen further", path(A, B, end=None), path(A, B, C, D, end=None), "success", []),
    ("never reached, longer now", path(A, D, end=None), path(A, X, D, E), "failure", ["the path is 1 hop longer from hop 2 on"]),
    ("never reached, seen less", path(A, B, C, end=None), path(A, B, end=None), "success", []),
    ("reached at last", path(A, B, None, end=None), path(A, B, C), "success", []),
    ("refused on the way", path(A, B, C), path(A, B, end="refused"), "skipped", []),
    ("refused at the same place", path(A, B, B, end="refused"), path(A, B, B, end="refused"), "success", []),
    ("refused where it went on", path(A, B, C), path(A, B, B, end="refused"), "skipped", []),
    ("begun later", path(A, B, C), path(B, C, first_ttl=2), "success", []),
    ("begun later, and others", path(A, B, C), path(X, C, first_ttl=2), "failure", [f"hop 2 is {X}, not {B}"]),
    (
        "another port",
        path(A, port=80),
        path(A),
        "failure",
        ["the baseline is of web.example port 80 over IPv4, and the trace of web.example port 443 over IPv4"],
    ),
    (
        "another address",
        path(A, address="198.51.100.10"),
        path(A),
        "failure",
        [f"web.example has the address {TARGET}, not 198.51.100.10"],
    ),
]


@pytest.mark.parametrize(
    ("good", "later", "outcome", "told"), [case[1:] for case in CASES], ids=[case[0].replace(" ", "-") for case in CASES]
)
def test_what_differs_is_told(good: Trace, later: Trace, outcome: str, told: list[str]) -> None:
    difference = compare(later, record(good))
    assert (difference.outcome, list(difference.changes)) == (outcome, told)
    assert bool(difference.diff()) == bool(told)
    if told and "the baseline is of" not in told[0]:
        # What is shown is a baseline again, in which the trace finds nothing.
        after = from_document(parse(difference.after, "shown"))
        assert compare(later, after).outcome in {"success", "skipped"}


def test_the_diff_shows_what_differs_and_nothing_else() -> None:
    good, later = path(A, (B, C), None, D), path(A, B, X, None, Y, D)
    difference = compare(later, record(good))
    assert difference.changes == ("the path is 1 hop longer from hop 3 on", "the path is 2 hops longer from hop 5 on")
    lines = difference.diff("baselines/web.yaml").splitlines()
    assert lines[:2] == ["--- baselines/web.yaml", "+++ trace"]
    changed = {line for line in lines[2:] if line[0] in "+-"}
    assert changed == {
        "-answers_at_hop: [5]",
        "+answers_at_hop: [7]",
        "-  3: []",
        "-  4: [10.0.4.1]",
        f"+  3: [{X}]",
        "+  4: []",
        f"+  5: [{Y}]",
        "+  6: [10.0.4.1]",
    }
    # The hop with two equal paths is as it was recorded.
    assert f"   2: [{B}, {C}]" in lines


def test_the_verdict_of_a_difference() -> None:
    good = record(path(A, B))
    failed = baseline_verdict(compare(path(A, X), good), "b.yaml")
    assert failed.to_dict() == {
        "name": "baseline",
        "outcome": "failure",
        "reason": f"hop 2 is {X}, not {B}",
        "expected": "b.yaml",
        "actual": [f"hop 2 is {X}, not {B}"],
    }
    assert baseline_verdict(compare(path(A, B), good), "b").reason == "the path is the same"
    told = baseline_verdict(compare(path(A, None, end=None), good), "b")
    assert (told.outcome, told.reason) == ("skipped", "the destination did not answer; up to hop 1 the path is the same")
    assert baseline_verdict(compare(path(None, end=None), good), "b").reason == "the destination did not answer"


# Equal-cost paths.

ADDRESSES = st.sampled_from([f"10.0.{number}.{last}" for number in range(4) for last in range(1, 5)])
STOPS: st.SearchStrategy[Stop] = st.none() | ADDRESSES | st.lists(ADDRESSES, min_size=1, max_size=3, unique=True)
PATHS = st.lists(STOPS, max_size=8)


@given(PATHS, st.sampled_from(["open", None]))
def test_a_path_is_the_same_as_itself(stops: list[Stop], end: str | None) -> None:
    trace = path(*stops, end=end)
    difference = compare(trace, record(trace))
    assert (difference.outcome, difference.diff()) == ("success", "")


@given(PATHS, st.randoms())
def test_of_equal_cost_addresses_any_are_the_same(stops: list[Stop], chance: random.Random) -> None:
    def some(stop: Stop) -> Stop:
        several = [stop] if isinstance(stop, str) else list(stop or ())
        chance.shuffle(several)
        return several[: chance.randint(0, len(several))] or None

    good = record(path(*stops))
    later = path(*map(some, stops))
    assert compare(later, good).outcome == "success"
    assert compare(later, good).diff() == ""
    assert merge(good, later) == good


@given(PATHS, PATHS)
def test_what_was_merged_is_the_same(first: list[Stop], second: list[Stop]) -> None:
    one, other = path(*first), path(*second)
    both = merge(record(one), other)
    assert compare(one, both).outcome == compare(other, both).outcome == "success"
    assert merge(both, one) == merge(both, other) == both
    assert merge(record(other), one) == both


@given(PATHS, PATHS, st.sampled_from(["open", None]), st.sampled_from(["open", None]))
def test_a_difference_is_told_and_shown_or_neither(
    first: list[Stop], second: list[Stop], end: str | None, now: str | None
) -> None:
    good, later = record(path(*first, end=end)), path(*second, end=now)
    difference = compare(later, good)
    assert (difference.outcome == "failure") == bool(difference.changes) == bool(difference.diff())
    again = from_document(parse(difference.after, "after"))
    assert compare(later, again).outcome != "failure"
    if difference.outcome == "success" and good.distances:
        assert later.hops[-1].ttl in good.distances


@given(PATHS, st.sampled_from(["open", None]))
def test_the_file_is_read_back(stops: list[Stop], end: str | None) -> None:
    good = record(path(*stops, end=end))
    assert from_document(parse(good.text(), "file")) == good


def test_a_baseline_of_equal_cost_paths_of_several_lengths() -> None:
    short, long = path(A, B, E), path(A, C, D, E)
    both = merge(record(short), long)
    assert both.distances == (4, 5)
    assert compare(short, both).outcome == compare(long, both).outcome == "success"
    assert compare(path(A, C, None), both).outcome == "success"
    assert compare(path(A, X, E), both).changes == (f"hop 2 is {X}, not {B} or {C}",)
    assert compare(path(A, C, D, X, Y, E), both).changes == ("the path is 2 hops longer from hop 4 on",)
    assert compare(path(E), both).changes == ("the path is 2 hops shorter from hop 1 on",)


def test_merging_another_destination_is_refused() -> None:
    with pytest.raises(OptionError, match="record it anew instead of merging"):
        merge(record(path(A)), path(A, destination="other.example"))


# Files.


def test_the_file_is_readable_and_its_order_is_fixed(tmp_path: Path) -> None:
    file = tmp_path / "baselines" / "web.yaml"
    assert write(file, record(path((E, A), None, "2001:db8::1", D)))
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines == [
        "baseline: 1",
        'destination: "web.example"',
        "port: 443",
        "family: 4",
        "addresses: [198.51.100.9]",
        "answers_at_hop: [5]",
        "hops:",
        "  1: [10.0.1.1, 10.0.5.1]",
        "  2: []",
        '  3: ["2001:db8::1"]',
        "  4: [10.0.4.1]",
    ]
    assert not write(file, record(path((A, E), None, "2001:db8::1", D)))
    assert os.listdir(file.parent) == ["web.yaml"]  # noqa: PTH208 - hidden ones too


def test_a_file_keeps_its_mode_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    write(file, record(path(A)))
    assert file.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    file.chmod(0o640)
    before = file.stat().st_ino
    assert write(file, record(path(B)))
    assert (file.stat().st_mode & 0o777, file.stat().st_ino != before) == (0o640, True)
    assert read(file) == record(path(B))


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"file/web\.yaml: can't be written: "):
        write(tmp_path / "file" / "web.yaml", record(path(A)))


GOOD = record(path(A, B)).text()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (GOOD, "checks: []", "f:1: this is no baseline"),
        (GOOD, "- 1", "f:1: this is no baseline"),
        ("baseline: 1", "baseline: 2", "f:3: baseline: 2 is not 1"),
        ("port: 443", "port: 0", "f:5: port: 0 is not between 1 and 65535"),
        ("port: 443", f"port: 0x{'f' * 5000}", "f:5: port: <int> is not between 1 and 65535"),
        ("port: 443", "ports: 443", "f:5: ports: is not a key of a baseline"),
        ("family: 4", "family: 5", "f:6: family: 5 is not 4 or 6"),
        ("family: 4", "family: 6", f"f:7: addresses[0]: {TARGET} is not of the baseline's family, IPv6"),
        ('"web.example"', "7", "f:4: destination: is not a host name"),
        ('"web.example"', "'a b'", "f:4: destination: is not a host name"),
        ("[3]", "3", "f:8: answers_at_hop: is not a list of whole numbers between 1 and 255"),
        ("[3]", "[300]", "f:8: answers_at_hop: is not a list"),
        ("[3]", "[4]", "f:8: answers_at_hop: is beyond the hops, of which there are 2"),
        ("  2: ", "  3: ", "f:9: hops: is not a mapping of hops that are numbered from 1 on without a gap"),
        ("  2: ", '  "2": ', "f:11: hops.2: is not a number"),
        (B, "10.0.2.300", "f:11: hops.2[0]: '10.0.2.300' is not an IP address"),
        (f"[{B}]", B, "f:11: hops.2: is not a list of at most 1000 addresses"),
        (f"[{B}]", "[!!python/none x]", "f:11: this is not YAML"),
    ],
)
def test_a_file_that_breaks_rules_is_told_with_its_line(old: str, new: str, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        from_document(parse(GOOD.replace(old, new), "f"))
    assert any(problem.startswith(told) for problem in caught.value.problems), caught.value.problems


def test_clean_traces_never_cry_wolf() -> None:
    for seed in range(2000, 2300):
        network, first = clean_network(seed)
        # The same network at another time: other losses, other branches.
        _, second = clean_network(seed)
        good = record(first)
        assert compare(second, good).outcome == "success", seed
        if all(router.branches == 1 for router in network.routers):
            cut = replace(
                second, hops=tuple(replace(hop, address=None, addresses=()) if hop.ttl % 3 else hop for hop in second.hops)
            )
            assert compare(cut, good).outcome != "failure", seed
