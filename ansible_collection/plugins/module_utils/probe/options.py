# BSD-3-Clause, see LICENSE
"""TraceOptions: every parameter of a trace once, with its default, bounds, unit and help text.

The command, the Nornir task and the Ansible module read their options from ``PARAMETERS``, so that all
of them accept and refuse the same values in the same words.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

from .errors import OptionError, shown
from .record_class import Described, descriptions, record_class

if TYPE_CHECKING:
    # Loaded where a packet is given: hardly any trace has one.
    from .template import Template

__all__ = ("FLAG_BITS", "PARAMETERS", "Parameter", "TraceOptions", "canonical_flags", "connect_obstacles", "is_address")

#: The bits of the TCP header's control field, least significant first (RFC 9293 section 3.1, RFC 3168 for ECE and CWR).
FLAG_BITS = {"FIN": 0x01, "SYN": 0x02, "RST": 0x04, "PSH": 0x08, "ACK": 0x10, "URG": 0x20, "ECE": 0x40, "CWR": 0x80}

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
# Printable ASCII but for the space, '/' and ':': the kernel's rule (dev_valid_name) without the bytes that no record could hold.
_INTERFACE = re.compile(r"[!-.0-9;-~]{1,15}\Z")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)\Z")
#: What a packet may leave open, with the unspecified address or port 0.
_LEFT_OPEN = ("destination", "port", "source", "source_port")


@record_class(frozen=True)
class Parameter:
    """One option of a trace, as the fronts present it.

    Attributes:
        name: the option's name, the same in every front.
        kind: ``host``, ``integer``, ``number``, ``boolean``, ``choice``, ``interface``, ``flags`` or ``packet``.
        default: the value that holds when the option is not given.
        minimum, maximum: the bounds of an integer or a number, both included; None for other kinds.
        choices: the values of a choice; empty for other kinds.
        optional: whether None is a value, and so means "as the system or the probe decides".
        unit: the unit of a number, for the reader.
        help: what the option does, in one sentence.
    """

    name: str
    kind: str
    default: Any
    minimum: Optional[float]
    maximum: Optional[float]
    choices: Tuple[Any, ...]
    optional: bool
    unit: str
    help: str

    @property
    def rule(self) -> str:
        """What a value must be, as the end of the sentence "... is not ...": ``between 1 and 255``."""
        if self.minimum is not None and self.maximum is not None:
            return "between {:g} and {:g}".format(self.minimum, self.maximum) + (" " + self.unit if self.unit else "")
        if self.kind == "choice":
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.kind == "packet":
            from .template import RULE

            return RULE
        return {
            "host": "a host name or an IP address",
            "boolean": "true or false",
            "interface": "an interface name (1 to 15 ASCII characters, no space, '/' or ':')",
            "flags": "a list of TCP flags from " + ", ".join(FLAG_BITS),
        }[self.kind]

    def includes(self, value: float) -> bool:
        """Whether a number lies within the bounds; one that is None bounds nothing."""
        return (self.minimum is None or self.minimum <= value) and (self.maximum is None or value <= self.maximum)


def _option(
    default: Any,
    kind: str,
    text: str,
    *,
    minimum: Optional[float] = None,
    maximum: Optional[float] = None,
    choices: Tuple[Any, ...] = (),
    optional: bool = False,
    unit: str = "",
) -> Any:
    """A field of TraceOptions: its default, and what there is to say besides its name, see Parameter."""
    description = {
        "kind": kind,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "optional": optional,
        "unit": unit,
        "help": text,
    }
    return Described(default, description)


@record_class(frozen=True)
class TraceOptions:
    """All that one trace is asked to do; frozen, hashable and valid from its construction on.

    The arguments are listed with their bounds and units in ``PARAMETERS``; ``destination`` alone has no usable default.

    With ``packet``, every option that the packet decides has the packet's value: destination, port, family, source and
    source_port as far as it tells them, flags, length, tos and dont_fragment. One that was given and says otherwise is refused;
    one that has its default counts as not given.

    Raises:
        OptionError: names every option that breaks its rule, before anything was opened or sent.
    """

    destination: str = _option("", "host", "Host name or address to trace to.")
    port: int = _option(80, "integer", "TCP port at the destination.", minimum=1, maximum=65535)
    family: Optional[int] = _option(
        None, "choice", "IP version to use; by default the first that the name resolves to.", choices=(4, 6), optional=True
    )
    first_ttl: int = _option(1, "integer", "TTL (hop limit) to start from.", minimum=1, maximum=255)
    max_ttl: int = _option(30, "integer", "TTL (hop limit) to stop at.", minimum=1, maximum=255)
    queries: int = _option(3, "integer", "Queries for each hop.", minimum=1, maximum=50)
    wait: float = _option(
        3.0,
        "number",
        "Longest time to wait for the answer to a probe; a shorter one is used once the path's round-trip times are known.",
        minimum=0.05,
        maximum=300,
        unit="s",
    )
    deadline: Optional[float] = _option(
        None,
        "number",
        "End the whole trace after this time; by default it ends by itself.",
        minimum=0.05,
        maximum=86400,
        optional=True,
        unit="s",
    )
    gap_limit: int = _option(
        0, "integer", "End the trace after this many silent hops in a row; 0 goes on to max_ttl.", minimum=0, maximum=255
    )
    parallel: int = _option(
        8,
        "integer",
        "How many hops beyond the furthest answer are probed at the same time; 1 is one probe at a time.",
        minimum=1,
        maximum=255,
    )
    source: Optional[str] = _option(
        None, "host", "Source address (or a name of it), one of this host's; by default the route's.", optional=True
    )
    source_port: Optional[int] = _option(
        None, "integer", "Source port of every probe; by default a free one.", minimum=1, maximum=65535, optional=True
    )
    interface: Optional[str] = _option(
        None, "interface", "Interface that the probes leave through; by default the route's.", optional=True
    )
    flags: str = _option("SYN", "flags", "TCP flags of the probes, separated by commas.")
    tcp_options: str = _option(
        "none", "choice", "TCP options of the probes: none, mss alone, or those of a Linux SYN.", choices=("none", "mss", "linux")
    )
    length: Optional[int] = _option(
        None,
        "integer",
        "Length of the whole IP packet, filled up with payload; by default the headers alone.",
        minimum=40,
        maximum=65535,
        optional=True,
        unit="bytes",
    )
    tos: int = _option(
        0, "integer", "Type of service (IPv4) or traffic class (IPv6): DSCP times 4, plus ECN.", minimum=0, maximum=255
    )
    dont_fragment: bool = _option(False, "boolean", "Set the don't-fragment bit (IPv4; IPv6 routers never fragment).")
    packet: Optional[str] = _option(
        None,
        "packet",
        "Packet to send as it is but for TTL, numbers and checksums, base64 from the IP header on; it decides the shape.",
        optional=True,
    )
    method: str = _option(
        "auto",
        "choice",
        "How probes are sent: raw needs CAP_NET_RAW, connect no privilege (it sees less), auto is raw where that may be.",
        choices=("auto", "raw", "connect"),
    )
    names: str = _option(
        "public",
        "choice",
        "Which hops are looked up in DNS after the trace: none, all, or all but RFC 1918 addresses.",
        choices=("none", "all", "public"),
    )
    evidence: str = _option(
        "notable",
        "choice",
        "Which replies are kept whole: none, the first of each kind and address in a hop, or all.",
        choices=("none", "notable", "all"),
    )

    def __post_init__(self) -> None:
        problems: Dict[str, str] = {}
        template = self._take_template()
        for parameter in PARAMETERS.values():
            if parameter.name == "destination" and self.destination == "" and self.packet is not None and template is None:
                # It would be the packet's, which is told of.
                continue
            value, rule = _checked(parameter, getattr(self, parameter.name))
            if rule:
                problems[parameter.name] = "{}: {} is not {}".format(parameter.name, shown(getattr(self, parameter.name)), rule)
            else:
                object.__setattr__(self, parameter.name, value)
        if template is not None:
            problems.update(self._said_otherwise(template, set(problems)))
        contradictions = self._contradictions(set(problems))
        if problems or contradictions:
            raise OptionError([*problems.values(), *contradictions])

    def _take_template(self) -> Optional[Template]:
        """Read the packet, if there is one in order, and let it decide what was left to it."""
        if self.packet is None:
            return None
        from .template import read_template

        try:
            template = read_template(self.packet)
        except ValueError:
            return None
        for name, value in _decided(template).items():
            told, default = getattr(self, name), PARAMETERS[name].default
            # True is 1 to Python, and False is 0; a text may be of a class of its own.
            if told == default and isinstance(told, type(default)) and isinstance(told, bool) == isinstance(default, bool):
                object.__setattr__(self, name, value)
        return template

    def _said_otherwise(self, template: Template, wrong: Set[str]) -> Dict[str, str]:
        """What is wrong with options that say otherwise than the packet, by name; ``wrong`` names those that are anyhow."""
        problems = {}
        for name, value in _decided(template).items():
            told = getattr(self, name)
            if name not in wrong and told != value and not (isinstance(value, str) and _same_address(told, value)):
                problems[name] = "{}: {} contradicts the packet, which has {}".format(name, shown(told), shown(value))
        if "tcp_options" not in wrong and self.tcp_options != PARAMETERS["tcp_options"].default:
            problems["tcp_options"] = "tcp_options: {} contradicts the packet, which has its own".format(shown(self.tcp_options))
        return problems

    def _contradictions(self, wrong: Set[str]) -> List[str]:
        """What is wrong between options that are right by themselves; ``wrong`` names those that are not."""
        problems = []
        if not wrong & {"first_ttl", "max_ttl"} and self.first_ttl > self.max_ttl:
            problems.append("first_ttl: {} is not at most max_ttl ({})".format(self.first_ttl, self.max_ttl))
        versions = {
            name: is_address(value)
            for name, value in (("destination", self.destination), ("source", self.source))
            if value and name not in wrong
        }
        for name, version in versions.items():
            value = getattr(self, name)
            if version and "family" not in wrong and self.family not in (None, version):
                problems.append("{}: {} is not an IPv{} address, as family asks".format(name, shown(value), self.family))
            if version == 6 and self.interface is None and _needs_zone(value):
                problems.append(
                    "{0}: {1} is not complete: a link-local address needs its zone, such as {2}%eth0, or an interface".format(
                        name, shown(value), value
                    )
                )
        destination, source = versions.get("destination", 0), versions.get("source", 0)
        if destination and source and destination != source:
            problems.append("source: {} is not of the destination's family, IPv{}".format(shown(self.source), destination))
        if not wrong and self.method == "connect":
            problems += [
                "{}: {} needs raw sockets, and method is connect".format(name, shown(getattr(self, name)))
                for name in connect_obstacles(self)
            ]
        return problems

    @property
    def flag_bits(self) -> int:
        """The flags as the bits of the TCP header."""
        return sum(FLAG_BITS[name] for name in self.flags.split(",") if name)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TraceOptions:
        """Read a request that came as JSON or YAML.

        Arguments:
            values: option names and values; what is absent has its default.

        Raises:
            OptionError: names every unknown option and every value that breaks its rule.
        """
        if not isinstance(values, Mapping):
            raise OptionError(["request: {} is not an object of options and their values".format(shown(values))])
        unknown = ["{}: is not an option of a trace".format(shown(name)) for name in values if name not in PARAMETERS]
        known = {name: value for name, value in values.items() if name in PARAMETERS}
        try:
            options = cls(**known)
        except OptionError as error:
            raise OptionError([*unknown, *error.problems]) from None
        if unknown:
            raise OptionError(unknown)
        return options

    def to_dict(self) -> Dict[str, Any]:
        """The options that differ from their defaults, as JSON types; ``from_dict`` reads them back."""
        return {
            parameter.name: getattr(self, parameter.name)
            for parameter in PARAMETERS.values()
            if getattr(self, parameter.name) != parameter.default
        }


#: Every option of a trace by its name, in the order of TraceOptions.
PARAMETERS: Dict[str, Parameter] = {
    name: Parameter(name=name, default=default, **description)
    for name, (default, description) in descriptions(TraceOptions).items()
}


def connect_obstacles(options: TraceOptions) -> List[str]:
    """The names of the options that a probe which is a connection of the kernel can't fulfil."""
    fulfilled = {
        # The kernel chooses the port of each connection, its TCP options and their order, and the ECN bits.
        "source_port": options.source_port is None,
        "flags": options.flags == "SYN",
        "tcp_options": options.tcp_options != "mss",
        "length": options.length is None,
        "tos": options.tos & 3 == 0,
        "evidence": options.evidence != "all",
        "packet": options.packet is None,
    }
    return [name for name, holds in fulfilled.items() if not holds]


def is_address(text: str) -> int:
    """Tell the IP version of an address literal: 4, 6 (a zone such as ``%eth0`` may follow), or 0 for anything else."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    else:
        return 4
    address, percent, zone = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return 0
    return 6 if not percent or _INTERFACE.match(zone) else 0


def _decided(template: Template) -> Dict[str, Any]:
    """The options that a packet decides, with their values."""
    flags = ",".join(name for name, bit in FLAG_BITS.items() if template.flags & bit)
    decided: Dict[str, Any] = {
        "destination": template.address,
        "port": template.port,
        "family": template.family,
        "source": template.source,
        "source_port": template.source_port,
        "flags": flags,
        "length": len(template.header) + len(template.segment),
        "tos": template.tos,
        "dont_fragment": template.dont_fragment,
    }
    return {name: value for name, value in decided.items() if value or name not in _LEFT_OPEN}


def _same_address(told: str, address: str) -> bool:
    """Whether two literals are one address, in whatever form, a zone put aside."""
    version = is_address(told)
    if not version or version != is_address(address):
        return False
    kind = socket.AF_INET if version == 4 else socket.AF_INET6
    return socket.inet_pton(kind, told.partition("%")[0]) == socket.inet_pton(kind, address)


def _needs_zone(address: str) -> bool:
    """Whether an IPv6 address is link-local (RFC 4291 section 2.5.6) and says nothing of its link."""
    if "%" in address:
        return False
    packed = socket.inet_pton(socket.AF_INET6, address)
    return packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def canonical_flags(text: str) -> Optional[str]:
    """Order and capitalise a list of TCP flags: ``ack,syn`` is ``SYN,ACK``; None where one is unknown.

    No flags at all (an empty text) are flags too.
    """
    names = {name.strip().upper() for name in text.split(",")} - {""}
    # Some letters outside ASCII become ASCII in upper case.
    if not text.isascii() or not names <= set(FLAG_BITS):
        return None
    return ",".join(name for name in FLAG_BITS if name in names)


def _checked(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    """The value as it is kept, and the rule that it breaks (empty if none)."""
    if value is None and parameter.optional:
        return None, ""
    return _CHECKS[parameter.kind](parameter, value)


def _checked_integer(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return value, "a whole number " + parameter.rule
    return value, "" if parameter.includes(value) else parameter.rule


def _checked_number(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value, "a number " + parameter.rule
    if not parameter.includes(value):
        return value, parameter.rule
    return float(value), ""


def _checked_boolean(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    return value, "" if isinstance(value, bool) else parameter.rule


def _checked_choice(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    known = any(type(value) is type(choice) and value == choice for choice in parameter.choices)
    return value, "" if known else parameter.rule


def _checked_interface(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    return value, "" if isinstance(value, str) and _INTERFACE.match(value) and value not in (".", "..") else parameter.rule


def _checked_flags(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    flags = canonical_flags(value) if isinstance(value, str) else None
    return flags, "" if flags is not None else parameter.rule


def _checked_host(parameter: Parameter, value: Any) -> Tuple[Any, str]:
    if not isinstance(value, str):
        return value, parameter.rule
    if is_address(value):
        return value, ""
    name = value[:-1] if value.endswith(".") else value
    labels = name.split(".")
    # A last label that is a number makes an address written wrongly (RFC 1123 section 2.1); resolvers read it as octal or short.
    if len(name) > 253 or not all(_LABEL.match(label) for label in labels) or _NUMBER.match(labels[-1]):
        return value, parameter.rule
    return value, ""


def _checked_packet(_parameter: Parameter, value: Any) -> Tuple[Any, str]:
    from .template import read_template

    try:
        read_template(value)
    except ValueError as error:
        return value, str(error)
    return value, ""


_CHECKS: Dict[str, Callable[[Parameter, Any], Tuple[Any, str]]] = {
    "host": _checked_host,
    "integer": _checked_integer,
    "number": _checked_number,
    "boolean": _checked_boolean,
    "choice": _checked_choice,
    "interface": _checked_interface,
    "flags": _checked_flags,
    "packet": _checked_packet,
}
