"""One trace over twelve answering hops, 60 ms to the destination."""

from __future__ import annotations

import sys

from side_by_side import Goal, compare, judged, table
from tools import OURS, installed, ours

DESTINATION = "198.18.3.4"
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60}]}
CLASSIC, PARALLEL, PARALLEL_ONE = "tcptraceroute (classic)", "traceroute -T", "traceroute -T -q 1"


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    one_query = ours(queries=1)
    peers = installed(CLASSIC, PARALLEL, PARALLEL_ONE, "scamper -p 1000 -q 3 -Q", "mtr -T -c 3 -i 0.1 -G 1", "scapy traceroute()")
    compared = compare(SCENARIO, DESTINATION, [OURS, one_query, *peers])
    print(table(compared))
    mine = compared[OURS.name]
    goals = [
        Goal("probes", mine.probes, 49, form="{:.0f}"),
        Goal("flows", max(judgement.flows for judgement in mine.judgements), 1, form="{:.0f}"),
        Goal("hops right", min(judgement.right for judgement in mine.judgements), 12, least=True, form="{:.0f}"),
        Goal("hops wrong", max(judgement.wrong for judgement in mine.judgements), 0, form="{:.0f}"),
    ]
    if PARALLEL in compared:
        goals.append(Goal("wall time beside traceroute -T", mine.wall / compared[PARALLEL].wall, 2.5))
        goals.append(
            Goal("with 1 query, beside traceroute -T -q 1", compared[one_query.name].wall / compared[PARALLEL_ONE].wall, 1.2)
        )
    if CLASSIC in compared:
        goals.append(Goal("wall time beside the classic tool", mine.wall / compared[CLASSIC].wall, 0.2))
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
