"""One trace over twelve hops, 60 ms to the destination: the whole process of ours, beside the classic tools where installed."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from processes import in_turn, table

from nornir_tcptraceroute.lab import Lab, parse_topology

RUNS = 10
SERVER, ROUTERS, STEP_MS = "198.18.255.1", 11, 5
RTT = (ROUTERS + 1) * STEP_MS / 1000
TOPOLOGY = f"""
description: A client, and a node that answers for a whole path
vantage: client
target: {SERVER}
hosts:
  client: {{routes: {{198.18.0.0/15: network}}}}
routers:
  network: {{silent: true}}
links: [[client, network]]
"""
OTHERS = {
    "tcptraceroute (classic)": ["tcptraceroute.mt", "-n", SERVER, "80"],
    "traceroute -T": ["traceroute", "-T", "-n", "-p", "80", SERVER],
}


def main() -> int:
    """Print the table; returns 1 where a goal of the first row is missed."""
    ours = [sys.executable, "-m", "nornir_tcptraceroute.cli.tcptraceroute", "-n", SERVER, "80"]
    with Lab(parse_topology(TOPOLOGY)) as lab:
        responder = [sys.executable, str(Path(__file__).with_name("delayed_path.py")), SERVER, str(ROUTERS), str(STEP_MS)]
        with lab.popen("network", responder, stdout=subprocess.PIPE, text=True) as answering:
            assert answering.stdout is not None
            assert answering.stdout.readline() == "ready\n"
            commands = {"tcptraceroute (ours)": ours, "ours, 1 query": [*ours, "-q", "1"]}
            commands |= {name: [found, *argv[1:]] for name, argv in OTHERS.items() if (found := shutil.which(argv[0]))}
            runs = in_turn({name: lab.command("client", argv) for name, argv in commands.items()}, RUNS)
            nothing = in_turn({"nothing": lab.command("client", [sys.executable, "-c", "pass"])}, RUNS)["nothing"]
            record = json.loads(lab.run("client", [*ours, "--json"]).stdout)
            answering.kill()
    expected = [f"198.18.{ttl}.1" for ttl in range(1, ROUTERS + 1)] + [SERVER]
    wrong = [hop["address"] for hop in record["hops"]] != expected or any(hop["loss"] for hop in record["hops"])
    entering = statistics.median(nothing.wall)
    print(table(runs, {}))
    wall = statistics.median(runs["tcptraceroute (ours)"].wall)
    elapsed, sent = record["elapsed_ms"] / 1000, record["counters"]["sent"]
    print(f"\nEntering the lab and starting Python: {1000 * entering:.0f} ms of each.")
    told = "a hop is wrong" if wrong else "every hop right"
    print(f"{1000 * elapsed:.0f} ms from the first probe to the end, {sent} probes, {told}.")
    print(f"Beside the network and the rounds: {1000 * (wall - elapsed - entering):.0f} ms and the start of Python.")
    met = wall < 0.35 and not wrong and sent <= 48 and elapsed <= 4 * RTT
    print("Goals (0.35 s, 48 probes, 4 round trips, every hop):", "met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
