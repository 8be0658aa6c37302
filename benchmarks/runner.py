"""Runs commands on a node of a lab, one for each line of JSON on standard input, and tells what each took.

A line is an object with `argv` and `input`. A line of the answer has `wall` and `cpu` in seconds (with all its processes),
`peak` in bytes of the largest of them (at least this program's own), `status`, `output` and `complaint`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any


def measured(argv: list[str], given: str) -> dict[str, Any]:
    """Run a command to its end."""
    # Files and not pipes: nobody has to read them while the time runs.
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as complaint,
        tempfile.TemporaryFile("w+") as source,
    ):
        source.write(given)
        source.flush()
        source.seek(0)
        files = [(os.POSIX_SPAWN_DUP2, each.fileno(), number) for number, each in enumerate((source, output, complaint))]
        started = time.monotonic()
        process = os.posix_spawnp(argv[0], argv, os.environ, file_actions=files)
        _, status, used = os.wait4(process, 0)
        wall = time.monotonic() - started
        output.seek(0)
        complaint.seek(0)
        return {
            "wall": wall,
            "cpu": used.ru_utime + used.ru_stime,
            "peak": used.ru_maxrss * 1024,
            "status": os.waitstatus_to_exitcode(status),
            "output": output.read(),
            "complaint": complaint.read(),
        }


def main() -> None:
    """Run what is asked for until standard input ends."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(measured(asked["argv"], asked["input"])), flush=True)


if __name__ == "__main__":
    main()
