"""Runs commands as whole processes, in turn, and sums up what each took."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, field

__all__ = ("Measured", "in_turn", "table")


@dataclass
class Measured:
    """Wall and CPU seconds of each run of a command, and the output of the last."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    output: str = ""


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_turn(commands: dict[str, list[str]], runs: int) -> dict[str, Measured]:
    """Run each command in turn, so that a machine whose speed drifts treats all alike; one run of each first is not counted.

    Arguments:
        commands: argument vectors by name. runs: how many are counted.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    measured = {name: Measured() for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            started, cpu = time.monotonic(), _cpu()
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
            if run:
                measured[name].wall.append(time.monotonic() - started)
                measured[name].cpu.append(_cpu() - cpu)
                measured[name].output = ended.stdout
    return measured


def table(measured: dict[str, Measured], columns: dict[str, dict[str, str]]) -> str:
    """A table in Markdown: medians in milliseconds, the ratio to the first row, and further columns by name and row."""
    first = statistics.median(next(iter(measured.values())).wall)
    header = ["command", "wall ms", "min", "max", "CPU ms", "ratio", *columns]
    lines = ["| " + " | ".join(header) + " |", "| --- " + "| --: " * (len(header) - 1) + "|"]
    for name, one in measured.items():
        wall = statistics.median(one.wall)
        figures = [f"{1000 * value:.0f}" for value in (wall, min(one.wall), max(one.wall), statistics.median(one.cpu))]
        lines.append(
            "| "
            + " | ".join([name, *figures, f"{wall / first:.2f}", *(column.get(name, "") for column in columns.values())])
            + " |"
        )
    return "\n".join(lines)
