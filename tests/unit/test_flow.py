"""Flows: where packets leave and go, what is refused in which words, and that nothing stays open when it is."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from nornir_tcptraceroute.probe.errors import ProbeError, ResolveError, RouteError, TransportError
from nornir_tcptraceroute.probe.flow import Flow, open_flow
from nornir_tcptraceroute.probe.options import TraceOptions

from .descriptors import descriptors_left
from .namespaces import ip, isolated, reason_without_ipv6

needs_ipv6 = pytest.mark.skipif(reason_without_ipv6() is not None, reason=reason_without_ipv6() or "")
Answers = Dict[str, List[str]]


def opened(*, reserve: bool = True, **keywords: Any) -> Flow:
    return open_flow(TraceOptions(**keywords), reserve=reserve)


def descriptors() -> List[str]:
    """The numbers of what this process has open, that of the listing itself among them."""
    return sorted(each.name for each in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Names that resolve to what a test says, whatever resolver the host has."""
    table: Answers = {}

    def answer(host: bytes, port: None, family: int, *_: int) -> List[Tuple[int, int, int, str, Tuple[Any, ...]]]:
        found: List[Tuple[int, int, int, str, Tuple[Any, ...]]] = []
        for address in table[host.decode()]:
            version = socket.AF_INET6 if ":" in address else socket.AF_INET
            place: Tuple[Any, ...] = (address, port, 0, 0) if version == socket.AF_INET6 else (address, port)
            if family in {socket.AF_UNSPEC, version}:
                found.append((version, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return table


# Over the loopback of this host.


@pytest.mark.parametrize(("family", "address"), [(4, "127.0.0.1"), (4, "127.1.2.3"), pytest.param(6, "::1", marks=needs_ipv6)])
def test_the_loopback_is_a_route(family: int, address: str) -> None:
    options = TraceOptions(destination=address)
    with open_flow(options) as flow:
        assert (flow.options, flow.family, flow.address) == (options, family, address)
        assert flow.source == ("127.0.0.1" if family == 4 else "::1")
        assert (flow.device, flow.interface, flow.device_index) == ("lo", None, 0)
        assert 0 < flow.source_port < 65536


def test_an_interface_asked_for_is_bound() -> None:
    with opened(destination="127.0.0.1", interface="lo") as flow:
        assert (flow.device, flow.interface, flow.device_index) == ("lo", "lo", socket.if_nametoindex("lo"))


@pytest.mark.parametrize(
    ("keywords", "kind", "sentence"),
    [
        (
            {"destination": "0.0.0.0"},  # noqa: S104 -- refused, not bound
            RouteError,
            "0.0.0.0 is never traced to: the unspecified address; give the address of one host",
        ),
        ({"destination": "::"}, RouteError, ":: is never traced to: the unspecified address; give the address of one host"),
        ({"destination": "224.0.0.1"}, RouteError, "224.0.0.1 is never traced to: a multicast address"),
        ({"destination": "ff02::1%lo"}, RouteError, "ff02::1%lo is never traced to: a multicast address"),
        ({"destination": "255.255.255.255"}, RouteError, "255.255.255.255 is never traced to: the limited broadcast address"),
        ({"destination": "240.0.0.1"}, RouteError, "240.0.0.1 is never traced to: in 240.0.0.0/4"),
        (
            {"destination": "127.255.255.255"},
            RouteError,
            "127.255.255.255 is never traced to: the broadcast address of a network; give the address of one host",
        ),
        ({"destination": "::ffff:127.0.0.1"}, ResolveError, "::ffff:127.0.0.1 is an IPv4 address in IPv6 form: give 127.0.0.1"),
        (
            {"destination": "127.0.0.1", "interface": "nosuch0"},
            RouteError,
            "nosuch0 is not an interface of this host: choose from lo",
        ),
        ({"destination": "fe80::1%nosuch0"}, RouteError, "nosuch0 is not an interface of this host: choose from lo"),
        ({"destination": "fe80::1%0"}, RouteError, "0 is not an interface of this host: choose from lo"),
        ({"destination": "fe80::1%999999999999999"}, RouteError, "999999999999999 is not an interface of this host"),
        (
            {"destination": "127.0.0.1", "source": "192.0.2.99"},
            RouteError,
            "192.0.2.99 is not an address of this host: give one of its own as source, or none",
        ),
        ({"destination": "127.0.0.1", "source": "0.0.0.0"}, RouteError, "0.0.0.0 is not an address of this host"),  # noqa: S104
        ({"destination": "127.0.0.1", "source": "224.0.0.1"}, RouteError, "224.0.0.1 is not an address of this host"),
        (
            {"destination": "127.0.0.1", "source": "127.255.255.255"},
            RouteError,
            "127.0.0.1 can't be traced to from 127.255.255.255",
        ),
        pytest.param(
            {"destination": "::1", "source": "2001:db8::99"},
            RouteError,
            "2001:db8::99 is not an address of this host",
            marks=needs_ipv6,
        ),
        ({"destination": "::1", "source": "::"}, RouteError, ":: is not an address of this host"),
        ({"destination": "::1", "source": "ff02::1%lo"}, RouteError, "ff02::1 is not an address of this host"),
    ],
    ids=str,
)
def test_what_can_not_be_is_refused_in_one_sentence(keywords: Dict[str, Any], kind: type, sentence: str) -> None:
    with pytest.raises(kind) as caught:
        opened(**keywords)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_the_source_port_is_held_until_close() -> None:
    with opened(destination="127.0.0.1") as flow:
        place = "127.0.0.1", flow.source_port
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(place)
    with socket.socket() as other:
        other.bind(place)


def test_a_source_port_in_use_is_refused_or_shared_as_asked() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(TransportError) as caught:
            opened(destination="127.0.0.1", source_port=port)
        assert str(caught.value) == "Source port {} is in use at 127.0.0.1: choose another, or leave it free".format(port)
        with opened(destination="127.0.0.1", source_port=port, reserve=False) as flow:
            assert flow.source_port == port
        # Closing the flow has left the port's holder alone.
        assert other.getsockname()[1] == port
    with opened(destination="127.0.0.1", source_port=port) as flow:
        assert flow.source_port == port


def test_a_source_of_this_host_is_used() -> None:
    with opened(destination="127.0.0.1", source="127.0.0.9") as flow:
        assert flow.source == "127.0.0.9"


# Names.


@pytest.mark.parametrize(
    ("addresses", "address"),
    [
        (["127.0.0.2", "127.0.0.3"], "127.0.0.2"),
        (["224.0.0.1", "127.0.0.3"], "127.0.0.3"),
        (["ff02::1", "0.0.0.0", "127.0.0.4", "127.0.0.5"], "127.0.0.4"),  # noqa: S104 -- refused, not bound
    ],
)
def test_a_name_gives_the_first_address_with_a_route(names: Answers, addresses: List[str], address: str) -> None:
    names["target.example"] = addresses
    with opened(destination="target.example") as flow:
        assert flow.address == address


def test_a_name_without_any_route_tells_of_its_first_address(names: Answers) -> None:
    names["target.example"] = ["224.0.0.1", "240.0.0.1"]
    with pytest.raises(RouteError) as caught:
        opened(destination="target.example")
    assert str(caught.value).startswith("target.example (224.0.0.1) is never traced to: a multicast address")


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (["127.0.0.9"], ["::1", "127.0.0.1"], ("127.0.0.9", "127.0.0.1")),
        (["::1", "127.0.0.9"], ["127.0.0.1"], ("127.0.0.9", "127.0.0.1")),
        pytest.param(["127.0.0.9", "::1"], ["::1", "127.0.0.1"], ("::1", "::1"), marks=needs_ipv6),
        pytest.param(["::1"], ["127.0.0.1", "::1"], ("::1", "::1"), marks=needs_ipv6),
    ],
)
def test_source_and_destination_are_of_one_version(
    names: Answers, source: List[str], destination: List[str], expected: Tuple[str, str]
) -> None:
    names["source.example"], names["target.example"] = source, destination
    with opened(destination="target.example", source="source.example") as flow:
        assert (flow.source, flow.address) == expected


def test_versions_that_do_not_meet_are_told(names: Answers) -> None:
    names["source.example"], names["target.example"] = ["127.0.0.9"], ["::1"]
    with pytest.raises(ResolveError) as caught:
        opened(destination="target.example", source="source.example")
    assert str(caught.value).startswith("target.example has no IPv4 address, only IPv6")


# Every failure on the way.


@pytest.mark.parametrize(
    "keywords",
    [{}, {"interface": "lo"}, {"source": "127.0.0.1"}, {"interface": "lo", "source": "127.0.0.1", "source_port": 40001}],
)
def test_a_lack_of_descriptors_is_one_sentence_wherever_it_strikes(keywords: Dict[str, Any]) -> None:
    options = TraceOptions(destination="127.0.0.1", **keywords)
    problems: List[ProbeError] = []
    for left in range(10):
        try:
            with descriptors_left(left):
                open_flow(options).close()
            break
        except ProbeError as error:
            problems.append(error)
    assert problems
    for problem in problems:
        assert isinstance(problem, TransportError)
        assert str(problem).endswith("Too many open files")


@pytest.mark.parametrize("step", ["_route", "_interface_name", "_reserve"])
def test_nothing_stays_open_whichever_step_fails(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The interface may go away and the port be taken between two steps, which no test can time."""

    def fail(*_: object, **__: object) -> None:
        raise RouteError("went away")

    monkeypatch.setattr("nornir_tcptraceroute.probe.flow." + step, fail)
    with pytest.raises(RouteError, match="went away"):
        opened(destination="127.0.0.1", source="127.0.0.1", interface="lo")


# Networks of other kinds.


def refused(**keywords: Any) -> str:
    """The sentence of a flow that is refused for its route."""
    with pytest.raises(RouteError) as caught:
        opened(**keywords)
    return str(caught.value)


def two_links() -> None:
    """Two interfaces: left (10.9.0.1) with a default route, right (10.8.0.1)."""
    ip(
        "link add left type veth peer name far-left",
        "link add right type veth peer name far-right",
        "address add 10.9.0.1/24 dev left",
        "address add 10.8.0.1/24 dev right",
        "-6 address add fd00:9::1/64 dev left nodad",
        *("link set {} up".format(name) for name in ("left", "far-left", "right", "far-right")),
        "route add default via 10.9.0.254",
    )


@isolated
def test_no_route_has_its_sentence() -> None:
    for address in ("192.0.2.1", "2001:db8::1"):
        assert refused(destination=address) == "{} can't be traced to: no route leads there; check this host's routes".format(
            address
        )


@isolated
def test_routes_that_refuse_have_a_sentence_each() -> None:
    two_links()
    words = {
        "prohibit": "the route prohibits it",
        "blackhole": "the route discards it, or cannot lead there",
        "unreachable": "the route says that it is unreachable",
        "throw": "no route leads there",
    }
    for kind, word in words.items():
        ip("route flush 10.66.0.0/16", "route add {} 10.66.0.0/16".format(kind))
        ip("-6 route flush fd66::/16", "-6 route add {} fd66::/16".format(kind))
        if kind == "throw":
            ip("route del default")
        for address in ("10.66.1.1", "fd66::1"):
            expected = "{} can't be traced to: {}; check this host's routes".format(address, word)
            assert refused(destination=address) == expected


@isolated
def test_the_route_or_the_request_chooses_the_interface() -> None:
    two_links()
    ip("-6 address add fd00:8::1/64 dev right nodad", "-6 route add fd00:9::/64 dev right metric 5000")
    cases: List[Tuple[Dict[str, Any], Tuple[str, str, bool]]] = [
        ({"destination": "192.0.2.1"}, ("left", "10.9.0.1", False)),
        ({"destination": "10.8.0.2"}, ("right", "10.8.0.1", False)),
        ({"destination": "192.0.2.1", "interface": "right"}, ("right", "10.8.0.1", True)),
        ({"destination": "192.0.2.1", "source": "10.8.0.1"}, ("left", "10.8.0.1", False)),
        ({"destination": "10.9.0.1"}, ("lo", "10.9.0.1", False)),
        ({"destination": "fd00:9::2"}, ("left", "fd00:9::1", False)),
        # IPv6 would rather follow the better route than the interface once it is given a source.
        ({"destination": "fd00:9::2", "interface": "right"}, ("right", "fd00:8::1", True)),
        ({"destination": "fd00:9::2", "interface": "right", "source": "fd00:9::1"}, ("right", "fd00:9::1", True)),
        ({"destination": "fe80::99%left", "source": "fd00:9::1"}, ("left", "fd00:9::1", True)),
        ({"destination": "fe80::99%{}".format(socket.if_nametoindex("left"))}, ("left", "", True)),
        ({"destination": "fe80::99", "interface": "left"}, ("left", "", True)),
    ]
    for keywords, (device, source, bound) in cases:
        with opened(**keywords) as flow:
            assert flow.device == device, keywords
            assert not source or flow.source == source, keywords
            assert flow.device_index == (socket.if_nametoindex(device) if bound else 0), keywords
            assert "%" not in flow.address + flow.source, keywords


@isolated
def test_two_interfaces_at_once_are_refused() -> None:
    two_links()
    for keywords in (
        {"destination": "fe80::99%left", "interface": "right"},
        {"destination": "fe80::99%left", "source": "fe80::1%right"},
    ):
        assert refused(**keywords).startswith("fe80::99%left can't be traced to through two interfaces at once")


@isolated
def test_the_broadcast_address_of_a_network_is_refused() -> None:
    two_links()
    assert refused(destination="10.9.0.255").startswith("10.9.0.255 is never traced to: the broadcast address of a network")


@isolated
def test_an_interface_that_is_down_is_named() -> None:
    two_links()
    ip("link set left down")
    for address in ("192.0.2.1", "fd00:9::2"):
        sentence = "{} can't be traced to through left: the interface is down; bring it up".format(address)
        assert refused(destination=address, interface="left") == sentence
    assert "no route leads there" in refused(destination="192.0.2.1")


@isolated
def test_a_host_without_an_address_for_the_route_is_told() -> None:
    ip("link add left type veth peer name far-left", "link set left up", "link set far-left up", "route add default dev left")
    assert refused(destination="192.0.2.1") == "192.0.2.1 can't be traced to: this host has no IPv4 address for that route"


@isolated
def test_many_interfaces_are_not_all_listed() -> None:
    ip(*("link add many{} type veth peer name peer{}".format(number, number) for number in range(15)))
    sentence = refused(destination="127.0.0.1", interface="nosuch0")
    assert sentence.endswith(", ...")
    assert sentence.count(", ") == 20


@isolated
def test_a_name_falls_back_to_the_version_that_has_a_route(names: Answers) -> None:
    names["target.example"] = ["2001:db8::1", "127.0.0.1"]
    with opened(destination="target.example") as flow:
        assert flow.address == "127.0.0.1"
    assert refused(destination="target.example", family=6).startswith("target.example (2001:db8::1) can't be traced to: no route")
