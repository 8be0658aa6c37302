from __future__ import annotations

import threading

from nornir_tcptraceroute.cli.classic_output import ClassicOutput
from nornir_tcptraceroute.cli.hop_printer import HopPrinter
from nornir_tcptraceroute.probe.resolver import ReverseNames
from tests.cli.replies import hop, star, transit


class SlowResolver:
    """Answers for an address once it is told to."""

    def __init__(self) -> None:
        self.told = {f"192.0.2.{number}": threading.Event() for number in range(1, 5)}

    def __call__(self, address: str) -> tuple[str]:
        self.told[address].wait()
        return (f"name-{address[-1]}.example",)


def test_hops_are_printed_in_order_when_their_names_are_known() -> None:
    resolver, printed = SlowResolver(), list[str]()
    names = ReverseNames("all", 60, resolver)
    printer = HopPrinter(ClassicOutput(), names, printed.append)

    def learn(address: str) -> None:
        resolver.told[address].set()
        names.wait(60, [address])
        printer.print_ready()

    printer.add(hop(1, transit("192.0.2.1")))
    printer.add(hop(2, star()))
    printer.add(hop(3, transit("192.0.2.3"), transit("192.0.2.4")))
    printer.print_ready()
    assert printed == []
    assert list(printer.awaited) == ["192.0.2.1"]

    learn("192.0.2.3")
    assert printed == []
    learn("192.0.2.1")
    assert printed == [" 1  name-1.example (192.0.2.1)  1.000 ms\n", " 2  *\n"]
    assert list(printer.awaited) == ["192.0.2.3", "192.0.2.4"]
    learn("192.0.2.4")
    assert printed[2:] == [" 3  name-3.example (192.0.2.3)  1.000 ms\n    name-4.example (192.0.2.4)  1.000 ms\n"]
    assert not printer.awaited


def test_without_names_nothing_is_waited_for() -> None:
    printed = list[str]()
    printer = HopPrinter(ClassicOutput(), ReverseNames("none", 60, SlowResolver()), printed.append)
    printer.add(hop(1, transit("192.0.2.1")))
    printer.print_ready()
    assert printed == [" 1  192.0.2.1  1.000 ms\n"]
