"""Labs for the tests that capture packets of real tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def lab() -> Iterator[Callable[[str], Lab]]:
    """Brings up a shipped lab once for all tests of the reports."""
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
