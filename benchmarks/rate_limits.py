"""One trace over twelve hops whose routers send at most ten ICMP errors a second, one at once."""

from __future__ import annotations

import sys

from side_by_side import Goal, compare, judged, table
from tools import OURS, installed

DESTINATION = "198.18.3.4"
SCENARIO = {
    "seed": 1,
    "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60, "icmp_rate": "10/s", "icmp_burst": 1}],
}


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    compared = compare(SCENARIO, DESTINATION, [OURS, *installed("traceroute -T", "tcptraceroute (classic)")])
    print(table(compared))
    mine = compared[OURS.name]
    goals = [
        Goal("answers", min(judgement.answers for judgement in mine.judgements), 36, least=True, form="{:.0f}"),
        Goal("wall time in seconds", mine.wall, 0.8),
        Goal("hops wrong", max(judgement.wrong for judgement in mine.judgements), 0, form="{:.0f}"),
    ]
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
