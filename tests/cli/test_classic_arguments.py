"""The command line: what each option asks for, what is refused and in which words, and that the help tells the truth."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.cli.classic_arguments import OPTIONS, Request, UsageError, help_text, parse
from nornir_tcptraceroute.cli.classic_output import ANNOTATIONS
from nornir_tcptraceroute.probe.options import PARAMETERS, TraceOptions

HOST = "host.example"


def request(*arguments: str) -> Request:
    parsed = parse(arguments)
    assert isinstance(parsed, Request)
    return parsed


def refusal(*arguments: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    return caught.value


OPTION_CASES: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("-n", {"names": "none"}),
    ("-N", {"names": "all"}),
    ("-n -N", {"names": "all"}),
    ("-N -n", {"names": "none"}),
    ("-f 5", {"first_ttl": 5}),
    ("-f5", {"first_ttl": 5}),
    ("-f 5 -f 6", {"first_ttl": 6}),
    ("-m 255", {"max_ttl": 255}),
    ("-p 5555", {"source_port": 5555}),
    ("-p 0", {}),
    ("-P 5555", {"source_port": 5555}),
    ("-P 5 -p 6", {"source_port": 6}),
    ("-s 192.0.2.1", {"source": "192.0.2.1"}),
    ("-i eth0", {"interface": "eth0"}),
    ("-q 1", {"queries": 1}),
    ("-w 1", {"wait": 1.0}),
    ("-w 0.5", {"wait": 0.5}),
    ("-w .5", {"wait": 0.5}),
    ("-S", {}),
    ("-A", {"flags": "ACK"}),
    ("-S -A", {"flags": "SYN,ACK"}),
    ("-E", {"flags": "SYN,ECE,CWR"}),
    ("-A -E", {"flags": "ACK,ECE,CWR"}),
    ("-SAE", {"flags": "SYN,ACK,ECE,CWR"}),
    ("-t 16", {"tos": 16}),
    ("-F", {"dont_fragment": True}),
    ("-l 100", {"length": 100}),
    ("-l 40", {"length": 40}),
    ("-l 0", {}),
    ("-nFm3 -q1", {"names": "none", "dont_fragment": True, "max_ttl": 3, "queries": 1}),
    ("-4", {"family": 4}),
    ("-6", {"family": 6}),
    ("-4 -6", {"family": 6}),
    ("--flags fin,psh", {"flags": "FIN,PSH"}),
    ("--tcp-options linux", {"tcp_options": "linux"}),
    ("--tcp-options=mss", {"tcp_options": "mss"}),
    ("--parallel 1", {"parallel": 1}),
    ("--deadline 2.5", {"deadline": 2.5}),
    ("--gap-limit 5", {"gap_limit": 5}),
    ("--method raw", {"method": "raw"}),
    ("--evidence all", {"evidence": "all"}),
    ("--track-id --track-ipid --track-port", {}),
    ("--dnat --no-dnat --no-dnat-strict", {}),
    ("--no-filter --no-select --select --no-getinterfaces", {}),
    ("--json --fail-unreached --fail-closed -d", {}),
]


@pytest.mark.parametrize(("words", "expected"), OPTION_CASES)
@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_options_of_the_trace(words: str, expected: dict[str, Any], *, behind: bool) -> None:
    arguments = [HOST, *words.split()] if behind else [*words.split(), HOST]
    assert request(*arguments).options == TraceOptions(HOST, **expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"json": False, "debug": False, "translations": "hide", "track_port": False, "share_source_port": False}),
        ("", {"strictness": "classic", "length": None, "warnings": ()}),
        ("", {"explain": False, "networks": None}),
        ("--json", {"json": True, "explain": False}),
        ("", {"targets": None, "rate": 5000.0}),
        ("--rate 5", {"rate": 5.0}),
        ("--rate 5 --rate=unlimited", {"rate": float("inf")}),
        ("--explain", {"json": False, "explain": True, "networks": None}),
        ("--networks a.yaml", {"explain": True, "networks": "a.yaml"}),
        ("--networks=a.yaml --networks b.yaml", {"explain": True, "networks": "b.yaml"}),
        ("-d", {"debug": True}),
        ("--dnat", {"translations": "show"}),
        ("--dnat --no-dnat", {"translations": "hide"}),
        ("--dnat --no-dnat-strict", {"translations": "refuse"}),
        ("--no-dnat-strict --dnat", {"translations": "show"}),
        ("--track-port", {"track_port": True, "warnings": ()}),
        ("--track-port --track-id", {"track_port": False}),
        ("--track-id --track-port", {"track_port": True}),
        (
            "--track-port -p 5",
            {"track_port": False, "warnings": ("Warning: --track-id implied by specifying the local source port",)},
        ),
        ("-p 5", {"share_source_port": False, "warnings": ()}),
        ("-P 5", {"share_source_port": True}),
        ("-p 5 -P 6", {"share_source_port": True}),
        ("-P 5 -p 6", {"share_source_port": False}),
        ("-l 30", {"length": 30}),
        ("-l 100", {"length": 100}),
        ("-l 0", {"length": None}),
        ("--fail-unreached", {"strictness": "reached"}),
        ("--fail-closed", {"strictness": "open"}),
        ("--fail-closed --fail-unreached", {"strictness": "open"}),
        ("--fail-closed -E", {"strictness": "open"}),
    ],
)
def test_options_of_the_command(words: str, expected: dict[str, Any]) -> None:
    parsed = request(*words.split(), HOST)
    assert {name: getattr(parsed, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ((HOST,), {"port": 80}),
        ((HOST, "443"), {"port": 443}),
        ((HOST, "65535", "100"), {"port": 65535, "length": 100}),
        (("-l", "200", HOST, "80", "100"), {"length": 100}),
        ((HOST, "80", "30"), {"length": None}),
        (("--", HOST, "22"), {"port": 22}),
        (("2001:db8::1",), {"destination": "2001:db8::1"}),
    ],
)
def test_operands(operands: tuple[str, ...], expected: dict[str, Any]) -> None:
    options = request(*operands).options
    assert {name: getattr(options, name) for name in expected} == expected


def test_a_service_name_is_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getservbyname", lambda name, protocol: {("smtp", "tcp"): 25}[name, protocol])
    assert request(HOST, "smtp").options.port == 25


@pytest.mark.parametrize(("words", "asked"), [("-h", "help"), ("--help", "help"), ("-v", "version"), ("--version", "version")])
@pytest.mark.parametrize("rest", [[], [HOST], ["-Q", "-m", "0"]])
def test_help_and_version_come_before_all_else(words: str, asked: str, rest: list[str]) -> None:
    assert parse([words, *rest]) == asked


REFUSED: list[tuple[list[str], list[str]]] = [
    (["-m", "0"], ["max_ttl: 0 is not between 1 and 255"]),
    (["-m", "256"], ["max_ttl: 256 is not between 1 and 255"]),
    (["-m", "abc"], ["max_ttl: 'abc' is not a whole number between 1 and 255"]),
    (["-m", "1.5"], ["max_ttl: '1.5' is not a whole number between 1 and 255"]),
    (["-m", " 5"], ["max_ttl: ' 5' is not a whole number between 1 and 255"]),
    (["-m", "5\n"], ["max_ttl: '5\\n' is not a whole number between 1 and 255"]),
    (["-m", "1_0"], ["max_ttl: '1_0' is not a whole number between 1 and 255"]),
    (["-m", "\uff15"], ["max_ttl: '\\uff15' is not a whole number between 1 and 255"]),
    (["-m", ""], ["max_ttl: '' is not a whole number between 1 and 255"]),
    (["-f", "0"], ["first_ttl: 0 is not between 1 and 255"]),
    (["-f", "4", "-m", "3"], ["first_ttl: 4 is not at most max_ttl (3)"]),
    (["-q", "0"], ["queries: 0 is not between 1 and 50"]),
    (["-q", "-1"], ["queries: -1 is not between 1 and 50"]),
    (["-q", "9" * 20], [f"queries: {'9' * 20} is not between 1 and 50"]),
    (["-w", "0"], ["wait: 0 is not between 0.05 and 300 s"]),
    (["-w", "nan"], ["wait: 'nan' is not a number between 0.05 and 300 s"]),
    (["-w", "1e3"], ["wait: '1e3' is not a number between 0.05 and 300 s"]),
    (["-w", "1h"], ["wait: '1h' is not a number between 0.05 and 300 s"]),
    (["-w", "1,5"], ["wait: '1,5' is not a number between 0.05 and 300 s"]),
    (["-t", "256"], ["tos: 256 is not between 0 and 255"]),
    (["-t", "0x10"], ["tos: '0x10' is not a whole number between 0 and 255"]),
    (["-l", "70000"], ["length: 70000 is not between 40 and 65535 bytes"]),
    (["-l", "-1"], ["length: -1 is not between 40 and 65535 bytes"]),
    (["-l", "abc"], ["length: 'abc' is not a whole number between 40 and 65535 bytes"]),
    (["-p", "65536"], ["source_port: 65536 is not between 1 and 65535"]),
    (["-s", "no good"], ["source: 'no good' is not a host name or an IP address"]),
    (["--parallel", "0"], ["parallel: 0 is not between 1 and 255"]),
    (["--deadline", "0"], ["deadline: 0 is not between 0.05 and 86400 s"]),
    (["--gap-limit", "-1"], ["gap_limit: -1 is not between 0 and 255"]),
    (["--rate", "0"], ["rate: '0' is not between 1 and 1000000 probes per second, nor 'unlimited'"]),
    (["--method", "magic"], ["method: 'magic' is not one of auto, raw, connect"]),
    (["--tcp-options", "all"], ["tcp_options: 'all' is not one of none, mss, linux"]),
    (["--evidence", "some"], ["evidence: 'some' is not one of none, notable, all"]),
    (["--flags", "XMAS"], ["flags: 'XMAS' is not a list of TCP flags from FIN, SYN, RST, PSH, ACK, URG, ECE, CWR"]),
    (["--flags", "SYN", "-E", "-S"], ["--flags tells all flags, so it can't be combined with -S, -E"]),
    (
        ["--fail-closed", "-A"],
        ["--fail-closed needs SYN probes: to those with the flags ACK open and closed ports answer alike"],
    ),
    (
        ["--fail-closed", "--flags", ""],
        ["--fail-closed needs SYN probes: to those with the flags (none) open and closed ports answer alike"],
    ),
    ([HOST, "0"], ["port: 0 is not between 1 and 65535"]),
    ([HOST, "70000"], ["port: 70000 is not between 1 and 65535"]),
    ([HOST, ""], ["Unknown port: "]),
    ([HOST, "80x"], ["Unknown port: 80x"]),
    ([HOST, "1e3"], ["Unknown port: 1e3"]),
    ([HOST, "80.5"], ["Unknown port: 80.5"]),
    ([HOST, "nosuchservice"], ["Unknown port: nosuchservice"]),
    ([HOST, "\x1b[31m"], ["Unknown port: \\x1b[31m"]),
    ([HOST, "\udcff"], ["Unknown port: \\udcff"]),
    ([HOST, "x" * 100], [f"Unknown port: {'x' * 80}..."]),
    ([HOST, "80", "abc"], ["length: 'abc' is not a whole number between 40 and 65535 bytes"]),
    ([""], ["destination: '' is not a host name or an IP address"]),
    (["1.2"], ["destination: '1.2' is not a host name or an IP address"]),
    (["--", "-m"], ["destination: '-m' is not a host name or an IP address"]),
    (
        ["-6", "192.0.2.1"],
        ["destination: '192.0.2.1' is not an IPv6 address, as family asks"],
    ),
    # All at once.
    (
        ["-m", "0", "-q", "x", "-w", "0", "--deadline", "0", "no;host", "nosuchservice", "9"],
        [
            "Unknown port: nosuchservice",
            "destination: 'no;host' is not a host name or an IP address",
            "max_ttl: 0 is not between 1 and 255",
            "queries: 'x' is not a whole number between 1 and 50",
            "wait: 0 is not between 0.05 and 300 s",
            "deadline: 0 is not between 0.05 and 86400 s",
        ],
    ),
]


@pytest.mark.parametrize(("arguments", "problems"), REFUSED)
def test_refused_in_one_line_each(arguments: list[str], problems: list[str]) -> None:
    takes_host = (
        arguments[0].startswith("-") and "192.0.2.1" not in arguments and "--" not in arguments and "no;host" not in arguments
    )
    error = refusal(*arguments, *([HOST] if takes_host else []))
    assert list(error.problems) == problems
    assert not error.show_usage


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ([], ["No operands given, where HOST [PORT] [LENGTH] are needed"]),
        (["a", "80", "40", "40"], ["4 operands given, where HOST [PORT] [LENGTH] are needed"]),
        (["-Q", HOST], ["Unknown command line argument: -Q"]),
        (["-nQm", "3", HOST], ["Unknown command line argument: -Q"]),
        (["-n5", HOST], ["Unknown command line argument: -5"]),
        (["--bogus", HOST], ["Unknown command line argument: --bogus"]),
        # The classic tool knows no abbreviations.
        (["--dna", HOST], ["Unknown command line argument: --dna"]),
        (["--dnat=1", HOST], ["Unknown command line argument: --dnat=1"]),
        (["--\x1b", HOST], ["Unknown command line argument: --\\x1b"]),
        (
            ["-Q", "--bogus", "-m", "0", "-f"],
            [
                "Unknown command line argument: -Q",
                "Unknown command line argument: --bogus",
                "Argument required for -f",
                "max_ttl: 0 is not between 1 and 255",
                "No operands given, where HOST [PORT] [LENGTH] are needed",
            ],
        ),
    ],
)
def test_refused_with_the_usage(arguments: list[str], problems: list[str]) -> None:
    error = refusal(*arguments)
    assert list(error.problems) == problems
    assert error.show_usage


@pytest.mark.parametrize("name", [name for option in OPTIONS if option.value for name in option.names])
def test_an_option_without_its_value(name: str) -> None:
    error = refusal(HOST, name)
    assert error.problems == (f"Argument required for {name}",)
    assert not error.show_usage


WORDS = st.one_of(
    st.sampled_from([name for option in OPTIONS for name in option.names]),
    st.sampled_from(["--", "-", HOST, "80", "-1", ""]),
    st.text(),
)


@given(st.lists(WORDS, max_size=8))
def test_any_command_line_is_a_request_or_refused_in_single_lines(arguments: list[str]) -> None:
    problems: tuple[str, ...] | None = None
    try:
        parse(arguments)
    except UsageError as error:
        problems = error.problems
    assert problems is None or all(problem.isprintable() for problem in problems)
    assert problems != ()


#: Parameters of a trace that are no option of the same meaning, and what asks for them.
ASKED_OTHERWISE = {"destination": "HOST", "port": "PORT", "names": "-n -N", "family": "-4 -6"}
#: A crafted packet is nothing that anybody types.
NOT_ASKED = {"packet"}


def test_every_parameter_can_be_asked_for() -> None:
    assert {option.parameter for option in OPTIONS if option.parameter} | set(ASKED_OTHERWISE) == set(PARAMETERS) - NOT_ASKED


BOUNDED = [
    option
    for option in OPTIONS
    if option.parameter and option.value and PARAMETERS[option.parameter].kind in {"integer", "number"}
]


@pytest.mark.parametrize("option", BOUNDED, ids=lambda option: option.names[0])
def test_bounds_are_those_of_the_parameter(option: Any) -> None:
    parameter = PARAMETERS[option.parameter]
    assert parameter.minimum is not None
    assert parameter.maximum is not None
    for bound in (parameter.minimum, parameter.maximum):
        # A first TTL has to be at most the last one, whichever of the two is at its bound.
        room = {"-f": ["-m", "255"], "-m": ["-f", "1"]}.get(option.names[0], [])
        assert getattr(request(*room, option.names[0], f"{bound:g}", HOST).options, parameter.name) == bound
    below = [] if parameter.name in {"length", "source_port"} else [parameter.minimum - 1]
    for beyond in (*below, parameter.maximum + 1):
        problem = f"{parameter.name}: {beyond:g} is not {parameter.rule}"
        assert refusal(option.names[0], f"{beyond:g}", HOST).problems == (problem,)


def test_defaults_are_those_of_the_parameters() -> None:
    assert request(HOST).options == TraceOptions(HOST)


HELP = re.sub(r"\s+", " ", help_text())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.names[0])
def test_help_tells_every_option_with_unit_bounds_and_default(option: Any) -> None:
    assert ", ".join(option.names) + (f" {option.value}" if option.value else "") in HELP
    assert option.text in HELP
    if not option.parameter:
        return
    parameter = PARAMETERS[option.parameter]
    assert parameter.help in HELP
    if option.value:
        assert parameter.rule[1:] in HELP
        if parameter.default is not None:
            default = f"{parameter.default:g}" if isinstance(parameter.default, (int, float)) else parameter.default
            assert f"{parameter.rule[1:]}; default {default}{' ' + parameter.unit if parameter.unit else ''}." in HELP


def test_help_tells_every_annotation() -> None:
    told = help_text()[help_text().index("\n*") :]
    for icmp_type, notes in ANNOTATIONS.items():
        for code, note in notes.items():
            explanation = re.search(re.escape(note) + r"  [^!]*?\(([^()]*)\)", told)
            assert explanation, note
            version_4, _, version_6 = explanation.group(1).partition("IPv6")
            if note == "!S":
                version_6 = told[told.index("scope (IPv6") :].partition(")")[0]
            codes = {3: version_4, 1: version_6, 2: "0" if "type 2" in version_6 else ""}[icmp_type]
            assert str(code) in re.findall(r"\d+", codes), (icmp_type, code, note)


def test_help_fits_a_terminal() -> None:
    assert max(map(len, help_text().splitlines())) <= 100
    assert help_text().isascii()


@pytest.mark.parametrize(
    ("words", "port", "length"),
    [("", 80, None), ("443", 443, None), ("ssh 100", 22, 100)],
)
def test_beside_targets_no_host_is_given(words: str, port: int, length: int | None) -> None:
    asked = request("--targets", "file", *words.split())
    assert (asked.targets, asked.options.port, asked.options.length) == ("file", port, length)


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (["-d"], ["-d is for a single trace, and can't be given together with --targets"]),
        (["-p", "5"], ["-p is for a single trace, and can't be given together with --targets"]),
        (["-P", "5"], ["-P is for a single trace, and can't be given together with --targets"]),
        (["1", "40", "3"], ["3 operands given, where [PORT] [LENGTH] may stand beside --targets"]),
    ],
)
def test_what_is_for_a_single_trace_is_refused_beside_targets(arguments: list[str], problems: list[str]) -> None:
    assert list(refusal("--targets", "file", *arguments).problems) == problems
