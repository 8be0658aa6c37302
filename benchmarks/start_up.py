"""What the probe and the command cost before they do anything, beside starting Python."""

from __future__ import annotations

import statistics
import sys

from processes import in_turn, table

RUNS = 40


def main() -> int:
    """Print the table; returns 1 where a goal is missed."""
    python = [sys.executable]
    runs = in_turn(
        {
            "python -c pass": [*python, "-c", "pass"],
            "python -c 'import asyncio'": [*python, "-c", "import asyncio"],
            "import the probe": [*python, "-c", "import nornir_tcptraceroute.probe.engine"],
            "import all public names": [*python, "-c", "import nornir_tcptraceroute"],
            "tcptraceroute --version": [*python, "-m", "nornir_tcptraceroute.cli.tcptraceroute", "--version"],
        },
        RUNS,
    )
    print(table(runs, {}))
    bare = statistics.median(runs["python -c pass"].wall)
    cost = statistics.median(runs["import the probe"].wall) - bare
    print(f"\nImporting the probe: {1000 * cost:.0f} ms more than Python.")
    print("Goal (at most 30 ms):", "met" if cost <= 0.030 else "MISSED")
    return 0 if cost <= 0.030 else 1


if __name__ == "__main__":
    sys.exit(main())
