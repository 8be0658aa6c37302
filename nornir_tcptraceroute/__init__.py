"""TCP traceroute for Nornir and Ansible: the public names, nothing else."""

from .probe.errors import (
    OptionError,
    PrivilegeError,
    ProbeError,
    RecordError,
    ResolveError,
    RouteError,
    TransportError,
)
from .probe.library import trace, trace_many
from .probe.options import PARAMETERS, Parameter, TraceOptions
from .probe.records import (
    Hop,
    Interface,
    Label,
    Modification,
    Network,
    Packet,
    ProbeShape,
    Quoted,
    Reply,
    RoundTrip,
    Trace,
)
from .version import VERSION

__all__ = [
    "PARAMETERS",
    "VERSION",
    "Hop",
    "Interface",
    "Label",
    "Modification",
    "Network",
    "OptionError",
    "Packet",
    "Parameter",
    "PrivilegeError",
    "ProbeError",
    "ProbeShape",
    "Quoted",
    "RecordError",
    "Reply",
    "ResolveError",
    "RoundTrip",
    "RouteError",
    "Trace",
    "TraceOptions",
    "TransportError",
    "trace",
    "trace_many",
]
