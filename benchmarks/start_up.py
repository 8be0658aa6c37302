"""What the probe and the command cost before they do anything, beside starting Python."""

from __future__ import annotations

import statistics
import sys

from processes import in_turn, table

RUNS = 40
ASYNCIO_MS = 38


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
    bare, probe, asyncio = (
        statistics.median(runs[name].wall) for name in ("python -c pass", "import the probe", "python -c 'import asyncio'")
    )
    share = (probe - bare) / (asyncio - bare)
    print(f"\nImporting the probe: {1000 * (probe - bare):.0f} ms more than Python, {share:.2f} of what asyncio costs.")
    # On a machine where Python starts in 9 ms, asyncio costs 38 ms more.
    print(f"Goal (at most 30 ms where asyncio costs {ASYNCIO_MS}):", "met" if share <= 30 / ASYNCIO_MS else "MISSED")
    return 0 if share <= 30 / ASYNCIO_MS else 1


if __name__ == "__main__":
    sys.exit(main())
