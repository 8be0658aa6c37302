"""Measures again while something is not met, for networks that converge."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

__all__ = ("Retries", "settle")

_Asked = TypeVar("_Asked", bound=Hashable)
_Measured = TypeVar("_Measured")
_Judged = TypeVar("_Judged")


class Retries(NamedTuple):
    """How often something is measured again, and after which pause.

    Attributes:
        most: so many times at most, beside the first. delay: pause before each, in seconds.
    """

    most: int = 0
    delay: float = 5.0


def settle(
    asked: Sequence[_Asked],
    measure: Callable[[Sequence[_Asked]], Sequence[_Measured]],
    judged: Callable[[_Asked, _Measured], _Judged],
    met: Callable[[_Judged], bool],
    retries: Callable[[_Asked], Retries],
    told: Callable[[_Asked, _Judged, int, float], None],
    *,
    now: Callable[[], float] = time.monotonic,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Measure what is asked until each is met or has been tried as often as it may be.

    Arguments:
        asked: no two equal; measured together. What is tried again is measured with what is due by then.
        measure: takes the measurements of several. judged: judges one. met: whether a judgement stands.
        retries: of one.
        told: hears of each once it is settled: the judgement, how often it was measured, and how many seconds it took.
        now, wait: clock and pause, in seconds.
    """
    begun = now()
    due = dict.fromkeys(asked, begun)
    attempts = dict.fromkeys(asked, 0)
    while due:
        pause = min(due.values()) - now()
        if pause > 0:
            wait(pause)
        moment = now()
        turn = [one for one, at in due.items() if at <= moment]
        for one, measured in zip(turn, measure(turn), strict=True):
            attempts[one] += 1
            judgement = judged(one, measured)
            most, delay = retries(one)
            if met(judgement) or attempts[one] > most:
                del due[one]
                told(one, judgement, attempts[one], now() - begun)
            else:
                due[one] = now() + delay
