"""Runs tools in turn through the same simulated network, and judges what each says by what the simulator did."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools import Answers, Tool

from nornir_tcptraceroute.lab import Lab, parse_topology
from nornir_tcptraceroute.lab.exchange import Exchange

__all__ = ("Goal", "Run", "Simulated", "compare", "judged")

TOPOLOGY = """
description: A client, and a simulated network behind one interface
vantage: client
hosts:
  client:
  cloud: {{simulates: {scenario}}}
links: [[client, cloud]]
"""
ANSWERS = ("time_exceeded", "unreachable", "syn_ack", "rst", "challenge_ack")
RUNS = 5


@dataclass
class Run:
    """One run of a tool.

    Attributes:
        wall, cpu: seconds. peak: bytes. output: what it printed.
        exchanges: what the simulator did meanwhile.
    """

    wall: float
    cpu: float
    peak: int
    status: int
    output: str
    complaint: str
    exchanges: list[Exchange]

    @property
    def probes(self) -> list[Exchange]:
        """The probes that arrived: what came in, and is no further answer to the same."""
        return [exchange for exchange in self.exchanges if exchange.outcome not in ("duplicate", "forged")]


@dataclass
class Judgement:
    """What a tool said of one run beside the truth.

    Attributes:
        right: hops with the address that answered. expected: hops that answered at all. wrong: hops with another address.
        answers: answers that the tool reports. flows: different flows among its probes. errors: of round trips, in milliseconds.
    """

    right: int = 0
    expected: int = 0
    wrong: int = 0
    answers: int = 0
    flows: int = 0
    at_destination: int = 0
    errors: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Goal:
    """One figure that has to be met.

    Arguments:
        what: the figure, in words. value: measured. limit: the most it may be; or the least, where `least`.
        least: see above. form: how both are written.
    """

    what: str
    value: float
    limit: float
    least: bool = False
    form: str = "{:.2f}"

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.least else "at most"
        written = self.form.format(self.value), self.form.format(self.limit)
        return f"{'met' if self.met else 'MISSED'}: {self.what} {written[0]} ({bound} {written[1]})"


class Simulated:
    """A lab with a simulated network and a runner on its client, during a `with` block.

    Arguments:
        scenario: as in a topology file.
    """

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._lab = Lab(parse_topology(TOPOLOGY.format(scenario=json.dumps(scenario))), record=True)
        self._seen = 0

    def __enter__(self) -> Self:
        self._lab.start()
        runner = str(Path(__file__).with_name("runner.py"))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._runner = self._lab.popen("client", [sys.executable, runner], **pipes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._runner.kill()
        self._runner.wait()
        self._runner.stdin.close()
        self._runner.stdout.close()
        self._lab.close()

    def run(self, argv: Sequence[str], given: str = "") -> Run:
        """Run a command on the client to its end.

        Arguments:
            argv: the command. given: its standard input.
        """
        self._runner.stdin.write(json.dumps({"argv": list(argv), "input": given}) + "\n")
        self._runner.stdin.flush()
        told = json.loads(self._runner.stdout.readline())
        exchanges = self._lab.exchanges("cloud")
        new, self._seen = exchanges[self._seen :], len(exchanges)
        return Run(exchanges=new, **told)


def judge(answers: Answers, exchanges: Sequence[Exchange], destination: str) -> Judgement:
    """Compare what a tool says of a path with what the simulator did.

    A hop is right if all that the tool shows there has answered there. The error of a round trip is that to the nearest true one
    of the same hop and address.
    """
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    mine = [exchange for exchange in exchanges if exchange.destination == destination]
    distance = min((exchange.ttl for exchange in mine if exchange.responder == destination), default=255)
    for exchange in mine:
        if exchange.sent:
            times[min(exchange.ttl, distance), exchange.responder].append((exchange.sent - exchange.received) / 1e6)
    judged = Judgement(expected=len({ttl for ttl, _ in times}))
    for ttl, told in answers.items():
        shown = {address for address, _ in told}
        judged.answers += len(told)
        # What a tool asks beyond the destination says the same as at the destination.
        known = all((min(ttl, distance), address) in times for address in shown)
        judged.right += bool(shown) and known and ttl <= distance
        judged.wrong += not known
        for address, rtt in told:
            true = times.get((min(ttl, distance), address))
            if rtt is not None and true:
                judged.errors.append(min((rtt - each for each in true), key=abs))
    judged.flows = len({(exchange.source_port, exchange.port) for exchange in mine})
    judged.at_destination = sum(exchange.responder == destination for exchange in mine if exchange.outcome != "lost")
    return judged


@dataclass
class Compared:
    """All runs of one tool, and what it said in each."""

    tool: Tool
    runs: list[Run] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)

    def median(self, name: str) -> float:
        """The median over the runs of a figure of Run."""
        return statistics.median(getattr(run, name) for run in self.runs)

    @property
    def wall(self) -> float:
        """Median of the wall time, in seconds."""
        return self.median("wall")

    @property
    def probes(self) -> float:
        """Median of the probes sent."""
        return statistics.median(len(run.probes) for run in self.runs)

    @property
    def errors(self) -> list[float]:
        """The errors of all round trips of all runs, without their sign, in order."""
        return sorted(abs(error) for judgement in self.judgements for error in judgement.errors)


def share(ordered: Sequence[float], part: float) -> float:
    """The value that this part of the ordered ones does not exceed; not a number where there is none."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def compare(scenario: dict[str, Any], destination: str, tools: Sequence[Tool], runs: int = RUNS) -> dict[str, Compared]:
    """Run tools in turn, so that a machine whose speed drifts treats all alike; one run of each before is not counted.

    Arguments:
        scenario: of the simulated network. destination: address to trace to. tools: what to run; ours is the first.
        runs: how many are counted.

    Returns:
        What each did, by its name.
    """
    compared = {tool.name: Compared(tool) for tool in tools}
    with Simulated(scenario) as network:
        for number in range(runs + 1):
            for one in compared.values():
                # A tool that takes long is not warmed up: it says the same each time.
                if one.runs and one.runs[0].wall > 5:
                    continue
                run = network.run(one.tool.command(destination))
                if number or run.wall > 5:
                    one.runs.append(run)
                    one.judgements.append(judge(one.tool.read(run.output), run.exchanges, destination))
    return compared


def table(compared: dict[str, Compared]) -> str:
    """What tools did, in Markdown: medians, and the ratio of our wall time to each."""
    columns = (
        "tool", "wall s", "ours/its", "CPU ms", "peak MiB", "probes", "at the destination", "flows", "answers", "hops right",
        "hops wrong", "RTT error ms median", "p99",
    )  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "| --- " + "| --: " * (len(columns) - 1) + "|"]
    first = next(iter(compared.values()))
    for name, one in compared.items():
        judgement = one.judgements[-1]
        figures = (
            f"{one.wall:.3f}",
            f"{first.wall / one.wall:.2f}",
            f"{1000 * one.median('cpu'):.0f}",
            f"{one.median('peak') / 2**20:.0f}",
            f"{one.probes:.0f}",
            f"{judgement.at_destination}",
            f"{judgement.flows}",
            f"{judgement.answers}",
            f"{judgement.right}/{judgement.expected}",
            f"{judgement.wrong}",
            f"{share(one.errors, 0.5):.3f}",
            f"{share(one.errors, 0.99):.3f}",
        )
        lines.append("| " + " | ".join([name, *figures]) + " |")
    return "\n".join(lines)


def judged(goals: Sequence[Goal]) -> int:
    """Print what became of the goals; returns the exit status: 1 where one is missed."""
    print()
    for goal in goals:
        print(f"- {goal}")
    return 0 if all(goal.met for goal in goals) else 1
