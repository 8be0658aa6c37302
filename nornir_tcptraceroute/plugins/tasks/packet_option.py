"""The task's option `packet`: from a Scapy packet or bytes to what the probe takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...probe.errors import OptionError
from ...probe.options import PARAMETERS
from ...probe.template import read_template


def take_packet(options: dict[str, Any], fallback: str) -> Sequence[str]:
    """Put the packet among a trace's options into the probe's form, and leave the destination to it where it tells one.

    Arguments:
        options: of the trace; changed.
        fallback: a destination for options whose packet can't be read, so that nothing else is said of that.

    Returns:
        What is wrong with the packet as Scapy has it; with its bytes, TraceOptions says.
    """
    packet = options.get("packet")
    if packet is None:
        return ()
    if not isinstance(packet, str):
        # Scapy takes longer to import than a trace takes.
        from ...analysis.crafted import packet_text

        try:
            packet = options["packet"] = packet_text(packet)
        except OptionError as error:
            del options["packet"]
            options.setdefault("destination", fallback)
            return error.problems
    if "destination" not in options and _decides_destination(packet):
        options["destination"] = PARAMETERS["destination"].default
    return ()


def _decides_destination(packet: str) -> bool:
    try:
        return bool(read_template(packet).address)
    except ValueError:
        # It is refused in its own words, which say enough.
        return True
