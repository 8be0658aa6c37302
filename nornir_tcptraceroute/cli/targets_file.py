"""The file of ``--targets``: addresses, names, prefixes and ranges, and the line of everything that is wrong with it."""

from __future__ import annotations

import re
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from netaddr import AddrFormatError, IPAddress, IPGlob, IPNetwork, IPRange, valid_glob

from nornir_tcptraceroute.probe.errors import OptionError
from nornir_tcptraceroute.probe.options import is_address
from nornir_tcptraceroute.probe.resolver import forbidden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_tcptraceroute.probe.options import TraceOptions

__all__ = ("MOST_BYTES", "MOST_TARGETS", "Targets", "read_targets")

#: In one run. An IPv4 /16 or an IPv6 /112 fits.
MOST_TARGETS = 65536
MOST_BYTES = 4 << 20
_MOST_SHOWN, _MOST_PROBLEMS = 80, 100
#: What only a range of addresses is made of; IPv6 ranges have a colon besides.
_IPV4_RANGE = re.compile(r"[0-9.*-]*[*-][0-9.*-]*\Z")


@dataclass(frozen=True)
class _Span:
    """Targets of one line: a destination, or (where there is a version) the addresses from the first to the last, as numbers."""

    destination: str
    port: int
    version: Literal[4, 6] | None = None
    first: int = 0
    last: int = 0

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[str]:
        for number in range(self.first, self.last + 1):
            yield self.destination if self.version is None else str(IPAddress(number, self.version))


class Targets:
    """What a file asks for.

    Attributes:
        count: of traces.
    """

    def __init__(self, options: TraceOptions, spans: list[_Span]) -> None:
        self._options = options
        self._spans = spans
        self.count = sum(span.count for span in spans)

    def requests(self) -> Iterator[TraceOptions]:
        """One request for each target, in the order of the file, made when it is asked for."""
        for span in self._spans:
            for destination in span:
                yield replace(self._options, destination=destination, port=span.port)

    def kinds(self) -> Iterator[TraceOptions]:
        """One request of each line: the others of a line need the same sockets."""
        for span in self._spans:
            yield replace(self._options, destination=next(iter(span)), port=span.port)


def read_targets(file: str, options: TraceOptions) -> Targets:
    """Read targets: on each line one, and after it a port where it is another than that of the options; ``#`` begins a comment.

    A target is a name, an address, a prefix (``10.0.0.0/28``: its hosts, without network and broadcast address, or without the
    Subnet-Router anycast address of RFC 4291 section 2.6.1), or a range that netaddr reads: ``10.0.0.1-20``, ``10.0.0.*``,
    ``10.0.0.250-10.0.1.5``, ``2001:db8::1-2001:db8::20``.

    Arguments:
        file: its path, or ``-`` for standard input; at most 4 MiB and 65,536 targets.
        options: of all traces.

    Raises:
        OptionError: one line ``file:line: what is wrong`` for each problem.
    """
    shown = "standard input" if file == "-" else ascii(file)[1:-1]
    spans: list[_Span] = []
    problems: list[str] = []
    for number, line in enumerate(_text(file, shown).splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            spans.append(_line(words, options))
        except OptionError as error:
            problems += [f"{shown}:{number}: {problem}" for problem in error.problems]
    targets = Targets(options, spans)
    if not spans and not problems:
        problems.append(f"{shown}: holds no target; write one address, name, prefix or range on each line")
    if targets.count > MOST_TARGETS:
        problems.append(f"{shown}: holds {targets.count} targets, and at most {MOST_TARGETS} are traced in one run: split it")
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"{shown}: and {len(problems) - _MOST_PROBLEMS} more"]
    if problems:
        raise OptionError(problems)
    return targets


def _text(file: str, shown: str) -> str:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionError([f"{shown}: can't be read: {reason}"]) from None
    if len(data) > MOST_BYTES:
        raise OptionError([f"{shown}: is longer than {MOST_BYTES} bytes: split it"])
    return data.decode("utf-8-sig", "surrogateescape")


def _line(words: list[str], options: TraceOptions) -> _Span:
    target, *rest = words
    if len(rest) > 1:
        raise OptionError([f"{_quoted(rest[1])} is one word too many: a line is a target and, where needed, a port"])
    port = _port(rest[0]) if rest else options.port
    span = _span(target, port)
    if span.count > MOST_TARGETS:
        raise OptionError(
            [f"{target} holds {span.count} addresses, and at most {MOST_TARGETS} are traced in one run: give fewer"]
        )
    if span.version is not None:
        for number in (span.first, span.last):
            address = str(IPAddress(number, span.version))
            refusal = forbidden(address, span.version)
            if refusal:
                raise OptionError([f"{target} is never traced to: {address} is {refusal}"])
    # What is wrong with one address of a line is wrong with all.
    replace(options, destination=next(iter(span)), port=port)
    return span


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= len("65535"):
        return int(text)
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, ValueError):
        raise OptionError([f"{_quoted(text)} is neither a port number nor the name of a TCP service"]) from None


def _span(target: str, port: int) -> _Span:
    try:
        if "/" in target:
            return _hosts(IPNetwork(target), target, port)
        if _IPV4_RANGE.match(target) and valid_glob(target):
            found: IPRange = IPGlob(target)
        elif _IPV4_RANGE.match(target) or (":" in target and "-" in target and not is_address(target)):
            first, last = target.split("-")
            found = IPRange(first, last)
        else:
            return _Span(target, port)
    except (AddrFormatError, ValueError):
        raise OptionError([f"{_quoted(target)} is no prefix or range of addresses, such as 10.0.0.0/28 or 10.0.0.1-20"]) from None
    return _Span(target, port, found.version, found.first, found.last)


def _hosts(network: IPNetwork, target: str, port: int) -> _Span:
    """The addresses of a prefix that hosts may have."""
    first, last = network.first, network.last
    if last - first > 1:
        first += 1
        last -= network.version == 4
    return _Span(target, port, network.version, first, last)


def _quoted(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= _MOST_SHOWN else shown[: _MOST_SHOWN - 4] + "...'"
