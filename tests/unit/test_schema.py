"""The JSON Schema of a trace says exactly what the records say."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple, Union

import pytest
from hypothesis import given

from nornir_tcptraceroute.probe import records
from nornir_tcptraceroute.probe.errors import RecordError
from nornir_tcptraceroute.probe.records import (
    Hop,
    Interface,
    Label,
    Modification,
    Network,
    Packet,
    ProbeShape,
    Quoted,
    Reply,
    RoundTrip,
    Trace,
)
from tests.strategies import EXAMPLE, example, traces

jsonschema = pytest.importorskip(
    "jsonschema", reason="jsonschema is not installed, so no document can be compared with the schema"
)

Place = Tuple[Union[str, int], ...]
SCHEMA: Dict[str, Any] = json.loads((Path(__file__).parents[2] / "nornir_tcptraceroute" / "trace.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
OBJECTS = [(Trace, SCHEMA)] + [
    (cls, SCHEMA["$defs"][cls.__name__])
    for cls in (ProbeShape, Hop, Reply, Quoted, RoundTrip, Label, Interface, Modification, Network, Packet)
]
#: Where the example holds each kind of object with every field in use.
HOMES: Dict[Any, Place] = {
    Trace: (),
    ProbeShape: ("probe",),
    Hop: ("hops", 0),
    Reply: ("hops", 0, "replies", 0),
    Quoted: ("hops", 0, "replies", 0, "quoted"),
    RoundTrip: ("hops", 0, "rtt_ms"),
    Label: ("hops", 0, "mpls", 0),
    Interface: ("hops", 0, "interface", 0),
    Modification: ("hops", 0, "modified", 0),
    Network: ("hops", 0, "network"),
    Packet: ("packets", 0),
}
OBJECTS = [(cls, SCHEMA["$defs"].get(cls.__name__, SCHEMA)) for cls in HOMES]
#: What only some traces hold, and what the analysis adds.
MAY_BE_ABSENT: Dict[Any, Set[str]] = {
    Trace: {"packets"},
    Hop: {"mpls", "interface", "modified", "unseen", "network", "device", "notes"},
}


def resolved(schema: Dict[str, Any]) -> Dict[str, Any]:
    """A schema with its reference, if any, written out."""
    while "$ref" in schema:
        target = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == records.SCHEMA
    assert SCHEMA["$id"].endswith(f":{records.SCHEMA}")


@pytest.mark.parametrize(("cls", "schema"), OBJECTS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_is_in_the_schema_and_no_other(cls: Any, schema: Dict[str, Any]) -> None:
    names = {field.name for field in dataclasses.fields(cls)}
    assert set(schema["properties"]) == names
    assert set(schema["required"]) == names - MAY_BE_ABSENT.get(cls, set())
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("cls", "schema"), OBJECTS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_is_described_with_its_unit(cls: Any, schema: Dict[str, Any]) -> None:
    assert schema["description"].endswith(".")
    for name, field in schema["properties"].items():
        text = field["description"]
        assert text[0].isupper() or text.startswith("TCP"), name
        assert text.endswith("."), name
        if name.endswith("_ms") or cls is RoundTrip:
            assert "millisecond" in text, name
        if name.endswith("ttl"):
            assert "hops" in text, name
        if name in ("length", "mtu"):
            assert "bytes" in text, name


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (SCHEMA["properties"]["port_state"], records.PORT_STATES),
        (SCHEMA["properties"]["stop_reason"], records.STOP_REASONS),
        (SCHEMA["$defs"]["Reply"]["properties"]["kind"], records.REPLY_KINDS),
        (SCHEMA["$defs"]["Reply"]["properties"]["altered"]["items"], records.ALTERED),
        (SCHEMA["$defs"]["Hop"]["properties"]["silence"], (None, *records.SILENCES)),
        (SCHEMA["$defs"]["Packet"]["properties"]["direction"], records.DIRECTIONS),
        (SCHEMA["$defs"]["Interface"]["properties"]["role"], records.INTERFACE_ROLES),
    ],
    ids=["port_state", "stop_reason", "kind", "altered", "silence", "direction", "role"],
)
def test_choices_are_those_of_the_records(schema: Dict[str, Any], expected: Tuple[Any, ...]) -> None:
    assert tuple(schema["enum"]) == expected


def test_the_example_uses_every_field_and_is_valid() -> None:
    document = example()
    VALIDATOR.validate(document)
    for cls, place in HOMES.items():
        if cls is Reply:
            continue
        home = at(document, place)
        assert all(value not in (None, [], {}) for value in home.values()), cls
    told = [reply for hop in EXAMPLE.hops for reply in hop.replies]
    for field in dataclasses.fields(Reply):
        assert any(getattr(reply, field.name) not in (None, (), False) for reply in told), field.name


@given(traces())
def test_every_trace_is_valid(trace: Trace) -> None:
    VALIDATOR.validate(json.loads(json.dumps(trace.to_dict(), allow_nan=False)))


def at(document: Any, place: Place) -> Any:
    for step in place:
        document = document[step]
    return document


def leaves(schema: Dict[str, Any], place: Place) -> Iterator[Tuple[Place, Dict[str, Any]]]:
    """Each field of an object with its schema, and each item of its lists."""
    for name, found in schema["properties"].items():
        field = resolved(found)
        yield (*place, name), field
        if field.get("type") == "array" and at(example(), (*place, name)):
            yield (*place, name, 0), resolved(field["items"])


def alternatives(schema: Dict[str, Any]) -> List[Dict[str, Any]]:
    return [resolved(one) for one in schema["anyOf"]] if "anyOf" in schema else [schema]


def candidates(schema: Dict[str, Any], current: Any) -> List[Any]:
    """Values at, inside and outside of every bound that a schema states, and of every other type."""
    values: List[Any] = [
        None,
        True,
        False,
        -1,
        0,
        1,
        0.5,
        -0.5,
        1e308,
        2**64,
        10**400,
        "",
        "x",
        "caf\u00e9",
        "a\n",
        "\x1b",
        [],
        [None],
        {},
        {"a": 1},
    ]
    for one in alternatives(schema):
        for bound in ("minimum", "maximum"):
            if bound in one:
                values += [one[bound], one[bound] - 1, one[bound] + 1, one[bound] - 0.25, one[bound] + 0.25]
        if "maxLength" in one:
            values += ["x" * one["maxLength"], "x" * (one["maxLength"] + 1), "x" * (one["maxLength"] - 1) + "\x7f"]
        if "maxItems" in one and current:
            values += [current[:1] * one["maxItems"], current[:1] * (one["maxItems"] + 1)]
        if "maxProperties" in one:
            values += [
                {str(number): number for number in range(size)} for size in (one["maxProperties"], one["maxProperties"] + 1)
            ]
            values += [
                {"x" * 100: 1},
                {"x" * 101: 1},
                {"\u00e9": 1},
                {"a": -1},
                {"a": 2**63},
                {"a": 2**63 + 1},
                {"a": "1"},
                {"a": None},
            ]
        values += one.get("enum", [])
    return values


FIELDS = [(place, schema) for cls, whole in OBJECTS for place, schema in leaves(whole, HOMES[cls])]


@pytest.mark.parametrize(("place", "schema"), FIELDS, ids=[".".join(map(str, place)) for place, _ in FIELDS])
def test_schema_and_reader_agree_on_every_bound(place: Place, schema: Dict[str, Any]) -> None:
    current = at(example(), place)
    verdicts = set()
    for value in candidates(schema, current):
        # To a schema 1.0 is an integer; the reader, which sees how it was written, is stricter there.
        if (
            isinstance(value, float)
            and value.is_integer()
            and not any(one.get("type") == "number" for one in alternatives(schema))
        ):
            continue
        document = example()
        at(document, place[:-1])[place[-1]] = copy.deepcopy(value)
        try:
            read = Trace.from_dict(document).to_dict() == document
        except RecordError:
            read = False
        assert VALIDATOR.is_valid(document) == read, value
        verdicts.add(read)
    assert verdicts == {True, False} or "const" in schema or schema.get("type") == "object"


@pytest.mark.parametrize("cls", HOMES, ids=lambda cls: str(cls.__name__))
def test_schema_and_reader_refuse_a_missing_field(cls: Any) -> None:
    for name in set(at(example(), HOMES[cls])) - MAY_BE_ABSENT.get(cls, set()):
        document = example()
        del at(document, HOMES[cls])[name]
        assert not VALIDATOR.is_valid(document)
        with pytest.raises(RecordError):
            Trace.from_dict(document)
