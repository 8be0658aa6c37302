"""The classic tool and ours, side by side in the same networks: same output, same banner, same exit status."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_tcptraceroute.lab import Lab


@pytest.fixture(scope="module")
def classic() -> str:
    """Path of mct/tcptraceroute. Under its name, other systems have a wrapper of another traceroute, or ours."""
    for name in ("tcptraceroute.mt", "/usr/bin/tcptraceroute", "/usr/sbin/tcptraceroute", "tcptraceroute"):
        path = shutil.which(name)
        if path is None:
            continue
        told = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
        if re.search(r"^tcptraceroute 1\.5beta7$", told, re.MULTILINE):
            return path
    pytest.skip("the classic tcptraceroute 1.5beta7 is not installed (Debian: tcptraceroute)")


def normal(text: str) -> str:
    """What is printed, with every time and the free source port replaced by a word."""
    text = re.sub(r"\d+\.\d{3} ms", "TIME ms", text)
    return re.sub(r", port (?!5555 )\d+ for outgoing", ", port FREE for outgoing", text)


TRACES = [
    # Every kind of port.
    "server.lab",
    "server.lab 80",
    "server.lab 9999",
    "-n server.lab 82",
    "-w 1 -q 1 -m 4 server.lab 81",
    "-w 1 -q 2 -m 3 server.lab 81",
    *(f"server.lab {port}" for port in (*range(1000, 1004), *range(1005, 1016))),
    "server.lab http",
    # What is not the server's answer.
    "-m 2 server.lab",
    "-m 1 server.lab",
    "-f 2 server.lab",
    "-f 3 -m 3 server.lab",
    "-f 9 server.lab",
    "-f 30 server.lab 1003",
    # Names.
    "-n server.lab",
    "-N server.lab",
    "-n -N -q 1 server.lab",
    "-N -n -q 1 server.lab",
    "-q 1 10.4.0.2",
    # Shape and number of the probes.
    "-q 1 server.lab",
    "-q 5 server.lab",
    "-w 1 server.lab",
    "-S server.lab",
    "-A server.lab",
    "-A server.lab 9999",
    "-S -A server.lab",
    "-E server.lab",
    "-A -E server.lab",
    "-F server.lab",
    "-t 16 server.lab",
    "-F -t 184 -n -q 2 server.lab 443",
    "-l 100 server.lab",
    "-l 40 server.lab",
    "-l 41 server.lab",
    "-l 0 server.lab",
    "-l 30 server.lab",
    "server.lab 80 100",
    "-l 100 server.lab 80 20",
    "-l 100 server.lab 9999",
    # Where they come from.
    "-p 5555 server.lab",
    "-P 5555 server.lab",
    "-p 0 server.lab",
    "-s 10.1.0.1 server.lab",
    "-s client.lab server.lab",
    "-i r1 server.lab",
    # Long options.
    "--track-port server.lab",
    "--track-id server.lab",
    "--track-ipid server.lab",
    "--track-port -p 5555 server.lab",
    "--track-port -P 5555 server.lab",
    "--dnat --no-filter --no-getinterfaces -i r1 server.lab",
    "--no-dnat --no-select server.lab",
    "--no-dnat-strict --select server.lab",
    "server.lab --dnat -n 80 -q 1",
    "-n -- server.lab 80",
    "-nFm 3 -q1 server.lab",
    # To oneself.
    "127.0.0.1 9999",
    "client.lab 9999",
]


@pytest.mark.parametrize("arguments", TRACES)
def test_same_trace(lab: Callable[[str], Lab], classic: str, ours: list[str], arguments: str) -> None:
    ports = lab("ports")
    theirs = ports.run("client", [classic, *arguments.split()])
    done = ports.run("client", [*ours, *arguments.split()])
    assert normal(done.stdout) == normal(theirs.stdout)
    assert normal(done.stderr) == normal(theirs.stderr)
    assert done.returncode == theirs.returncode
    assert theirs.stdout


@pytest.mark.parametrize("options", ["-n", "--dnat -n", "--no-dnat -N -q 1", "--no-dnat-strict -n -w 1 -q 1"])
@pytest.mark.parametrize("destination", ["203.0.113.80", "203.0.113.90"])
def test_same_trace_through_address_translation(
    lab: Callable[[str], Lab], classic: str, ours: list[str], options: str, destination: str
) -> None:
    nat = lab("nat")
    theirs = nat.run("client", [classic, *options.split(), destination])
    done = nat.run("client", [*ours, *options.split(), destination])
    assert normal(done.stdout) == normal(theirs.stdout)
    assert normal(done.stderr) == normal(theirs.stderr)
    assert done.returncode == theirs.returncode


@pytest.mark.parametrize("options", ["-n -w 1 -q 1", "-n -w 1 -q 2 -m 3"])
def test_same_trace_past_silent_routers(lab: Callable[[str], Lab], classic: str, ours: list[str], options: str) -> None:
    silent = lab("silent")
    theirs = silent.run("client", [classic, *options.split(), "server.lab"])
    done = silent.run("client", [*ours, *options.split(), "server.lab"])
    assert "*" in theirs.stdout
    assert normal(done.stdout) == normal(theirs.stdout)
    assert normal(done.stderr) == normal(theirs.stderr)
    assert done.returncode == theirs.returncode


REFUSED = [
    "",
    "-h",
    "--help",
    "-v",
    "--version",
    "-Q",
    "--bogus server.lab",
    "--dna server.lab",
    "--dnat=1 server.lab",
    "server.lab 80 40 40",
    "server.lab -5",
    "-f",
    "server.lab nosuchservice",
    "server.lab 80x",
    "host.invalid",
    "300.1.1.1",
    "-n -- -m",
    "-m 0 server.lab",
    "-m 256 server.lab",
    "-m abc server.lab",
    "-f 0 server.lab",
    "-f 256 server.lab",
    "-f 4 -m 3 server.lab",
    "-q 0 server.lab",
    "-q 2x server.lab",
    "-w 0 server.lab",
    "-w -1 server.lab",
    "-t 0x10 server.lab",
    "-l abc server.lab",
    "-l 70000 server.lab",
    "-p abc server.lab",
    "-s nosuch.invalid server.lab",
    "-i nosuch0 server.lab",
    "-p TAKEN server.lab",
]

HOLD = """
import socket, sys
with socket.socket() as held:
    held.bind(("10.1.0.1", 0))
    print(held.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("arguments", REFUSED)
def test_same_refusal(lab: Callable[[str], Lab], classic: str, ours: list[str], arguments: str) -> None:
    """Exit status and streams are the classic tool's, the words are ours."""
    ports = lab("ports")
    python = [ours[0], "-c", HOLD]
    with ports.popen("client", python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        words = arguments.replace("TAKEN", holder.stdout.readline().strip()).split()
        theirs = ports.run("client", [classic, *words])
        done = ports.run("client", [*ours, *words])
        holder.communicate("")
    assert done.returncode == theirs.returncode
    assert (bool(done.stdout), bool(done.stderr)) == (bool(theirs.stdout), bool(theirs.stderr))
    assert ("Usage: " in done.stderr) is ("Usage: " in theirs.stderr)
