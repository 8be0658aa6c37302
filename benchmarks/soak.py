"""A long run of traces in one process, in which memory, file descriptors, threads and sockets have to stay as they are.

    python benchmarks/soak.py [MINUTES]    (default 5)

Traces to a thousand destinations of a simulated network, over and over, by `trace_many` with its default rate. The paths have
silent hops, loss, equal-cost paths, forged, late and double answers, filtered ports and refusals. Prints a line for each tenth of
the time, and ends with 1 where the last tenth has more of anything than the fifth: until then the allocator may still warm up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from nornir_tcptraceroute.lab import Lab, parse_topology

REGIONS: list[dict[str, Any]] = [
    {"hops": [8, 16], "rtt_ms": 40, "jitter_ms": 5, "silent": [5, 6], "paths": 4, "balanced": [4], "mpls": 3},
    {"hops": 12, "rtt_ms": 60, "loss": 0.1, "duplicates": 0.1, "forged": 2},
    {"hops": 10, "rtt_ms": 20, "late": {"share": 0.1, "ms": 1500}, "filtered_beyond": 7},
    {"hops": 10, "rtt_ms": 30, "unreachable": {"hop": 6}},
]
TOPOLOGY = """
description: a soak
vantage: client
hosts:
  client:
  cloud:
    simulates: {scenario}
links:
  - [client, cloud]
"""
TENTHS = 10
#: Growth that is no growth: of memory, in shares of what it was; descriptors vary with the traces that are open.
SLACK = 1.05

SOAK = """
import gc, json, os, sys, threading, time
from collections import Counter
from nornir_tcptraceroute import Trace, TraceOptions, trace_many

seconds, tenths = float(sys.argv[1]), int(sys.argv[2])
began = time.monotonic()
def requests():
    number = 0
    while time.monotonic() - began < seconds:
        region, place = number % 4, number // 4 % 250
        yield TraceOptions(destination=f"198.18.{64 * region}.{place + 1}", names="none", wait=2)
        number += 1
def state():
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    raw = sum(sum(1 for _ in open(f"/proc/self/net/{name}")) - 1 for name in ("raw", "raw6"))
    return {"resident": resident, "blocks": sys.getallocatedblocks(), "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(), "sockets": raw}
told, ends, problems, most, tenth = 0, Counter(), Counter(), {}, 0
def tell(request, outcome):
    global told, most, tenth
    told += 1
    if isinstance(outcome, Trace):
        ends[outcome.port_state] += 1
    else:
        problems[str(outcome)] += 1
    if told % 100 == 0:
        most = {name: max(value, most.get(name, 0)) for name, value in state().items()}
    if time.monotonic() - began > seconds * (tenth + 1) / tenths and most and tenth < tenths:
        tenth += 1
        print(json.dumps({**most, "traces": told, "ends": ends, "problems": problems}), flush=True)
        most = {}
trace_many(requests(), tell)
"""


def main() -> int:
    """Run it, and tell; returns the exit status."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    told: list[dict[str, Any]] = []
    regions = [{"prefix": f"198.18.{64 * number}.0/18", **region} for number, region in enumerate(REGIONS)]
    with Lab(parse_topology(TOPOLOGY.format(scenario=json.dumps({"seed": 3, "regions": regions})))) as lab:
        command = [sys.executable, "-c", SOAK, str(60 * minutes), str(TENTHS)]
        with lab.popen("client", command, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            print("| traces | resident MiB | memory blocks | descriptors | threads | raw sockets |", flush=True)
            print("| --: | --: | --: | --: | --: | --: |", flush=True)
            for line in running.stdout:
                told.append(json.loads(line))
                now = told[-1]
                print(
                    f"| {now['traces']} | {now['resident'] / 2**20:.1f} | {now['blocks']} | {now['descriptors']} "
                    f"| {now['threads']} | {now['sockets']} |",
                    flush=True,
                )
    if running.returncode or len(told) < 2 or told[-1]["problems"]:
        print(f"The soak failed: status {running.returncode}, {told[-1:] or 'nothing told'}")
        return 1
    middle, last = told[len(told) // 2 - 1], told[-1]
    grown = [name for name in ("resident", "blocks", "descriptors") if last[name] > SLACK * middle[name]]
    grown += [name for name in ("threads", "sockets") if last[name] > middle[name]]
    print(f"\nPort states: {last['ends']}. " + (f"Grown: {', '.join(grown)}." if grown else "Nothing has grown."))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
