"""Reads YAML files that users write, and knows the line of every place in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from ..probe.errors import OptionError
from .naming import Place, Problem

__all__ = ("Document", "parse", "read")

MOST_BYTES = 1 << 20
MOST_LEVELS = 20


class Document:
    """A YAML file's content.

    Arguments:
        content: what it holds, as JSON types.
        source: what it is called in problems, usually its path.
        root: where everything stands.

    Attributes:
        content, source: the same.
    """

    def __init__(self, content: Any, source: str, root: Node | None) -> None:
        self.content = content
        self.source = source
        self._root = root

    def line(self, place: Place) -> int:
        """The line, from 1, of the deepest part of the file that a place names."""
        line, node = 1, self._root
        for step in place:
            if isinstance(node, MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(step)]
                if not found:
                    return line
                line, node = found[0][0].start_mark.line + 1, found[0][1]
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                return line
        return line

    def refusal(self, problems: Iterable[Problem]) -> OptionError:
        """The exception that tells each problem with its file and line, in the order of the file."""
        told = sorted(((self.line(problem.place), problem) for problem in problems), key=lambda entry: entry[0])
        return OptionError(
            [
                f"{self.source}:{line}: {problem}" if problem.place else f"{self.source}:{line}: {problem.rule}"
                for line, problem in told
            ]
        )


def read(file: str | os.PathLike[str]) -> Document:
    """Read a file.

    Arguments:
        file: its path; UTF-8, at most 1 MiB.

    Raises:
        OptionError: it can't be read or is no YAML; the one sentence begins with file and line.
    """
    source = _printable(os.fspath(file))
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise OptionError([f"{source}: can't be read: {getattr(error, 'strerror', None) or error}"]) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OptionError([f"{source}:{line}: this is not UTF-8 text"]) from None
    return parse(text, source)


def parse(text: str, source: str) -> Document:
    """Read the text of a file.

    Arguments:
        text: YAML 1.2 without aliases, at most 1 MiB and 20 levels deep.
        source: what it is called in problems.

    Raises:
        OptionError: as for ``read``.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise OptionError([f"{source}:1: the file is larger than {MOST_BYTES >> 20} MiB"])
    yaml = YAML(typ="safe", pure=True)
    try:
        problem = _nested(yaml.parse(text))
        if problem is None:
            return Document(yaml.load(text), source, yaml.compose(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = _printable(" ".join(str(error.problem or error.context).split()))
        raise OptionError([f"{source}:{mark.line + 1 if mark else 1}: this is not YAML: {told}"]) from None
    except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        # A number of thousands of digits, a date that there is none of, a character that YAML forbids.
        told = _printable(" ".join(str(error).split()))
        raise OptionError([f"{source}:1: this is not YAML: {told[:200]}"]) from None
    raise OptionError([f"{source}:{problem}"])


def _nested(events: Iterable[Event]) -> str | None:
    """Line and rule where a file nests too deep or refers to another part of itself, which could make a small file huge."""
    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MOST_LEVELS:
            return f"{event.start_mark.line + 1}: there are more than {MOST_LEVELS} levels"
        if isinstance(event, AliasEvent):
            return f"{event.start_mark.line + 1}: an alias can't stand here: write out what it stands for"
    return None


def _printable(text: str) -> str:
    return ascii(text)[1:-1]
