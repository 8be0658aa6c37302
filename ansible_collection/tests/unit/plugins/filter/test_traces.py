# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filters and tests, on results as a play registers them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleError

from ansible_collections.netprobe.path.plugins.filter.traces import FilterModule
from ansible_collections.netprobe.path.plugins.module_utils.probe.records import Hop, ProbeShape, Reply, RoundTrip, Trace
from ansible_collections.netprobe.path.plugins.test import traces as plugin_of_tests

FILTERS = FilterModule().filters()
TESTS = plugin_of_tests.TestModule().tests()


def hop(ttl: int, *addresses: str) -> Hop:
    replies = tuple(Reply(number + 1, "time_exceeded", address) for number, address in enumerate(addresses))
    times = RoundTrip(1.0, 2.0, 3.0, 1.0) if addresses else None
    return Hop(ttl, addresses[0] if addresses else None, addresses, "r.example.net" if addresses else None, replies, times, 0.0)


def result(reached: bool = True, **more: Any) -> dict[str, Any]:
    hops = (hop(1, "10.1.0.1"), hop(2), hop(3, "100.64.0.1", "198.51.100.9"), hop(4, "192.0.2.80"))
    trace = Trace(
        "db",
        "192.0.2.80",
        4,
        443,
        "host1",
        "10.0.0.1",
        5,
        None,
        "raw",
        ProbeShape("SYN", "none", 40, 0, False),
        "t",
        1.0,
        reached,
        "open",
        "reached",
        hops,
        {"sent": 4},
    )
    return {**trace.to_dict(), "changed": False, **more}


TABLE = """\
host1 to db (192.0.2.80) port 443: open, reached, hop 4
Hop  Address        Name           Loss    Min    Avg  Max ms
  1  10.1.0.1       r.example.net    0%  1.000  2.000   3.000
  2  *                               0%
  3  100.64.0.1 +1  r.example.net    0%  1.000  2.000   3.000
  4  192.0.2.80     r.example.net    0%  1.000  2.000   3.000"""


@pytest.mark.parametrize(
    "registered",
    [result(), {"traces": [result()]}, {"results": [result(item=1)]}, [result()]],
    ids=["one", "several", "loop", "list"],
)
def test_hop_table(registered: Any) -> None:
    assert FILTERS["hop_table"](registered) == TABLE


class Marked(str):
    """A text as ansible-core 2.16 to 2.18 mark those that may not be rendered."""

    __slots__ = ()

    def __str__(self) -> str:  # pylint: disable=invalid-str-returned
        # What is derived from str is a str, whatever pylint makes of it.
        return self


def marked(value: Any) -> Any:
    if isinstance(value, dict):
        return {Marked(name): marked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [marked(item) for item in value]
    return Marked(value) if isinstance(value, str) else value


def test_texts_of_any_class_are_texts() -> None:
    assert FILTERS["hop_table"](marked(result())) == TABLE


def test_hop_addresses() -> None:
    assert FILTERS["hop_addresses"]([result(), result()]) == ["10.1.0.1", "100.64.0.1", "198.51.100.9", "192.0.2.80"]


NOTED = """\
host1 to db (192.0.2.80) port 443: open, reached, hop 4
Hop  Address        Name           Loss    Min    Avg  Max ms  Notes
  1  10.1.0.1       r.example.net    0%  1.000  2.000   3.000  core1, in dc1; private
  2  *                               0%
  3  100.64.0.1 +1  r.example.net    0%  1.000  2.000   3.000
  4  192.0.2.80     r.example.net    0%  1.000  2.000   3.000"""


def test_hop_table_with_notes() -> None:
    noted = result()
    noted["hops"][0]["notes"] = ["core1, in dc1", "private"]
    assert FILTERS["hop_table"](noted) == NOTED


@pytest.mark.parametrize("warnings", [["w" * 2000], ["caf\xe9 \x1b[2J"]], ids=["long", "not_printable"])
def test_warnings_of_ansible_s_own_keep_nobody_from_reading_the_trace(warnings: list[str]) -> None:
    assert FILTERS["hop_table"](result(warnings=warnings)).startswith(TABLE + "\nWarning: ")
    assert FILTERS["hop_table"](result(warnings=warnings)).isascii()


@pytest.mark.parametrize(
    ("traces", "expected"),
    [([result()], True), ([result(), result(reached=False)], False), ([], False)],
    ids=["one", "not_all", "none"],
)
def test_reached(traces: Any, expected: bool) -> None:
    assert TESTS["reached"](traces) is expected


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (["10.0.0.0/8"], True),
        (["198.51.100.9"], True),
        (["192.0.2.80"], False),
        (["2001:db8::/32"], False),
        (["2001:db8::/32", "100.64.0.0/10"], True),
    ],
)
def test_via(networks: list[str], expected: bool) -> None:
    assert TESTS["via"](result(), *networks) is expected


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: FILTERS["hop_table"]({"plan": [], "changed": False}), "without hops"),
        (lambda: FILTERS["hop_table"]({"hops": [], "changed": False}), "trace is not complete"),
        (lambda: FILTERS["hop_addresses"]("text"), "is not an object"),
        (lambda: TESTS["reached"]({"failed": True}), "without hops"),
        (lambda: TESTS["via"](result(), "10.0.0.0/99"), "is not an address or a network"),
        (lambda: TESTS["via"](result()), "give at least one"),
    ],
)
def test_what_is_no_trace_is_one_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(AnsibleError, match=sentence):
        call()
