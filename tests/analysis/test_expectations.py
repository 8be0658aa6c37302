"""Expectations are read all at once or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute import OptionError
from nornir_tcptraceroute.analysis.expectations import WORDS, Expectations, problems
from nornir_tcptraceroute.probe.records import PORT_STATES

FULL: dict[str, Any] = {
    "reached": True,
    "port_state": ["open", "closed"],
    "transit": ["dc1", "10.0.0.0/8"],
    "ordered": ["edge1", "2001:db8::1"],
    "forbidden": ["203.0.113.0/24"],
    "first_hop": ["10.0.0.1"],
    "last_hop": ["Core 1"],
    "min_hops": 2,
    "max_hops": 9,
    "max_rtt_ms": 12.5,
    "max_loss_pct": 0.0,
    "unmodified": True,
    "no_nat": True,
}


def test_every_word_is_an_attribute() -> None:
    assert list(Expectations.__dataclass_fields__) == list(WORDS) == list(FULL)


def test_what_was_read_is_told_back() -> None:
    expectations = Expectations.from_dict(FULL)
    assert expectations.to_dict() == FULL
    assert Expectations.from_dict(json.loads(json.dumps(expectations.to_dict()))) == expectations
    assert hash(expectations)


def test_a_single_place_stands_without_a_list() -> None:
    assert Expectations.from_dict({"transit": "dc1", "port_state": "open"}) == Expectations(
        transit=("dc1",), port_state=("open",)
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (None, "expect: None is not a mapping of expectations"),
        (["reached"], "expect: ['reached'] is not a mapping"),
        ({}, "expect: nothing is expected: take any of reached,"),
        ({"reach": True}, "expect.reach: is not an expectation; there are reached, port_state,"),
        ({7: True}, "expect.7: is not an expectation"),
        ({"reached": 1}, "expect.reached: 1 is not true or false"),
        ({"reached": "yes"}, "expect.reached: 'yes' is not true or false"),
        ({"unmodified": False}, "expect.unmodified: False is not true: leave the word out"),
        ({"no_nat": "no"}, "expect.no_nat: 'no' is not true"),
        ({"port_state": "opened"}, "expect.port_state: 'opened' is not one of open, closed, filtered, unreachable, unknown"),
        ({"port_state": []}, "expect.port_state: [] is not one of"),
        ({"port_state": ["open", True]}, "expect.port_state: True is not one of"),
        ({"min_hops": 0}, "expect.min_hops: 0 is not a whole number between 1 and 255"),
        ({"max_hops": 4.0}, "expect.max_hops: 4.0 is not a whole number"),
        ({"max_hops": True}, "expect.max_hops: True is not a whole number"),
        ({"max_rtt_ms": -1}, "expect.max_rtt_ms: -1 is not a number between 0 and 1e+06 milliseconds"),
        ({"max_rtt_ms": float("nan")}, "expect.max_rtt_ms: nan is not a number"),
        ({"max_loss_pct": 101}, "expect.max_loss_pct: 101 is not a number between 0 and 100 percent"),
        ({"transit": []}, "expect.transit: 0 places are not between 1 and 100"),
        ({"transit": ["a"] * 101}, "expect.transit: 101 places are not between 1 and 100"),
        ({"transit": 7}, "expect.transit: 7 is not an address, a prefix, the name of a network or of a device"),
        ({"transit": ["dc1", None]}, "expect.transit[1]: None is not an address"),
        ({"forbidden": "10.0.0.0/33"}, "expect.forbidden: '10.0.0.0/33' is not an address, a prefix"),
        ({"forbidden": "10.0.0.256"}, "expect.forbidden: '10.0.0.256' is not an address"),
        ({"forbidden": "2001:db8:::1"}, "expect.forbidden: '2001:db8:::1' is not an address"),
        ({"forbidden": " "}, "expect.forbidden: ' ' is not an address"),
        ({"forbidden": "9" * 300}, "is not an address"),
        ({"max_hops": 10**5000}, "expect.max_hops: <int> is not a whole number"),
        ({"min_hops": 5, "max_hops": 4}, "expect.min_hops: 5 is not at most max_hops (4)"),
        ({"transit": ["a", "b"], "forbidden": "b"}, "expect.transit: 'b' is forbidden as well"),
        ({"first_hop": "b", "forbidden": ["b"]}, "expect.first_hop: 'b' is forbidden as well"),
        ({"reached": False, "max_rtt_ms": 5}, "expect.max_rtt_ms: can't be met by a destination that"),
        ({"reached": False, "max_loss_pct": 5}, "expect.max_loss_pct: can't be met"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(values: Any, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        Expectations.from_dict(values)
    (problem,) = caught.value.problems
    assert told in problem
    assert problem.isascii()
    assert "\n" not in problem
    assert len(problem) < 400


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(OptionError) as caught:
        Expectations.from_dict({"reach": 1, "port_state": "x", "transit": ["10.0.0.0/99", 3], "max_hops": 0})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "expect.reach",
        "expect.port_state",
        "expect.transit[0]",
        "expect.transit[1]",
        "expect.max_hops",
    ]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (None, None),
        ({"dc1", "core1"}, None),
        ({"dc2"}, "expect.transit[0]: 'dc1' is no address, no prefix and no name: known names are dc2"),
        (set(), "expect.transit[0]: 'dc1' is no address, no prefix and no name: there are no names"),
        ({f"net{number:02}" for number in range(30)}, "known names are net00, net01"),
    ],
)
def test_names_have_to_be_known(names: set[str] | None, told: str | None) -> None:
    found = problems({"transit": ["dc1", "10.0.0.1"]}, names)
    assert [str(problem)[:] for problem in found] == ([] if told is None else [str(found[0])])
    if told is not None:
        assert told.removeprefix("expect.") in str(found[0])


def test_whatever_is_given_is_refused_or_read() -> None:
    plain = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*PORT_STATES, "10.0.0.1"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )

    @given(st.dictionaries(st.sampled_from(list(WORDS)), plain) | plain)
    def check(values: Any) -> None:
        try:
            expectations = Expectations.from_dict(values)
        except OptionError as error:
            told = str(error)
        else:
            told = "nothing"
            assert Expectations.from_dict(expectations.to_dict()) == expectations
        assert told
        assert told.isascii()

    check()
