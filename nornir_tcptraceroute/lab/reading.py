"""Reading topology files, and saying what is wrong with them: file, line, place and rule of every problem."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, SequenceNode

from .errors import LabError, TopologyError
from .rules import problems
from .topology import Location, Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ruamel.yaml.nodes import Node as YamlNode

MAX_FILE_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_SHOWN = 60


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _line(root: YamlNode | None, location: Sequence[str | int]) -> int:
    """The line, from 1, of the deepest part of a file that a location names."""
    line = 1
    node = root
    for step in location:
        line = node.start_mark.line + 1 if node is not None else line
        if isinstance(node, MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                return line
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _sentence(error: dict[str, Any]) -> str:
    """One problem in our words, from pydantic's."""
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return "is not a key that may stand here"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return f"{_shown(value)} {error['ctx']['error']}"
    return f"{_shown(value)}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _location(error: dict[str, Any]) -> Location:
    # Pydantic adds steps of its own for unions and validators; those are no part of the file.
    return tuple(
        step for step in error["loc"] if isinstance(step, int) or (re.fullmatch(r"[A-Za-z0-9_.:/-]+", step) and step != "[key]")
    )


def _refuse_oversize(text: str, source: str, yaml: YAML) -> None:
    if len(text.encode()) > MAX_FILE_BYTES:
        raise TopologyError([f"{source}:1: the file is larger than {MAX_FILE_BYTES} bytes"])
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH or isinstance(event, AliasEvent):
            rule = "an alias can't stand in a topology file" if depth <= MAX_DEPTH else f"more than {MAX_DEPTH} levels"
            raise TopologyError([f"{source}:{event.start_mark.line + 1}: {rule}"])


def parse_topology(text: str, source: str = "topology") -> Topology:
    """Read a topology from the text of a file.

    Arguments:
        text: YAML, at most 256 KiB, without aliases.
        source: what the text is called in problems, usually the file's name.

    Returns:
        The topology, all rules checked.

    Raises:
        TopologyError: with one line `source:line: place: rule` for each problem.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        _refuse_oversize(text, source, yaml)
        root = yaml.compose(text)
        content = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise TopologyError([f"{source}:{mark.line + 1 if mark else 1}: not YAML: {error.problem or error.context}"]) from error
    except YAMLError as error:
        raise TopologyError([f"{source}:1: not YAML: {str(error).splitlines()[0]}"]) from error
    if not isinstance(content, dict):
        raise TopologyError(
            [f"{source}:1: not a topology: a mapping with 'description', 'vantage', 'hosts', 'routers' and 'links'"]
        )

    def told(location: Location, rule: str) -> str:
        return f"{source}:{_line(root, location)}: {'.'.join(str(step) for step in location) or 'file'}: {rule}"

    try:
        topology = Topology.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise TopologyError(list(dict.fromkeys(told(_location(dict(one)), _sentence(dict(one))) for one in details))) from error
    found = sorted(problems(topology), key=lambda problem: _line(root, problem[0]))
    if found:
        raise TopologyError([told(location, rule) for location, rule in found])
    return topology


def shipped() -> dict[str, str]:
    """The topologies that come with the package: text by name, in the order of their names."""
    directory = resources.files(__package__) / "networks"
    files = sorted((file for file in directory.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def load_topology(file_or_name: str | Path) -> Topology:
    """Read a topology from a file, or one of those shipped by its name.

    Arguments:
        file_or_name: path of a YAML file, or a name that `lab list` shows. A bare name means the shipped one.

    Returns:
        The topology, all rules checked.

    Raises:
        TopologyError: the file breaks rules.
        LabError: there is no such file and no such shipped topology.
    """
    networks = shipped()
    if str(file_or_name) in networks:
        return parse_topology(networks[str(file_or_name)], f"{file_or_name}.yaml")
    path = Path(file_or_name)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError as error:
        message = f"{str(file_or_name)!r} is neither a file nor a shipped lab ({', '.join(networks)})"
        raise LabError(message) from error
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise LabError(message) from error
    except UnicodeDecodeError as error:
        raise TopologyError([f"{path}:1: not UTF-8 text"]) from error
    return parse_topology(text, str(path))
