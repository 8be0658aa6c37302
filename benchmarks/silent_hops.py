"""One trace over twelve hops of which three are silent, 60 ms to the destination."""

from __future__ import annotations

import sys

from side_by_side import Goal, compare, judged, table
from tools import OURS, installed

DESTINATION = "198.18.3.4"
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60, "silent": [5, 6, 7]}]}
CLASSIC, PARALLEL = "tcptraceroute (classic)", "traceroute -T"


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    compared = compare(SCENARIO, DESTINATION, [OURS, *installed(PARALLEL, CLASSIC)])
    print(table(compared))
    mine = compared[OURS.name]
    goals = [
        Goal("hops right", min(judgement.right for judgement in mine.judgements), 9, least=True, form="{:.0f}"),
        Goal("hops wrong", max(judgement.wrong for judgement in mine.judgements), 0, form="{:.0f}"),
    ]
    if PARALLEL in compared:
        goals.append(Goal("wall time beside traceroute -T", mine.wall / compared[PARALLEL].wall, 0.8))
    if CLASSIC in compared:
        goals.append(Goal("wall time beside the classic tool", mine.wall / compared[CLASSIC].wall, 0.02, form="{:.3f}"))
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
