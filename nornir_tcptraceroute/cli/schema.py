"""``nornir-tcptraceroute schema``: the JSON Schemas of a trace and of a check file, as the package carries them."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from .streams import write_output

if TYPE_CHECKING:
    import argparse

__all__ = ("add_arguments", "run")


_SCHEMAS = ("trace", "check")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``schema``, and tell what it does.

    Arguments:
        parser: that of ``nornir-tcptraceroute schema``.
    """
    parser.description = "Print the JSON Schema that every trace of this version keeps to, or that of a check file."
    parser.add_argument("schema", nargs="?", choices=_SCHEMAS, default="trace", help="of what (default: trace)")


def run(arguments: argparse.Namespace) -> int:
    """Print the schema.

    Returns:
        The exit status, 0.

    Raises:
        OutputLostError: standard output took no more.
    """
    name = f"{arguments.schema}.schema.json"
    write_output(resources.files("nornir_tcptraceroute").joinpath(name).read_text("ascii"))
    return 0
