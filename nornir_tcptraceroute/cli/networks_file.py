"""The file of ``--networks``: the user's networks, devices and AS database, and the line of everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from nornir_tcptraceroute.analysis import document
from nornir_tcptraceroute.analysis.naming import Naming, Problem, problems
from nornir_tcptraceroute.probe.errors import OptionError

__all__ = ("MOST_BYTES", "read_naming")

MOST_BYTES = 4 << 20
KEYS = ("networks", "devices", "asn_database")


def read_naming(file: str) -> Naming:
    """Read what is known of addresses from a YAML file.

    Arguments:
        file: its path. ``networks``, ``devices`` and ``asn_database`` may stand in it, as Naming takes them; all scalars are
            text. The path of a database is seen from the file's own directory. At most 4 MiB.

    Raises:
        OptionError: one line ``file:line: what is wrong`` for each problem.
    """
    source = document.read(file, as_text=True, most_bytes=MOST_BYTES)
    content = source.content
    if not isinstance(content, dict):
        raise source.refusal([Problem((), "is not a mapping with networks, devices or asn_database")])
    networks, devices, database = (content.get(key) for key in KEYS)
    unknown = [Problem((key,), f"is not one of {', '.join(KEYS)}") for key in content if key not in KEYS]
    told = [*unknown, *problems(networks, devices)]
    if told:
        raise source.refusal(told)
    try:
        return Naming(networks, devices, Path(file).parent / database if isinstance(database, str) else database)
    except OptionError as error:
        line = source.line(("asn_database",))
        raise OptionError([f"{source.source}:{line}: {problem}" for problem in error.problems]) from None
