"""What a managed host is told to run: a command line that reads the probe from standard input and keeps it in memory."""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

HERE = Path(__file__).parent
PROBE = HERE.parent / "probe"
OLDEST_PYTHON = (3, 8)

# The host's Python reads this from its command line, so it holds no quotes that a shell could mind, and runs on any Python 3.
FIRST_STAGE = """
import sys, zlib
token = "{token}"
if sys.version_info < {oldest}:
    sys.stderr.write(token + " old " + sys.version.split()[0] + chr(10))
    sys.exit(96)
sys.stdout.write(token + " ready" + chr(10))
sys.stdout.flush()
data = sys.stdin.buffer
exec(compile(zlib.decompress(data.read(int(data.readline()))), "<tcptraceroute>", "exec"))
"""
# For any shell of POSIX; $0 is the first stage. Whoever is root already needs no sudo.
SHELL = """
python=$(command -v {interpreter}) || {{ echo "{token} no-python" >&2; exit 97; }}
{become}
exec "$python" -I -c "$0"
"""
BECOME = """
if [ "$(id -u)" != 0 ]; then
command -v sudo >/dev/null || {{ echo "{token} no-sudo" >&2; exit 98; }}
exec sudo -S -p "{token} password:" -- "$python" -I -c "$0"
fi
"""


def command_line(token: str, *, interpreter: str = "python3", become: bool = False) -> str:
    """The command that a managed host's shell is to run.

    Arguments:
        token: letters and digits that nothing else on the host's outputs says.
        interpreter: name or path of the host's Python.
        become: whether to run it through sudo, unless the user is root.
    """
    become_lines = BECOME.format(token=token) if become else ""
    script = SHELL.format(interpreter=shlex.quote(interpreter), token=token, become=become_lines)
    return shlex.join(["/bin/sh", "-c", script, FIRST_STAGE.format(token=token, oldest=OLDEST_PYTHON)])


@cache
def _sources() -> dict[str, str]:
    return {path.relative_to(PROBE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PROBE.rglob("*.py"))}


def payload(requests: Sequence[Mapping[str, Any]], purpose: Literal["measure", "plan"], arguments: Sequence[str] = ()) -> bytes:
    """What the command line reads: the loader, the probe's sources, and the requests.

    Arguments:
        requests: options of TraceOptions, one mapping for each trace.
        purpose: `measure`, or `plan` to tell what would be done.
        arguments: of the program that measures.
    """
    loader = zlib.compress((HERE / "loader.py").read_bytes())
    sources = zlib.compress(json.dumps({"sources": _sources(), "purpose": purpose, "arguments": [*arguments]}).encode())
    lines = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
    return b"%d\n%b%d\n%b%b" % (len(loader), loader, len(sources), sources, lines)
