"""Labs to run the commands in, and the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def lab() -> Iterator[Callable[[str], Lab]]:
    """Brings up a shipped lab once for all tests of the commands."""
    running: dict[str, Lab] = {}

    def bring_up(name: str) -> Lab:
        if name not in running:
            created = Lab(load_topology(name))
            try:
                created.start()
            except NamespaceError as error:
                pytest.skip(str(error))
            running[name] = created
        return running[name]

    yield bring_up
    for started in running.values():
        started.close()


@pytest.fixture(scope="session")
def ours() -> list[str]:
    """The start of a command line of ours, wherever the package is installed or not."""
    command = "from nornir_tcptraceroute.cli.tcptraceroute import main; sys.exit(main())"
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {command}"]
