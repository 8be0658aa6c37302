# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what a playbook says to requests."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import pytest

from ansible_collections.netprobe.path.plugins.module_utils.probe.errors import OptionError
from ansible_collections.netprobe.path.plugins.module_utils.probe.options import PARAMETERS
from ansible_collections.netprobe.path.plugins.module_utils.task_options import (
    MOST_TRACES,
    ON_CONTROLLER,
    argument_spec,
    rate_of,
    requests_of,
)

#: A SYN to port 443 of 198.51.100.9 whose source is left open.
PACKET = "RQAAKAAAAABABlCUAAAAAMYzZAkAAAG7AAAABwAAAABQAvrwiPMAAA=="


@pytest.mark.parametrize(
    ("arguments", "expected", "several"),
    [
        ({"destination": "h"}, [("h", 80)], False),
        ({"destination": "h", "port": "443"}, [("h", 443)], False),
        ({"destination": "h", "port": None}, [("h", 80)], False),
        ({"destination": "h", "ports": [1, "2"], "port": 80}, [("h", 1), ("h", 2)], True),
        ({"destination": "h", "ports": "1,2"}, [("h", 1), ("h", 2)], True),
        ({"destinations": ["a", "b"], "ports": [1, 2]}, [("a", 1), ("a", 2), ("b", 1), ("b", 2)], True),
        ({"destinations": ["a", "a"], "port": 5}, [("a", 5)], True),
        ({"destination": "h", "networks": {"dc1": "10.0.0.0/8"}, "devices": {}, "asn_database": "x"}, [("h", 80)], False),
        ({"packet": PACKET}, [("198.51.100.9", 443)], False),
        ({"packet": PACKET, "port": 80, "destination": "198.51.100.9"}, [("198.51.100.9", 443)], False),
    ],
)
def test_requests(arguments: Dict[str, Any], expected: List[Tuple[str, int]], several: bool) -> None:
    requests, asked_for_several = requests_of(arguments)
    assert [(request.destination, request.port) for request in requests] == expected
    assert asked_for_several is several


class Marked(str):
    """A text as ansible-core 2.16 to 2.18 mark those that may not be rendered."""

    __slots__ = ()

    def __str__(self) -> str:  # pylint: disable=invalid-str-returned
        # What is derived from str is a str, whatever pylint makes of it.
        return self


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("port", "443", 443),
        ("wait", "1.5", 1.5),
        ("wait", 2, 2.0),
        ("dont_fragment", "yes", True),
        ("dont_fragment", "false", False),
        ("family", "6", 6),
        ("interface", 7, "7"),
        ("names", Marked("all"), "all"),
        ("deadline", None, None),
    ],
)
def test_values_are_converted_as_ansible_does(name: str, given: Any, value: Any) -> None:
    requests = requests_of({"destination": "h", name: given})[0]
    assert getattr(requests[0], name) == value


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({}, ["destination: is missing; give it, or destinations"]),
        ({"packet": "RQ=="}, ["packet: 'RQ==' is not a whole packet: an IPv4 header has at least 20 bytes, and it has 1"]),
        ({"packet": PACKET, "destination": "h"}, ["destination: 'h' contradicts the packet, which has '198.51.100.9'"]),
        ({"destination": "h", "port": True}, ["port: True is not a whole number between 1 and 65535"]),
        ({"destination": "h", "port": 80.5}, ["port: 80.5 is not a whole number between 1 and 65535"]),
        ({"destination": "h", "wait": "1h"}, ["wait: '1h' is not a number between 0.05 and 300 s"]),
        ({"destination": "h", "dont_fragment": "maybe"}, ["dont_fragment: 'maybe' is not true or false"]),
        ({"destination": "h", "colour": 1}, ["'colour': is not an option of a trace"]),
        ({"destination": "h", "destinations": ["a"]}, ["destinations: can't be given together with destination"]),
        ({"destination": "h", "port": 1, "ports": [2]}, ["ports: can't be given together with port"]),
        ({"destination": "h", "rate": "0"}, ["rate: '0' is not between 1 and 1000000 probes per second, nor 'unlimited'"]),
        ({"destinations": []}, ["destinations: is not a list with something in it"]),
        ({"destinations": {"a": 1}}, ["destinations: is not a list with something in it"]),
        (
            {"destinations": ["a", "b"], "max_ttl": 0},
            ["max_ttl: 0 is not between 1 and 255"],
        ),
        (
            {"destinations": ["a"] * 11, "ports": list(range(1, 101))},
            ["destinations: 1100 traces are more than {} in one task".format(MOST_TRACES)],
        ),
    ],
)
def test_every_problem_is_told_once(arguments: Dict[str, Any], problems: List[str]) -> None:
    with pytest.raises(OptionError) as caught:
        requests_of(arguments)
    assert list(caught.value.problems) == problems


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(None, 5000.0), ("200", 200.0), (200, 200.0), (Marked("200"), 200.0), ("unlimited", float("inf"))],
)
def test_the_rate_is_a_number_or_unlimited(rate: Any, expected: float) -> None:
    assert rate_of({"destination": "h", "rate": rate}) == expected


def test_the_arguments_are_those_of_a_trace() -> None:
    assert set(argument_spec()) == {*PARAMETERS, "destinations", "ports", "rate", "requests", *ON_CONTROLLER}
