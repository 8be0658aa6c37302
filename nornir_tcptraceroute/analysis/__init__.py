"""What a trace means: pure functions over Trace, on the controller."""

from .evidence import explain
from .naming import Naming, label

__all__ = ("Naming", "explain", "label")
