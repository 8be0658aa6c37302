"""The records: to JSON and back without loss, and nothing that is no record gets in."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from typing import Any, Dict, List, Sequence, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.errors import RecordError
from nornir_tcptraceroute.probe.records import ALTERED, RoundTrip, Trace
from tests.strategies import EXAMPLE, example, traces

Place = Tuple[Union[str, int], ...]

#: A text that no record may hold, and why.
HOSTILE = ["caf\u00e9", "\x1b[2J", "a\nb", "a\x00b", "\x7f", "\u202e", "\ud800", "\uff10"]
MILLISECONDS = "a number between 0 and 1e+09"
OCTET = "a whole number between 0 and 255"
PORT = "a whole number between 0 and 65535"


def text(longest: int) -> str:
    return f"a text of at most {longest} printable ASCII characters"


#: Place in the example, value put there, and the rule that the error tells.
REFUSED: List[Tuple[Place, Any, str]] = [
    (("schema",), 2, "one of 1"),
    (("schema",), True, "one of 1"),
    (("schema",), 1.0, "one of 1"),
    (("schema",), "1", "one of 1"),
    (("schema",), None, "one of 1"),
    (("destination",), None, text(255)),
    (("destination",), 5, text(255)),
    (("destination",), "x" * 256, text(255)),
    (("address",), "1" * 65, text(64)),
    (("address",), None, text(64)),
    (("family",), 5, "one of 4, 6"),
    (("family",), 4.0, "one of 4, 6"),
    (("family",), "4", "one of 4, 6"),
    (("port",), -1, PORT),
    (("port",), 65536, PORT),
    (("port",), True, PORT),
    (("port",), 80.0, PORT),
    (("port",), "80", PORT),
    (("port",), None, PORT),
    (("port",), 10**400, PORT),
    (("port",), -(10**5000), PORT),
    (("vantage",), "x" * 1025, text(1024)),
    (("source",), [], text(64)),
    (("source_port",), 65536, PORT),
    (("interface",), "x" * 65, text(64)),
    (("interface",), 1, text(64)),
    (("method",), "x" * 33, text(32)),
    (("probe",), None, "an object"),
    (("probe",), [], "an object"),
    (("probe",), "SYN", "an object"),
    (("probe", "flags"), "x" * 65, text(64)),
    (("probe", "tcp_options"), None, text(32)),
    (("probe", "length"), 65576, "a whole number between 0 and 65575"),
    (("probe", "tos"), 256, OCTET),
    (("probe", "dont_fragment"), 1, "true or false"),
    (("probe", "dont_fragment"), None, "true or false"),
    (("started_at",), 1715000000, text(64)),
    (("elapsed_ms",), -0.001, MILLISECONDS),
    (("elapsed_ms",), 1e9 + 1, MILLISECONDS),
    (("elapsed_ms",), math.nan, MILLISECONDS),
    (("elapsed_ms",), math.inf, MILLISECONDS),
    (("elapsed_ms",), -math.inf, MILLISECONDS),
    (("elapsed_ms",), 10**400, MILLISECONDS),
    (("elapsed_ms",), False, MILLISECONDS),
    (("elapsed_ms",), "1", MILLISECONDS),
    (("reached",), "true", "true or false"),
    (("port_state",), "ajar", "one of open, closed, filtered, unreachable, unknown"),
    (("port_state",), None, "one of open, closed, filtered, unreachable, unknown"),
    (("port_state",), ["open"], "one of open, closed, filtered, unreachable, unknown"),
    (("stop_reason",), "", "one of reached, unreachable, max_ttl, gap_limit, deadline, interrupted, error"),
    (("hops",), None, "a list of at most 255"),
    (("hops",), {}, "a list of at most 255"),
    (("hops",), "[]", "a list of at most 255"),
    (("hops",), [None] * 256, "a list of at most 255"),
    (("hops", 0), None, "an object"),
    (("hops", 0, "ttl"), 256, OCTET),
    (("hops", 0, "ttl"), None, OCTET),
    (("hops", 0, "address"), 1, text(64)),
    (("hops", 0, "addresses"), None, "a list of at most 1000"),
    (("hops", 0, "addresses"), ["::1"] * 1001, "a list of at most 1000"),
    (("hops", 0, "addresses", 1), None, text(64)),
    (("hops", 0, "name"), "x" * 1025, text(1024)),
    (("hops", 0, "replies"), [None] * 1001, "a list of at most 1000"),
    (("hops", 0, "rtt_ms"), 5.0, "an object"),
    (("hops", 0, "rtt_ms", "min"), math.nan, MILLISECONDS),
    (("hops", 0, "rtt_ms", "avg"), None, MILLISECONDS),
    (("hops", 0, "rtt_ms", "max"), -1, MILLISECONDS),
    (("hops", 0, "rtt_ms", "stddev"), math.inf, MILLISECONDS),
    (("hops", 0, "loss"), 1.001, "a number between 0 and 1"),
    (("hops", 0, "loss"), -0.001, "a number between 0 and 1"),
    (("hops", 0, "loss"), math.nan, "a number between 0 and 1"),
    (("hops", 0, "loss"), True, "a number between 0 and 1"),
    (("hops", 0, "silence"), "quiet", "one of silent, rate_limited, lost"),
    (("hops", 0, "replies", 0), [], "an object"),
    (("hops", 0, "replies", 0, "query"), 0, "a whole number between 1 and 1000"),
    (("hops", 0, "replies", 0, "query"), 1001, "a whole number between 1 and 1000"),
    (("hops", 0, "replies", 0, "kind"), "echo", "one of time_exceeded, tcp, unreachable, timeout, send_error"),
    (("hops", 0, "replies", 0, "kind"), None, "one of time_exceeded, tcp, unreachable, timeout, send_error"),
    (("hops", 0, "replies", 0, "rtt_ms"), -1, MILLISECONDS),
    (("hops", 0, "replies", 0, "reply_ttl"), 256, OCTET),
    (("hops", 0, "replies", 0, "icmp_type"), -1, OCTET),
    (("hops", 0, "replies", 0, "icmp_code"), 0.5, OCTET),
    (("hops", 0, "replies", 0, "tcp_flags"), "x" * 65, text(64)),
    (("hops", 0, "replies", 0, "mtu"), 2**32, "a whole number between 0 and 4294967295"),
    (("hops", 0, "replies", 0, "quoted"), 1, "an object"),
    (("hops", 0, "replies", 0, "quoted", "ttl"), None, OCTET),
    (("hops", 0, "replies", 0, "quoted", "tos"), 256, OCTET),
    (("hops", 0, "replies", 0, "quoted", "source"), None, text(64)),
    (("hops", 0, "replies", 0, "quoted", "source_port"), 65536, PORT),
    (("hops", 0, "replies", 0, "quoted", "address"), 4, text(64)),
    (("hops", 0, "replies", 0, "quoted", "port"), -1, PORT),
    (("hops", 0, "replies", 0, "altered"), "source", f"a list of at most {len(ALTERED)}"),
    (("hops", 0, "replies", 0, "altered"), ["port"] * (len(ALTERED) + 1), f"a list of at most {len(ALTERED)}"),
    (("hops", 0, "replies", 0, "altered", 0), "ttl", "one of " + ", ".join(ALTERED)),
    (("hops", 0, "replies", 0, "attempts"), 1001, "a whole number between 0 and 1000"),
    (("hops", 0, "replies", 0, "late"), None, "true or false"),
    (("hops", 0, "replies", 0, "duplicate"), 0, "true or false"),
    (("hops", 0, "replies", 0, "error"), "x" * 33, text(32)),
    (("hops", 0, "replies", 0, "evidence"), "A" * 100001, text(100000)),
    (("hops", 0, "replies", 0, "evidence"), 0, text(100000)),
    (("counters",), None, "a table of at most 100 counters"),
    (("counters",), [], "a table of at most 100 counters"),
    (("counters",), {str(number): 1 for number in range(101)}, "a table of at most 100 counters"),
    (("counters", "sent"), -1, "a whole number between 0 and 9223372036854775808"),
    (("counters", "sent"), 2**63 + 1, "a whole number between 0 and 9223372036854775808"),
    (("counters", "sent"), True, "a whole number between 0 and 9223372036854775808"),
    (("warnings",), None, "a list of at most 100"),
    (("warnings",), "no", "a list of at most 100"),
    (("warnings",), [""] * 101, "a list of at most 100"),
    (("warnings", 0), "x" * 1001, text(1000)),
]
TEXTS: List[Place] = [place for place, value, rule in REFUSED if "printable" in rule]
OBJECTS: List[Place] = [
    (),
    ("probe",),
    ("hops", 0),
    ("hops", 0, "rtt_ms"),
    ("hops", 0, "replies", 0),
    ("hops", 0, "replies", 0, "quoted"),
]


def at(document: Any, place: Sequence[Union[str, int]]) -> Any:
    for step in place:
        document = document[step]
    return document


def changed(place: Place, value: Any) -> Any:
    """The example with another value at a place."""
    document = example()
    if not place:
        return value
    at(document, place[:-1])[place[-1]] = value
    return document


def shown(place: Place) -> str:
    return "trace" + "".join(f"[{step}]" if isinstance(step, int) else "." + step for step in place)


def test_the_example_survives_json() -> None:
    assert Trace.from_dict(example()) == EXAMPLE


@given(traces())
def test_every_trace_survives_json(trace: Trace) -> None:
    line = json.dumps(trace.to_dict(), allow_nan=False)
    assert json.loads(trace.to_json()) == trace.to_dict()
    assert "\n" not in trace.to_json()
    assert line.isascii()
    assert "\n" not in line
    assert Trace.from_dict(json.loads(line)) == trace


@pytest.mark.parametrize("record", [EXAMPLE, EXAMPLE.hops[0], EXAMPLE.hops[0].replies[0], EXAMPLE.hops[0].rtt_ms, EXAMPLE.probe])
def test_records_cross_to_another_process(record: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(record, protocol)) == record  # noqa: S301
    assert copy.deepcopy(record) == record


@pytest.mark.parametrize("record", [EXAMPLE, EXAMPLE.hops[0], EXAMPLE.hops[0].replies[0], EXAMPLE.hops[0].rtt_ms, EXAMPLE.probe])
def test_records_do_not_change(record: Any) -> None:
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)


def test_a_document_is_a_copy() -> None:
    document = EXAMPLE.to_dict()
    document["counters"]["sent"] = 0
    document["hops"][0]["addresses"].clear()
    assert EXAMPLE.counters["sent"] == 9
    assert EXAMPLE.hops[0].addresses == ("192.0.2.1", "192.0.2.2")


@pytest.mark.parametrize(("place", "value", "rule"), REFUSED, ids=[shown(place) for place, _, _ in REFUSED])
def test_what_breaks_a_rule_is_refused_with_its_place(place: Place, value: Any, rule: str) -> None:
    with pytest.raises(RecordError) as caught:
        Trace.from_dict(changed(place, value))
    assert str(caught.value) == f"{shown(place)} is not {rule}, so this is no trace record of schema 1"


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
@pytest.mark.parametrize("place", sorted(set(TEXTS), key=str), ids=shown)
def test_text_that_could_harm_a_terminal_is_refused(place: Place, value: str) -> None:
    with pytest.raises(RecordError) as caught:
        Trace.from_dict(changed(place, value))
    assert str(caught.value).startswith(shown(place) + " is not a text of at most ")


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 101], ids=ascii)
def test_names_of_counters_are_text_as_any_other(name: str) -> None:
    with pytest.raises(RecordError) as caught:
        Trace.from_dict(changed(("counters",), {name: 1}))
    assert str(caught.value) == f"trace.counters is not {text(100)}, so this is no trace record of schema 1"


#: What only some traces hold, and what the analysis adds.
MAY_BE_ABSENT: Dict[Place, Tuple[str, ...]] = {
    (): ("packets",),
    ("hops", 0): ("mpls", "interface", "modified", "unseen", "network", "device", "notes"),
}


@pytest.mark.parametrize("place", OBJECTS, ids=shown)
def test_a_missing_field_is_refused_by_name(place: Place) -> None:
    for name in at(example(), place):
        document = example()
        del at(document, place)[name]
        if name in MAY_BE_ABSENT.get(place, ()):
            assert Trace.from_dict(document).to_dict() == document
            continue
        with pytest.raises(RecordError) as caught:
            Trace.from_dict(document)
        assert str(caught.value) == f"{shown(place)} is not complete ({name} is missing), so this is no trace record of schema 1"


@pytest.mark.parametrize("place", OBJECTS, ids=shown)
def test_a_field_that_is_not_known_changes_nothing(place: Place) -> None:
    document = example()
    at(document, place)["from_the_future"] = {"a": [1]}
    assert Trace.from_dict(document) == EXAMPLE


@pytest.mark.parametrize(
    "document", [None, True, 1, 1.5, "", "{}", [], {}, [EXAMPLE.to_dict()], {"trace": EXAMPLE.to_dict()}], ids=repr
)
def test_what_is_no_trace_at_all_is_refused(document: Any) -> None:
    with pytest.raises(RecordError):
        Trace.from_dict(document)


def places(document: Any, place: Place = ()) -> List[Place]:
    """Every place in a document."""
    steps: List[Any] = []
    if isinstance(document, dict):
        steps = list(document)
    elif isinstance(document, list):
        steps = list(range(len(document)))
    return [place, *(found for step in steps for found in places(document[step], (*place, step)))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(places(example())), JSON)
def test_any_value_at_any_place_is_read_as_it_is_or_refused(place: Place, value: Any) -> None:
    document = changed(place, value)
    told = "trace"
    try:
        trace = Trace.from_dict(document)
    except RecordError as error:
        told = str(error)
    else:
        assert trace.to_dict() == document
    assert told.startswith("trace")
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 400


@given(JSON)
def test_any_document_is_read_or_refused(document: Any) -> None:
    with pytest.raises(RecordError):
        Trace.from_dict(document)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], None),
        ([5.0], RoundTrip(5.0, 5.0, 5.0, 0.0)),
        ([1.0, 3.0], RoundTrip(1.0, 2.0, 3.0, 1.0)),
        ([3.0, 1.0, 2.0], RoundTrip(1.0, 2.0, 3.0, 0.816)),
        ([0.0004, 0.0006], RoundTrip(0.0, 0.001, 0.001, 0.0)),
        ([10.1234, 10.1236], RoundTrip(10.123, 10.123, 10.124, 0.0)),
    ],
)
def test_round_trips_are_summed_up(times: List[float], expected: Any) -> None:
    assert RoundTrip.of(times) == expected


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50), st.randoms())
def test_a_sum_does_not_depend_on_the_order(times: List[float], random: Any) -> None:
    summed = RoundTrip.of(times)
    assert summed is not None
    assert 0 <= summed.min <= summed.avg <= summed.max <= 1e9
    assert summed.stddev <= (summed.max - summed.min) / 2 + 0.002
    random.shuffle(times)
    assert RoundTrip.of(times) == summed
