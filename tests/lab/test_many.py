"""Many traces at once through the simulated network: each record is what the network's own record says, and nothing grows."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from nornir_tcptraceroute.lab import Lab, NamespaceError, parse_topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_tcptraceroute.lab.exchange import Exchange

NETWORK = """
description: simulated networks for many traces
vantage: client
hosts:
  client:
  cloud:
    simulates:
      seed: 7
      regions:
        - {prefix: 198.18.0.0/17, hops: [8, 16], rtt_ms: 40, jitter_ms: 5, silent: [5, 6], paths: 4, balanced: [4, 8], mpls: 3}
        - {prefix: 198.18.128.0/17, hops: 8, silent: [1, 2, 3], filtered_beyond: 3}
        - prefix: 198.19.0.0/17
          hops: [8, 16]
          rtt_ms: 40
          jitter_ms: 5
          forged: 5
          duplicates: 0.3
          late: {share: 0.1, ms: 700}
        - {prefix: 198.19.128.0/17, hops: 3}
        - {prefix: 2001:2::/48, hops: 8, rtt_ms: 20}
        - {prefix: 203.0.0.0/16, hops: 12, rtt_ms: 40, loss: 0.2}
        - {prefix: 2001:2:1::/48, hops: 12, rtt_ms: 40, loss: 0.2}
links:
  - [client, cloud]
"""
PROGRAM = [sys.executable, "-m", "nornir_tcptraceroute.probe"]
#: So long that it is never why a trace of a test ends, in seconds.
PATIENCE = 60


def addresses(prefix: str, count: int) -> list[str]:
    """So many addresses of a network, such as ``198.18`` or ``2001:2::``."""
    if ":" in prefix:
        return [f"{prefix}{number:x}" for number in range(1, count + 1)]
    return [f"{prefix}.{number // 250}.{number % 250 + 1}" for number in range(count)]


@pytest.fixture(scope="module")
def network() -> Iterator[Lab]:
    lab = Lab(parse_topology(NETWORK), record=True)
    try:
        lab.start()
    except NamespaceError as error:
        pytest.skip(str(error))
    yield lab
    lab.close()


def measured(lab: Lab, requests: list[dict[str, Any]], *arguments: str) -> list[dict[str, Any]]:
    """What the program tells of requests, in the order in which the traces ended."""
    ended = lab.run("client", [*PROGRAM, *arguments], input="\n".join(map(json.dumps, requests)))
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def responders(exchanges: list[Exchange]) -> dict[tuple[str, int, int], set[str]]:
    """Who really answered, by destination, source port and TTL."""
    told: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for exchange in exchanges:
        if exchange.sent and exchange.outcome != "forged":
            told[exchange.destination, exchange.source_port, exchange.ttl].add(exchange.responder)
    return told


@pytest.mark.parametrize("prefix", ["198.18", "2001:2::"])
def test_of_a_thousand_traces_at_once_each_record_is_right(network: Lab, prefix: str) -> None:
    destinations = addresses(prefix, 1000)
    asked = [{"destination": address, "queries": 1, "wait": PATIENCE / 12, "names": "none"} for address in destinations]
    traces = measured(network, asked)
    assert sorted(trace["destination"] for trace in traces) == sorted(destinations)
    told = responders(network.exchanges("cloud"))
    for trace in traces:
        assert (trace["reached"], trace["port_state"]) == (True, "open")
        assert trace["hops"][-1]["addresses"] == [trace["address"]]
        for hop in trace["hops"]:
            assert set(hop["addresses"]) == told[trace["destination"], trace["source_port"], hop["ttl"]]


@pytest.mark.parametrize("prefix", ["203.0", "2001:2:1::"])
def test_where_one_probe_in_five_is_lost_no_hop_is_wrong_or_missed(network: Lab, prefix: str) -> None:
    destinations = addresses(prefix, 50)
    traces = measured(network, [{"destination": address, "names": "none"} for address in destinations])
    told = responders(network.exchanges("cloud"))
    assert sorted(trace["destination"] for trace in traces) == sorted(destinations)
    for trace in traces:
        assert (trace["reached"], trace["port_state"], len(trace["hops"])) == (True, "open", 12), trace
        for hop in trace["hops"]:
            assert set(hop["addresses"]) == told[trace["destination"], trace["source_port"], hop["ttl"]]


def test_a_thousand_traces_behind_silent_hops_take_about_the_time_of_one(network: Lab) -> None:
    asked = [
        {"destination": address, "queries": 1, "wait": 5, "max_ttl": 8, "names": "none"}
        for address in ("198.18.200.1", *addresses("198.18", 33000)[32000:])
    ]
    (one,) = measured(network, asked[:1])
    traces = measured(network, asked[1:], "--rate", "unlimited")
    assert len(traces) == 1000
    for trace in (one, *traces):
        assert (trace["reached"], trace["stop_reason"]) == (False, "max_ttl")
    # Each has waited for silence as long as the one, which is most of its time; a slow machine adds what sending takes.
    began = min(trace["started_at"] for trace in traces)
    last = max(seconds_since(began, trace) for trace in traces)
    assert last < 3 * one["elapsed_ms"] / 1000


def seconds_since(began: str, trace: dict[str, Any]) -> float:
    """From a moment to the end of a trace."""
    first, started = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (began, trace["started_at"]))
    elapsed_ms: float = trace["elapsed_ms"]
    return (started - first).total_seconds() + elapsed_ms / 1000


def test_ten_thousand_forgeries_late_and_double_answers_change_no_record(network: Lab) -> None:
    destinations = addresses("198.19", 200)
    asked = [{"destination": address, "queries": 1, "wait": 5, "names": "none"} for address in destinations]
    traces = measured(network, asked)
    mine = [exchange for exchange in network.exchanges("cloud") if exchange.destination in set(destinations)]
    assert sum(exchange.outcome == "forged" for exchange in mine) > 10_000
    assert sum(exchange.outcome == "duplicate" for exchange in mine) > 100
    told = responders(mine)
    assert len(traces) == 200
    for trace in traces:
        assert (trace["reached"], trace["port_state"]) == (True, "open")
        assert trace["hops"][-1]["address"] == trace["address"]
        for hop in trace["hops"]:
            true = told[trace["destination"], trace["source_port"], hop["ttl"]]
            assert set(hop["addresses"]) <= true
            assert {reply["address"] for reply in hop["replies"]} <= {None, *true}


SAMPLED = """
import json, os, sys, threading
from nornir_tcptraceroute import TraceOptions, trace_many

count, window = int(sys.argv[1]), int(sys.argv[2])
def requests():
    for number in range(count):
        yield TraceOptions(destination=f"198.18.{number // 250}.{number % 250 + 1}", queries=1, wait=5, names="none")
def state():
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            pass
    raw = [len(open(f"/proc/self/net/{name}").readlines()) - 1 for name in ("raw", "raw6")]
    return len(links), threading.active_count(), sum(raw)
before = state()
seen, ended = [], []
def told(request, outcome):
    ended.append(outcome.reached)
    if len(ended) % 50 == 1:
        seen.append(state())
trace_many(requests(), told, window=window)
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
print(json.dumps({"before": before, "most": [max(column) for column in zip(*seen)], "after": state(), "reached": sum(ended)}))
"""


def test_threads_and_sockets_stay_the_same_and_each_trace_has_one_descriptor(network: Lab) -> None:
    told = {}
    for count, window in ((100, 10), (1000, 1000)):
        ended = network.run("client", [sys.executable, "-c", SAMPLED, str(count), str(window)])
        assert (ended.returncode, ended.stderr) == (0, "")
        told[window] = json.loads(ended.stdout)
    for window, found in told.items():
        assert found["after"] == found["before"]
        # Three raw sockets, the poll, the pipe, and a socket that asks for a route.
        assert found["most"][0] - found["before"][0] <= window + 3 + 1 + 2 + 1
        # The engine's and the one that opens flows.
        assert found["most"][1] - found["before"][1] == 2
        assert found["most"][2] == 3
    assert told[1000]["reached"] == 1000


FLAT = """
import json, sys
from nornir_tcptraceroute import TraceOptions, trace_many

COUNT = 5000
def requests():
    for number in range(COUNT):
        # A wait that outlives the stream: nothing that has ended may stay until then.
        yield TraceOptions(destination=f"198.19.{128 + number // 250}.{number % 250 + 1}", queries=1, names="none", wait=300)
memory = []
def told(request, outcome):
    assert outcome.reached, outcome
    memory.append(sys.getallocatedblocks())
trace_many(requests(), told, window=100, rate=1e6)
# How full the window is, and how much of what has ended waits for the next clearing, goes up and down with the machine.
# What stays for good is there at the best of times as well: seven blocks more for each trace would show.
print(json.dumps([len(memory), max(memory[500:1500]), min(memory[4000:])]))
"""


def test_memory_stays_flat_for_a_long_stream(network: Lab) -> None:
    ended = network.run("client", [sys.executable, "-c", FLAT])
    assert (ended.returncode, ended.stderr) == (0, "")
    count, early, late = json.loads(ended.stdout)
    assert count == 5000
    assert late < 1.1 * early
