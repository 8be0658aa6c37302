from __future__ import annotations

import pytest

from nornir_tcptraceroute.cli.classic_output import ClassicOutput
from nornir_tcptraceroute.cli.exit_status import classic_status, common_status, honest_status, signal_status
from nornir_tcptraceroute.probe.records import Trace
from tests.cli.replies import TARGET, hop, rewritten, send_error, star, tcp, trace, transit, unreachable

ROUTER = "10.2.0.2"

CASES = [
    # what, trace, classic, --fail-unreached, --fail-closed
    (
        "open",
        trace(hop(1, transit(ROUTER)), hop(2, tcp("SYN,ACK")), reached=True, port_state="open", stop_reason="reached"),
        0,
        0,
        0,
    ),
    ("closed", trace(hop(1, tcp("RST,ACK")), reached=True, port_state="closed", stop_reason="reached"), 0, 0, 4),
    ("something else", trace(hop(1, tcp("ACK")), reached=True, port_state="unknown", stop_reason="reached"), 0, 0, 4),
    ("refused by a router", trace(hop(1, unreachable(ROUTER, 13)), port_state="filtered", stop_reason="unreachable"), 0, 3, 3),
    (
        "refused by the target",
        trace(hop(1, unreachable(TARGET, 3)), port_state="unreachable", stop_reason="unreachable"),
        0,
        3,
        3,
    ),
    ("an unreachable on the way", trace(hop(1, transit(ROUTER), unreachable(ROUTER, 1)), hop(2, star())), 0, 3, 3),
    ("silence", trace(hop(1, transit(ROUTER)), hop(2, star()), port_state="filtered"), 1, 2, 2),
    ("nothing but routers", trace(hop(1, transit(ROUTER))), 1, 2, 2),
    ("gap limit", trace(hop(1, star()), stop_reason="gap_limit"), 1, 2, 2),
    ("deadline", trace(hop(1, star()), stop_reason="deadline"), 1, 2, 2),
    ("no hop at all", trace(stop_reason="deadline"), 1, 2, 2),
    ("nothing could be sent", trace(hop(1, send_error("ENETUNREACH")), stop_reason="error"), 1, 1, 1),
    ("sending failed at the end", trace(hop(1, tcp("SYN,ACK")), reached=True, port_state="open", stop_reason="error"), 0, 0, 0),
]


@pytest.mark.parametrize(
    ("ended", "classic", "reached", "port_open"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_exit_status(ended: Trace, classic: int, reached: int, port_open: int) -> None:
    assert classic_status(ended, ClassicOutput().answers) == classic
    assert honest_status(ended, port_open=False) == reached
    assert honest_status(ended, port_open=True) == port_open


def test_an_unreachable_that_is_refused_does_not_count() -> None:
    ended = trace(hop(1, rewritten(unreachable(ROUTER, 1), TARGET, 81)), stop_reason="unreachable")
    assert classic_status(ended, ClassicOutput("hide").answers) == 0
    assert classic_status(ended, ClassicOutput("refuse").answers) == 1


@pytest.mark.parametrize(("number", "status"), [(2, 130), (15, 143)])
def test_signal_status(number: int, status: int) -> None:
    assert signal_status(number) == status


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [([], 0), ([0, 0], 0), ([0, 1], 1), ([0, 2, 0], 2), ([2, 3], 3), ([4, 2], 4), ([4, 1, 3], 1)],
)
def test_several_traces_have_the_status_of_the_worst(statuses: list[int], expected: int) -> None:
    assert common_status(statuses) == expected
