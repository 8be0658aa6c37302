"""Once all is loaded, the analysis needs no file any more: a process that has dropped its privileges may find none."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from nornir_tcptraceroute.analysis import Naming, explain, label

from .quoting_network import extension_of, traced

ROOT = Path(__file__).resolve().parent.parent.parent
ANALYSE = """
import json, sys
from nornir_tcptraceroute import Trace
from nornir_tcptraceroute.analysis import Naming, explain, label
from nornir_tcptraceroute.analysis.loading import load_all

class Guard:
    def find_spec(self, name, path=None, target=None):
        print("imported late:", name, file=sys.stderr)

load_all()
sys.meta_path.insert(0, Guard())
print(json.dumps(label(explain(Trace.from_dict(json.load(sys.stdin))), Naming()).to_dict()))
"""


def with_other_options(ttl: int, probe: bytes) -> bytes:
    """From the third hop on the MSS is another, and an option stands where padding was."""
    header = 20 if probe[0] >> 4 == 4 else 40
    return probe if ttl < 3 else probe[: header + 22] + b"\x03\xe8\x1e\x02" + probe[header + 26 :]


@pytest.mark.parametrize("family", [4, 6])
def test_nothing_is_imported_after_all_is_loaded(family: int) -> None:
    address = struct.pack("!HH4s", 1, 0, b"\x0a\0\0\x01") if family == 4 else struct.pack("!HH16s", 2, 0, b"\xfd" * 16)
    interface = struct.pack("!I", 7) + address + b"\x08eth0/1\0" + struct.pack("!I", 1500)
    extension = extension_of((1, 1, bytes.fromhex("18960101")), (2, 0x0F, interface))
    trace = traced(with_other_options, family=family, extension=extension, tcp_options="linux")
    expected = label(explain(trace), Naming())
    assert expected.hops[0].mpls
    assert expected.hops[0].interface
    assert any(modification.field == "mss" for modification in expected.hops[2].modified or ())
    done = subprocess.run(
        [sys.executable, "-c", ANALYSE], cwd=ROOT, input=json.dumps(trace.to_dict()), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == expected.to_dict()
