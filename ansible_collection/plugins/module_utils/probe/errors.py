# BSD-3-Clause, see LICENSE
"""The exceptions of the probe, one tree, and how they show a value that is wrong.

::

    ProbeError
    + OptionError(ValueError)         a request that breaks its rules; nothing was opened or sent
    + RecordError(ValueError)         a record that is no Trace of a schema known here
    + PrivilegeError(PermissionError) the process may not open a raw socket, or could not give up what it may do
    + ResolveError(OSError)           the destination or the source has no address
    + RouteError(OSError)             no route, no such interface, an address that is not this host's
    + TransportError(OSError)         the system refused a socket for another reason

Every message is one sentence: what, where, and what to do.
"""

from __future__ import annotations

from typing import Sequence, Tuple

__all__ = (
    "OptionError",
    "PrivilegeError",
    "ProbeError",
    "RecordError",
    "ResolveError",
    "RouteError",
    "TransportError",
    "shown",
)


class ProbeError(Exception):
    """Anything that kept a trace from being measured."""


class OptionError(ProbeError, ValueError):
    """A request with one or more options that break their rules.

    Arguments:
        problems: one sentence for each, such as ``max_ttl: 0 is not between 1 and 255``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: Tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> Tuple[type, Tuple[Tuple[str, ...]]]:
        return type(self), (self.problems,)


class RecordError(ProbeError, ValueError):
    """A record that can't be read as a Trace."""


class PrivilegeError(ProbeError, PermissionError):
    """The process lacks CAP_NET_RAW, or could not give its privileges up."""


class ResolveError(ProbeError, OSError):
    """A name without an address, or without one of the family asked for."""


class RouteError(ProbeError, OSError):
    """The packets can't leave this host as the request wants them to."""


class TransportError(ProbeError, OSError):
    """The system refused a socket that the probe needs."""


def shown(value: object, longest: int = 80) -> str:
    """A value as an error may show it: printable ASCII as Python writes it, and not too long.

    Arguments:
        value: anything; of what can't be written, the type is shown.
        longest: the largest number of characters, at least 3; what is longer ends with ``...``.
    """
    try:
        text = ascii(value)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or lists nested as deep.
        text = "<{}>".format(type(value).__name__)
    return text if len(text) <= longest else text[: longest - 3] + "..."
