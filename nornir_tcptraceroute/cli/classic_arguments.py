"""The command line of ``tcptraceroute``: arguments to a checked request, and the help text from the same table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from nornir_tcptraceroute.probe.errors import OptionError
from nornir_tcptraceroute.probe.options import FLAG_BITS, PARAMETERS, TraceOptions
from nornir_tcptraceroute.probe.pacing import PROCESS_RATE, read_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_tcptraceroute.probe.options import Parameter

__all__ = ("OPTIONS", "USAGE", "CommandOption", "Request", "UsageError", "help_text", "parse")


class CommandOption(NamedTuple):
    """One option of the command.

    Attributes:
        names: how it may be written, such as ``-v`` and ``--version``.
        value: what its value is called; empty for a switch.
        parameter: the trace parameter that its value is; empty where it sets something else.
        text: what it does; empty where the parameter's own help says all.
        classic: whether the classic tool has it.
    """

    names: tuple[str, ...]
    value: str = ""
    parameter: str = ""
    text: str = ""
    classic: bool = True


OPTIONS = (
    CommandOption(("-n",), text="Look up no names. Of -n and -N the last one counts."),
    CommandOption(("-N",), text="Look up the names of all hops. By default those of RFC 1918 addresses are not looked up."),
    CommandOption(("-f",), "TTL", "first_ttl"),
    CommandOption(("-m",), "TTL", "max_ttl"),
    CommandOption(("-p",), "PORT", "source_port", "0 is a free one as well. A port that is in use is refused."),
    CommandOption(("-P",), "PORT", "source_port", "As -p, but taken even if it is in use."),
    CommandOption(("-s",), "ADDRESS", "source"),
    CommandOption(("-i",), "INTERFACE", "interface"),
    CommandOption(("-q",), "N", "queries"),
    CommandOption(("-w",), "SECONDS", "wait"),
    CommandOption(("-S",), text="Set the flag SYN, as is done by default without -A."),
    CommandOption(("-A",), text="Set the flag ACK; with -S, SYN and ACK. Open and closed ports both show [closed] then."),
    CommandOption(("-E",), text="Set the flags ECE and CWR as well: an ECN SYN. A host that knows ECN shows [open, ecn]."),
    CommandOption(("-t",), "TOS", "tos"),
    CommandOption(("-F",), "", "dont_fragment"),
    CommandOption(("-l",), "BYTES", "length", "Below what the headers take it is raised to that; 0 means the headers alone."),
    CommandOption(("-d",), text="Tell on standard error of every packet sent, matched and refused, and why."),
    CommandOption(("--dnat",), text="Show where a quoted packet has another destination than the one sent: NAT on the path."),
    CommandOption(("--no-dnat",), text="Accept such quotes and show nothing (default)."),
    CommandOption(("--no-dnat-strict",), text="Refuse such quotes: these hops show as *."),
    CommandOption(
        ("--track-id", "--track-ipid"),
        text="Accepted and not needed: replies are matched by addresses, ports and sequence number.",
    ),
    CommandOption(
        ("--track-port",), text="The same; the banner does not name the source port then. It is still one for all probes."
    ),
    CommandOption(
        ("--no-filter", "--select", "--no-select", "--no-getinterfaces"),
        text="Accepted without effect: they steer the classic tool's way of capturing packets.",
    ),
    CommandOption(("-h", "--help"), text="Show this text on standard error and exit with status 1, as the classic tool does."),
    CommandOption(("-v", "--version"), text="Show the version."),
    CommandOption(("-4",), text="Use IPv4, as is done by default where a name has addresses of both versions.", classic=False),
    CommandOption(("-6",), text="Use IPv6.", classic=False),
    CommandOption(("--flags",), "FLAGS", "flags", "Instead of -S, -A and -E.", classic=False),
    CommandOption(("--tcp-options",), "KIND", "tcp_options", classic=False),
    CommandOption(("--parallel",), "N", "parallel", classic=False),
    CommandOption(("--deadline",), "SECONDS", "deadline", classic=False),
    CommandOption(("--gap-limit",), "N", "gap_limit", classic=False),
    CommandOption(("--method",), "METHOD", "method", classic=False),
    CommandOption(
        ("--targets",),
        "FILE",
        text="Trace to all targets of a file (- for standard input) at the same time, and print each trace when it has ended: on "
        "each line an address, a name, a prefix (10.0.0.0/28) or a range (10.0.0.1-20, 10.0.0.*), and a port where it is "
        "another. HOST is left out then.",
        classic=False,
    ),
    CommandOption(
        ("--rate",),
        "N",
        text="Probes per second of all traces together: between 1 and 1000000, or unlimited; default 5000. A near router gets "
        "at most a fifth of it, a destination at most 500.",
        classic=False,
    ),
    CommandOption(
        ("--json",),
        text="Print the whole trace as one JSON document on standard output, and no hop lines; with --targets a line for each.",
        classic=False,
    ),
    CommandOption(("--evidence",), "WHICH", "evidence", "They are in the JSON document.", classic=False),
    CommandOption(
        ("--explain",),
        text="Tell beneath each hop what its answers and its address mean: rewritten fields, MPLS labels, interfaces, "
        "whose network it is in. Hops are printed when the trace has ended; with --json the findings are in the document.",
        classic=False,
    ),
    CommandOption(
        ("--networks",),
        "FILE",
        text="Your networks and devices, for --explain, which it implies: YAML with networks (NAME: [PREFIX, ...]), devices "
        "(ADDRESS: NAME) and asn_database (a MaxMind DB file).",
        classic=False,
    ),
    CommandOption(
        ("--fail-unreached",),
        text="Exit with a status that tells whether the destination itself answered, see below.",
        classic=False,
    ),
    CommandOption(("--fail-closed",), text="The same, and fail where its port is not open. For SYN probes only.", classic=False),
)

_BY_NAME = {name: option for option in OPTIONS for name in option.names}

USAGE = """\
Usage: tcptraceroute [-nNFSAEd46] [-i INTERFACE] [-f FIRST_TTL] [-m MAX_TTL]
       [-q QUERIES] [-w SECONDS] [-p|-P SOURCE_PORT] [-s SOURCE_ADDRESS]
       [-t TOS] [-l LENGTH] HOST [PORT] [LENGTH]
       tcptraceroute --targets FILE [OPTIONS] [PORT] [LENGTH]
       tcptraceroute --help tells all options.
"""


class Request(NamedTuple):
    """What a command line asks for.

    Attributes:
        options: the trace. Its length is None where the one asked for is below any packet's.
        length: IP length in bytes as asked for, None where none was.
        targets: file of targets, ``-`` for standard input, or None; with it the destination of the options stands for all.
        rate: probes per second of all traces together; infinite is no limit.
        json: JSON instead of hop lines.
        explain: tell what the answers mean.
        networks: file with networks and devices for that, or None.
        debug: tell every packet.
        translations: ``show``, ``hide`` or ``refuse`` quotes with another destination.
        track_port: leave the source port out of the banner.
        share_source_port: take the source port even if it is in use.
        strictness: what exit status 0 promises: ``classic`` (an answer from the destination, or any ICMP unreachable),
            ``reached`` (the destination answered) or ``open`` (so did its port).
        warnings: what to tell before anything else.
    """

    options: TraceOptions
    length: int | None = None
    targets: str | None = None
    rate: float = PROCESS_RATE
    json: bool = False
    explain: bool = False
    networks: str | None = None
    debug: bool = False
    translations: str = "hide"
    track_port: bool = False
    share_source_port: bool = False
    strictness: str = "classic"
    warnings: tuple[str, ...] = ()


class UsageError(Exception):
    """A command line that asks for nothing that can be done.

    Arguments:
        problems: one line for each.
        show_usage: whether the usage would help.
    """

    def __init__(self, problems: Sequence[str], *, show_usage: bool) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
        self.show_usage = show_usage


def parse(arguments: Sequence[str]) -> Request | str:
    """Read a command line as the classic tool does: options anywhere before ``--``, short ones in one word, long ones in full.

    Arguments:
        arguments: without the name of the program.

    Returns:
        The request, or ``help`` or ``version`` where one of these is asked for.

    Raises:
        UsageError: names all problems of the command line.
    """
    split = _split(arguments)
    for wanted in ("help", "version"):
        if any("--" + wanted in _BY_NAME[name].names for name, _ in split.given):
            return wanted
    return _Reading(split).request()


class _Split(NamedTuple):
    """A command line taken apart: options with their values, operands, options that do not exist, options without their value."""

    given: list[tuple[str, str]]
    operands: list[str]
    unknown: list[str]
    incomplete: list[str]


def _split(arguments: Sequence[str]) -> _Split:
    split = _Split([], [], [], [])
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            split.operands.extend(rest)
            break
        if not word.startswith("-") or word == "-":
            split.operands.append(word)
            continue
        name, glued = _next_name(word, rest)
        takes_value = name in _BY_NAME and bool(_BY_NAME[name].value)
        if name not in _BY_NAME or (glued is not None and not takes_value):
            split.unknown.append(word if word.startswith("--") else name)
        elif not takes_value:
            split.given.append((name, ""))
        elif glued is not None or rest:
            split.given.append((name, rest.pop(0) if glued is None else glued))
        else:
            split.incomplete.append(name)
    return split


def _next_name(word: str, rest: list[str]) -> tuple[str, str | None]:
    """The first option of a word and the value that is glued to it; further short options go back to the rest."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    name, more = word[:2], word[2:]
    if name in _BY_NAME and _BY_NAME[name].value:
        return name, more or None
    if more:
        rest.insert(0, "-" + more)
    return name, None


class _Reading:
    """The meaning of options and operands, all problems collected."""

    def __init__(self, split: _Split) -> None:
        self._split = split
        self._given = split.given
        self._names = {name for name, _ in split.given}
        self._problems = [f"Unknown command line argument: {_printable(name)}" for name in split.unknown]
        self._problems += [f"Argument required for {name}" for name in split.incomplete]
        self._warnings: list[str] = []
        self._values: dict[str, Any] = {}

    def request(self) -> Request:
        self._read_options()
        self._read_operands()
        length = self._values.pop("length", None) or None
        # A packet shorter than its headers is made longer, with a warning, when the family and so the headers are known.
        minimum = PARAMETERS["length"].minimum
        raised = isinstance(length, int) and 0 < length < (minimum or 0)
        options = self._checked_options({**self._values, "length": None if raised else length})
        rate = self._rate()
        targets = self._targets()
        count = len(self._split.operands)
        enough = 1 <= count <= 3 if targets is None else count <= 2
        # As in the classic tool, what is wrong with a value is told without the usage.
        show_usage = bool(self._split.unknown) or not (self._problems or enough)
        if not enough:
            wanted = "HOST [PORT] [LENGTH] are needed" if targets is None else "[PORT] [LENGTH] may stand beside --targets"
            self._problems.append(f"{count or 'No'} operands given, where {wanted}")
        if options is None or self._problems:
            raise UsageError(self._problems, show_usage=show_usage)
        return Request(
            options=options,
            length=length,
            targets=targets,
            rate=rate,
            json="--json" in self._names,
            explain=bool(self._names & {"--explain", "--networks"}),
            networks=self._value_of("--networks"),
            debug="-d" in self._names,
            translations=self._last({"--dnat": "show", "--no-dnat": "hide", "--no-dnat-strict": "refuse"}, "hide"),
            track_port=self._tracks_port(),
            share_source_port=self._last({"-p": "own", "-P": "share"}, "own") == "share",
            strictness=self._strictness(),
            warnings=tuple(self._warnings),
        )

    def _last(self, meanings: dict[str, str], default: str) -> str:
        """The meaning of the last of several options that was given."""
        return next((meanings[name] for name, _ in reversed(self._given) if name in meanings), default)

    def _value_of(self, wanted: str) -> str | None:
        """The value of an option, the last one given; None where there is none."""
        return next((text for name, text in reversed(self._given) if name == wanted), None)

    def _rate(self) -> float:
        text = self._value_of("--rate")
        try:
            return PROCESS_RATE if text is None else read_rate(text)
        except OptionError as error:
            self._problems += error.problems
            return PROCESS_RATE

    def _targets(self) -> str | None:
        targets = self._value_of("--targets")
        if targets is not None:
            self._problems += [
                f"{name} is for a single trace, and can't be given together with --targets"
                for name in ("-d", "-p", "-P")
                if name in self._names
            ]
        return targets

    def _read_options(self) -> None:
        for name, text in self._given:
            option = _BY_NAME[name]
            if option.parameter and option.value:
                self._values[option.parameter] = _value(option.parameter, text)
        if self._values.get("source_port") == 0:
            del self._values["source_port"]
        if "-F" in self._names:
            self._values["dont_fragment"] = True
        family = self._last({"-4": "4", "-6": "6"}, "")
        if family:
            self._values["family"] = int(family)
        names = self._last({"-n": "none", "-N": "all"}, "")
        if names:
            self._values["names"] = names
        self._read_flags()

    def _read_flags(self) -> None:
        switches = [name for name in ("-S", "-A", "-E") if name in self._names]
        if switches and "--flags" in self._names:
            self._problems.append("--flags tells all flags, so it can't be combined with {}".format(", ".join(switches)))
        elif switches:
            flags = ["SYN"] if "-S" in switches or "-A" not in switches else []
            flags += ["ACK"] if "-A" in switches else []
            flags += ["ECE", "CWR"] if "-E" in switches else []
            self._values["flags"] = ",".join(flags)

    def _read_operands(self) -> None:
        operands = self._split.operands if self._value_of("--targets") is None else [None, *self._split.operands]
        host, port, length = (*operands[:3], None, None, None)[:3]
        # Without a host, the rest is still checked; that it is missing is told elsewhere.
        self._values["destination"] = "host.invalid" if host is None else host
        if port is not None:
            self._read_port(port)
        if length is not None:
            self._values["length"] = _value("length", length)

    def _read_port(self, text: str) -> None:
        if text.isascii() and text.isdigit():
            self._values["port"] = _value("port", text)
            return
        import socket

        try:
            self._values["port"] = socket.getservbyname(text, "tcp")
        except (OSError, ValueError):
            # ValueError: a name that is no text at all, such as one with bytes that are not UTF-8.
            self._problems.append(f"Unknown port: {_printable(text)}")

    def _tracks_port(self) -> bool:
        tracks_port = self._last({"--track-id": "", "--track-ipid": "", "--track-port": "port"}, "") == "port"
        if tracks_port and "source_port" in self._values:
            self._warnings.append("Warning: --track-id implied by specifying the local source port")
            return False
        return tracks_port

    def _strictness(self) -> str:
        if "--fail-closed" in self._names:
            return "open"
        return "reached" if "--fail-unreached" in self._names else "classic"

    def _checked_options(self, values: dict[str, Any]) -> TraceOptions | None:
        try:
            options = TraceOptions(**values)
        except OptionError as error:
            self._problems += error.problems
            return None
        telling = sum(FLAG_BITS[name] for name in ("SYN", "ACK", "RST"))
        if "--fail-closed" in self._names and options.flag_bits & telling != FLAG_BITS["SYN"]:
            self._problems.append(
                f"--fail-closed needs SYN probes: to those with the flags {options.flags or '(none)'} "
                "open and closed ports answer alike"
            )
        return options


def _value(parameter: str, text: str) -> object:
    """A value of the command line in the type that its parameter wants; what can't be read stays text, for the error to show."""
    kind = PARAMETERS[parameter].kind
    if kind == "integer" and re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if kind == "number" and re.fullmatch(r"-?([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})", text):
        return float(text) if "." in text else int(text)
    return text


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[:80])
    return shown if len(text) <= 80 else shown + "..."


def help_text() -> str:
    """All options with their units, bounds and defaults, the annotations, and what the exit status means."""
    parts = [USAGE[: USAGE.rindex("       tcptraceroute")], _DESCRIPTION, "\nOptions of the classic tool:\n"]
    parts += [_option_help(option) for option in OPTIONS if option.classic]
    parts += ["\nBeyond the classic tool:\n"]
    parts += [_option_help(option) for option in OPTIONS if not option.classic]
    return "".join([*parts, _ANNOTATIONS, _STATUS])


_DESCRIPTION = """
Traces the path to a TCP port with TCP packets, in place of tcptraceroute 1.5beta7.
PORT is a number or the name of a service (default {port}). LENGTH is the same as -l.
Raw sockets need root or CAP_NET_RAW; both are given up before the first packet is sent.
""".format(port=PARAMETERS["port"].default)

_ANNOTATIONS = """
[open], [closed], [open, ecn] or [unknown, FLAGS] is what the destination's TCP said;
* is no answer, or, with a warning, a probe that could not be sent. Behind a time is
what an ICMP unreachable said, for IPv4 (type 3, code) and IPv6 (type 1, code):
  !N  no route to the network (0; IPv6 0)        !S  source route (5), scope (IPv6 2)
  !H  no route to the host (1; IPv6 3)           !U  unknown network, host (6, 7)
  !P  no such protocol (2)                       !I  isolated host (8)
  !p  port refused (3; IPv6 4)                   !A  forbidden (9, 13; IPv6 1, 5, 6)
  !F  packet too long (4; IPv6 type 2)           !C  forbidden for the host (10)
  !T  type of service (11, 12)                   !<N>  any other code N
"""

_STATUS = """
Exit status, as the classic tool's:
  0  the destination answered, or a router or firewall refused by ICMP unreachable
  1  neither did, or an error: nothing could be measured
Exit status with --fail-unreached or --fail-closed:
  0  the destination's TCP answered; with --fail-closed, from an open port
  1  an error: nothing could be measured
  2  the destination's TCP did not answer
  3  the destination's TCP did not answer, and an ICMP unreachable said why
  4  the destination answered, but not from an open port (--fail-closed)
Either way 130 after SIGINT and 143 after SIGTERM, with what was known by then. With
--targets 0 where each trace alone would have 0, 1 where one could not be measured,
else the highest of theirs.
"""

_INDENT = 25


def _option_help(option: CommandOption) -> str:
    import textwrap

    head = "  " + ", ".join(option.names) + (" " + option.value if option.value else "")
    sentences = [option.text] if option.text else []
    if option.parameter:
        parameter = PARAMETERS[option.parameter]
        sentences.insert(0, parameter.help)
        if option.value:
            sentences.append(_bounds(parameter))
    lines = textwrap.wrap(" ".join(sentences), 100 - _INDENT, break_on_hyphens=False)
    first = [head] if len(head) > _INDENT - 2 else [head.ljust(_INDENT) + lines.pop(0)]
    return "\n".join([*first, *(" " * _INDENT + line for line in lines)]) + "\n"


def _bounds(parameter: Parameter) -> str:
    """Bounds and default of a parameter, as ``(between 1 and 255, default 30)``."""
    rule = parameter.rule[0].upper() + parameter.rule[1:]
    if parameter.default is None:
        return rule + "."
    unit = f" {parameter.unit}" if parameter.unit else ""
    value = f"{parameter.default:g}" if parameter.kind in {"integer", "number"} else str(parameter.default)
    return f"{rule}; default {value}{unit}."
