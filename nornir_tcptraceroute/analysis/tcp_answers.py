"""The bytes of a TCP reply opened with Scapy: what its header says of the stack that sent it. Pure functions."""

from __future__ import annotations

import binascii
from typing import NamedTuple

from scapy.layers.inet import IP, TCP

from ..probe.records import Reply

__all__ = ("TcpAnswer", "open_answer")

#: The longest IP packet; what claims to be longer is none.
_LONGEST = 65535


class TcpAnswer(NamedTuple):
    """What the header of a TCP reply tells.

    Attributes:
        window: as it stands, unscaled.
        mss: maximum segment size that a SYN offers (RFC 9293 section 3.7.1); None where it offers none.
        options: names of the TCP options in their order, as Scapy has them; padding left out.
    """

    window: int
    mss: int | None
    options: tuple[str, ...]


def open_answer(reply: Reply, family: int) -> TcpAnswer | None:
    """Open the evidence of a TCP reply.

    Arguments:
        reply: of any kind. family: 4 (the evidence begins with the IP header) or 6 (with the TCP header).

    Returns:
        None where the reply is no TCP reply, keeps no evidence, or keeps what is no TCP header.
    """
    if reply.kind != "tcp" or reply.evidence is None:
        return None
    try:
        data = binascii.a2b_base64(reply.evidence)
    except binascii.Error:
        return None
    # Scapy fills in what is missing; a header that is not there must not be read as one with its defaults.
    at = (data[0] & 0x0F) * 4 if data and family == 4 else 0
    if len(data) > _LONGEST or len(data) < at + 20 or (family == 4 and (at < 20 or data[0] >> 4 != 4 or data[9] != 6)):
        return None
    segment = IP(data).getlayer(TCP) if family == 4 else TCP(data)
    if segment is None:
        return None
    listed = [(name, value) for name, value in segment.options if isinstance(name, str) and name not in {"NOP", "EOL"}]
    mss = next((value for name, value in listed if name == "MSS" and isinstance(value, int)), None)
    return TcpAnswer(int(segment.window), mss, tuple(name for name, _value in listed))
