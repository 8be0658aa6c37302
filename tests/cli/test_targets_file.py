"""The file of --targets: what each line means, and the line of everything that is wrong."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPNetwork

from nornir_tcptraceroute import OptionError, TraceOptions
from nornir_tcptraceroute.cli.targets_file import MOST_BYTES, read_targets

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = TraceOptions(destination="host.invalid", port=443, max_ttl=9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "targets.txt"


def asked(file: Path, content: bytes, options: TraceOptions = OPTIONS) -> list[tuple[str, int]]:
    file.write_bytes(content)
    targets = read_targets(str(file), options)
    requests = list(targets.requests())
    assert len(requests) == targets.count
    assert all(request.max_ttl == options.max_ttl for request in requests)
    return [(request.destination, request.port) for request in requests]


@pytest.mark.parametrize(
    ("content", "destinations"),
    [
        (b"www.example.net", ["www.example.net"]),
        (b"192.0.2.1\n2001:db8::1\nfe80::1%eth0\n", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"]),
        (b"\xef\xbb\xbf# comment \xff\n\n  web-1 # and more\r\n", ["web-1"]),
        (b"192.0.2.0/29", [f"192.0.2.{last}" for last in range(1, 7)]),
        (b"192.0.2.9/29", [f"192.0.2.{last}" for last in range(9, 15)]),
        (b"192.0.2.0/31", ["192.0.2.0", "192.0.2.1"]),
        (b"192.0.2.7/32", ["192.0.2.7"]),
        (b"2001:db8::/126", ["2001:db8::1", "2001:db8::2", "2001:db8::3"]),
        (b"2001:db8::/127", ["2001:db8::", "2001:db8::1"]),
        (b"192.0.2.1-3", ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        (b"192.0.2.255-192.0.3.1", ["192.0.2.255", "192.0.3.0", "192.0.3.1"]),
        (b"2001:db8::f-2001:db8::11", ["2001:db8::f", "2001:db8::10", "2001:db8::11"]),
        (b"192.0.2.*", [f"192.0.2.{last}" for last in range(256)]),
    ],
)
def test_a_line_is_what_netaddr_reads(file: Path, content: bytes, destinations: list[str]) -> None:
    assert asked(file, content) == [(destination, 443) for destination in destinations]


def test_a_port_may_stand_behind_each_target(file: Path) -> None:
    content = b"192.0.2.0/31 80\nwww.example.net ssh\n192.0.2.1\n"
    assert asked(file, content) == [("192.0.2.0", 80), ("192.0.2.1", 80), ("www.example.net", 22), ("192.0.2.1", 443)]


def test_standard_input_is_a_file_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"192.0.2.1\n")))
    assert [request.destination for request in read_targets("-", OPTIONS).requests()] == ["192.0.2.1"]


@given(st.integers(0, 2**32 - 1), st.integers(20, 32))
def test_a_prefix_holds_its_hosts(number: int, length: int) -> None:
    network = IPNetwork((number, length))
    if network.first >> 28 >= 14 or not network.first:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(str(network).encode())))
        targets = read_targets("-", OPTIONS)
    assert [request.destination for request in targets.requests()] == [str(host) for host in network.iter_hosts()]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"10.0.0.0/8", "1: 10.0.0.0/8 holds 16777214 addresses, and at most 65536 are traced in one run: give fewer"),
        (
            b"2001:db8::/64",
            "1: 2001:db8::/64 holds 18446744073709551615 addresses, and at most 65536 are traced in one run: give fewer",
        ),
        (b"10.0.0.0/33", "1: '10.0.0.0/33' is no prefix or range of addresses, such as 10.0.0.0/28 or 10.0.0.1-20"),
        (b"10.0.0.9-1", "1: '10.0.0.9-1' is no prefix or range of addresses, such as 10.0.0.0/28 or 10.0.0.1-20"),
        (b"1-2-3", "1: '1-2-3' is no prefix or range of addresses, such as 10.0.0.0/28 or 10.0.0.1-20"),
        (b"::1-::x", "1: '::1-::x' is no prefix or range of addresses, such as 10.0.0.0/28 or 10.0.0.1-20"),
        (b"\n\nh 80 81", "3: '81' is one word too many: a line is a target and, where needed, a port"),
        (b"h nosuch", "1: 'nosuch' is neither a port number nor the name of a TCP service"),
        (b"h 0", "1: port: 0 is not between 1 and 65535"),
        (b"h 65536", "1: port: 65536 is not between 1 and 65535"),
        (b"224.0.0.0/28", "1: 224.0.0.0/28 is never traced to: 224.0.0.1 is a multicast address (RFC 1112 section 4)"),
        (b"\x1b[31m", "1: destination: '\\x1b[31m' is not a host name or an IP address"),
        (b"\xff", "1: destination: '\\udcff' is not a host name or an IP address"),
        (b"# nothing", " holds no target; write one address, name, prefix or range on each line"),
        (b"10.0.0.0/16\n10.1.0.0/16", " holds 131068 targets, and at most 65536 are traced in one run: split it"),
        (b"#" * (MOST_BYTES + 1), f" is longer than {MOST_BYTES} bytes: split it"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_wrong_is_told_with_its_line(file: Path, line: bytes, problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        asked(file, line)
    assert caught.value.problems == (f"{file}:{problem}",)


def test_everything_that_is_wrong_is_told_at_once(file: Path) -> None:
    with pytest.raises(OptionError) as caught:
        asked(file, b"h 0\n" * 150)
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == f"{file}: and 50 more"


def test_options_that_do_not_fit_a_target_are_told_with_its_line(file: Path) -> None:
    with pytest.raises(OptionError) as caught:
        asked(file, b"192.0.2.1\n2001:db8::1\n", TraceOptions(destination="host.invalid", family=4))
    assert caught.value.problems == (f"{file}:2: destination: '2001:db8::1' is not an IPv4 address, as family asks",)


def test_a_file_that_can_not_be_read_is_one_sentence(file: Path) -> None:
    with pytest.raises(OptionError) as caught:
        read_targets(str(file), OPTIONS)
    assert caught.value.problems == (f"{file}: can't be read: No such file or directory",)
