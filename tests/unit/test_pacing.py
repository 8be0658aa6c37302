"""Limits on sending, in virtual time: of the process, of a destination, and of the routers that all traces share."""

from __future__ import annotations

import math
from typing import Any, List

import pytest

from nornir_tcptraceroute.probe.errors import OptionError
from nornir_tcptraceroute.probe.pacing import (
    DESTINATION_BURST,
    DESTINATION_RATE,
    NEAR_BURST,
    NEAR_HOPS,
    NEAR_SHARE,
    PROCESS_BURST,
    PROCESS_RATE,
    Pacer,
    Pacing,
    read_rate,
)


def times(pacing: Pacing, probes: List[int], addresses: int = 10_000) -> List[float]:
    """When probes of these TTLs may leave, each to another of so many destinations, one after another as fast as they may."""
    for number in range(addresses):
        pacing.begin(str(number))
    now, left = 0.0, []
    for number, ttl in enumerate(probes):
        address = str(number % addresses)
        now = max(pacing.process.next_at(now), pacing.ready_at(address, ttl, now))
        pacing.take(address, ttl)
        left.append(now)
    return left


def test_the_process_keeps_to_its_rate() -> None:
    left = times(Pacing(), [NEAR_HOPS + 1] * 5000)
    assert left[PROCESS_BURST - 1] == 0.0
    assert left[-1] == pytest.approx((5000 - PROCESS_BURST) / PROCESS_RATE, rel=0.01)


@pytest.mark.parametrize("ttl", range(1, NEAR_HOPS + 1))
def test_a_router_that_all_share_gets_its_share_of_the_rate(ttl: int) -> None:
    left = times(Pacing(), [ttl] * 2000)
    assert left[-1] == pytest.approx((2000 - NEAR_BURST) / (PROCESS_RATE * NEAR_SHARE), rel=0.02)


def test_a_destination_keeps_to_its_rate_whatever_the_process_may() -> None:
    left = times(Pacing(math.inf), [NEAR_HOPS + 1] * 1000, addresses=1)
    assert left[-1] == pytest.approx((1000 - DESTINATION_BURST) / DESTINATION_RATE, rel=0.02)


def test_without_a_limit_nothing_waits_but_for_its_destination() -> None:
    assert set(times(Pacing(math.inf), list(range(1, 31)) * 300)) == {0.0}


def test_a_destination_is_forgotten_with_its_last_trace() -> None:
    pacing = Pacing()
    pacing.begin("a")
    pacing.begin("a")
    pacing.end("a")
    assert pacing.ready_at("a", 9, 0.0) == 0.0
    pacing.end("a")
    with pytest.raises(KeyError):
        pacing.ready_at("a", 9, 0.0)


def test_tokens_do_not_pile_up_beyond_the_burst() -> None:
    pacer = Pacer(10.0, 5)
    assert pacer.next_at(0.0) == 0.0
    for _ in range(5):
        assert pacer.next_at(1000.0) == 1000.0
        pacer.take()
    assert pacer.next_at(1000.0) == pytest.approx(1000.1)


def test_the_rate_may_change_at_any_time() -> None:
    pacing = Pacing()
    times(pacing, [NEAR_HOPS + 1] * PROCESS_BURST)
    pacing.change(10.0)
    assert pacing.process.next_at(0.0) == pytest.approx(0.1)
    pacing.change(math.inf)
    assert pacing.process.next_at(0.0) == 0.0
    pacing.change(1000.0)
    left = times(Pacing(1000.0), [1] * 1000)
    assert left[-1] == pytest.approx((1000 - NEAR_BURST) / (1000.0 * NEAR_SHARE), rel=0.02)


@pytest.mark.parametrize(
    ("value", "rate"),
    [(1, 1.0), (2.5, 2.5), ("1000000", 1e6), ("1e3", 1e3), (math.inf, math.inf), ("unlimited", math.inf)],
)
def test_a_rate_is_a_number_or_the_word_for_none(value: Any, rate: float) -> None:
    assert read_rate(value) == rate


@pytest.mark.parametrize(
    "value",
    [0, 0.5, -1, "0", 1_000_001, 10**400, "inf", "nan", math.nan, -math.inf, True, [], "", "5/s", "1_0", "\u0661", b"5"],
)
def test_what_is_no_rate_is_refused(value: Any) -> None:
    with pytest.raises(OptionError, match=r"^rate: .* is not between 1 and 1000000 probes per second, nor 'unlimited'$"):
        read_rate(value)
