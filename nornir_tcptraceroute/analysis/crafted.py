"""A packet built with Scapy as the request of a trace: what it sets is traced as it is, what it leaves out stays open."""

from __future__ import annotations

from base64 import b64encode
from itertools import islice
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from ..probe.errors import OptionError
from ..probe.options import TraceOptions

__all__ = ("crafted", "packet_text")

_SHOWN = 80
_LONGEST_REASON = 120


def crafted(packet: Packet | bytes, **options: Any) -> TraceOptions:
    """Make the request of a trace whose probes are this packet.

    Arguments:
        packet: `IP(...)/TCP(...)/...` or `IPv6(...)/TCP(...)/...`, or the bytes of such a packet. Lengths and other fields that
            Scapy computes are computed. Source, destination and ports that it does not set are left to `options` or, as for every
            trace, to the route and the system; the port of the destination then is 80.
        options: other options of TraceOptions, with its bounds and units.

    Returns:
        The request. Its `packet` holds the bytes, so that it may be traced from here with `trace()` and from managed hosts, which
        need no Scapy.

    Raises:
        OptionError: the packet is no single TCP packet over IPv4 or IPv6, or options break their rules or contradict it.
    """
    return TraceOptions(**options, packet=packet_text(packet))


def packet_text(packet: Packet | bytes) -> str:
    """The value of the option `packet`.

    Arguments:
        packet: as for `crafted`.

    Raises:
        OptionError: it is no single TCP packet that Scapy can build; whether a trace can take it, TraceOptions says.
    """
    data = packet if isinstance(packet, bytes) else _built(packet)
    return b64encode(data).decode("ascii")


def _built(packet: Any) -> bytes:
    if not isinstance(packet, (IP, IPv6)) or TCP not in packet:
        raise _refused(packet, "an IP or IPv6 packet with TCP: begin with IP() or IPv6(), and go on with TCP()")
    # Host names, numbers out of range, values of another type: what Scapy makes of them shows when it builds.
    try:
        single = list(islice(_with_open_fields(packet), 2))
        built = [bytes(one) for one in single]
    except Exception as error:  # noqa: BLE001 - Scapy raises whatever a field's code runs into
        raise _refused(packet, f"a packet that Scapy can build ({type(error).__name__}: {_on_one_line(error)})") from None
    if len(built) != 1:
        raise _refused(packet, "a single packet: give each of its fields one value")
    return built[0]


def _with_open_fields(packet: Packet) -> Packet:
    """A copy that leaves open what the packet does not set: Scapy would fill in what suits this host."""
    copy = packet.copy()
    network, transport = copy, copy[TCP]
    unspecified = "0.0.0.0" if isinstance(network, IP) else "::"  # noqa: S104 - nothing is bound to it
    for layer, name, value in (
        (network, "src", unspecified),
        (network, "dst", unspecified),
        (transport, "sport", 0),
        (transport, "dport", 0),
    ):
        if layer.fields.get(name) is None:
            layer.setfieldval(name, value)
    return copy


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_REASON]


def _refused(packet: Any, rule: str) -> OptionError:
    try:
        shown = packet.summary() if isinstance(packet, Packet) else repr(packet)
    except Exception:  # noqa: BLE001 - it is shown to tell what is wrong with it
        shown = type(packet).__name__
    sentence = f"packet: {shown[:_SHOWN]} is not {rule}"
    return OptionError([sentence.encode("ascii", "backslashreplace").decode("ascii")])
