"""Reads YAML files that users write, and knows the line of every place in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from ..probe.errors import OptionError
from .naming import Place, Problem

__all__ = ("Document", "parse", "read")

MOST_BYTES = 1 << 20
MOST_LEVELS = 20
_NULL = "tag:yaml.org,2002:null"


class Document:
    """A YAML file's content.

    Arguments:
        content: what it holds, as JSON types.
        source: what it is called in problems, usually its path.
        lines: the line, from 1, of everything in it; a key's is its own, not its value's. Keys are as they are written.

    Attributes:
        content, source: the same.
    """

    def __init__(self, content: Any, source: str, lines: Mapping[Place, int]) -> None:
        self.content = content
        self.source = source
        self._lines = lines

    def line(self, place: Place) -> int:
        """The line, from 1, of the deepest part of the file that a place names."""
        known: Place = ()
        for step in place:
            deeper = next((there for there in ((*known, step), (*known, str(step))) if there in self._lines), None)
            if deeper is None:
                break
            known = deeper
        return self._lines[known]

    def refusal(self, problems: Iterable[Problem]) -> OptionError:
        """The exception that tells each problem with its file and line, in the order of the file."""
        told = sorted(((self.line(problem.place), problem) for problem in problems), key=lambda entry: entry[0])
        return OptionError(
            [
                f"{self.source}:{line}: {problem}" if problem.place else f"{self.source}:{line}: {problem.rule}"
                for line, problem in told
            ]
        )


def read(file: str | os.PathLike[str], *, as_text: bool = False, most_bytes: int = MOST_BYTES) -> Document:
    """Read a file.

    Arguments:
        file: its path; UTF-8.
        as_text: as for ``parse``.
        most_bytes: the largest size that is taken; a multiple of 1 MiB.

    Raises:
        OptionError: it can't be read or is no YAML; each sentence begins with file and line.
    """
    source = _printable(os.fspath(file))
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise OptionError([f"{source}: can't be read: {getattr(error, 'strerror', None) or error}"]) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OptionError([f"{source}:{line}: this is not UTF-8 text"]) from None
    return parse(text, source, as_text=as_text, most_bytes=most_bytes)


def parse(text: str, source: str, *, as_text: bool = False, most_bytes: int = MOST_BYTES) -> Document:
    """Read the text of a file.

    Arguments:
        text: YAML 1.2 without aliases, at most 20 levels deep.
        source: what it is called in problems.
        as_text: whether keys and values are text as they are written, as in a file of names; what is left empty is None. Else
            numbers, truths and dates are what YAML takes them for.
        most_bytes: as for ``read``.

    Raises:
        OptionError: as for ``read``.
    """
    if len(text.encode("utf-8", "surrogatepass")) > most_bytes:
        raise OptionError([f"{source}:1: the file is larger than {most_bytes >> 20} MiB"])
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    # It would tell so on standard error; an anchor without alias does nothing.
    yaml.composer.warn_double_anchors = False
    lines: dict[Place, int] = {(): 1}
    try:
        # Nothing is read twice: a megabyte takes Python many seconds.
        root = yaml.compose(text)
        problems = [f"{source}:{problem}" for problem in _take_lines(root, (), lines, as_text=as_text)] if root else []
        content = None
        if root and not problems:
            content = _texts(root) if as_text else yaml.constructor.construct_document(root)
    except _UnwantedError as error:
        raise OptionError([f"{source}:{error.problem_mark.line + 1}: {error.problem}"]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = _printable(" ".join(str(error.problem or error.context).split()))
        raise OptionError([f"{source}:{mark.line + 1 if mark else 1}: this is not YAML: {told}"]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise OptionError([f"{source}:{line}: this is not YAML: unacceptable character #x{error.character:04x}"]) from None
    except (YAMLError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        # A number of thousands of digits, a date that there is none of.
        told = _printable(" ".join(str(error).split()))
        raise OptionError([f"{source}:1: this is not YAML: {told[:200]}"]) from None
    if problems:
        raise OptionError(problems)
    return Document(content, source, lines)


class _UnwantedError(MarkedYAMLError):
    """What YAML knows and no file here needs."""


class _Composer(Composer):
    """Makes no tree of a file that nests too deep or refers to another part of itself, which could make a small file huge."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self._levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            rule = "an alias can't stand here: write out what it stands for"
            raise _UnwantedError(problem=rule, problem_mark=event.start_mark)
        deeper = isinstance(event, CollectionStartEvent)
        if deeper and self._levels == MOST_LEVELS:
            raise _UnwantedError(problem=f"there are more than {MOST_LEVELS} levels", problem_mark=event.start_mark)
        self._levels += deeper
        node = super().compose_node(parent, index)
        self._levels -= deeper
        return node


def _take_lines(node: Node, place: Place, lines: dict[Place, int], *, as_text: bool) -> Iterator[str]:
    """Note the lines of all below a place; gives line and rule of each key that can't be one or stands there twice."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, SequenceNode):
        for number, item in enumerate(node.value):
            yield from _take_lines(item, (*place, number), lines, as_text=as_text)
    elif isinstance(node, MappingNode):
        known: dict[str | tuple[str, str], int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                yield f"{line}: a key has to be text"
                continue
            # The number 1 and the text "1" are two keys, unless all is text.
            same = key.value if as_text else (str(key.tag), key.value)
            if same in known:
                yield f"{line}: {_printable(key.value)[:200]} stands in line {known[same]} too"
                continue
            known[same] = lines[(*place, key.value)] = line
            yield from _take_lines(value, (*place, key.value), lines, as_text=as_text)


def _texts(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {key.value: _texts(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [_texts(item) for item in node.value]
    return None if node.tag == _NULL else node.value


def _printable(text: str) -> str:
    return ascii(text)[1:-1]
