"""How many probes a second leave without privilege, each as a connection of the kernel: a thousand destinations."""

from __future__ import annotations

import json
import statistics
import sys

from side_by_side import Goal, Run, Simulated, judge, judged
from tools import of_record

DESTINATIONS = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(1000)]
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 20}]}
RUNS = 3


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    requests = "\n".join(
        json.dumps({"destination": each, "method": "connect", "names": "none", "evidence": "none"}) for each in DESTINATIONS
    )
    command = [sys.executable, "-m", "nornir_tcptraceroute.probe", "--rate", "unlimited"]
    with Simulated(SCENARIO) as network:
        runs = [network.run(command, requests) for _ in range(RUNS)]
    print("| wall s | probes a second while they leave | CPU us/probe | peak MiB | hops right | hops wrong |")
    print("| --: | --: | --: | --: | --: | --: |")
    rates, wrongs = [], 0
    for run in runs:
        rates.append(_rate(run))
        right, wrong = _judged(run)
        wrongs += wrong
        cost = 1e6 * run.cpu / max(1, len(run.probes))
        cells = f"{run.wall:.2f}", f"{rates[-1]:.0f}", f"{cost:.0f}", f"{run.peak / 2**20:.0f}", f"{right}/12000", f"{wrong}"
        print("| " + " | ".join(cells) + " |")
    return judged(
        [
            Goal("probes a second", statistics.median(rates), 10_000, least=True, form="{:.0f}"),
            Goal("hops wrong", wrongs, 0, form="{:.0f}"),
        ]
    )


def _rate(run: Run) -> float:
    """Probes a second between the first and the last: what starting Python takes is not the question."""
    times = sorted(exchange.received for exchange in run.probes)
    return 1e9 * len(times) / max(1, times[-1] - times[0])


def _judged(run: Run) -> tuple[int, int]:
    by_destination: dict[str, list[object]] = {}
    for exchange in run.exchanges:
        by_destination.setdefault(exchange.destination, []).append(exchange)
    told = {trace["destination"]: of_record(trace) for trace in map(json.loads, run.output.splitlines()) if "hops" in trace}
    judgements = [judge(told.get(each, {}), by_destination.get(each, []), each) for each in DESTINATIONS]
    return sum(one.right for one in judgements), sum(one.wrong for one in judgements)


if __name__ == "__main__":
    sys.exit(main())
