"""The options of a trace: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe.errors import OptionError
from nornir_tcptraceroute.probe.options import FLAG_BITS, PARAMETERS, TraceOptions, canonical_flags, is_address
from tests.strategies import requests

HOST = "a host name or an IP address"
PORT = "between 1 and 65535"
TTL = "between 1 and 255"
QUERIES = "between 1 and 50"
WAIT = "between 0.05 and 300 s"
DEADLINE = "between 0.05 and 86400 s"
OCTET = "between 0 and 255"
LENGTH = "between 40 and 65535 bytes"
INTERFACE = "an interface name (1 to 15 ASCII characters, no space, '/' or ':')"
FLAGS = "a list of TCP flags from FIN, SYN, RST, PSH, ACK, URG, ECE, CWR"
FAMILY = "one of 4, 6"
TCP_OPTIONS = "one of none, mss, linux"
METHOD = "one of auto, raw, connect"
NAMES = "one of none, all, public"
EVIDENCE = "one of none, notable, all"
PACKET = "base64 of an IPv4 or IPv6 packet with a TCP header, of at most 65535 bytes"
BOOLEAN = "true or false"
WHOLE = "a whole number "
NUMBER = "a number "

#: Option, value, the value as the error shows it, and the rule that it tells: "OPTION: VALUE is not RULE".
REFUSED: List[Tuple[str, Any, str, str]] = [
    ("destination", "", "''", HOST),
    ("destination", " ", "' '", HOST),
    ("destination", "two words", "'two words'", HOST),
    ("destination", " example.com", "' example.com'", HOST),
    ("destination", "example.com ", "'example.com '", HOST),
    ("destination", ".", "'.'", HOST),
    ("destination", "..", "'..'", HOST),
    ("destination", ".example", "'.example'", HOST),
    ("destination", "a..b", "'a..b'", HOST),
    ("destination", "a.b..", "'a.b..'", HOST),
    ("destination", "x" * 64, "'" + "x" * 64 + "'", HOST),
    ("destination", "x" * 64 + ".example", "'" + "x" * 64 + ".example'", HOST),
    ("destination", ".".join(["x" * 49] * 5) + ".four", "'" + "x" * 49 + "." + "x" * 26 + "...", HOST),
    ("destination", "-oProxyCommand", "'-oProxyCommand'", HOST),
    ("destination", "--help", "'--help'", HOST),
    ("destination", "a-.example", "'a-.example'", HOST),
    ("destination", "a.-b.example", "'a.-b.example'", HOST),
    ("destination", "x;id", "'x;id'", HOST),
    ("destination", "$(id)", "'$(id)'", HOST),
    ("destination", "`id`", "'`id`'", HOST),
    ("destination", "a|b", "'a|b'", HOST),
    ("destination", "a&b", "'a&b'", HOST),
    ("destination", "a\nb", "'a\\nb'", HOST),
    ("destination", "example.com\n", "'example.com\\n'", HOST),
    ("destination", "192.0.2.1\n", "'192.0.2.1\\n'", HOST),
    ("destination", "a\x00b", "'a\\x00b'", HOST),
    ("destination", "192.0.2.1\x00", "'192.0.2.1\\x00'", HOST),
    ("destination", "\x1b[2J", "'\\x1b[2J'", HOST),
    ("destination", "a\x7fb", "'a\\x7fb'", HOST),
    ("destination", "{{7*7}}", "'{{7*7}}'", HOST),
    ("destination", "{{ lookup('pipe','id') }}", "\"{{ lookup('pipe','id') }}\"", HOST),
    ("destination", "\ud800", "'\\ud800'", HOST),
    ("destination", "caf\u00e9.example", "'caf\\xe9.example'", HOST),
    ("destination", "\u202eexample", "'\\u202eexample'", HOST),
    ("destination", "\uff10.example\uff10", "'\\uff10.example\\uff10'", HOST),
    ("destination", "http://example.com/", "'http://example.com/'", HOST),
    ("destination", "user@example.com", "'user@example.com'", HOST),
    ("destination", "example.com:80", "'example.com:80'", HOST),
    ("destination", "192.0.2.1:80", "'192.0.2.1:80'", HOST),
    ("destination", "[2001:db8::1]", "'[2001:db8::1]'", HOST),
    ("destination", "[2001:db8::1]:80", "'[2001:db8::1]:80'", HOST),
    ("destination", "1", "'1'", HOST),
    ("destination", "1.2.3", "'1.2.3'", HOST),
    ("destination", "1.2.3.4.5", "'1.2.3.4.5'", HOST),
    ("destination", "1.2.3.256", "'1.2.3.256'", HOST),
    ("destination", "192.0.2.1.", "'192.0.2.1.'", HOST),
    ("destination", "010.0.0.1", "'010.0.0.1'", HOST),
    ("destination", "0x7f.1", "'0x7f.1'", HOST),
    ("destination", "0x7f000001", "'0x7f000001'", HOST),
    ("destination", "example.0x7f", "'example.0x7f'", HOST),
    ("destination", "2130706433", "'2130706433'", HOST),
    ("destination", "192.0.2.0/24", "'192.0.2.0/24'", HOST),
    ("destination", "192.0.2.1%eth0", "'192.0.2.1%eth0'", HOST),
    ("destination", "2001:db8::/32", "'2001:db8::/32'", HOST),
    ("destination", "2001:db8:::1", "'2001:db8:::1'", HOST),
    ("destination", "2001:db8::g", "'2001:db8::g'", HOST),
    ("destination", "1:2:3:4:5:6:7:8:9", "'1:2:3:4:5:6:7:8:9'", HOST),
    ("destination", "fe80::1%", "'fe80::1%'", HOST),
    ("destination", "fe80::1%et/h0", "'fe80::1%et/h0'", HOST),
    ("destination", "fe80::1%eth0 ", "'fe80::1%eth0 '", HOST),
    ("destination", "fe80::1%\u00e9", "'fe80::1%\\xe9'", HOST),
    ("destination", "fe80::1%" + "x" * 16, "'fe80::1%" + "x" * 16 + "'", HOST),
    ("destination", 3221225985, "3221225985", HOST),
    ("destination", ["example.com"], "['example.com']", HOST),
    ("destination", {"host": "example.com"}, "{'host': 'example.com'}", HOST),
    ("destination", b"example.com", "b'example.com'", HOST),
    ("destination", None, "None", HOST),
    ("destination", True, "True", HOST),
    ("port", 0, "0", PORT),
    ("port", -1, "-1", PORT),
    ("port", 65536, "65536", PORT),
    ("port", 10**30, "1" + "0" * 30, PORT),
    ("port", 10**5000, "<int>", PORT),
    ("port", "80", "'80'", WHOLE + PORT),
    ("port", "80x", "'80x'", WHOLE + PORT),
    ("port", "1e3", "'1e3'", WHOLE + PORT),
    ("port", "\uff18\uff10", "'\\uff18\\uff10'", WHOLE + PORT),
    ("port", "80,443", "'80,443'", WHOLE + PORT),
    ("port", "http", "'http'", WHOLE + PORT),
    ("port", "", "''", WHOLE + PORT),
    ("port", True, "True", WHOLE + PORT),
    ("port", False, "False", WHOLE + PORT),
    ("port", 80.0, "80.0", WHOLE + PORT),
    ("port", 80.5, "80.5", WHOLE + PORT),
    ("port", math.nan, "nan", WHOLE + PORT),
    ("port", None, "None", WHOLE + PORT),
    ("port", [80], "[80]", WHOLE + PORT),
    ("source_port", 0, "0", PORT),
    ("source_port", -1, "-1", PORT),
    ("source_port", 65536, "65536", PORT),
    ("source_port", "40000", "'40000'", WHOLE + PORT),
    ("source_port", True, "True", WHOLE + PORT),
    ("family", 5, "5", FAMILY),
    ("family", 0, "0", FAMILY),
    ("family", "4", "'4'", FAMILY),
    ("family", "ipv6", "'ipv6'", FAMILY),
    ("family", 4.0, "4.0", FAMILY),
    ("family", True, "True", FAMILY),
    ("first_ttl", 0, "0", TTL),
    ("first_ttl", -1, "-1", TTL),
    ("first_ttl", 256, "256", TTL),
    ("first_ttl", 1.5, "1.5", WHOLE + TTL),
    ("first_ttl", None, "None", WHOLE + TTL),
    ("max_ttl", 0, "0", TTL),
    ("max_ttl", 256, "256", TTL),
    ("max_ttl", "30", "'30'", WHOLE + TTL),
    ("max_ttl", True, "True", WHOLE + TTL),
    ("queries", 0, "0", QUERIES),
    ("queries", -1, "-1", QUERIES),
    ("queries", 51, "51", QUERIES),
    ("queries", 10**9, "1000000000", QUERIES),
    ("queries", 3.0, "3.0", WHOLE + QUERIES),
    ("wait", 0, "0", WAIT),
    ("wait", 0.049, "0.049", WAIT),
    ("wait", -1, "-1", WAIT),
    ("wait", 300.001, "300.001", WAIT),
    ("wait", math.nan, "nan", WAIT),
    ("wait", math.inf, "inf", WAIT),
    ("wait", -math.inf, "-inf", WAIT),
    ("wait", 1e308, "1e+308", WAIT),
    ("wait", 10**400, "1" + "0" * 76 + "...", WAIT),
    ("wait", "3", "'3'", NUMBER + WAIT),
    ("wait", "1h", "'1h'", NUMBER + WAIT),
    ("wait", "1,5", "'1,5'", NUMBER + WAIT),
    ("wait", True, "True", NUMBER + WAIT),
    ("wait", None, "None", NUMBER + WAIT),
    ("wait", 3j, "3j", NUMBER + WAIT),
    ("deadline", 0, "0", DEADLINE),
    ("deadline", -0.1, "-0.1", DEADLINE),
    ("deadline", 86401, "86401", DEADLINE),
    ("deadline", math.nan, "nan", DEADLINE),
    ("deadline", math.inf, "inf", DEADLINE),
    ("deadline", "60s", "'60s'", NUMBER + DEADLINE),
    ("deadline", False, "False", NUMBER + DEADLINE),
    ("gap_limit", -1, "-1", OCTET),
    ("gap_limit", 256, "256", OCTET),
    ("gap_limit", None, "None", WHOLE + OCTET),
    ("parallel", 0, "0", TTL),
    ("parallel", 256, "256", TTL),
    ("parallel", "8", "'8'", WHOLE + TTL),
    ("source", "", "''", HOST),
    ("source", "eth0 ", "'eth0 '", HOST),
    ("source", "192.0.2.0/24", "'192.0.2.0/24'", HOST),
    ("source", "192.0.2.300", "'192.0.2.300'", HOST),
    ("source", 1, "1", HOST),
    ("source", "-s", "'-s'", HOST),
    ("interface", "", "''", INTERFACE),
    ("interface", "x" * 16, "'xxxxxxxxxxxxxxxx'", INTERFACE),
    ("interface", "../x", "'../x'", INTERFACE),
    ("interface", ".", "'.'", INTERFACE),
    ("interface", "..", "'..'", INTERFACE),
    ("interface", "eth0\n", "'eth0\\n'", INTERFACE),
    ("interface", "eth 0", "'eth 0'", INTERFACE),
    ("interface", "eth\t0", "'eth\\t0'", INTERFACE),
    ("interface", "eth0:1", "'eth0:1'", INTERFACE),
    ("interface", "eth\x000", "'eth\\x000'", INTERFACE),
    ("interface", "eth\x1b", "'eth\\x1b'", INTERFACE),
    ("interface", "eth\u00e9", "'eth\\xe9'", INTERFACE),
    ("interface", "\ud800", "'\\ud800'", INTERFACE),
    ("interface", 0, "0", INTERFACE),
    ("interface", True, "True", INTERFACE),
    ("flags", "SX", "'SX'", FLAGS),
    ("flags", "SYN ACK", "'SYN ACK'", FLAGS),
    ("flags", "SYN;ACK", "'SYN;ACK'", FLAGS),
    ("flags", "SYN,ACKK", "'SYN,ACKK'", FLAGS),
    ("flags", "\u017fyn", "'\\u017fyn'", FLAGS),
    ("flags", "\ufb01n", "'\\ufb01n'", FLAGS),
    ("flags", 2, "2", FLAGS),
    ("flags", ["SYN"], "['SYN']", FLAGS),
    ("flags", None, "None", FLAGS),
    ("tcp_options", "sack", "'sack'", TCP_OPTIONS),
    ("tcp_options", "MSS", "'MSS'", TCP_OPTIONS),
    ("tcp_options", None, "None", TCP_OPTIONS),
    ("tcp_options", ["mss"], "['mss']", TCP_OPTIONS),
    ("length", 39, "39", LENGTH),
    ("length", 0, "0", LENGTH),
    ("length", -1, "-1", LENGTH),
    ("length", 65536, "65536", LENGTH),
    ("length", "60", "'60'", WHOLE + LENGTH),
    ("tos", -1, "-1", OCTET),
    ("tos", 256, "256", OCTET),
    ("tos", "0x10", "'0x10'", WHOLE + OCTET),
    ("tos", True, "True", WHOLE + OCTET),
    ("dont_fragment", 1, "1", BOOLEAN),
    ("dont_fragment", "yes", "'yes'", BOOLEAN),
    ("dont_fragment", None, "None", BOOLEAN),
    # Bytes that are no packet: ``test_template``.
    ("packet", "", "''", PACKET),
    ("packet", "RQ", "'RQ'", PACKET),
    ("packet", b"RQ==", "b'RQ=='", PACKET),
    ("packet", True, "True", PACKET),
    ("method", "RAW", "'RAW'", METHOD),
    ("method", "", "''", METHOD),
    ("names", "some", "'some'", NAMES),
    ("names", False, "False", NAMES),
    ("names", None, "None", NAMES),
    ("evidence", "everything", "'everything'", EVIDENCE),
    ("evidence", True, "True", EVIDENCE),
]

#: Option, value that is given, value that is kept.
ACCEPTED: List[Tuple[str, Any, Any]] = [
    ("destination", "example", "example"),
    ("destination", "example.com", "example.com"),
    ("destination", "example.com.", "example.com."),
    ("destination", "EXAMPLE.com", "EXAMPLE.com"),
    ("destination", "a_b._tcp.example", "a_b._tcp.example"),
    ("destination", "xn--caf-dma.example", "xn--caf-dma.example"),
    ("destination", "3com.example", "3com.example"),
    ("destination", "1.2.3.example", "1.2.3.example"),
    ("destination", "0x7f.example", "0x7f.example"),
    ("destination", "x" * 63, "x" * 63),
    ("destination", ".".join(["x" * 49] * 5) + ".abc", ".".join(["x" * 49] * 5) + ".abc"),
    ("destination", ".".join(["x" * 49] * 5) + ".abc.", ".".join(["x" * 49] * 5) + ".abc."),
    ("destination", "192.0.2.1", "192.0.2.1"),
    ("destination", "2001:db8::1", "2001:db8::1"),
    ("destination", "::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ("destination", "fe80::1%eth0", "fe80::1%eth0"),
    ("destination", "fe80::1%2", "fe80::1%2"),
    ("port", 1, 1),
    ("port", 65535, 65535),
    ("source_port", None, None),
    ("source_port", 1, 1),
    ("family", None, None),
    ("family", 4, 4),
    ("family", 6, 6),
    ("wait", 3, 3.0),
    ("wait", 0.05, 0.05),
    ("wait", 300, 300.0),
    ("deadline", None, None),
    ("deadline", 86400, 86400.0),
    ("gap_limit", 0, 0),
    ("source", None, None),
    ("source", "192.0.2.10", "192.0.2.10"),
    ("source", "router1.example", "router1.example"),
    ("interface", None, None),
    ("interface", "eth0.100", "eth0.100"),
    ("interface", "br-0123456789ab", "br-0123456789ab"),
    ("interface", "veth@if2", "veth@if2"),
    ("interface", "...", "..."),
    ("flags", "", ""),
    ("flags", "syn", "SYN"),
    ("flags", "ack, syn", "SYN,ACK"),
    ("flags", "CWR,ECE,SYN,SYN,", "SYN,ECE,CWR"),
    ("length", None, None),
    ("length", 40, 40),
    ("length", 65535, 65535),
    ("tos", 184, 184),
    ("dont_fragment", True, True),
    ("packet", None, None),
]

#: Options that are right by themselves, and what is wrong with them together.
CONTRADICTIONS: List[Tuple[Dict[str, Any], List[str]]] = [
    ({"first_ttl": 6, "max_ttl": 5}, ["first_ttl: 6 is not at most max_ttl (5)"]),
    ({"first_ttl": 31}, ["first_ttl: 31 is not at most max_ttl (30)"]),
    ({"destination": "192.0.2.1", "family": 6}, ["destination: '192.0.2.1' is not an IPv6 address, as family asks"]),
    ({"destination": "2001:db8::1", "family": 4}, ["destination: '2001:db8::1' is not an IPv4 address, as family asks"]),
    ({"source": "192.0.2.1", "family": 6}, ["source: '192.0.2.1' is not an IPv6 address, as family asks"]),
    (
        {"destination": "192.0.2.1", "source": "2001:db8::1"},
        ["source: '2001:db8::1' is not of the destination's family, IPv4"],
    ),
    (
        {"destination": "2001:db8::1", "source": "192.0.2.1"},
        ["source: '192.0.2.1' is not of the destination's family, IPv6"],
    ),
    (
        {"destination": "fe80::1"},
        ["destination: 'fe80::1' is not complete: a link-local address needs its zone, such as fe80::1%eth0, or an interface"],
    ),
    (
        {"destination": "febf::1"},
        ["destination: 'febf::1' is not complete: a link-local address needs its zone, such as febf::1%eth0, or an interface"],
    ),
    (
        {"source": "fe80::1"},
        ["source: 'fe80::1' is not complete: a link-local address needs its zone, such as fe80::1%eth0, or an interface"],
    ),
    (
        {"destination": "2001:db8::1", "source": "192.0.2.1", "family": 4, "first_ttl": 9, "max_ttl": 3},
        [
            "first_ttl: 9 is not at most max_ttl (3)",
            "destination: '2001:db8::1' is not an IPv4 address, as family asks",
            "source: '192.0.2.1' is not of the destination's family, IPv6",
        ],
    ),
    # What is wrong by itself is told once, and hides nothing of the rest.
    ({"first_ttl": 0, "max_ttl": 300}, ["first_ttl: 0 is not between 1 and 255", "max_ttl: 300 is not between 1 and 255"]),
    ({"first_ttl": 9, "max_ttl": 0}, ["max_ttl: 0 is not between 1 and 255"]),
    (
        {"destination": "192.0.2.1", "port": 0, "family": 6},
        ["port: 0 is not between 1 and 65535", "destination: '192.0.2.1' is not an IPv6 address, as family asks"],
    ),
    ({"destination": "192.0.2.1", "family": 5}, ["family: 5 is not one of 4, 6"]),
    ({"destination": "192.0.2.1/24", "source": "2001:db8::1"}, ["destination: '192.0.2.1/24' is not " + HOST]),
]

AGREEMENTS: List[Dict[str, Any]] = [
    {"first_ttl": 5, "max_ttl": 5},
    {"destination": "192.0.2.1", "source": "192.0.2.2", "family": 4},
    {"destination": "2001:db8::1", "source": "2001:db8::2", "family": 6},
    {"destination": "example.com", "source": "192.0.2.2"},
    {"destination": "192.0.2.1", "source": "router1.example"},
    {"destination": "fe80::1%eth0", "source": "fe80::2%eth0"},
    {"destination": "fe80::1", "source": "fe80::2", "interface": "eth0"},
    {"destination": "fec0::1"},
    {"destination": "fe7f::1"},
]


def problems(**values: Any) -> Tuple[str, ...]:
    with pytest.raises(OptionError) as caught:
        TraceOptions(**{"destination": "example.com", **values})
    return caught.value.problems


def test_the_table_is_long_enough_and_speaks_of_every_option() -> None:
    assert len(REFUSED) >= 120
    assert {name for name, _, _, _ in REFUSED} == set(PARAMETERS)


@pytest.mark.parametrize(("name", "value", "shown", "rule"), REFUSED, ids=[f"{row[0]}: {row[2]}" for row in REFUSED])
def test_what_breaks_a_rule_is_refused_in_one_sentence(name: str, value: Any, shown: str, rule: str) -> None:
    assert problems(**{name: value}) == (f"{name}: {shown} is not {rule}",)


@pytest.mark.parametrize(("name", "value", "kept"), ACCEPTED, ids=[f"{row[0]}: {row[1]!r}" for row in ACCEPTED])
def test_what_follows_the_rules_is_kept(name: str, value: Any, kept: Any) -> None:
    options = TraceOptions(**{"destination": "example.com", name: value})
    assert getattr(options, name) == kept
    assert type(getattr(options, name)) is type(kept)


@pytest.mark.parametrize(("values", "expected"), CONTRADICTIONS, ids=[str(values) for values, _ in CONTRADICTIONS])
def test_options_that_contradict_each_other_are_refused(values: Dict[str, Any], expected: List[str]) -> None:
    assert problems(**values) == tuple(expected)


@pytest.mark.parametrize("values", AGREEMENTS, ids=str)
def test_options_that_agree_are_accepted(values: Dict[str, Any]) -> None:
    options = TraceOptions(**{"destination": "example.com", **values})
    assert {name: getattr(options, name) for name in values} == values


def test_all_problems_are_told_at_once_in_the_order_of_the_options() -> None:
    wrong: Dict[str, Any] = dict.fromkeys(reversed(list(PARAMETERS)), object)
    told = problems(**wrong)
    assert [sentence.partition(":")[0] for sentence in told] == list(PARAMETERS)
    assert told[0] == "destination: <class 'object'> is not " + HOST


@pytest.mark.parametrize("name", [parameter.name for parameter in PARAMETERS.values() if parameter.minimum is not None])
def test_bounds_belong_to_the_range(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    others = {"first_ttl": 1, "max_ttl": 255}
    others.pop(name, None)
    for value in (parameter.minimum, parameter.maximum):
        values: Dict[str, Any] = {"destination": "example.com", **others, name: value}
        kept = getattr(TraceOptions(**values), name)
        assert kept == value
    step = 1 if parameter.kind == "integer" else 0.001
    for value in (parameter.minimum - step, parameter.maximum + step):
        assert problems(**{**others, name: value}) == (f"{name}: {value} is not {parameter.rule}",)


@pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=list(PARAMETERS))
def test_every_option_is_described(parameter: Any) -> None:
    field = {entry.name: entry for entry in dataclasses.fields(TraceOptions)}[parameter.name]
    assert parameter.default == field.default
    assert parameter.help[0].isupper()
    assert parameter.help.endswith(".")
    assert parameter.optional == (field.type.startswith("Optional["))
    assert bool(parameter.choices) == (parameter.kind == "choice")
    if parameter.name != "destination":
        assert getattr(TraceOptions("example.com"), parameter.name) == parameter.default


def test_a_destination_is_needed() -> None:
    with pytest.raises(OptionError) as caught:
        TraceOptions()
    assert caught.value.problems == ("destination: '' is not " + HOST,)


def test_a_request_is_read_from_a_dictionary() -> None:
    options = TraceOptions.from_dict({"destination": "example.com", "port": 443, "flags": "ack"})
    assert options == TraceOptions("example.com", port=443, flags="ACK")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"destination": "a", "max_hops": 3}, ["'max_hops': is not an option of a trace"]),
        (
            {"destination": "a", "max_hops": 3, "port": 0, "-x\x1b": 1},
            [
                "'max_hops': is not an option of a trace",
                "'-x\\x1b': is not an option of a trace",
                "port: 0 is not between 1 and 65535",
            ],
        ),
        ({"destination": "a", 5: 1, None: 2}, ["5: is not an option of a trace", "None: is not an option of a trace"]),
        ({"destination": "a", "y" * 500: 1}, ["'" + "y" * 76 + "...: is not an option of a trace"]),
        ({"Port": 80}, ["'Port': is not an option of a trace", "destination: '' is not " + HOST]),
        ({"destination": "a", "__class__": 1}, ["'__class__': is not an option of a trace"]),
        ({"destination": "a", "flag_bits": 1}, ["'flag_bits': is not an option of a trace"]),
        ({}, ["destination: '' is not " + HOST]),
        (None, ["request: None is not an object of options and their values"]),
        ([], ["request: [] is not an object of options and their values"]),
        ("example.com", ["request: 'example.com' is not an object of options and their values"]),
        (7, ["request: 7 is not an object of options and their values"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_request_that_is_none_is_refused(request_: Any, expected: List[str]) -> None:
    with pytest.raises(OptionError) as caught:
        TraceOptions.from_dict(request_)
    assert caught.value.problems == tuple(expected)


def test_deeply_nested_values_are_refused_too() -> None:
    nested: List[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert problems(port=nested) == ("port: <list> is not a whole number between 1 and 65535",)


def test_a_request_holds_what_differs_from_the_defaults() -> None:
    assert TraceOptions("example.com").to_dict() == {"destination": "example.com"}
    assert TraceOptions("example.com", port=443, wait=3, dont_fragment=True).to_dict() == {
        "destination": "example.com",
        "port": 443,
        "dont_fragment": True,
    }


@given(requests())
def test_requests_cross_to_another_process(options: TraceOptions) -> None:
    assert TraceOptions.from_dict(json.loads(json.dumps(options.to_dict(), allow_nan=False))) == options
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301
    assert copy.deepcopy(options) == options
    assert hash(copy.deepcopy(options)) == hash(options)
    assert {options: 1}[dataclasses.replace(options)] == 1


def test_options_do_not_change() -> None:
    options = TraceOptions("example.com")
    for name in PARAMETERS:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, name, getattr(options, name))


def test_a_replaced_option_is_checked_too() -> None:
    with pytest.raises(OptionError, match="port: 0 is not between 1 and 65535"):
        dataclasses.replace(TraceOptions("example.com"), port=0)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.binary() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(PARAMETERS)), ANYTHING | st.text("0123456789abcdefx.:%-_ SYN,"), max_size=4))
def test_any_values_are_accepted_or_refused_in_printable_lines(values: Dict[str, Any]) -> None:
    told: Tuple[str, ...] = ()
    try:
        options = TraceOptions(**values)
    except OptionError as error:
        told = error.problems or ("an error without a problem",)
    else:
        assert TraceOptions.from_dict(options.to_dict()) == options
    for sentence in told:
        assert sentence.partition(":")[0] in PARAMETERS
        assert sentence.isascii()
        assert sentence.isprintable()
        assert len(sentence) < 260


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SYN", "SYN"),
        ("ack,syn", "SYN,ACK"),
        (" Syn , ACK ", "SYN,ACK"),
        ("CWR,ECE,URG,ACK,PSH,RST,SYN,FIN", "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR"),
        ("SYN,SYN,syn", "SYN"),
        ("", ""),
        (",,", ""),
        ("SYN,", "SYN"),
        ("NS", None),
        ("S", None),
        ("SYN|ACK", None),
        ("\u017fyn", None),
        ("\ufb01n", None),
        ("SYN\x00", None),
    ],
)
def test_flags_have_one_form(text: str, expected: Optional[str]) -> None:
    assert canonical_flags(text) == expected


@given(st.sets(st.sampled_from(list(FLAG_BITS))))
def test_flags_and_their_bits_tell_the_same(names: Any) -> None:
    options = TraceOptions("example.com", flags=",".join(names))
    assert options.flag_bits == sum(FLAG_BITS[name] for name in names)
    assert set(options.flags.split(",")) - {""} == names
    assert canonical_flags(options.flags) == options.flags


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("192.0.2.1", 4),
        ("0.0.0.0", 4),  # noqa: S104
        ("::", 6),
        ("2001:db8::1", 6),
        ("2001:DB8::1", 6),
        ("::ffff:192.0.2.1", 6),
        ("fe80::1%eth0", 6),
        ("fe80::1%1", 6),
        ("fe80::1%", 0),
        ("fe80::1%a b", 0),
        ("fe80::1%a%b", 6),
        ("%eth0", 0),
        ("192.0.2.1%eth0", 0),
        ("192.0.2", 0),
        ("192.0.2.01", 0),
        (" 192.0.2.1", 0),
        ("192.0.2.1\x00", 0),
        ("::1\x00", 0),
        ("\ud800", 0),
        ("\uff11.2.3.4", 0),
        ("example.com", 0),
        ("", 0),
    ],
)
def test_addresses_are_told_from_names(text: str, version: int) -> None:
    assert is_address(text) == version


def test_a_bad_request_is_refused_before_any_socket_exists() -> None:
    # An audit hook can't be taken back, so it gets a process of its own.
    script = """
import sys
events = []
sys.addaudithook(lambda name, arguments: events.append(name) if name.startswith("socket.") else None)
import socket
from nornir_tcptraceroute.probe.options import TraceOptions
for values in ({"destination": "fe80::1%x"}, {"destination": "a..b", "source": "192.0.2.1"}, {"destination": "a", "port": 0}):
    try:
        TraceOptions(**values)
    except ValueError:
        pass
assert not events, events
socket.socket().close()
assert events == ["socket.__new__"], events
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)
