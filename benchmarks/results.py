"""Runs every benchmark and writes what they say to RESULTS.md, with the machine that it was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = (
    "start_up",
    "answering_hops",
    "silent_hops",
    "filtered",
    "loss",
    "rate_limits",
    "half_open",
    "many_targets",
    "unprivileged",
    "open_traces",
    "rtt_error",
    "simulator",
    "evidence",
    "naming",
)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _machine() -> str:
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPUs ({_processor()}), Linux {platform.release()}, Python {platform.python_version()}; "
        f"load average at the start {load:.2f}. Times are this machine's; ratios hold elsewhere too."
    )


def main() -> int:
    """Run them all, showing each as it ends; returns 1 where a goal of any was missed."""
    started = time.monotonic()
    sections = [f"# Results\n\n{_machine()}\n"]
    missed = []
    for name in PROGRAMS:
        title = _first_line(HERE / f"{name}.py")
        print(f"== {name}", flush=True)
        began = time.monotonic()
        ended = subprocess.run([sys.executable, str(HERE / f"{name}.py")], capture_output=True, text=True, check=False)
        print(f"{ended.stdout}{ended.stderr}\n-- {time.monotonic() - began:.0f} s", flush=True)
        if ended.returncode:
            missed.append(name)
        sections.append(f"## {name}\n\n{title}\n\n{ended.stdout.strip()}\n")
        if ended.stderr:
            sections.append(f"It failed: `{ended.stderr.strip().splitlines()[-1]}`\n")
    (HERE / "RESULTS.md").write_text("\n".join(sections), encoding="utf-8")
    print(f"{time.monotonic() - started:.0f} s in all; goals missed in: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


def _first_line(program: Path) -> str:
    return program.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
