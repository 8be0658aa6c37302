"""An embedded network of real Linux routers, to try traces on and to test against."""

from .errors import LabError, NamespaceError, TopologyError
from .lab import Lab
from .reading import load_topology, parse_topology
from .topology import Topology
from .truth import Answer, Path, Truth

__all__ = (
    "Answer",
    "Lab",
    "LabError",
    "NamespaceError",
    "Path",
    "Topology",
    "TopologyError",
    "Truth",
    "load_topology",
    "parse_topology",
)
