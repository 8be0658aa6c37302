"""Names: what resolves to what, what is never traced to, and that no resolver can harm or hold up a trace."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_tcptraceroute.probe import resolver
from nornir_tcptraceroute.probe.errors import ResolveError
from nornir_tcptraceroute.probe.records import Hop, Reply
from nornir_tcptraceroute.probe.resolver import ReverseNames, forbidden, resolve, safe_name, with_names
from tests.strategies import EXAMPLE

ROOT = Path(__file__).parents[2]
#: Longer than any test may take: a wait for it that is not cut short fails the test.
FOREVER = 3600.0
Answer = Tuple[int, int, int, str, Tuple[Any, ...]]


def ipv4(address: str) -> Answer:
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0)


def ipv6(address: str, scope: int = 0) -> Answer:
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0, 0, scope)


# Forward


@pytest.mark.parametrize(
    ("host", "family", "expected"),
    [
        ("192.0.2.1", None, (4, "192.0.2.1")),
        ("192.0.2.1", 4, (4, "192.0.2.1")),
        ("2001:db8::1", None, (6, "2001:db8::1")),
        ("2001:DB8:0:0::0:1", 6, (6, "2001:db8::1")),
        ("::1", None, (6, "::1")),
        ("fe80::1%eth0", None, (6, "fe80::1%eth0")),
        ("FE80:0::1%2", 6, (6, "fe80::1%2")),
        ("64:ff9b::192.0.2.1", None, (6, "64:ff9b::c000:201")),
    ],
)
def test_an_address_needs_no_resolver(
    host: str, family: Optional[int], expected: Tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert resolve(host, family) == [expected]


@pytest.mark.parametrize(
    ("host", "family", "expected"),
    [
        ("192.0.2.1", 6, "192.0.2.1 is not an IPv6 address: give one, or ask for IPv4"),
        ("2001:db8::1", 4, "2001:db8::1 is not an IPv4 address: give one, or ask for IPv6"),
        ("::ffff:192.0.2.1", None, "::ffff:192.0.2.1 is an IPv4 address in IPv6 form: give 192.0.2.1 instead"),
        ("::FFFF:c000:201", 6, "::FFFF:c000:201 is an IPv4 address in IPv6 form: give 192.0.2.1 instead"),
        ("caf\u00e9.example", None, "caf\\xc3\\xa9.example does not resolve (no name in ASCII): give a host name or an address"),
        ("a\x00b", None, "a\\x00b does not resolve (no name in ASCII): give a host name or an address"),
        ("\ud800", 6, "\\xed\\xa0\\x80 does not resolve (no name in ASCII): give a host name or an address"),
    ],
)
def test_what_needs_no_resolver_to_be_refused(
    host: str, family: Optional[int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    with pytest.raises(ResolveError) as caught:
        resolve(host, family)
    assert str(caught.value) == expected


def system(answers: Any, monkeypatch: pytest.MonkeyPatch) -> List[Tuple[Any, int]]:
    """Let getaddrinfo answer from a table by family, or raise what is there; returns the list of what it was asked."""
    asked: List[Tuple[Any, int]] = []

    def getaddrinfo(host: Any, port: Any, family: int, kind: int, protocol: int) -> List[Answer]:
        assert (port, kind, protocol) == (None, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        asked.append((host, family))
        answer = answers[family] if isinstance(answers, dict) else answers
        if isinstance(answer, Exception):
            raise answer
        found: List[Answer] = answer
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([ipv4("192.0.2.1")], [(4, "192.0.2.1")]),
        (
            [ipv6("2001:db8::2"), ipv4("192.0.2.1"), ipv6("2001:db8::1")],
            [(6, "2001:db8::2"), (4, "192.0.2.1"), (6, "2001:db8::1")],
        ),
        ([ipv4("192.0.2.2"), ipv4("192.0.2.1"), ipv4("192.0.2.2")], [(4, "192.0.2.2"), (4, "192.0.2.1")]),
        ([ipv6("::ffff:192.0.2.1"), ipv4("192.0.2.1")], [(4, "192.0.2.1")]),
        ([ipv6("fe80::1", 1)], [(6, "fe80::1%lo")]),
        ([ipv6("fe80::1%lo", 1)], [(6, "fe80::1%lo")]),
        ([ipv6("fe80::1", 2**31 - 1)], [(6, "fe80::1%2147483647")]),
        # A Python without IPv6 gives the bytes of the whole socket address.
        ([(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (10, b"\x00\x00")), ipv4("192.0.2.1")], [(4, "192.0.2.1")]),
    ],
)
def test_addresses_are_those_of_the_system_in_its_order(
    answers: List[Answer], expected: List[Tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = system(answers, monkeypatch)
    assert resolve("www.example", None) == expected
    # As bytes, so that no codec for international names is loaded.
    assert asked == [(b"www.example", socket.AF_UNSPEC)]


NONAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
ABSENT = [NONAME, socket.gaierror(getattr(socket, "EAI_NODATA", socket.EAI_NONAME), "No address associated with hostname"), []]
CHECK = "check the name and this host's resolver, or give an address"


@pytest.mark.parametrize("absent", ABSENT, ids=repr)
@pytest.mark.parametrize(("family", "answers"), [(6, [ipv4("192.0.2.1")]), (4, [ipv6("2001:db8::1")])])
def test_a_name_that_has_other_addresses_says_so(
    family: int, answers: List[Answer], absent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = system({{4: socket.AF_INET, 6: socket.AF_INET6}[family]: absent, socket.AF_UNSPEC: answers}, monkeypatch)
    with pytest.raises(ResolveError) as caught:
        resolve("www.example", family)
    other = 10 - family
    assert str(caught.value) == f"www.example has no IPv{family} address, only IPv{other}: ask for that, or give an address"
    assert len(asked) == 2


@pytest.mark.parametrize("family", [None, 4, 6])
@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (NONAME, "Name or service not known"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "Temporary failure in name resolution"),
        (socket.gaierror(socket.EAI_FAIL, "caf\u00e9\x1b"), "caf\\xc3\\xa9\\x1b"),
        (socket.herror(1, "Unknown host"), "Unknown host"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (socket.timeout("timed out"), "timed out"),
        (UnicodeError("label empty or too long"), "label empty or too long"),
    ],
    ids=repr,
)
def test_every_failure_of_the_resolver_is_one_sentence(
    family: Optional[int], failure: Exception, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(failure, monkeypatch)
    with pytest.raises(ResolveError) as caught:
        resolve("www.example", family)
    assert str(caught.value) == f"www.example does not resolve ({word}): {CHECK}"


def test_a_name_with_no_address_that_can_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    system([ipv6("::ffff:192.0.2.1")], monkeypatch)
    for family in (None, 6):
        with pytest.raises(ResolveError) as caught:
            resolve("www.example", family)
        assert str(caught.value) == "www.example does not resolve (no usable address): check the name, or give an address"


def test_a_name_in_an_error_is_fit_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    system(NONAME, monkeypatch)
    with pytest.raises(ResolveError) as caught:
        resolve("\x1b[2J" + "a" * 1000, None)
    assert str(caught.value).startswith("\\x1b\\x5b2Jaaa")
    assert len(str(caught.value)) < 400


# What is never traced to

MULTICAST4 = "a multicast address (RFC 1112 section 4)"
MULTICAST6 = "a multicast address (RFC 4291 section 2.7)"
RESERVED = "in 240.0.0.0/4, which is reserved (RFC 1112 section 4)"


@pytest.mark.parametrize(
    ("address", "family", "reason"),
    [
        ("0.0.0.0", 4, "the unspecified address"),  # noqa: S104
        ("0.0.0.1", 4, None),
        ("10.0.0.1", 4, None),
        ("127.0.0.1", 4, None),
        ("169.254.1.1", 4, None),
        ("192.0.2.1", 4, None),
        ("198.51.100.1", 4, None),
        ("203.0.113.255", 4, None),
        ("223.255.255.255", 4, None),
        ("224.0.0.0", 4, MULTICAST4),
        ("224.0.0.1", 4, MULTICAST4),
        ("239.255.255.255", 4, MULTICAST4),
        ("240.0.0.0", 4, RESERVED),
        ("255.255.255.254", 4, RESERVED),
        ("255.255.255.255", 4, "the limited broadcast address (RFC 919 section 7)"),
        ("::", 6, "the unspecified address"),
        ("::1", 6, None),
        ("2001:db8::1", 6, None),
        ("fe80::1%eth0", 6, None),
        ("fec0::1", 6, None),
        ("feff::1", 6, None),
        ("ff00::", 6, MULTICAST6),
        ("ff02::1%eth0", 6, MULTICAST6),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6, MULTICAST6),
        ("::ffff:192.0.2.1", 6, "an IPv4-mapped address (RFC 4291 section 2.5.5.2)"),
        ("::fffe:192.0.2.1", 6, None),
        ("192.0.2.1%eth0", 4, "not an IPv4 address"),
        ("192.0.2.1", 6, "not an IPv6 address"),
        ("example.com", 4, "not an IPv4 address"),
        ("", 6, "not an IPv6 address"),
        ("\x00", 4, "not an IPv4 address"),
    ],
)
def test_some_addresses_are_never_traced_to(address: str, family: int, reason: Optional[str]) -> None:
    assert forbidden(address, family) == reason


# Names from DNS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (".", ""),
        ("gw.example", "gw.example"),
        ("gw.example.", "gw.example"),
        ("GW-1_a.example", "GW-1_a.example"),
        ("a b", "a\\x20b"),
        ("a\\b", "a\\x5cb"),
        ("\x1b]0;title\x07", "\\x1b\\x5d0\\x3btitle\\x07"),
        ("\u202egpj.exe", "\\xe2\\x80\\xaegpj.exe"),
        ("{{7*7}}", "\\x7b\\x7b7\\x2a7\\x7d\\x7d"),
        ("$(id)", "\\x24\\x28id\\x29"),
        ("<script>", "\\x3cscript\\x3e"),
        ("a\nb\r\tc", "a\\x0ab\\x0d\\x09c"),
        ("a\x00b", "a\\x00b"),
        ("caf\u00e9", "caf\\xc3\\xa9"),
        ("\uff10\u0660\u00b2", "\\xef\\xbc\\x90\\xd9\\xa0\\xc2\\xb2"),
        ("\U0001f600", "\\xf0\\x9f\\x98\\x80"),
        # Bytes that were no UTF-8, as Python hands them on, and a surrogate that never was a byte.
        ("a\udcffb", "a\\xffb"),
        ("\ud800", "\\xed\\xa0\\x80"),
        ("a" * 253, "a" * 253),
        ("a" * 253 + ".", "a" * 253),
        ("a" * 254, "a" * 250 + "..."),
        ("a" * 10**6, "a" * 250 + "..."),
        ("\x00" * 63 + "a", "\\x00" * 63 + "a"),
        ("\x00" * 64, "\\x00" * 62 + "..."),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_a_name_is_made_fit_for_a_terminal(text: str, expected: str) -> None:
    assert safe_name(text) == expected


@given(st.text(st.characters()) | st.text(st.characters(), min_size=60, max_size=400))
def test_no_name_can_harm(text: str) -> None:
    name = safe_name(text)
    assert re.match(r"[A-Za-z0-9._\\-]*\Z", name)
    assert len(name) <= 253
    if not name.endswith("..."):
        # Nothing is lost: the bytes can be read back.
        octets = re.sub(rb"\\x(..)", lambda found: bytes.fromhex(found[1].decode()), name.encode())
        assert octets == b"".join(
            character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")
            for character in text.rstrip(".")
        )


# Reverse


class Zone:
    """A resolver in this process: answers from a table, raises what it finds there, and counts; may be held up."""

    def __init__(self, answers: Dict[str, Any], held: bool = False) -> None:  # noqa: FBT001, FBT002
        self.answers = answers
        self.asked: List[str] = []
        self.started = threading.Semaphore(0)
        self.release = threading.Event()
        if not held:
            self.release.set()

    def __call__(self, address: str) -> Tuple[str, List[str], List[str]]:
        self.asked.append(address)
        self.started.release()
        self.release.wait()
        answer = self.answers.get(address, socket.herror(1, "Unknown host"))
        if isinstance(answer, Exception):
            raise answer
        return answer, [], [address]


@pytest.fixture(name="hold")
def _hold() -> Iterator[Callable[..., Zone]]:
    """Make zones that are let go at the end of the test, so that no thread outlives it."""
    zones: List[Zone] = []

    def make(answers: Optional[Dict[str, Any]] = None) -> Zone:
        zones.append(Zone(answers or {}, held=True))
        return zones[-1]

    yield make
    for zone in zones:
        zone.release.set()
    for thread in workers():
        thread.join()


class Clock:
    """The resolver's clock, for tests in which time is to pass at one exact moment; threads wait by the real one."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(resolver, "time", clock)
    return clock


def workers() -> List[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "reverse-names"]


@pytest.mark.parametrize(
    ("mode", "address", "wanted"),
    [
        ("none", "192.0.2.1", False),
        ("none", "2001:db8::1", False),
        ("all", "192.0.2.1", True),
        ("all", "10.0.0.1", True),
        ("all", "fd00::1", True),
        ("public", "192.0.2.1", True),
        ("public", "9.255.255.255", True),
        ("public", "10.0.0.0", False),
        ("public", "10.255.255.255", False),
        ("public", "11.0.0.0", True),
        ("public", "172.15.255.255", True),
        ("public", "172.16.0.0", False),
        ("public", "172.31.255.255", False),
        ("public", "172.32.0.0", True),
        ("public", "192.167.255.255", True),
        ("public", "192.168.0.0", False),
        ("public", "192.168.255.255", False),
        ("public", "192.169.0.0", True),
        ("public", "127.0.0.1", True),
        ("public", "100.64.0.1", True),
        ("public", "169.254.0.1", True),
        ("public", "fd00::1", True),
        ("public", "fe80::1%eth0", True),
        ("public", "::ffff:10.0.0.1", True),
    ],
)
def test_the_mode_says_which_addresses_are_looked_up(mode: str, address: str, wanted: bool) -> None:  # noqa: FBT001
    zone = Zone({address.partition("%")[0]: "gw.example"})
    names = ReverseNames(mode, FOREVER, zone)
    names.ask(address)
    names.wait(FOREVER)
    assert names.wants(address) is wanted
    assert names.ready(address)
    assert not names.unfinished(address)
    assert names.get(address) == ("gw.example" if wanted else None)
    assert len(zone.asked) == wanted


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("gw.example", "gw.example"),
        ("gw.example.", "gw.example"),
        ("\x1b[2J{{7*7}}", "\\x1b\\x5b2J\\x7b\\x7b7\\x2a7\\x7d\\x7d"),
        ("gw\udcff.example", "gw\\xff.example"),
        ("x" * 300, "x" * 250 + "..."),
        ("", None),
        (".", None),
        # A name that reads as an address could only mislead.
        ("192.0.2.99", None),
        ("192.0.2.99.", None),
        ("2001:db8::99", None),
        (socket.herror(1, "Unknown host"), None),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), None),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), None),
        (UnicodeError("label empty or too long"), None),
        (OSError(24, "Too many open files"), None),
        (ValueError("embedded null byte"), None),
    ],
    ids=repr,
)
def test_whatever_a_lookup_says_becomes_a_safe_name_or_none(answer: Any, expected: Optional[str]) -> None:
    names = ReverseNames("all", FOREVER, Zone({"192.0.2.1": answer}))
    names.ask("192.0.2.1")
    names.wait(FOREVER)
    assert names.get("192.0.2.1") == expected
    assert names.ready("192.0.2.1")
    assert not names.unfinished("192.0.2.1")


def test_an_address_is_looked_up_once_and_without_its_zone() -> None:
    zone = Zone({"fe80::1": "neighbour.example"})
    names = ReverseNames("all", FOREVER, zone)
    for _ in range(3):
        names.ask("fe80::1%eth0")
        names.wait(FOREVER)
    assert names.get("fe80::1%eth0") == "neighbour.example"
    assert zone.asked == ["fe80::1"]


def test_no_thread_before_the_first_question_and_none_after_the_last_answer(hold: Callable[..., Zone]) -> None:
    zone = hold()
    names = ReverseNames("all", FOREVER, zone)
    names.wait(FOREVER)
    assert workers() == []
    names.ask("192.0.2.1")
    assert len(workers()) == 1
    assert all(thread.daemon for thread in workers())
    zone.release.set()
    for thread in workers():
        thread.join()
    assert names.ready("192.0.2.1")


def test_at_most_16_threads_look_up_whatever_is_asked(hold: Callable[..., Zone]) -> None:
    zone = hold()
    names = ReverseNames("all", FOREVER, zone)
    addresses = [f"192.0.2.{number}" for number in range(100)]
    for address in addresses:
        names.ask(address)
    for _ in range(16):
        zone.started.acquire()
    assert len(workers()) == 16
    assert not zone.started.acquire(blocking=False)
    assert not any(names.ready(address) for address in addresses)
    zone.release.set()
    names.wait(FOREVER)
    assert sorted(zone.asked) == sorted(addresses)


def test_a_dead_resolver_costs_the_budget_once(hold: Callable[..., Zone]) -> None:
    zone = hold()
    names = ReverseNames("all", 0.05, zone)
    addresses = [f"192.0.2.{number}" for number in range(100)]
    for address in addresses:
        names.ask(address)
    names.wait(FOREVER)
    assert all(names.ready(address) for address in addresses)
    assert all(names.unfinished(address) for address in addresses)
    assert all(names.get(address) is None for address in addresses)


def test_what_nobody_waits_for_any_more_is_not_looked_up(hold: Callable[..., Zone], clock: Clock) -> None:
    zone = hold()
    names = ReverseNames("all", 2.0, zone)
    for number in range(100):
        names.ask(f"192.0.2.{number}")
    for _ in range(16):
        zone.started.acquire()
    clock.now += 2.0
    names.wait(FOREVER)
    zone.release.set()
    for thread in workers():
        thread.join()
    assert len(zone.asked) == 16


def test_a_name_that_comes_late_is_still_told(hold: Callable[..., Zone], clock: Clock) -> None:
    zone = hold({"192.0.2.1": "gw.example"})
    names = ReverseNames("all", 2.0, zone)
    names.ask("192.0.2.1")
    zone.started.acquire()
    clock.now += 1.999
    assert not names.ready("192.0.2.1")
    clock.now += 0.001
    assert names.ready("192.0.2.1")
    names.wait(FOREVER)
    assert names.get("192.0.2.1") is None
    zone.release.set()
    for thread in workers():
        thread.join()
    assert names.get("192.0.2.1") == "gw.example"
    assert not names.unfinished("192.0.2.1")


def test_a_wait_ends_with_its_own_time(hold: Callable[..., Zone]) -> None:
    names = ReverseNames("all", FOREVER, hold())
    names.ask("192.0.2.1")
    names.wait(0)
    names.wait(0.01)
    names.wait(-1)
    assert not names.ready("192.0.2.1")


def test_a_wait_for_some_is_not_held_up_by_others(hold: Callable[..., Zone]) -> None:
    held = hold()
    names = ReverseNames("all", FOREVER, lambda address: held(address) if address == "192.0.2.1" else ("gw.example",))
    names.ask("192.0.2.1")
    names.ask("192.0.2.2")
    names.wait(FOREVER, ["192.0.2.2", "192.0.2.3"])
    assert names.get("192.0.2.2") == "gw.example"
    assert not names.ready("192.0.2.1")


def test_at_most_512_addresses_are_known_and_old_ones_make_room(hold: Callable[..., Zone]) -> None:
    zone = hold({"10.0.2.0": "late.example"})
    names = ReverseNames("all", FOREVER, zone)
    addresses = [f"10.0.{number // 256}.{number % 256}" for number in range(513)]
    for address in addresses:
        names.ask(address)
    assert not names.ready(addresses[511])
    assert names.ready(addresses[512])
    assert names.unfinished(addresses[512])
    zone.release.set()
    names.wait(FOREVER)
    assert len(zone.asked) == 512
    names.ask(addresses[512])
    names.wait(FOREVER)
    assert names.get(addresses[512]) == "late.example"
    assert names.unfinished(addresses[0])
    assert not names.unfinished(addresses[1])


def test_addresses_whose_time_is_over_make_room_too(hold: Callable[..., Zone], clock: Clock) -> None:
    zone = hold()
    names = ReverseNames("all", FOREVER, zone)
    for number in range(512):
        names.ask(f"10.0.{number // 256}.{number % 256}")
    names.ask("192.0.2.1")
    assert names.ready("192.0.2.1")
    clock.now += FOREVER
    names.ask("192.0.2.1")
    assert not names.ready("192.0.2.1")
    zone.release.set()
    names.wait(FOREVER)
    assert not names.unfinished("192.0.2.1")


def test_after_the_end_nothing_starts_and_nobody_waits(hold: Callable[..., Zone]) -> None:
    zone = hold()
    names = ReverseNames("all", FOREVER, zone)
    for number in range(20):
        names.ask(f"192.0.2.{number}")
    for _ in range(16):
        zone.started.acquire()
    waiting = threading.Thread(target=names.wait, args=(FOREVER,))
    waiting.start()
    names.close()
    waiting.join()
    names.wait(FOREVER)
    names.ask("192.0.2.99")
    assert names.ready("192.0.2.1")
    assert names.unfinished("192.0.2.99")
    zone.release.set()
    for thread in workers():
        thread.join()
    assert len(zone.asked) == 16


def test_a_system_without_threads_to_spare_has_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = ReverseNames("all", 0.01, Zone({}))
    monkeypatch.setattr(threading.Thread, "start", start)
    names.ask("192.0.2.1")
    names.wait(FOREVER)
    assert names.unfinished("192.0.2.1")
    monkeypatch.undo()
    names.budget_s = FOREVER
    names.ask("192.0.2.2")
    names.wait(FOREVER)
    assert not names.unfinished("192.0.2.2")


def test_many_threads_may_share_one_object() -> None:
    names = ReverseNames("all", FOREVER, lambda address: ("host-" + address,))
    wrong: List[str] = []

    def use(start: int) -> None:
        for number in range(start, start + 50):
            address = f"192.0.2.{number}"
            names.ask(address)
            names.wait(FOREVER, [address])
            if names.get(address) != "host-" + address:
                wrong.append(address)

    users = [threading.Thread(target=use, args=(start,)) for start in range(0, 200, 25)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == []


# A trace with names

ADDRESSES = ["192.0.2.1", "192.0.2.2", "198.51.100.80"]


def test_hops_and_replies_get_the_names_of_their_addresses() -> None:
    zone = Zone({"192.0.2.1": "one.example", "192.0.2.2": "two.example"})
    named = with_names(EXAMPLE, ReverseNames("all", FOREVER, zone))
    assert sorted(zone.asked) == ADDRESSES
    assert [hop.name for hop in named.hops] == ["one.example", None, None]
    assert [reply.name for reply in named.hops[0].replies] == ["one.example", None, None, "two.example"]
    assert [reply.name for reply in named.hops[2].replies] == [None, None]
    assert named.warnings == EXAMPLE.warnings
    # Nothing but the names is another.
    blank = with_names(EXAMPLE, ReverseNames("all", FOREVER, Zone({})))
    assert with_names(named, ReverseNames("all", FOREVER, Zone({}))) == blank


def test_without_names_the_trace_is_the_same_object() -> None:
    zone = Zone({})
    assert with_names(EXAMPLE, ReverseNames("none", FOREVER, zone)) is EXAMPLE
    assert zone.asked == []


def test_lookups_that_take_too_long_become_one_warning(hold: Callable[..., Zone]) -> None:
    held = hold()
    names = ReverseNames(
        "all", 0.25, lambda address: held(address) if address == "192.0.2.1" else (f"host-{address[-1]}.example",)
    )
    # Known beforehand, so that the budget decides about the one that hangs alone.
    names.budget_s = FOREVER
    names.ask("192.0.2.2")
    names.ask("198.51.100.80")
    names.wait(FOREVER)
    names.budget_s = 0.25
    named = with_names(EXAMPLE, names)
    assert named.warnings[1:] == (
        (
            "1 of 3 addresses have no name because their lookups had not ended within 0.25 s: "
            "check this host's resolver, or ask for no names"
        ),
    )
    assert named.warnings[0] == EXAMPLE.warnings[0]
    assert [reply.name for reply in named.hops[0].replies] == [None, None, None, "host-2.example"]
    assert named.hops[2].name == "host-0.example"


def test_addresses_that_are_not_wanted_are_no_lookups_that_failed() -> None:
    hop = Hop(1, "10.0.0.1", ("10.0.0.1",), None, (Reply(1, "time_exceeded", "10.0.0.1"),), None, 0.0)
    private = type(EXAMPLE)(**{**vars(EXAMPLE), "hops": (hop,)})
    zone = Zone({})
    assert with_names(private, ReverseNames("public", FOREVER, zone)) == private
    assert zone.asked == []


# The system's own resolver


def run(script: str, command: Sequence[str] = (), services: str = "files") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, sys.executable, "-c", script, services],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )


def test_a_lookup_that_never_ends_does_not_keep_the_interpreter() -> None:
    done = run(
        "import threading\n"
        "from nornir_tcptraceroute.probe.resolver import ReverseNames\n"
        "started = threading.Event()\n"
        "names = ReverseNames('all', 3600, lambda address: started.set() or threading.Event().wait())\n"
        "names.ask('192.0.2.1')\n"
        "started.wait()\n"
        "print(names.unfinished('192.0.2.1'))\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_names_need_no_import_once_privileges_are_dropped() -> None:
    # The user that a process has become may not be able to read the interpreter's files.
    done = run(
        "import sys\n"
        "from nornir_tcptraceroute.probe.resolver import ReverseNames, resolve, safe_name\n"
        "names = ReverseNames('all', 3600)\n"
        "sys.meta_path.clear()\n"
        "print(resolve('localhost', None) != [])\n"
        "names.ask('127.0.0.1')\n"
        "names.wait(3600)\n"
        "print(names.unfinished('127.0.0.1'), safe_name('\\ud800\\udcff\\u00e9'))\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nFalse \\xed\\xa0\\x80\\xff\\xc3\\xa9\n", "")


NETWORK = """
import fcntl, os, socket, struct, subprocess, sys, tempfile

def put(path, text):
    # A private mount namespace: only this process sees these files.
    file = tempfile.NamedTemporaryFile('w', delete=False)
    file.write(text)
    file.close()
    os.chmod(file.name, 0o644)
    subprocess.run(['mount', '--bind', file.name, os.path.realpath(path)], check=True)
    os.unlink(file.name)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    # SIOCSIFFLAGS: IFF_UP | IFF_LOOPBACK | IFF_RUNNING
    fcntl.ioctl(control, 0x8914, struct.pack('16sh14x', b'lo', 0x49))
put('/etc/nsswitch.conf', 'hosts: ' + sys.argv[1] + '\\n')
put('/etc/resolv.conf', 'nameserver 127.0.0.53\\noptions timeout:30 attempts:5\\n')
put('/etc/hosts', '''
127.0.0.1 localhost
::1 localhost
192.0.2.4 four.test
2001:db8::6 six.test
192.0.2.46 both.test
2001:db8::46 both.test
192.0.2.46 both.test
192.0.2.7 gw.test gateway
2001:db8::7 gw6.test
''')
if os.path.isdir('/run/nscd'):
    subprocess.run(['mount', '-t', 'tmpfs', 'none', '/run/nscd'], check=True)
# A resolver that takes questions and never answers.
dead = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dead.bind(('127.0.0.53', 53))
from nornir_tcptraceroute.probe.errors import ResolveError
from nornir_tcptraceroute.probe.resolver import ReverseNames, resolve
"""
SYSTEM = (
    NETWORK
    + """
for host in ('four.test', 'six.test', 'both.test', 'no.test'):
    for family in (None, 4, 6):
        try:
            print(host, family, *sorted(resolve(host, family)))
        except ResolveError as error:
            print(error)
names = ReverseNames('all', 60.0)
for address in ('192.0.2.7', '2001:db8::7', '127.0.0.1'):
    names.ask(address)
names.wait(60)
print(names.get('192.0.2.7'), names.get('2001:db8::7'), names.get('127.0.0.1'))
"""
)
DEAD = (
    NETWORK
    + """
names = ReverseNames('all', 3600.0)
names.ask('198.51.100.1')
question = dead.recv(512)
names.wait(0.05)
print(b'in-addr' in question, names.unfinished('198.51.100.1'), names.get('198.51.100.1'))
"""
)


def namespaces() -> List[str]:
    """The command that gives a script its own network, mounts and, for an ordinary user, user namespace."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        pytest.skip("unshare or mount is not installed, so no resolver of our own can be set up")
    command = ["unshare", "-nm"] if os.geteuid() == 0 else ["unshare", "-Urnm"]
    tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces for a resolver of our own: {tried.stderr.strip()}")
    return command


def test_the_systems_names_in_both_directions() -> None:
    done = run(SYSTEM, namespaces())
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "four.test None (4, '192.0.2.4')",
        "four.test 4 (4, '192.0.2.4')",
        "four.test has no IPv6 address, only IPv4: ask for that, or give an address",
        "six.test None (6, '2001:db8::6')",
        "six.test has no IPv4 address, only IPv6: ask for that, or give an address",
        "six.test 6 (6, '2001:db8::6')",
        "both.test None (4, '192.0.2.46') (6, '2001:db8::46')",
        "both.test 4 (4, '192.0.2.46')",
        "both.test 6 (6, '2001:db8::46')",
        *[f"no.test does not resolve (Name or service not known): {CHECK}"] * 3,
        "gw.test gw6.test localhost",
    ]


def test_a_real_dead_resolver_holds_up_neither_the_process_nor_its_end() -> None:
    done = run(DEAD, namespaces(), "files dns")
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True None\n", "")
