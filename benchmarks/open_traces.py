"""What a probe costs with ten traces open at a time, and with five thousand."""

from __future__ import annotations

import sys

from side_by_side import Goal, Simulated, judged

TRACES = 5000
WINDOWS = (10, 1000, 5000)
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/15", "hops": 12, "rtt_ms": 60}]}
#: Counts CPU time and probes itself: what starting Python and asking for the routes takes is not the question.
PROGRAM = """
import math, resource, sys, time
from nornir_tcptraceroute import TraceOptions, trace_many
traces, window = int(sys.argv[1]), int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
sent = wrong = 0
def count(request, outcome):
    global sent, wrong
    sent += outcome.counters["sent"]
    wrong += len(outcome.hops) != 12 or not all(hop.address for hop in outcome.hops)
requests = (
    TraceOptions(f"198.18.{number // 250}.{number % 250 + 1}", names="none", evidence="none") for number in range(traces)
)
before = time.process_time()
trace_many(requests, count, rate=math.inf, window=window)
print(1e6 * (time.process_time() - before) / sent, sent, wrong)
"""


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    costs, wrong = {}, 0
    print("| traces open | traces | wall s | probes | CPU us/probe | peak MiB |\n| --: | --: | --: | --: | --: | --: |")
    with Simulated(SCENARIO) as network:
        for window in WINDOWS:
            traces = TRACES if window > 10 else TRACES // 10
            run = network.run([sys.executable, "-c", PROGRAM, str(traces), str(window)])
            cost, sent, mistaken = run.output.split()
            costs[window] = float(cost)
            wrong += int(mistaken)
            print(f"| {window} | {traces} | {run.wall:.1f} | {sent} | {float(cost):.0f} | {run.peak / 2**20:.0f} |")
    goals = [
        Goal("CPU of a probe with 5000 traces open, beside 10", costs[5000] / costs[10], 1.3),
        Goal("traces with a wrong or missing hop", wrong, 0, form="{:.0f}"),
    ]
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
