"""The lab's exceptions: what kept a network from being described or brought up.

LabError
+ TopologyError     a file that breaks rules
+ NamespaceError    a system that allows neither root nor user namespaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class LabError(Exception):
    """A lab could not be brought up or used. The text is one sentence: what, where, what to do."""


class TopologyError(LabError):
    """A topology file was refused.

    Arguments:
        problems: every rule that the file breaks, one line each, in the order of the file.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class NamespaceError(LabError):
    """This system refuses the namespaces that a lab is made of. The text says what to do."""
