"""What a task of the Ansible collection costs beside Ansible's own: one host and twenty, over SSH with pipelining."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nornir_tcptraceroute.lab import Lab, load_topology

ROOT = Path(__file__).resolve().parent.parent
#: So many tasks in the long play; the short one has one. What a play costs by itself is in both.
TASKS, HOSTS, RUNS = 20, 20, 3
#: Beside the trace and what a task of ping takes, on a machine where that is PING_S; in proportion on a slower one.
GOAL_S, PING_S = 0.1, 0.155
KINDS: dict[str, dict[str, Any]] = {
    "ping": {"ansible.builtin.ping": {}},
    "trace": {"netprobe.path.tcptraceroute": {"destination": "service", "port": 443, "family": 4, "queries": 1, "names": "none"}},
}


class Plays:
    """Runs plays on the controller of the lab "fleet".

    Arguments:
        lab: the fleet, up.
        directory: for playbooks, inventories and what the plays leave.
    """

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        # One host under twenty names: all of its work is on this machine anyhow.
        hosts = {f"host{number}": {"ansible_host": "gamma"} for number in range(HOSTS)}
        (directory / "twenty.yaml").write_text(json.dumps({"twenty": {"hosts": hosts}}))

    def took(self, kind: str, hosts: str, tasks: int) -> float:
        """Seconds that a play takes, start of Ansible and all."""
        registered = [f"path{number}" for number in range(tasks)]
        whole: list[dict[str, Any]] = [{"name": "Task", **KINDS[kind], "register": name} for name in registered]
        keep = {
            "name": "Keep what the traces took by themselves",
            "ansible.builtin.copy": {
                "content": "{{ [" + ", ".join(f"{name}.elapsed_ms | default(0)" for name in registered) + "] | to_json }}",
                "dest": str(self.directory / f"kept-{kind}.json"),
                "mode": "0600",
            },
            "delegate_to": "localhost",
            "run_once": True,
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        }
        book = self.directory / "book.json"
        book.write_text(json.dumps([{"name": kind, "hosts": hosts, "gather_facts": False, "tasks": [*whole, keep]}]))
        inventories = ["-i", str(ROOT / "examples/inventory/ansible.yaml"), "-i", str(self.directory / "twenty.yaml")]
        playbook = str(Path(sys.executable).parent / "ansible-playbook")
        began = time.perf_counter()
        # Root everywhere, so that no sudo is measured, and none needed.
        done = self.lab.run(
            "controller",
            [playbook, *inventories, "-e", "ansible_user=root", str(book)],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT),
                "ANSIBLE_HOME": str(self.directory / "home"),
                "ANSIBLE_PIPELINING": "true",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.directory / "cp"),
                "LC_ALL": "C.UTF-8",
            },
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return time.perf_counter() - began

    def trace_took(self) -> float:
        """Mean seconds from the first probe to the end, of the traces of the last play."""
        return statistics.fmean(json.loads((self.directory / "kept-trace.json").read_text())) / 1000


def main() -> int:
    """Print the table; returns 1 where the goal is missed."""
    if shutil.which("ssh") is None:
        sys.exit("Ansible needs the program ssh: install OpenSSH's client")
    one: dict[str, list[float]] = {kind: [] for kind in KINDS}
    twenty: dict[str, list[float]] = {kind: [] for kind in KINDS}
    traces = []
    with Lab(load_topology("fleet")) as lab, tempfile.TemporaryDirectory(prefix="at") as directory:
        plays = Plays(lab, Path(directory))
        # Connections are up, and everything that can be is in the page cache.
        for kind in KINDS:
            plays.took(kind, "gamma", 1)
        for _ in range(RUNS):
            for kind in KINDS:
                one[kind].append((plays.took(kind, "gamma", 1 + TASKS) - plays.took(kind, "gamma", 1)) / TASKS)
            traces.append(plays.trace_took())
            for kind in KINDS:
                twenty[kind].append(plays.took(kind, "twenty", 1))
    each = {kind: statistics.median(times) for kind, times in one.items()}
    trace = statistics.median(traces)
    added = each["trace"] - each["ping"] - trace
    print(f"One host, {TASKS} tasks in a play, seconds for each task, median of {RUNS}:")
    print(f"  ansible.builtin.ping          {each['ping']:.3f}")
    print(f"  netprobe.path.tcptraceroute   {each['trace']:.3f}   of them the trace itself {trace:.3f}")
    print(f"{HOSTS} hosts, one task, five at a time, seconds for the play:")
    for kind in KINDS:
        print(f"  {kind:<28}  {statistics.median(twenty[kind]):.2f}")
    goal = GOAL_S * max(1, each["ping"] / PING_S)
    print(
        f"Goal (at most {GOAL_S} s beside ping and the trace where ping takes {PING_S} s, so {goal:.3f} s here): {added:.3f} s,",
        "met" if added <= goal else "MISSED",
    )
    return 0 if added <= goal else 1


if __name__ == "__main__":
    sys.exit(main())
