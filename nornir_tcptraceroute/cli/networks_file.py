"""The file of ``--networks``: the user's networks, devices and AS database, and the line of everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from nornir_tcptraceroute.analysis.naming import Naming, problems
from nornir_tcptraceroute.probe.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ruamel.yaml.nodes import Node

    from nornir_tcptraceroute.analysis.naming import Place

__all__ = ("MOST_BYTES", "read_naming")

MOST_BYTES = 4 << 20
KEYS = ("networks", "devices", "asn_database")
_NULL = "tag:yaml.org,2002:null"
# The file, a section, a list of prefixes or names.
_MOST_LEVELS = 3


def read_naming(file: str) -> Naming:
    """Read what is known of addresses from a YAML file.

    Arguments:
        file: its path. ``networks``, ``devices`` and ``asn_database`` may stand in it, as Naming takes them; all scalars are
            text. The path of a database is seen from the file's own directory. At most 4 MiB.

    Raises:
        OptionError: one line ``file:line: what is wrong`` for each problem.
    """
    reading = _Reading(file)
    content = reading.read()
    for problem in problems(content.get("networks"), content.get("devices")):
        reading.refuse(reading.line(problem.place), str(problem))
    if not reading.told:
        database = content.get("asn_database")
        try:
            return Naming(
                content.get("networks"),
                content.get("devices"),
                Path(file).parent / database if isinstance(database, str) else database,
            )
        except OptionError as error:
            for told in error.problems:
                reading.refuse(reading.line(("asn_database",)), told)
    raise OptionError([f"{_shown(file)}:{line}: {rule}" for line, rule in sorted(reading.told, key=lambda told: told[0])])


class _Reading:
    """A file, and what is wrong with it.

    Attributes:
        told: line and rule of each problem.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Place, int] = {}
        self.told: list[tuple[int, str]] = []

    def refuse(self, line: int, rule: str) -> None:
        self.told.append((line, rule))

    def line(self, place: Place) -> int:
        """The line, from 1, of the deepest part of the file that a place names."""
        return next((self._lines[place[:depth]] for depth in range(len(place), 0, -1) if place[:depth] in self._lines), 1)

    def read(self) -> Mapping[str, Any]:
        """The file's content, as far as it has one."""
        root = self._tree()
        content = None if root is None else self._value(root, (), set())
        if self.told:
            # What the file means is not clear, so that nothing more is said of it.
            return {}
        if isinstance(content, dict):
            for key in content:
                if key not in KEYS:
                    self.refuse(self.line((key,)), f"{_shown(key)} is not one of {', '.join(KEYS)}")
            return content
        self.refuse(1, "is not a mapping with networks, devices or asn_database")
        return {}

    def _tree(self) -> Node | None:
        try:
            with Path(self._file).open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                self.refuse(1, f"is larger than {MOST_BYTES >> 20} MiB")
                return None
            root: Node | None = YAML(typ="safe", pure=True).compose(content.decode("utf-8"))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.refuse(mark.line + 1 if mark else 1, f"is not YAML: {error.problem or error.context}")
        except YAMLError as error:
            self.refuse(1, f"is not YAML: {str(error).splitlines()[0]}")
        except RecursionError:
            self.refuse(1, "is not YAML that makes sense here: it is nested too deeply")
        except UnicodeDecodeError:
            self.refuse(1, "is not UTF-8 text")
        except (OSError, ValueError) as error:
            self.refuse(1, f"can't be read: {getattr(error, 'strerror', None) or error}")
        else:
            return root
        return None

    def _value(self, node: Node, place: Place, seen: set[int]) -> Any:
        """A part of the file as text, lists and mappings; what can't be one is refused, and None."""
        line = node.start_mark.line + 1
        self._lines.setdefault(place, line)
        if isinstance(node, ScalarNode):
            return None if node.tag == _NULL else node.value
        if id(node) in seen or len(place) >= _MOST_LEVELS:
            self.refuse(line, "an alias can't stand here" if id(node) in seen else "is nested too deeply")
            return None
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            return [self._value(item, (*place, number), seen) for number, item in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        content: dict[Any, Any] = {}
        for key, value in node.value:
            where = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                self.refuse(where, "a key has to be text")
                continue
            if key.value in content:
                self.refuse(where, f"{_shown(key.value)} stands in line {self._lines[(*place, key.value)]} too")
                continue
            self._lines[(*place, key.value)] = where
            content[key.value] = self._value(value, (*place, key.value), seen)
        return content


def _shown(text: str) -> str:
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= 200 else shown[:197] + "..."
