"""How many probes a second the simulated network answers: by itself on one CPU, its client on another."""

from __future__ import annotations

import sys

from side_by_side import Goal, Simulated, judged

SCENARIO = {"seed": 1, "regions": [{"prefix": "198.18.0.0/15", "hops": 12, "rtt_ms": 20}]}
SECONDS, RATES = 3.0, (5_000, 10_000, 20_000, 30_000)
#: Sends at a rate and counts what comes back, in a loop with nothing else in it. IP identifications tell TTLs.
PROGRAM = """
import select, socket, struct, sys, time
from nornir_tcptraceroute.probe.options import TraceOptions
from nornir_tcptraceroute.probe.wire import ProbeBuilder
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
    route.connect(("198.18.0.1", 80))
    source = route.getsockname()[0]
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
receiver.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
destinations = [f"198.18.{number // 250}.{number % 250 + 1}" for number in range(1000)]
packets = []
for address in destinations:
    builder = ProbeBuilder(TraceOptions(address), 4, source, address, 40000, 1, 1)
    packets += [(builder.build(ttl, 1000 + ttl, 0, 2000 + ttl), (address, 0)) for ttl in range(1, 12)]
sent = answered = 0
began = time.monotonic()
def read():
    global answered
    try:
        while receiver.recv(2048):
            answered += 1
    except BlockingIOError:
        pass
while (now := time.monotonic()) < began + seconds:
    while sent < (now - began) * rate:
        sender.sendto(*packets[sent % len(packets)])
        sent += 1
    read()
    select.select([receiver], [], [], 0.0005)
took = time.monotonic() - began
while time.monotonic() < began + took + 1:
    select.select([receiver], [], [], 0.1)
    read()
print(sent, answered, took)
"""


def main() -> int:
    """Print the table and the goal; returns 1 where it is missed."""
    print("| asked a second | sent a second | answered a second | share |\n| --: | --: | --: | --: |")
    best = 0.0
    with Simulated(SCENARIO) as network:
        for rate in RATES:
            run = network.run([sys.executable, "-c", PROGRAM, str(rate), str(SECONDS)])
            sent, answered, took = map(float, run.output.split())
            best = max(best, answered / took)
            print(f"| {rate} | {sent / took:.0f} | {answered / took:.0f} | {answered / sent:.3f} |")
    return judged([Goal("probes answered a second", best, 20_000, least=True, form="{:.0f}")])


if __name__ == "__main__":
    sys.exit(main())
