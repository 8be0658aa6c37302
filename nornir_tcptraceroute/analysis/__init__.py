"""What a trace means: pure functions over Trace, on the controller."""

from .naming import Naming, label

__all__ = ("Naming", "label")
