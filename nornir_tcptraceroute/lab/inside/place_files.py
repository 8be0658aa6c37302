"""Puts a file system in memory over a directory of the lab, and files in it.

Its task is JSON on standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from . import kernel


def main() -> int:
    """Do it; returns the exit code."""
    task = json.load(sys.stdin)
    try:
        kernel.mount("tmpfs", task["covered"], "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
        directory = Path(task["directory"])
        for path in (directory, *(directory / name for name in task["directories"])):
            path.mkdir()
        for name, text in task["files"].items():
            file = directory / name
            file.touch(mode=0o600)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'system'}: {error.strerror}\n")
        return 1
    return 0
