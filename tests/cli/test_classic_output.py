"""Hop records to lines. What is expected was printed by tcptraceroute 1.5beta7 in a network that answered in just that way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.cli.classic_output import ANNOTATIONS, ClassicOutput, annotation, device_line, port_state, target_line
from nornir_tcptraceroute.probe.options import FLAG_BITS
from nornir_tcptraceroute.probe.records import Hop, Reply
from tests.cli.replies import TARGET, hop, rewritten, send_error, star, tcp, transit, unreachable

A, B, C = "10.2.0.2", "10.2.0.3", "10.2.0.4"
NAMES = {"192.0.2.1": "name.example", "192.0.2.2": "192.0.2.2", "2001:db8::1": "six.example"}
OPEN, CLOSED = "SYN,ACK", "RST,ACK"


def lines(*hops: Hop, translations: str = "hide") -> str:
    output = ClassicOutput(translations)
    return "".join(output.hop(each, NAMES.get) for each in hops)


HOPS = [
    (
        "all from one router",
        [transit(A, 0.253), transit(A, 0.053), transit(A, 0.034)],
        " 1  10.2.0.2  0.253 ms  0.053 ms  0.034 ms\n",
    ),
    ("one query", [transit(A, 12.3456)], " 1  10.2.0.2  12.346 ms\n"),
    ("silent", [star(), star(), star()], " 1  * * *\n"),
    ("one silent query", [star()], " 1  *\n"),
    ("a star before", [star(), transit(A), star()], " 1  * 10.2.0.2 1.000 ms *\n"),
    ("two stars before", [star(), star(), transit(A)], " 1  * * 10.2.0.2 1.000 ms\n"),
    ("a star in the middle", [transit(A), star(), transit(A)], " 1  10.2.0.2  1.000 ms * 1.000 ms\n"),
    ("a star at the end", [transit(A), transit(A), star()], " 1  10.2.0.2  1.000 ms  1.000 ms *\n"),
    ("a probe that was not sent", [send_error("ENETUNREACH"), transit(A)], " 1  * 10.2.0.2 1.000 ms\n"),
    ("an answer without a time", [transit(A, None), transit(A)], " 1  10.2.0.2  ? ms  1.000 ms\n"),
    ("a duplicate", [transit(A), replace(transit(B), duplicate=True)], " 1  10.2.0.2  1.000 ms\n"),
    ("a late answer", [replace(transit(A), late=True)], " 1  10.2.0.2  1.000 ms\n"),
    (
        "several routers",
        [transit(A), transit(B), transit(A)],
        " 1  10.2.0.2  1.000 ms\n    10.2.0.3  1.000 ms\n    10.2.0.2  1.000 ms\n",
    ),
    (
        "several routers after a star",
        [star(), transit(A), transit(B), star()],
        " 1  * 10.2.0.2 1.000 ms\n    10.2.0.3  1.000 ms *\n",
    ),
    # Here the classic tool prints " 1  10.2.0.2  1.000 ms * 1.000 ms", as if the last time were the first router's.
    ("another router after a star", [transit(A), star(), transit(B)], " 1  10.2.0.2  1.000 ms *\n    10.2.0.3  1.000 ms\n"),
    ("a name", [transit("192.0.2.1")], " 1  name.example (192.0.2.1)  1.000 ms\n"),
    ("a name that is the address", [transit("192.0.2.2")], " 1  192.0.2.2  1.000 ms\n"),
    ("a name after a star", [star(), transit("192.0.2.1")], " 1  * name.example (192.0.2.1) 1.000 ms\n"),
    ("a name of an IPv6 address", [transit("2001:db8::1")], " 1  six.example (2001:db8::1)  1.000 ms\n"),
    ("an open port", [tcp(OPEN), tcp(OPEN)], " 1  198.51.100.9 [open]  1.000 ms  1.000 ms\n"),
    ("an open port after a star", [star(), tcp(OPEN), tcp(OPEN)], " 1  * 198.51.100.9 [open] 1.000 ms  1.000 ms\n"),
    (
        "a port of several states",
        [tcp(OPEN), tcp(CLOSED), tcp(OPEN), star(), tcp(CLOSED), star(), tcp(CLOSED)],
        " 1  198.51.100.9 [open]  1.000 ms [closed]  1.000 ms [open]  1.000 ms * [closed] 1.000 ms * 1.000 ms\n",
    ),
    (
        "a state is told once, also on another line",
        [tcp(OPEN), transit(A), tcp(OPEN), unreachable(A, 1), unreachable(TARGET, 1), tcp(OPEN), transit(TARGET), tcp(OPEN)],
        (
            " 1  198.51.100.9 [open]  1.000 ms\n    10.2.0.2  1.000 ms\n    198.51.100.9  1.000 ms\n"
            "    10.2.0.2  1.000 ms !H\n    198.51.100.9  1.000 ms !H  1.000 ms  1.000 ms  1.000 ms\n"
        ),
    ),
    (
        "an unreachable, a router, the target",
        [unreachable(A, 1), transit(A), tcp(OPEN), transit(B), transit(B)],
        " 1  10.2.0.2  1.000 ms !H  1.000 ms\n    198.51.100.9 [open]  1.000 ms\n    10.2.0.3  1.000 ms  1.000 ms\n",
    ),
    (
        "annotations",
        [unreachable(A, 0), unreachable(A, 10), star(), unreachable(A, 14)],
        " 1  10.2.0.2  1.000 ms !N  1.000 ms !C * 1.000 ms !<14>\n",
    ),
]


@pytest.mark.parametrize(("replies", "expected"), [case[1:] for case in HOPS], ids=[case[0] for case in HOPS])
def test_hop_lines(replies: list[Reply], expected: str) -> None:
    assert lines(hop(1, *replies)) == expected


@pytest.mark.parametrize(("ttl", "start"), [(1, " 1  "), (9, " 9  "), (10, "10  "), (100, "100  "), (255, "255  ")])
def test_hop_number(ttl: int, start: str) -> None:
    assert lines(hop(ttl, star())) == start + "*\n"


DNAT = [
    (
        "before the hop where it changes, and once",
        [
            hop(1, transit(A), transit(A)),
            hop(2, rewritten(transit(B), "10.9.9.9"), rewritten(transit(B), "10.9.9.9")),
            hop(3, rewritten(transit(C), "10.9.9.9", 81)),
            hop(4, rewritten(transit(C), "10.9.9.9", 81)),
            hop(5, transit(A)),
            hop(6, rewritten(transit(C), "10.9.9.9", 81)),
        ],
        (
            " 1  10.2.0.2  1.000 ms  1.000 ms\n      Detected DNAT to 10.9.9.9\n 2  10.2.0.3  1.000 ms  1.000 ms\n"
            "      Detected DNAT to 10.9.9.9:81\n 3  10.2.0.4  1.000 ms\n 4  10.2.0.4  1.000 ms\n 5  10.2.0.2  1.000 ms\n"
            " 6  10.2.0.4  1.000 ms\n"
        ),
    ),
    (
        "within a hop",
        [hop(2, transit(B), rewritten(transit(B), "10.9.9.9"), transit(B))],
        " 2  10.2.0.3  1.000 ms\n      Detected DNAT to 10.9.9.9\n    10.2.0.3  1.000 ms  1.000 ms\n",
    ),
    (
        "after a star",
        [hop(2, star(), rewritten(transit(B), "10.9.9.9"), star())],
        " 2  *\n      Detected DNAT to 10.9.9.9\n     10.2.0.3 1.000 ms *\n",
    ),
    # Here the classic tool prints an additional line of four spaces.
    (
        "together with another router",
        [hop(2, transit(A), rewritten(transit(B), "10.9.9.9"), transit(C))],
        " 2  10.2.0.2  1.000 ms\n      Detected DNAT to 10.9.9.9\n    10.2.0.3  1.000 ms\n    10.2.0.4  1.000 ms\n",
    ),
    # Here the classic tool prints 0.0.0.0:81.
    (
        "the port alone",
        [hop(2, rewritten(transit(B), TARGET, 81))],
        "      Detected DNAT to 198.51.100.9:81\n 2  10.2.0.3  1.000 ms\n",
    ),
    (
        "IPv6 address and port",
        [hop(2, rewritten(transit(B), "2001:db8::1", 81))],
        "      Detected DNAT to [2001:db8::1]:81\n 2  10.2.0.3  1.000 ms\n",
    ),
    ("an unreachable's address", [hop(2, rewritten(unreachable(B, 1), "10.9.9.9"))], " 2  10.2.0.3  1.000 ms !H\n"),
    (
        "an unreachable's port",
        [hop(2, rewritten(unreachable(B, 1), "10.9.9.9", 81))],
        "      Detected DNAT to 10.9.9.9:81\n 2  10.2.0.3  1.000 ms !H\n",
    ),
]


@pytest.mark.parametrize(("hops", "expected"), [case[1:] for case in DNAT], ids=[case[0] for case in DNAT])
def test_dnat_shown(hops: list[Hop], expected: str) -> None:
    assert lines(*hops, translations="show") == expected


@pytest.mark.parametrize(("hops", "expected"), [case[1:] for case in DNAT], ids=[case[0] for case in DNAT])
def test_dnat_hidden_by_default(hops: list[Hop], expected: str) -> None:
    text = lines(*hops)
    assert "DNAT" in expected or text == expected
    assert "DNAT" not in text
    assert text.count("ms") == expected.count("ms")


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        (transit(A), False),
        (rewritten(transit(A), "10.9.9.9"), True),
        (rewritten(transit(A), TARGET, 81), True),
        (rewritten(unreachable(A, 1), "10.9.9.9"), False),
        (rewritten(unreachable(A, 1), TARGET, 81), True),
        # A rewritten source is no DNAT.
        (replace(rewritten(transit(A), TARGET), altered=("source", "source_port")), False),
        (tcp(OPEN), False),
    ],
)
def test_dnat_refused(reply: Reply, *, refused: bool) -> None:
    assert ClassicOutput("refuse").answers(reply) is not refused
    assert lines(hop(1, reply), translations="refuse").startswith(" 1  *\n") is refused
    assert ClassicOutput("hide").answers(reply)


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        ("SYN,ACK", "open"),
        ("SYN,ACK,ECE", "open, ecn"),
        ("SYN,ACK,CWR", "open"),
        ("RST", "closed"),
        ("RST,ACK", "closed"),
        ("SYN,RST,ACK", "closed"),
        ("", "unknown, no flags"),
        ("ACK", "unknown, ACK"),
        ("SYN", "unknown, SYN"),
        ("ACK,ECE", "unknown, ACK ECN"),
        ("PSH,ACK", "unknown, ACK PSH"),
        ("FIN", "unknown, FIN"),
        ("SYN,PSH,URG", "unknown, SYN PSH URG"),
        ("ECE,CWR", "unknown, CWR ECN"),
        ("FIN,PSH,ACK,URG,ECE,CWR", "unknown, ACK PSH FIN URG CWR ECN"),
    ],
)
def test_port_state(flags: str, state: str) -> None:
    assert port_state(flags) == state


NOTES = ["!N", "!H", "!P", "!p", "!F", "!S", "!U", "!U", "!I", "!A", "!C", "!T", "!T", "!A", "!<14>", "!<15>", "!<16>"]
NOTES_6 = ["!N", "!A", "!S", "!H", "!p", "!A", "!A", "!<7>"]


@pytest.mark.parametrize(("code", "note"), [*enumerate(NOTES), (99, "!<99>"), (255, "!<255>")])
def test_annotations_of_ipv4(code: int, note: str) -> None:
    assert annotation(unreachable(A, code)) == note


@pytest.mark.parametrize(
    ("icmp_type", "code", "note"),
    [*((1, code, note) for code, note in enumerate(NOTES_6)), (2, 0, "!F"), (2, 1, "!<1>")],
)
def test_annotations_of_ipv6(icmp_type: int, code: int, note: str) -> None:
    assert annotation(unreachable("2001:db8::1", code, icmp_type=icmp_type)) == note


@pytest.mark.parametrize("reply", [star(), transit(A), tcp(OPEN), send_error("EPERM")])
def test_no_annotation_but_for_unreachables(reply: Reply) -> None:
    assert annotation(reply) == ""


def test_annotations_have_one_or_two_characters() -> None:
    assert {len(note) for notes in ANNOTATIONS.values() for note in notes.values()} == {2}


@pytest.mark.parametrize(
    ("port", "line"),
    [
        (49515, "Selected device e0, address 10.1.0.2, port 49515 for outgoing packets\n"),
        (None, "Selected device e0, address 10.1.0.2 for outgoing packets\n"),
    ],
)
def test_device_line(port: int | None, line: str) -> None:
    assert device_line("e0", "10.1.0.2", port) == line


@pytest.mark.parametrize(
    ("host", "port", "service", "length", "line"),
    [
        (TARGET, 81, None, None, "Tracing the path to 198.51.100.9 on TCP port 81, 30 hops max\n"),
        (TARGET, 80, "http", None, "Tracing the path to 198.51.100.9 on TCP port 80 (http), 30 hops max\n"),
        ("www", 80, "http", 100, "Tracing the path to www (198.51.100.9) on TCP port 80 (http), 30 hops max, 100 byte packets\n"),
    ],
)
def test_target_line(host: str, port: int, service: str | None, length: int | None, line: str) -> None:
    assert target_line(host, TARGET, port, service, 30, length) == line


REPLIES = st.one_of(
    st.builds(star),
    st.builds(transit, st.sampled_from((A, B, C, TARGET, "192.0.2.1"))),
    st.builds(tcp, st.sets(st.sampled_from(sorted(FLAG_BITS))).map(",".join)),
    st.builds(unreachable, st.sampled_from((A, B, TARGET)), st.integers(0, 255)),
    st.builds(
        rewritten, st.builds(transit, st.sampled_from((A, B))), st.sampled_from((TARGET, "10.9.9.9")), st.sampled_from((80, 81))
    ),
)


@given(st.lists(REPLIES, min_size=1, max_size=8), st.sampled_from(("show", "hide", "refuse")))
def test_every_reply_is_a_time_or_a_star(replies: list[Reply], translations: str) -> None:
    output = ClassicOutput(translations)
    text = output.hop(hop(7, *replies), NAMES.get)
    answered = [reply for reply in replies if output.answers(reply)]
    printed = [line for line in text.splitlines() if "DNAT" not in line]
    assert text.endswith("\n")
    assert printed[0].startswith(" 7  ")
    assert all(line.startswith("    ") for line in printed[1:])
    assert sum(line.count(" ms") for line in printed) == len(answered)
    assert sum(line.count("*") for line in printed) == len(replies) - len(answered)
    # The router of each time is the one that its line names.
    named = [next(word for word in line[4:].replace("*", " ").split()) for line in printed if " ms" in line]
    changes = [
        reply
        for before, reply in zip([None, *answered], answered, strict=False)
        if before is None or before.address != reply.address
    ]
    shown = [NAMES.get(str(reply.address), str(reply.address)) for reply in changes]
    if translations != "show":
        assert named == shown
