"""A destination that keeps a connection half open as a real kernel does, where SYNs of one flow disturb each other."""

from __future__ import annotations

import json
import sys

from side_by_side import Goal, compare, judged, table
from tools import OURS, installed

DESTINATION = "198.18.3.4"
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60, "stateful": True}]}


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    compared = compare(SCENARIO, DESTINATION, [OURS, *installed("traceroute -T", "scamper -p 1000 -q 3 -Q")])
    print(table(compared))
    traces = [json.loads(run.output) for run in compared[OURS.name].runs]
    answered = [sum(reply["rtt_ms"] is not None for reply in trace["hops"][-1]["replies"]) for trace in traces]
    resets = [reply for trace in traces for reply in trace["hops"][-1]["replies"] if "RST" in (reply["tcp_flags"] or "")]
    goals = [
        Goal("traces that call the port open", sum(trace["port_state"] == "open" for trace in traces), len(traces), least=True),
        Goal("answers of the destination", min(answered), 3, least=True, form="{:.0f}"),
        Goal("resets taken for an answer", len(resets), 0, form="{:.0f}"),
    ]
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
