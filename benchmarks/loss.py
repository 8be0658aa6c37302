"""Traces over twelve hops that lose one probe in five: nothing may be wrong, and nothing missed that the probes could find."""

from __future__ import annotations

import statistics
import sys

from side_by_side import Goal, Simulated, compare, judge, judged, table
from tools import OURS, installed

SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60, "loss": 0.2}]}
DESTINATIONS = [f"198.18.7.{number}" for number in range(1, 21)]


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    print(table(compare(SCENARIO, DESTINATIONS[0], [OURS, *installed("traceroute -T", "tcptraceroute (classic)")])))
    walls, missed, wrong, distances = [], 0, 0, set()
    with Simulated(SCENARIO) as network:
        for destination in DESTINATIONS:
            run = network.run(OURS.command(destination))
            answers = OURS.read(run.output)
            judgement = judge(answers, run.exchanges, destination)
            walls.append(run.wall)
            missed += judgement.expected - judgement.right
            wrong += judgement.wrong
            distances.add(len(answers))
    print(f"\nOurs to {len(DESTINATIONS)} destinations, each with a loss of its own:")
    goals = [
        Goal("hops wrong", wrong, 0, form="{:.0f}"),
        Goal("distances other than 12", len(distances - {12}), 0, form="{:.0f}"),
        Goal("hops missed that a probe had found", missed, 0, form="{:.0f}"),
        Goal("wall time in seconds, median", statistics.median(walls), 1.0),
    ]
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
