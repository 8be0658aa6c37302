"""How Hypothesis runs everywhere: never judged by the machine's speed, without a file of its own; and the fleet for all tests."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_tcptraceroute.lab import Lab

settings.register_profile(
    "house",
    # A machine under load is no failure of what is tested.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A checkout may be read-only; what failed is printed, to be tried again with @reproduce_failure.
    database=None,
    print_blob=True,
)
settings.load_profile("house")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell, which is told to ignore the keyboard, and what the tests start with it: there they
    # press Ctrl-C all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def fleet() -> Iterator[Lab]:
    """The shipped network `fleet`: a controller, managed hosts behind SSH, and a service to trace to."""
    # Here, because the probe's tests run where the lab's libraries are not.
    from nornir_tcptraceroute.lab import Lab, NamespaceError, load_topology  # noqa: PLC0415, RUF100

    created = Lab(load_topology("fleet"))
    try:
        created.start()
    except NamespaceError as error:
        pytest.skip(str(error))
    yield created
    created.close()
