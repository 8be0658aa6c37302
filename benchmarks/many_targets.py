"""A thousand destinations, twelve hops each, three queries a hop, as fast as it goes."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from side_by_side import Goal, Run, Simulated, judge, judged
from tools import SCAPY, Answers, of_record, read_lines, read_scamper

DESTINATIONS = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(1000)]
SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/16", "hops": 12, "rtt_ms": 60}]}
RUNS = 5
#: A tool that takes longer than this, in seconds, is run once.
LONG = 10.0


@dataclass(frozen=True)
class Bulk:
    """A way to trace to many destinations.

    Arguments:
        name: as the table calls it. command: argument vector. given: its standard input. read: its output, to the answers by
            destination and TTL.
    """

    name: str
    command: list[str]
    given: str
    read: Callable[[str], dict[str, Answers]]


def _records(output: str) -> dict[str, Answers]:
    traces = [json.loads(line) for line in output.splitlines()]
    return {trace["destination"]: of_record(trace) for trace in traces if "hops" in trace}


def _texts(output: str) -> dict[str, Answers]:
    """Outputs of `traceroute`, one after another in any order: each begins with a line that names its destination."""
    texts: dict[str, list[str]] = defaultdict(list)
    for line in output.splitlines():
        destination, _, text = line.partition("|")
        texts[destination].append(text)
    return {destination: read_lines("\n".join(lines)) for destination, lines in texts.items()}


def _scamper_records(output: str) -> dict[str, Answers]:
    records: dict[str, list[str]] = defaultdict(list)
    for line in output.splitlines():
        record = json.loads(line)
        if record["type"] == "trace":
            records[record["dst"]].append(line)
    return {destination: read_scamper("\n".join(lines)) for destination, lines in records.items()}


def _scapy_pairs(output: str) -> dict[str, Answers]:
    told: dict[str, Answers] = defaultdict(dict)
    for line in output.splitlines():
        destination, ttl, address, milliseconds = line.split()
        told[destination].setdefault(int(ttl), []).append((address, float(milliseconds)))
    return dict(told)


def _ways() -> list[Bulk]:
    requests = "\n".join(
        json.dumps({"destination": destination, "names": "none", "evidence": "none"}) for destination in DESTINATIONS
    )
    addresses = "\n".join(DESTINATIONS) + "\n"
    program = [sys.executable, "-m", "nornir_tcptraceroute.probe", "--rate", "unlimited"]
    ways = [Bulk("ours, one process", program, requests, _records)]
    if shutil.which("scamper"):
        asked = ["scamper", "-p", "10000", "-O", "json", "-c", "trace -P tcp -d 80 -q 3 -Q", "-f", "-"]
        ways.append(Bulk("scamper -p 10000 -q 3 -Q", asked, addresses, _scamper_records))
    if shutil.which("traceroute") and shutil.which("xargs"):
        one = 'traceroute -T -n -p 80 "$1" | sed "s/^/$1|/"'
        ways.append(
            Bulk("traceroute -T, xargs -P 50", ["xargs", "-P", "50", "-I@", "sh", "-c", one, "-", "@"], addresses, _texts)
        )
    ways.append(Bulk("scapy traceroute(list)", [sys.executable, "-c", SCAPY.format(port=80), *DESTINATIONS], "", _scapy_pairs))
    return ways


def main() -> int:
    """Print the table and the goals; returns 1 where one is missed."""
    ways = _ways()
    runs: dict[str, list[Run]] = {way.name: [] for way in ways}
    with Simulated(SCENARIO) as network:
        for _ in range(RUNS):
            for way in ways:
                if not runs[way.name] or runs[way.name][0].wall < LONG:
                    runs[way.name].append(network.run(way.command, way.given))
    columns = ("way", "wall s", "ours/its", "CPU s", "CPU us/probe", "peak MiB", "probes", "hops right", "hops wrong")
    print("| " + " | ".join(columns) + " |\n| --- " + "| --: " * (len(columns) - 1) + "|")
    figures = {}
    mine = statistics.median(run.wall for run in runs[ways[0].name])
    for way in ways:
        ended = runs[way.name]
        wall, cpu = statistics.median(run.wall for run in ended), statistics.median(run.cpu for run in ended)
        probes = statistics.median(len(run.probes) for run in ended)
        peak = statistics.median(run.peak for run in ended)
        told = way.read(ended[-1].output)
        by_destination = defaultdict(list)
        for exchange in ended[-1].exchanges:
            by_destination[exchange.destination].append(exchange)
        judgements = [judge(told.get(each, {}), by_destination[each], each) for each in DESTINATIONS]
        right, wrong = sum(one.right for one in judgements), sum(one.wrong for one in judgements)
        figures[way.name] = wall, cpu, probes, peak, right, wrong
        cells = (
            f"{wall:.2f}", f"{mine / wall:.2f}", f"{cpu:.2f}", f"{1e6 * cpu / max(1, probes):.0f}", f"{peak / 2**20:.0f}",
            f"{probes:.0f}", f"{right}/{12 * len(DESTINATIONS)}", f"{wrong}",
        )  # fmt: skip
        print("| " + " | ".join([way.name, *cells]) + " |")
    wall, cpu, probes, peak, right, wrong = figures[ways[0].name]
    goals = [
        Goal("wall time in seconds", wall, 2.0),
        Goal("CPU microseconds a probe", 1e6 * cpu / max(1, probes), 30, form="{:.0f}"),
        Goal("peak MiB", peak / 2**20, 100, form="{:.0f}"),
        Goal("hops right", right, 12 * len(DESTINATIONS), least=True, form="{:.0f}"),
        Goal("hops wrong", wrong, 0, form="{:.0f}"),
    ]
    for name, limit in (
        ("scamper -p 10000 -q 3 -Q", 0.45),
        ("traceroute -T, xargs -P 50", 0.9),
        ("scapy traceroute(list)", 0.08),
    ):
        if name in figures:
            goals.append(Goal(f"wall time beside {name}", wall / figures[name][0], limit))
    return judged(goals)


if __name__ == "__main__":
    sys.exit(main())
