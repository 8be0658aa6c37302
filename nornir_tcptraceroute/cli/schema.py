"""``nornir-tcptraceroute schema``: the JSON Schema of a trace, as the package carries it."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from .streams import write_output

if TYPE_CHECKING:
    import argparse

__all__ = ("add_arguments", "run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``schema``, which has none, and tell what it does.

    Arguments:
        parser: that of ``nornir-tcptraceroute schema``.
    """
    parser.description = "Print the JSON Schema that every trace of this version keeps to."


def run(_: argparse.Namespace) -> int:
    """Print the schema.

    Returns:
        The exit status, 0.

    Raises:
        OutputLostError: standard output took no more.
    """
    write_output(resources.files("nornir_tcptraceroute").joinpath("trace.schema.json").read_text("ascii"))
    return 0
