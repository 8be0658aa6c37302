"""Runs Nornir on the fleet's controller: a specification as JSON on standard input, the pickled result in a file. Run by path."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

from nornir import InitNornir
from nornir.core.plugins.runners import RunnersPluginRegister

from nornir_tcptraceroute.plugins import tasks


class RawSockets:
    """A processor that counts the raw sockets of the network namespace while traces run."""

    def __init__(self) -> None:
        self.most = 0

    def trace_event(self, *_: object) -> None:
        count = sum(len(Path(f"/proc/self/net/{name}").read_text().splitlines()) - 1 for name in ("raw", "raw6"))
        self.most = max(self.most, count)

    def nothing(self, *_: object) -> None:
        pass

    task_started = task_completed = task_instance_started = task_instance_completed = nothing
    subtask_instance_started = subtask_instance_completed = nothing


def main() -> None:
    specification: dict[str, Any] = json.load(sys.stdin)
    directory = Path(specification["directory"])
    options = {}
    for name in ("host", "group", "defaults"):
        file = directory / f"{name}.yaml"
        file.write_text(json.dumps(specification.get(name, {})))
        options[f"{name}_file"] = str(file)
    if specification["runner"]["plugin"] not in {"serial", "threaded"}:
        from nornir_salt.plugins import runners

        for name in ("RetryRunner", "QueueRunner"):
            if name not in RunnersPluginRegister.available:
                RunnersPluginRegister.register(name, getattr(runners, name))
    counting = RawSockets()
    with InitNornir(
        inventory={"plugin": "SimpleInventory", "options": options},
        runner=specification["runner"],
        logging={"enabled": False},
        dry_run=specification.get("dry_run", False),
    ) as nornir:
        chosen = nornir.with_processors([counting]) if specification.get("count") else nornir
        result = chosen.run(task=getattr(tasks, specification.get("task", "tcptraceroute")), **specification["call"])
    Path(directory, "result").write_bytes(pickle.dumps((result, counting.most)))


main()
