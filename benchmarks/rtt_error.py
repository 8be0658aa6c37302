"""How far the round trips that we tell are from the true ones, on an idle machine and with every CPU busy."""

from __future__ import annotations

import os
import subprocess
import sys

from side_by_side import Goal, compare, judged, share, table
from tools import OURS, installed

DESTINATION = "198.18.3.4"
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60}]}
RUNS = 10


def main() -> int:
    """Print the tables and the goals; returns 1 where one is missed."""
    tools = [OURS, *installed("traceroute -T", "scamper -p 1000 -q 3 -Q")]
    idle = compare(SCENARIO, DESTINATION, tools, RUNS)
    print("Idle but for what else the machine does:\n")
    print(table(idle))
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        busy = compare(SCENARIO, DESTINATION, tools, RUNS)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    print("\nWith a busy process for each CPU:\n")
    print(table(busy))
    goals = [
        Goal("idle: median in ms", share(idle[OURS.name].errors, 0.5), 0.02, form="{:.3f}"),
        Goal("idle: p99 in ms", share(idle[OURS.name].errors, 0.99), 0.2, form="{:.3f}"),
        Goal("busy: median in ms", share(busy[OURS.name].errors, 0.5), 0.05, form="{:.3f}"),
        Goal("busy: p99 in ms", share(busy[OURS.name].errors, 0.99), 0.5, form="{:.3f}"),
    ]
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
