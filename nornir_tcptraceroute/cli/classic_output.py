"""Hop records as the classic tool prints them: banner, stars, states, annotations. Pure functions of records.

The grammar is that of tcptraceroute 1.5beta7, byte for byte, with three exceptions. Where another router answers after a lost
probe, the classic tool prints its time as if it were the first router's; here it gets a line of its own. Where the quoted
destination and the router change at once, the classic tool prints an empty line between. Where a quote has another port alone,
the classic tool tells 0.0.0.0 as its address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_tcptraceroute.probe.records import Hop, Reply

__all__ = ("ANNOTATIONS", "ClassicOutput", "annotation", "device_line", "port_state", "target_line")

#: What follows the time of an unreachable, by ICMP type and code: type 3 of RFC 792 and RFC 1812, types 1 and 2 of RFC 4443
#: (whose codes 5 and 6 are finer forms of 1). Any other code N is ``!<N>``.
ANNOTATIONS = {
    3: {
        0: "!N",
        1: "!H",
        2: "!P",
        3: "!p",
        4: "!F",
        5: "!S",
        6: "!U",
        7: "!U",
        8: "!I",
        9: "!A",
        10: "!C",
        11: "!T",
        12: "!T",
        13: "!A",
    },
    1: {0: "!N", 1: "!A", 2: "!S", 3: "!H", 4: "!p", 5: "!A", 6: "!A"},
    2: {0: "!F"},
}

#: TCP flags in the order and the words of the classic tool.
_FLAG_WORDS = {"RST": "RST", "SYN": "SYN", "ACK": "ACK", "PSH": "PSH", "FIN": "FIN", "URG": "URG", "CWR": "CWR", "ECE": "ECN"}


def annotation(reply: Reply) -> str:
    """What an ICMP unreachable says, as ``!H``; empty for any other reply."""
    if reply.kind != "unreachable" or reply.icmp_type is None or reply.icmp_code is None:
        return ""
    return ANNOTATIONS.get(reply.icmp_type, {}).get(reply.icmp_code, f"!<{reply.icmp_code}>")


def port_state(tcp_flags: str) -> str:
    """What the flags of a TCP reply say of the port: ``open``, ``open, ecn``, ``closed`` or ``unknown, FLAGS``.

    A RST is ``closed`` for every kind of probe, as in the classic tool, although only the answer to a SYN tells
    (RFC 9293 section 3.10.7). SYN, ACK and ECE is the answer of an ECN-capable host (RFC 3168 section 6.1.1).

    Arguments:
        tcp_flags: names separated by commas, such as ``SYN,ACK``.
    """
    flags = set(tcp_flags.split(","))
    if "RST" in flags:
        return "closed"
    if {"SYN", "ACK"} <= flags:
        return "open, ecn" if "ECE" in flags else "open"
    return "unknown, " + (" ".join(word for flag, word in _FLAG_WORDS.items() if flag in flags) or "no flags")


def device_line(device: str, source: str, source_port: int | None) -> str:
    """The first line of the banner, for standard error.

    Arguments:
        device: interface that the packets leave through.
        source: their source address.
        source_port: None where it is not told, as with ``--track-port``.
    """
    port = "" if source_port is None else f", port {source_port}"
    return f"Selected device {device}, address {source}{port} for outgoing packets\n"


def target_line(host: str, address: str, port: int, service: str | None, max_ttl: int, length: int | None) -> str:
    """The second line of the banner, for standard error.

    Arguments:
        host: as it was asked for.
        address: where the packets go.
        port: TCP port there.
        service: name of that port, if it has one.
        max_ttl: highest TTL.
        length: bytes of each packet where payload was asked for, else None.
    """
    target = host if host == address else f"{host} ({address})"
    name = "" if service is None else f" ({service})"
    size = "" if length is None else f", {length} byte packets"
    return f"Tracing the path to {target} on TCP port {port}{name}, {max_ttl} hops max{size}\n"


class ClassicOutput:
    """The lines of the hops of one trace, to be asked for in the order of the path.

    Arguments:
        translations: what to do with a quote whose destination was rewritten on the path (DNAT): ``show`` it on a line of its
            own, ``hide`` it, or ``refuse`` such a reply and print a star.
    """

    def __init__(self, translations: str = "hide") -> None:
        self._translations = translations
        self._shown: str | None = None

    def hop(self, hop: Hop, name_of: Callable[[str], str | None]) -> str:
        """All lines of one hop, each with its newline.

        Arguments:
            hop: a complete hop. Duplicates are left out.
            name_of: gives the escaped name of an address, or None.
        """
        text, line_start = "", f"{hop.ttl:2d}  "
        responder, state = None, ""
        after_star = False
        for reply in hop.replies:
            if reply.duplicate:
                continue
            translation = self._new_translation(reply)
            if translation:
                text += "" if line_start else "\n"
                text += f"      Detected DNAT to {translation}\n"
                text += "" if line_start else "    "
                responder = None
            text, line_start = text + line_start, ""
            if not self.answers(reply):
                text += " *" if responder or after_star else "*"
                after_star = True
                continue
            if reply.address != responder:
                if responder:
                    text, after_star = text + "\n    ", False
                responder = reply.address
                text += (" " if after_star else "") + _host(responder, name_of)
            if reply.tcp_flags is not None and port_state(reply.tcp_flags) != state:
                state = port_state(reply.tcp_flags)
                text += f" [{state}]"
            text += (" " if after_star else "  ") + _time(reply)
            after_star = False
        return text + line_start + "\n"

    def answers(self, reply: Reply) -> bool:
        """Whether a reply is printed as an answer and not as a star."""
        if reply.address is None:
            return False
        return self._translations != "refuse" or _translation(reply) is None

    def _new_translation(self, reply: Reply) -> str | None:
        """The quoted destination of a reply, where it is to be shown and is not the one shown last."""
        translation = _translation(reply) if self._translations == "show" else None
        if translation is None or translation == self._shown:
            return None
        self._shown = translation
        return translation


def _host(address: str | None, name_of: Callable[[str], str | None]) -> str:
    assert address is not None
    name = name_of(address)
    return address if name is None or name == address else f"{name} ({address})"


def _time(reply: Reply) -> str:
    note = annotation(reply)
    time = "?" if reply.rtt_ms is None else f"{reply.rtt_ms:.3f}"
    return f"{time} ms {note}" if note else f"{time} ms"


def _translation(reply: Reply) -> str | None:
    """The destination that a reply quotes where it is not the probe's: ``ADDRESS`` or ``ADDRESS:PORT``.

    As in the classic tool, an unreachable counts by its port alone.
    """
    quoted = reply.quoted
    if quoted is None:
        return None
    if "port" in reply.altered:
        return f"[{quoted.address}]:{quoted.port}" if ":" in quoted.address else f"{quoted.address}:{quoted.port}"
    return quoted.address if "address" in reply.altered and reply.kind == "time_exceeded" else None
